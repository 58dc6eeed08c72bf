-- How long the runs of a worker pool waited for a worker in the last 30 days: median, p90, p95.
-- A run that no worker ever claimed has no queue time; these are counted beside it.
SELECT
  COUNT(*) AS runs,
  COUNTIF(runs.started IS NULL) AS never_claimed,
  APPROX_QUANTILES(TIMESTAMP_DIFF(runs.started, runs.scheduled, SECOND), 100)[OFFSET(50)]
    AS median_seconds,
  APPROX_QUANTILES(TIMESTAMP_DIFF(runs.started, runs.scheduled, SECOND), 100)[OFFSET(90)]
    AS p90_seconds,
  APPROX_QUANTILES(TIMESTAMP_DIFF(runs.started, runs.scheduled, SECOND), 100)[OFFSET(95)]
    AS p95_seconds
FROM fxci.task_runs AS runs
JOIN fxci.tasks AS tasks USING (task_id)
WHERE tasks.task_queue_id = 'gecko-t/t-linux-docker-noscratch-amd'
  AND runs.submission_date BETWEEN CURRENT_DATE() - 30 AND CURRENT_DATE() - 1
  -- A task is filed under the day of its first run, up to six days before its last one.
  AND tasks.submission_date BETWEEN CURRENT_DATE() - 36 AND CURRENT_DATE() - 1
