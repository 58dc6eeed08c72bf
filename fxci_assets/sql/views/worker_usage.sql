SELECT * FROM `${worker_usage_v1}`
