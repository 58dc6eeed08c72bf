-- The rows that another job left in the partition @day, each with the day under which it is kept:
-- that on which its run 0 was resolved, where that run is among the rows that are taken over; else
-- its own.
WITH
first_runs AS (
  SELECT task_id, MIN(DATE(resolved)) AS resolved_on
  FROM `${task_runs_v1}`
  WHERE submission_date BETWEEN @first AND @last
    AND run_id = 0
  GROUP BY task_id
)
SELECT
  tasks.*,
  GREATEST(IFNULL(first_runs.resolved_on, tasks.submission_date), @first) AS kept_under,
  first_runs.resolved_on IS NULL AS guessed
FROM `${tasks_v2}` AS tasks
LEFT JOIN first_runs ON first_runs.task_id = tasks.task_id
WHERE tasks.submission_date = @day
