-- Whether the bills of @day are whole: subscriptions billed twice, the hours that GCP has billed, and
-- how much of the metered uptime is within hours that the same workers are billed for.
WITH
azure_subscriptions AS (
  SELECT DISTINCT 'fxci' AS export, subscriptionName AS subscription
  FROM `${billing.azure_fxci}`
  WHERE date = @day
    AND sourceDataId IN (SELECT sourceDataId FROM `${billing.azure_fxci_lookup}`)
  UNION ALL
  SELECT DISTINCT 'taskcluster' AS export, subscriptionName AS subscription
  FROM `${billing.azure_taskcluster}`
  WHERE date = @day
    AND sourceDataId IN (SELECT sourceDataId FROM `${billing.azure_taskcluster_lookup}`)
),
in_both AS (
  SELECT subscription
  FROM azure_subscriptions
  GROUP BY subscription
  HAVING COUNT(*) > 1
),
billed_hours AS (
  SELECT DISTINCT
    LOWER(REGEXP_EXTRACT(resource.global_name, r'/zones/([^/]*)')) AS zone_key,
    LOWER(REGEXP_EXTRACT(resource.global_name, r'/instances/([^/]*)')) AS instance_key,
    EXTRACT(HOUR FROM usage_start_time) AS hour
  FROM `${billing.gcp}`
  WHERE usage_start_time >= TIMESTAMP(@day)
    AND usage_start_time < TIMESTAMP(DATE_ADD(@day, INTERVAL 1 DAY))
    AND project.id IN UNNEST(@projects)
    AND STRPOS(resource.global_name, '/instances/') > 0
),
hours_of_workers AS (
  SELECT zone_key, instance_key, COUNT(*) AS hours
  FROM billed_hours
  GROUP BY zone_key, instance_key
),
metered AS (
  SELECT
    workers.uptime AS uptime,
    LEAST(workers.uptime, 3600 * IFNULL(hours_of_workers.hours, 0)) AS billed_uptime
  FROM `${worker_metrics_v1}` AS workers
  LEFT JOIN hours_of_workers
    ON hours_of_workers.zone_key = LOWER(workers.zone)
    AND hours_of_workers.instance_key = LOWER(workers.instance_id)
  WHERE workers.submission_date = @day
)
SELECT
  'subscriptions_in_both_exports' AS name,
  COUNT(*) AS number,
  STRING_AGG(subscription, '\n' ORDER BY subscription LIMIT 20) AS examples
FROM in_both
UNION ALL
SELECT 'hours_billed' AS name, COUNT(DISTINCT hour) AS number, CAST(NULL AS STRING) AS examples
FROM billed_hours
UNION ALL
SELECT
  'seconds_up' AS name,
  CAST(ROUND(IFNULL(SUM(uptime), 0)) AS INT64) AS number,
  CAST(NULL AS STRING) AS examples
FROM metered
UNION ALL
SELECT
  'seconds_up_and_billed' AS name,
  CAST(ROUND(IFNULL(SUM(billed_uptime), 0)) AS INT64) AS number,
  CAST(NULL AS STRING) AS examples
FROM metered
