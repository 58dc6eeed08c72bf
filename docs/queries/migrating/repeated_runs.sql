-- How many runs of the last 30 days stand in more than one row, in the old table and in the new.
-- Repeats are normal on pulse: the old job keeps them, this project does not.
SELECT
  (
    SELECT COUNT(*)
    FROM (
      SELECT task_id, run_id
      FROM fxci_derived.task_runs_v1
      WHERE submission_date BETWEEN CURRENT_DATE() - 30 AND CURRENT_DATE()
      GROUP BY task_id, run_id
      HAVING COUNT(*) > 1
    )
  ) AS old_job,
  (
    SELECT COUNT(*)
    FROM (
      SELECT task_id, run_id
      FROM fxci_shadow.task_runs_v1
      WHERE submission_date BETWEEN CURRENT_DATE() - 30 AND CURRENT_DATE()
      GROUP BY task_id, run_id
      HAVING COUNT(*) > 1
    )
  ) AS shadow
