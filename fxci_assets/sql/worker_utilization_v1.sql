-- Where the money for each cloud worker went on @day: to the time in which it ran tasks, or to none.
--
-- A worker is its provider, project, zone and instance, without case. Runs know neither provider
-- nor project, so they are matched by zone and instance alone.
WITH
costs AS (
  SELECT
    IFNULL(cloud_provider, 'gcp') AS provider,
    IFNULL(project, '') AS project_key,
    LOWER(IFNULL(zone, '')) AS zone_key,
    LOWER(IFNULL(instance_id, '')) AS instance_key,
    MIN(IFNULL(zone, '')) AS zone_spelling,
    MIN(IFNULL(instance_id, '')) AS instance_spelling,
    SUM(IFNULL(total_cost, 0)) AS billed_cost
  FROM `${worker_costs_v1}`
  WHERE usage_start_date = @day
  GROUP BY provider, project_key, zone_key, instance_key
),
usages AS (
  SELECT
    IFNULL(cloud_provider, 'gcp') AS provider,
    IFNULL(project, '') AS project_key,
    LOWER(IFNULL(zone, '')) AS zone_key,
    LOWER(IFNULL(instance_id, '')) AS instance_key,
    MIN(IFNULL(zone, '')) AS zone_spelling,
    MIN(IFNULL(instance_id, '')) AS instance_spelling,
    SUM(uptime) AS uptime
  FROM `${worker_usage_v1}`
  WHERE usage_start_date = @day
  GROUP BY provider, project_key, zone_key, instance_key
),
workers AS (
  SELECT
    COALESCE(costs.provider, usages.provider) AS provider,
    COALESCE(costs.project_key, usages.project_key) AS project,
    COALESCE(costs.zone_key, usages.zone_key) AS zone_key,
    COALESCE(costs.instance_key, usages.instance_key) AS instance_key,
    COALESCE(costs.zone_spelling, usages.zone_spelling) AS zone,
    COALESCE(costs.instance_spelling, usages.instance_spelling) AS instance_id,
    costs.provider IS NOT NULL AS is_billed,
    IFNULL(costs.billed_cost, 0) AS billed_cost,
    usages.uptime AS uptime
  FROM costs
  FULL JOIN usages
    ON usages.provider = costs.provider
    AND usages.project_key = costs.project_key
    AND usages.zone_key = costs.zone_key
    AND usages.instance_key = costs.instance_key
  WHERE costs.provider IS NOT NULL OR usages.uptime > 0
),
-- The runs of the day, cut to it. A run is in the partition of the day on which it was resolved,
-- which a deadline bounds: at most five days ahead, and some for what comes late.
runs AS (
  SELECT
    LOWER(worker_group) AS zone_key,
    LOWER(worker_id) AS instance_key,
    GREATEST(started, TIMESTAMP(@day)) AS busy_from,
    LEAST(GREATEST(resolved, started), TIMESTAMP(DATE_ADD(@day, INTERVAL 1 DAY))) AS busy_until
  FROM `${task_runs_v1}`
  WHERE submission_date BETWEEN @day AND DATE_ADD(@day, INTERVAL 6 DAY)
    AND started < TIMESTAMP(DATE_ADD(@day, INTERVAL 1 DAY))
    AND (GREATEST(resolved, started) > TIMESTAMP(@day) OR started >= TIMESTAMP(@day))
),
-- Runs of a worker may overlap, and time counts once: of each run, what comes after the end of
-- all that began before it.
runs_in_order AS (
  SELECT
    zone_key,
    instance_key,
    busy_from,
    busy_until,
    MAX(busy_until) OVER (
      PARTITION BY zone_key, instance_key
      ORDER BY busy_from, busy_until
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS busy_before
  FROM runs
),
busy AS (
  SELECT
    zone_key,
    instance_key,
    COUNT(busy_from) AS runs,
    SUM(
      CASE
        WHEN busy_before IS NULL OR busy_before <= busy_from
          THEN TIMESTAMP_DIFF(busy_until, busy_from, MILLISECOND)
        WHEN busy_before < busy_until
          THEN TIMESTAMP_DIFF(busy_until, busy_before, MILLISECOND)
        ELSE 0
      END
    ) / 1000 AS busy_seconds
  FROM runs_in_order
  GROUP BY zone_key, instance_key
),
shares AS (
  SELECT
    workers.provider AS provider,
    workers.project AS project,
    workers.zone AS zone,
    workers.instance_id AS instance_id,
    workers.is_billed AS is_billed,
    workers.billed_cost AS billed_cost,
    workers.uptime AS uptime,
    IFNULL(busy.busy_seconds, 0) AS busy_seconds,
    IFNULL(busy.runs, 0) AS runs,
    CASE
      WHEN workers.uptime > 0 THEN LEAST(1, IFNULL(busy.busy_seconds, 0) / workers.uptime)
      WHEN busy.runs > 0 THEN 1
      ELSE 0
    END AS busy_share
  FROM workers
  LEFT JOIN busy
    ON busy.zone_key = workers.zone_key
    AND busy.instance_key = workers.instance_key
)
SELECT
  @day AS usage_date,
  provider AS cloud_provider,
  project,
  zone,
  instance_id,
  billed_cost,
  uptime,
  busy_seconds,
  runs,
  billed_cost * busy_share AS busy_cost,
  billed_cost - billed_cost * busy_share AS idle_cost,
  CASE
    WHEN NOT is_billed THEN 'unbilled'
    WHEN uptime IS NULL OR uptime <= 0 THEN 'unmetered'
    WHEN runs > 0 THEN 'used'
    ELSE 'never_claimed'
  END AS status
FROM shares
