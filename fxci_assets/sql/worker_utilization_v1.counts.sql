-- What may have given runs to the wrong workers of @day, or to none.
WITH
shared AS (
  SELECT
    LOWER(zone) AS zone_key,
    LOWER(instance_id) AS instance_key,
    MAX(runs) AS runs,
    CONCAT(MIN(zone), '/', MIN(instance_id)) AS worker
  FROM `${worker_utilization_v1}`
  WHERE usage_date = @day
    AND runs > 0
  GROUP BY zone_key, instance_key
  HAVING COUNT(*) > 1
),
azure_zones AS (
  SELECT DISTINCT LOWER(zone) AS zone_key
  FROM `${worker_utilization_v1}`
  WHERE usage_date = @day
    AND cloud_provider = 'azure'
    AND billed_cost != 0
),
worker_groups AS (
  SELECT DISTINCT LOWER(worker_group) AS zone_key
  FROM `${task_runs_v1}`
  WHERE submission_date BETWEEN @day AND DATE_ADD(@day, INTERVAL 6 DAY)
    AND worker_group IS NOT NULL
),
strange_zones AS (
  SELECT azure_zones.zone_key AS zone_key
  FROM azure_zones
  LEFT JOIN worker_groups ON worker_groups.zone_key = azure_zones.zone_key
  WHERE worker_groups.zone_key IS NULL
)
SELECT
  'runs_on_workers_of_two_projects' AS name,
  IFNULL(SUM(runs), 0) AS number,
  STRING_AGG(worker, '\n' ORDER BY worker LIMIT 20) AS examples
FROM shared
UNION ALL
SELECT
  'azure_zones_of_no_worker_group' AS name,
  COUNT(*) AS number,
  STRING_AGG(zone_key, '\n' ORDER BY zone_key LIMIT 20) AS examples
FROM strange_zones
