-- The 50 pushes (task groups) of the last 7 days in which a run waited longest for its worker.
-- Of each: whose it is, and how long its runs waited, without those that were never claimed.
SELECT
  tasks.task_group_id,
  MAX(tasks.tags.project) AS project,
  MAX(tasks.tags.created_for_user) AS pusher,
  COUNT(runs.started) AS runs,
  MIN(runs.scheduled) AS first_scheduled,
  APPROX_QUANTILES(TIMESTAMP_DIFF(runs.started, runs.scheduled, SECOND), 100)[OFFSET(50)]
    AS median_seconds,
  APPROX_QUANTILES(TIMESTAMP_DIFF(runs.started, runs.scheduled, SECOND), 100)[OFFSET(95)]
    AS p95_seconds,
  MAX(TIMESTAMP_DIFF(runs.started, runs.scheduled, SECOND)) AS longest_seconds
FROM fxci.task_runs AS runs
JOIN fxci.tasks AS tasks ON tasks.task_id = runs.task_id
WHERE runs.submission_date BETWEEN CURRENT_DATE() - 7 AND CURRENT_DATE() - 1
  -- A task is filed under the day of its first run, up to six days before its last one.
  AND tasks.submission_date BETWEEN CURRENT_DATE() - 13 AND CURRENT_DATE() - 1
GROUP BY tasks.task_group_id
HAVING longest_seconds IS NOT NULL
ORDER BY longest_seconds DESC, task_group_id
LIMIT 50
