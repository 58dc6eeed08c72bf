SELECT * FROM `${task_runs_v1}`
