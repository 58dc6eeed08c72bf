-- What each cloud worker cost on @day, credits included, by the bills.
--
-- GCP: the resource-level export, whose rows are hours of one SKU of one resource. A worker is an
-- instance in one of the worker projects; its disks are resources of their own and not counted.
-- Azure: two exports of daily actual cost. Each is a series of snapshots of a whole month, and the
-- lookup says which are current: a row of another one would count the same dollars again.
WITH
gcp AS (
  SELECT
    project.id AS project,
    CASE
      WHEN STRPOS(resource.name, '/instances/') > 0
        THEN SUBSTR(resource.name, STRPOS(resource.name, '/instances/') + LENGTH('/instances/'))
      ELSE resource.name
    END AS name,
    REGEXP_EXTRACT(resource.global_name, r'/zones/([^/]*)') AS zone,
    REGEXP_EXTRACT(resource.global_name, r'/instances/([^/]*)') AS instance_id,
    cost,
    IFNULL((SELECT SUM(credit.amount) FROM UNNEST(credits) AS credit), 0) AS credit
  FROM `${billing.gcp}`
  WHERE usage_start_time >= TIMESTAMP(@day)
    AND usage_start_time < TIMESTAMP(DATE_ADD(@day, INTERVAL 1 DAY))
    AND project.id IN UNNEST(@projects)
    AND STRPOS(resource.global_name, '/instances/') > 0
),
azure AS (
  SELECT subscriptionName, ResourceId, resourceLocation, chargeType, costInBillingCurrency
  FROM `${billing.azure_fxci}`
  WHERE date = @day
    AND sourceDataId IN (SELECT sourceDataId FROM `${billing.azure_fxci_lookup}`)
  UNION ALL
  SELECT subscriptionName, ResourceId, resourceLocation, chargeType, costInBillingCurrency
  FROM `${billing.azure_taskcluster}`
  WHERE date = @day
    AND sourceDataId IN (SELECT sourceDataId FROM `${billing.azure_taskcluster_lookup}`)
),
azure_workers AS (
  SELECT
    subscriptionName AS project,
    -- NULL for what is billed to a part of a machine, such as an extension.
    REGEXP_EXTRACT(ResourceId, r'(?i)^.*?/virtualmachines/([^/]+)$') AS machine,
    resourceLocation AS zone,
    costInBillingCurrency AS cost
  FROM azure
  WHERE REGEXP_CONTAINS(ResourceId, r'(?i)/virtualmachines/vm-')
    AND chargeType = 'Usage'
)
SELECT
  project,
  name,
  zone,
  instance_id,
  -- Where no row has a cost, it is not known.
  SUM(cost) + SUM(credit) AS total_cost,
  @day AS usage_start_date,
  'gcp' AS cloud_provider
FROM gcp
GROUP BY project, name, zone, instance_id
UNION ALL
SELECT
  project,
  machine AS name,
  zone,
  machine AS instance_id,
  SUM(cost) AS total_cost,
  @day AS usage_start_date,
  'azure' AS cloud_provider
FROM azure_workers
GROUP BY project, machine, zone
