-- Which pools lost runs in which regions in the last 30 days: spot machines that were taken back
-- (worker-shutdown), and workers of which nothing was heard any more (claim-expired).
SELECT
  tasks.task_queue_id AS pool,
  -- A GCP zone without its letter; Azure and hardware name the region itself.
  REGEXP_REPLACE(runs.worker_group, r'-[a-z]$', '') AS region,
  COUNT(*) AS runs,
  COUNTIF(runs.reason_resolved = 'worker-shutdown') AS evictions,
  COUNTIF(runs.reason_resolved = 'claim-expired') AS claims_expired,
  COUNTIF(runs.reason_resolved IN ('worker-shutdown', 'claim-expired')) / COUNT(*) AS share_lost
FROM fxci.task_runs AS runs
JOIN fxci.tasks AS tasks ON tasks.task_id = runs.task_id
WHERE runs.started IS NOT NULL
  AND runs.submission_date BETWEEN CURRENT_DATE() - 30 AND CURRENT_DATE() - 1
  -- A task is filed under the day of its first run, up to six days before its last one.
  AND tasks.submission_date BETWEEN CURRENT_DATE() - 36 AND CURRENT_DATE() - 1
GROUP BY pool, region
HAVING evictions > 0 OR claims_expired > 0
ORDER BY evictions DESC, claims_expired DESC, pool, region
