-- What each run resolved on @day cost: its share, by time, of its worker's cost.
--
-- A worker can live for weeks and its tasks are not spread evenly over them, so cost and uptime are
-- those of the day and the 30 before it. Each is summed before they are joined: a worker can have
-- several rows a day in either. Names are compared without case, which the sources spell
-- differently.
WITH
costs AS (
  SELECT
    IFNULL(cloud_provider, 'gcp') AS provider,
    LOWER(zone) AS zone_key,
    LOWER(instance_id) AS instance_key,
    STRING_AGG(DISTINCT project, ',' ORDER BY project) AS projects,
    MIN(zone) AS zone_spelling,
    MIN(instance_id) AS instance_spelling,
    SUM(total_cost) AS cost
  FROM `${worker_costs_v1}`
  WHERE usage_start_date BETWEEN DATE_SUB(@day, INTERVAL 30 DAY) AND @day
    -- Rows without a provider are from before Azure was added, and of other projects too.
    AND (cloud_provider IS NOT NULL OR project IN UNNEST(@projects))
  GROUP BY provider, zone_key, instance_key
),
usages AS (
  SELECT
    IFNULL(cloud_provider, 'gcp') AS provider,
    LOWER(zone) AS zone_key,
    LOWER(instance_id) AS instance_key,
    STRING_AGG(DISTINCT attribution_method, ',' ORDER BY attribution_method) AS methods,
    SUM(uptime) AS uptime
  FROM `${worker_usage_v1}`
  WHERE usage_start_date BETWEEN DATE_SUB(@day, INTERVAL 30 DAY) AND @day
    AND (cloud_provider IS NOT NULL OR project IN UNNEST(@projects))
  GROUP BY provider, zone_key, instance_key
),
runs AS (
  SELECT
    task_id,
    run_id,
    LOWER(worker_group) AS zone_key,
    LOWER(worker_id) AS instance_key,
    -- A run can be resolved before it is started, by the clock of the queue's transactions.
    GREATEST(TIMESTAMP_DIFF(resolved, started, SECOND), 0) AS duration
  FROM `${task_runs_v1}`
  WHERE submission_date = @day
    AND started IS NOT NULL
)
SELECT
  runs.task_id AS task_id,
  runs.run_id AS run_id,
  @day AS submission_date,
  runs.duration / usages.uptime * costs.cost AS run_cost,
  costs.provider AS cloud_provider,
  costs.projects AS worker_project,
  costs.zone_spelling AS worker_zone,
  costs.instance_spelling AS worker_instance_id,
  costs.cost AS attribution_worker_cost,
  usages.uptime AS attribution_worker_uptime,
  runs.duration AS run_duration,
  usages.methods AS attribution_method
FROM runs
JOIN costs
  ON costs.zone_key = runs.zone_key
  AND costs.instance_key = runs.instance_key
JOIN usages
  ON usages.provider = costs.provider
  AND usages.zone_key = costs.zone_key
  AND usages.instance_key = costs.instance_key
-- A run longer than its worker was up means that the uptime is not all known.
WHERE usages.uptime > 0
  AND usages.uptime >= runs.duration
