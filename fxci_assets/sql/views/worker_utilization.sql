SELECT * FROM `${worker_utilization_v1}`
