-- How many tasks and runs each project (tree) had on each of the last 30 days, and their hours.
-- The project is NULL for tasks without that tag, such as decision tasks.
SELECT
  runs.submission_date AS day,
  tasks.tags.project AS project,
  COUNT(DISTINCT runs.task_id) AS tasks,
  COUNT(*) AS runs,
  ROUND(SUM(TIMESTAMP_DIFF(runs.resolved, runs.started, SECOND)) / 3600, 1) AS machine_hours
FROM fxci.task_runs AS runs
LEFT JOIN fxci.tasks AS tasks
  ON tasks.task_id = runs.task_id
  -- A task is filed under the day of its first run, up to six days before its last one.
  AND tasks.submission_date BETWEEN CURRENT_DATE() - 36 AND CURRENT_DATE() - 1
WHERE runs.submission_date BETWEEN CURRENT_DATE() - 30 AND CURRENT_DATE() - 1
GROUP BY day, project
ORDER BY day, project
