-- How long each cloud worker was up on @day: on GCP by Cloud Monitoring, on Azure by the bill,
-- where a virtual machine's quantity is hours.
WITH
azure AS (
  SELECT
    subscriptionName, ResourceId, resourceLocation, chargeType, meterCategory, unitOfMeasure,
    quantity
  FROM `${billing.azure_fxci}`
  WHERE date = @day
    AND sourceDataId IN (SELECT sourceDataId FROM `${billing.azure_fxci_lookup}`)
  UNION ALL
  SELECT
    subscriptionName, ResourceId, resourceLocation, chargeType, meterCategory, unitOfMeasure,
    quantity
  FROM `${billing.azure_taskcluster}`
  WHERE date = @day
    AND sourceDataId IN (SELECT sourceDataId FROM `${billing.azure_taskcluster_lookup}`)
),
azure_workers AS (
  SELECT
    subscriptionName AS project,
    REGEXP_EXTRACT(ResourceId, r'(?i)^.*?/virtualmachines/([^/]+)$') AS instance_id,
    resourceLocation AS zone,
    quantity
  FROM azure
  WHERE REGEXP_CONTAINS(ResourceId, r'(?i)/virtualmachines/vm-')
    AND chargeType = 'Usage'
    AND meterCategory = 'Virtual Machines'
    AND unitOfMeasure = '1 Hour'
)
SELECT
  'gcp' AS cloud_provider,
  project,
  zone,
  instance_id,
  @day AS usage_start_date,
  SUM(uptime) AS uptime,
  'gcp_monitoring_instance_uptime' AS attribution_method
FROM `${worker_metrics_v1}`
WHERE submission_date = @day
GROUP BY project, zone, instance_id
UNION ALL
SELECT
  'azure' AS cloud_provider,
  project,
  zone,
  instance_id,
  @day AS usage_start_date,
  SUM(quantity * 3600) AS uptime,
  'azure_billing_vm_quantity' AS attribution_method
FROM azure_workers
GROUP BY project, zone, instance_id
