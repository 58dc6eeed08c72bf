-- The rows that another job left in the partition @day, each with the day under which it is kept:
-- that on which its run was resolved, or @first where that was earlier.
SELECT
  *,
  GREATEST(DATE(resolved), @first) AS kept_under
FROM `${task_runs_v1}`
WHERE submission_date = @day
