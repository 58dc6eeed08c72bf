-- One row for each performance task of the last 30 days: its runs, machine seconds and dollars.
-- The cost is NULL on hardware; the seconds are NULL where no worker ever claimed a run.
SELECT
  tasks.task_id,
  tasks.submission_date AS day,
  tasks.tags.project,
  tasks.tags.label,
  tasks.tags.test_suite,
  tasks.task_queue_id AS pool,
  COUNT(*) AS runs,
  SUM(TIMESTAMP_DIFF(runs.resolved, runs.started, SECOND)) AS machine_seconds,
  SUM(costs.run_cost) AS cost
FROM fxci.tasks AS tasks
JOIN fxci.task_runs AS runs ON runs.task_id = tasks.task_id
LEFT JOIN fxci.task_run_costs AS costs
  ON costs.task_id = runs.task_id
  AND costs.run_id = runs.run_id
  AND costs.submission_date >= CURRENT_DATE() - 30
WHERE tasks.submission_date BETWEEN CURRENT_DATE() - 30 AND CURRENT_DATE() - 1
  AND runs.submission_date >= CURRENT_DATE() - 30
  AND (
    tasks.tags.kind IN ('browsertime', 'talos', 'raptor', 'awsy', 'perftest')
    OR REGEXP_CONTAINS(tasks.tags.label, r'\b(browsertime|talos|raptor|awsy|perftest)\b')
  )
GROUP BY ALL
ORDER BY day, label, task_id
