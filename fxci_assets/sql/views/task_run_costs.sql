SELECT * FROM `${task_run_costs_v1}`
