-- The 50 most expensive pushes (task groups) of the last 30 days, and who pushed them, in dollars.
-- Runs on hardware have no cost; how many runs have one stands beside it.
SELECT
  tasks.tags.created_for_user AS pusher,
  tasks.task_group_id,
  COUNT(*) AS runs,
  COUNT(costs.run_cost) AS runs_with_cost,
  ROUND(SUM(costs.run_cost), 2) AS cost
FROM fxci.task_runs AS runs
JOIN fxci.tasks AS tasks ON tasks.task_id = runs.task_id
LEFT JOIN fxci.task_run_costs AS costs
  ON costs.task_id = runs.task_id
  AND costs.run_id = runs.run_id
  AND costs.submission_date BETWEEN CURRENT_DATE() - 30 AND CURRENT_DATE() - 1
WHERE runs.submission_date BETWEEN CURRENT_DATE() - 30 AND CURRENT_DATE() - 1
  -- A task is filed under the day of its first run, up to six days before its last one.
  AND tasks.submission_date BETWEEN CURRENT_DATE() - 36 AND CURRENT_DATE() - 1
GROUP BY pusher, task_group_id
ORDER BY cost DESC, task_group_id, pusher
LIMIT 50
