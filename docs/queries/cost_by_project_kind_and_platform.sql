-- What each project (tree) spent on what kind of tasks for which platform in the last 30 days.
-- In dollars; NULL where all runs were on hardware. The platform is NULL of what is no test.
SELECT
  tasks.tags.project,
  tasks.tags.trust_domain,
  tasks.tags.kind,
  tasks.tags.test_platform AS platform,
  COUNT(*) AS runs,
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
GROUP BY ALL
ORDER BY cost DESC, project, trust_domain, kind, platform
