-- Which share of each worker pool's runs were retries, this month and in the two before it.
-- The queue retries lost runs (retry) and what the worker calls intermittent (task-retry).
SELECT
  DATE_TRUNC(runs.submission_date, MONTH) AS month,
  tasks.task_queue_id AS pool,
  COUNT(*) AS runs,
  COUNTIF(runs.reason_created IN ('retry', 'task-retry')) AS retries,
  SAFE_DIVIDE(COUNTIF(runs.reason_created IN ('retry', 'task-retry')), COUNT(*)) AS retry_rate
FROM fxci.task_runs AS runs
JOIN fxci.tasks AS tasks ON tasks.task_id = runs.task_id
WHERE runs.submission_date >= DATE_SUB(DATE_TRUNC(CURRENT_DATE(), MONTH), INTERVAL 2 MONTH)
  -- A task is filed under the day of its first run, up to six days before its last one.
  AND tasks.submission_date >= DATE_SUB(DATE_TRUNC(CURRENT_DATE(), MONTH), INTERVAL 2 MONTH) - 6
GROUP BY month, pool
ORDER BY month, retry_rate DESC, pool
