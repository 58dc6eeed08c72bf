"""The tables about workers: how long each was up, by Cloud Monitoring and by the bills."""

from __future__ import annotations

from fxci_assets.tables.spec import Counted, Rule, Table, nullable, required

WORKER_METRICS = Table(
    name="worker_metrics_v1",
    view="worker_metrics",
    title="Uptime of GCP workers",
    description=(
        "One row for each GCP worker that was up on a UTC day, by Cloud Monitoring: the seconds "
        "for which it ran. `worker_usage` has the Azure workers too."
    ),
    columns=(
        required("project", "STRING", "The GCP project of the worker."),
        required("zone", "STRING", "The GCP zone; a run's `worker_group`."),
        required("instance_id", "STRING", "The GCP instance id; a run's `worker_id`."),
        required("interval_start_time", "TIMESTAMP", "The day's 00:00:00."),
        required("interval_end_time", "TIMESTAMP", "The day's 23:59:59."),
        required("submission_date", "DATE", "The UTC day; the partition."),
        nullable("uptime", "FLOAT", "Seconds for which the worker ran on the day."),
    ),
    key=("project", "zone", "instance_id", "submission_date"),
    partition_column="submission_date",
    clustering=("project", "zone", "instance_id"),
    group="workers",
    kinds=frozenset({"googlecloud", "table"}),
    rules=(
        Rule(
            "uptime_fits_the_day",
            "uptime IS NULL OR (uptime >= 0 AND uptime <= 86460)",
            "A worker is up for no longer than the day, give or take a sample.",
        ),
        Rule(
            "interval_is_the_day",
            "DATE(interval_start_time) = submission_date AND "
            "DATE(interval_end_time) = submission_date",
            "The interval is the day.",
        ),
    ),
    counted=(
        Counted(
            "projects_without_series",
            "Projects of which Cloud Monitoring knew no worker of the day, but of others it did.",
        ),
        Counted(
            "points_of_other_days",
            "Points whose interval does not end on the day; they are not used.",
        ),
        Counted(
            "unusable_series",
            "Time series without a zone, an instance or a number; they are in quarantine.",
        ),
    ),
)

WORKER_USAGE = Table(
    name="worker_usage_v1",
    view="worker_usage",
    title="Uptime of cloud workers",
    description=(
        "One row for each cloud worker that was up on a UTC day. On GCP the uptime is what Cloud "
        "Monitoring measured (`worker_metrics`), on Azure what was billed."
    ),
    columns=(
        nullable("cloud_provider", "STRING", "gcp or azure.", allowed=("gcp", "azure")),
        nullable("project", "STRING", "The GCP project, or the Azure subscription."),
        nullable("zone", "STRING", "The GCP zone, or the Azure location."),
        nullable("instance_id", "STRING", "The GCP instance id, or the name of the Azure machine."),
        nullable("usage_start_date", "DATE", "The UTC day; the partition."),
        nullable("uptime", "FLOAT", "Seconds for which the worker ran on the day."),
        nullable(
            "attribution_method",
            "STRING",
            "Where the uptime is from.",
            allowed=("gcp_monitoring_instance_uptime", "azure_billing_vm_quantity"),
        ),
    ),
    key=("cloud_provider", "project", "zone", "instance_id", "usage_start_date"),
    partition_column="usage_start_date",
    clustering=("cloud_provider", "project", "zone", "instance_id"),
    group="workers",
    kinds=frozenset({"bigquery", "table"}),
)
