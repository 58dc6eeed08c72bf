-- The runs that were resolved three days ago, by who has them: both, or one of the two alone.
-- The old job filed a run under the day on which it processed it, this project under its own.
SELECT
  COUNTIF(shadow.task_id IS NULL) AS only_old,
  COUNTIF(old_job.task_id IS NULL) AS only_shadow,
  COUNTIF(old_job.task_id IS NOT NULL AND shadow.task_id IS NOT NULL) AS in_both
FROM (
  SELECT DISTINCT task_id, run_id
  FROM fxci_derived.task_runs_v1
  WHERE submission_date BETWEEN CURRENT_DATE() - 3 AND CURRENT_DATE()
    AND DATE(resolved) = CURRENT_DATE() - 3
) AS old_job
FULL JOIN (
  SELECT task_id, run_id
  FROM fxci_shadow.task_runs_v1
  WHERE submission_date = CURRENT_DATE() - 3
) AS shadow
  ON shadow.task_id = old_job.task_id AND shadow.run_id = old_job.run_id
