-- Runs of @day that were resolved before they started, whose duration is taken to be 0.
WITH
early AS (
  SELECT CONCAT(task_id, '/', CAST(run_id AS STRING)) AS run
  FROM `${task_runs_v1}`
  WHERE submission_date = @day
    AND resolved < started
)
SELECT
  'runs_resolved_before_started' AS name,
  COUNT(*) AS number,
  STRING_AGG(run, '\n' ORDER BY run LIMIT 20) AS examples
FROM early
