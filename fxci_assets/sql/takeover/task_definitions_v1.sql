-- The rows that another job left in the partition @day, each with the day under which it is kept:
-- that on which its task was created, or @first where that was earlier.
SELECT
  *,
  GREATEST(DATE(created), @first) AS kept_under
FROM `${task_definitions_v1}`
WHERE submission_date = @day
