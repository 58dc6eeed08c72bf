"""The tables about money: what workers and task runs cost, and what was paid for nothing.

All amounts are in the bills' currency, which is US dollars. The columns are NULLABLE because
BigQuery makes them so in the results of queries.
"""

from __future__ import annotations

from fxci_assets.tables.spec import Counted, Rule, Table, nullable

_PROVIDER = nullable("cloud_provider", "STRING", "gcp or azure.", allowed=("gcp", "azure"))
_PROJECT = nullable("project", "STRING", "The GCP project, or the Azure subscription.")

WORKER_COSTS = Table(
    name="worker_costs_v1",
    view="worker_costs",
    title="Cost of workers",
    description=(
        "What each cloud worker cost on a UTC day, by the clouds' bills, credits included. A bill "
        "is usually complete by 18:00 UTC of the next day; it may change for a month. Hardware is "
        "never billed."
    ),
    columns=(
        _PROJECT,
        nullable("name", "STRING", "The name of the machine."),
        nullable("zone", "STRING", "The GCP zone, or the Azure location."),
        nullable(
            "instance_id",
            "STRING",
            "The GCP instance id, or the name of the Azure machine; NULL for what is billed to a "
            "part of a machine.",
        ),
        nullable("total_cost", "FLOAT", "Dollars, credits included; may be negative."),
        nullable("usage_start_date", "DATE", "The UTC day; the partition."),
        _PROVIDER,
    ),
    key=("cloud_provider", "project", "zone", "instance_id", "name", "usage_start_date"),
    partition_column="usage_start_date",
    clustering=("project", "zone", "instance_id"),
    group="costs",
    kinds=frozenset({"bigquery", "table"}),
    counted=(
        Counted(
            "subscriptions_in_both_exports",
            "Azure subscriptions that both exports bill for the day: their dollars are doubled.",
            severe=True,
        ),
    ),
)

TASK_RUN_COSTS = Table(
    name="task_run_costs_v1",
    view="task_run_costs",
    title="Cost of task runs",
    description=(
        "What each run on a cloud worker cost: its share, by time, of what its worker cost and of "
        "how long the worker was up, over the day on which the run was resolved and the 30 days "
        "before it. Runs on hardware have no row."
    ),
    columns=(
        nullable("task_id", "STRING", "The task."),
        nullable("run_id", "INTEGER", "Number of the run within its task.", minimum=0),
        nullable(
            "submission_date", "DATE", "UTC day on which the run was resolved; the partition."
        ),
        nullable("run_cost", "FLOAT", "Dollars: its share of what its worker cost."),
        _PROVIDER,
        nullable("worker_project", "STRING", "The worker's projects, joined with commas."),
        nullable("worker_zone", "STRING", "The worker's zone."),
        nullable("worker_instance_id", "STRING", "The worker's instance id or name."),
        nullable("attribution_worker_cost", "FLOAT", "Dollars that the worker cost in 31 days."),
        nullable("attribution_worker_uptime", "FLOAT", "Seconds it was up in the same days."),
        nullable("run_duration", "INTEGER", "Whole seconds from started to resolved.", minimum=0),
        nullable("attribution_method", "STRING", "Where the uptime is from, joined with commas."),
    ),
    key=("task_id", "run_id"),
    partition_column="submission_date",
    clustering=("task_id", "run_id"),
    group="costs",
    kinds=frozenset({"bigquery", "table"}),
    rules=(
        Rule(
            "run_is_known",
            "task_id IS NOT NULL AND run_id IS NOT NULL",
            "A row is about a run.",
        ),
        Rule(
            "run_fits_the_uptime",
            "attribution_worker_uptime > 0 AND run_duration <= attribution_worker_uptime",
            "A run is no longer than its worker was up.",
        ),
    ),
    counted=(
        Counted(
            "runs_resolved_before_started",
            "Runs that were resolved before they started; they have the duration 0.",
        ),
    ),
)

WORKER_UTILIZATION = Table(
    name="worker_utilization_v1",
    view="worker_utilization",
    title="Utilization of workers",
    description=(
        "Where the money for each cloud worker went on a UTC day: to the time in which it ran "
        "tasks, or to none. Provisional until two days later, and rebuilt when an input changes."
    ),
    columns=(
        nullable("usage_date", "DATE", "The UTC day; the partition."),
        _PROVIDER,
        _PROJECT,
        nullable("zone", "STRING", "The GCP zone, or the Azure location."),
        nullable("instance_id", "STRING", "The GCP instance id, or the name of the Azure machine."),
        nullable("billed_cost", "FLOAT", "Dollars, credits included; may be negative."),
        nullable("uptime", "FLOAT", "Seconds it was up; NULL where that is not known."),
        nullable("busy_seconds", "FLOAT", "Seconds of the day in which it ran at least one task."),
        nullable("runs", "INTEGER", "Runs of the day, in part or whole.", minimum=0),
        nullable("busy_cost", "FLOAT", "Dollars for the time in which it ran tasks."),
        nullable("idle_cost", "FLOAT", "Dollars for the rest."),
        nullable(
            "status",
            "STRING",
            "used; never_claimed: it ran nothing; unmetered: billed, and its uptime is not known; "
            "unbilled: up, and not in the bill.",
            allowed=("unbilled", "unmetered", "used", "never_claimed"),
        ),
    ),
    key=("cloud_provider", "project", "zone", "instance_id", "usage_date"),
    partition_column="usage_date",
    clustering=("cloud_provider", "project", "zone", "instance_id"),
    group="costs",
    kinds=frozenset({"bigquery", "table"}),
    rules=(
        Rule(
            "only_uptime_is_null",
            "usage_date IS NOT NULL AND cloud_provider IS NOT NULL AND project IS NOT NULL AND "
            "zone IS NOT NULL AND instance_id IS NOT NULL AND billed_cost IS NOT NULL AND "
            "busy_seconds IS NOT NULL AND runs IS NOT NULL AND busy_cost IS NOT NULL AND "
            "idle_cost IS NOT NULL AND status IS NOT NULL",
            "Only uptime is ever NULL.",
        ),
        Rule(
            "busy_and_idle_are_all",
            "ABS(busy_cost + idle_cost - billed_cost) <= 1e-6 + 1e-9 * ABS(billed_cost)",
            "What was busy and what was idle is what was billed.",
        ),
        Rule(
            "busy_is_within_the_day",
            "busy_seconds >= 0 AND busy_seconds <= 86400",
            "A worker is busy for no longer than the day.",
        ),
    ),
    counted=(
        Counted(
            "runs_on_workers_of_two_projects",
            "Runs that match workers of two projects; they count for both.",
        ),
        Counted(
            "azure_zones_of_no_worker_group",
            "Azure zones with costs, in which no run had its worker: their workers seem idle.",
        ),
    ),
)
