-- The uptime of the workers on each of the last seven days, in seconds: the old table's, the new's.
-- They differ by a day's last minute, which the old job leaves out.
SELECT
  submission_date AS day,
  SUM(IF(is_old, uptime, NULL)) AS old_job,
  SUM(IF(is_old, NULL, uptime)) AS shadow
FROM (
  SELECT submission_date, uptime, TRUE AS is_old
  FROM fxci_derived.worker_metrics_v1
  WHERE submission_date BETWEEN CURRENT_DATE() - 7 AND CURRENT_DATE() - 1
  UNION ALL
  SELECT submission_date, uptime, FALSE AS is_old
  FROM fxci_shadow.worker_metrics_v1
  WHERE submission_date BETWEEN CURRENT_DATE() - 7 AND CURRENT_DATE() - 1
)
GROUP BY day
ORDER BY day
