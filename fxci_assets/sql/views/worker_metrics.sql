SELECT * FROM `${worker_metrics_v1}`
