SELECT * FROM `${worker_costs_v1}`
