"""What Dagster is told of the project, by deployment."""

import dataclasses
import datetime as dt
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from fxci_assets import tables
from fxci_assets.definitions import build_defs
from fxci_assets.sandbox import SIMULATED_NOTICE
from fxci_assets.settings import BigQuery, BigQueryTables, Deployment, Settings
from fxci_assets_tests.dagster_instance import completed, failures
from fxci_assets_tests.events import DAY, FIRST_DAY
from fxci_assets_tests.pulse import MemoryPulse

GROUPS_AND_KINDS = {
    "pulse_events": ("pulse", {"pulse", "parquet"}),
    "task_definitions_v1": ("pulse", {"taskcluster", "table"}),
    "task_run_costs_v1": ("costs", {"bigquery", "table"}),
    "task_runs_v1": ("pulse", {"pulse", "table"}),
    "tasks_v2": ("pulse", {"pulse", "table"}),
    "worker_costs_v1": ("costs", {"bigquery", "table"}),
    "worker_metrics_v1": ("workers", {"googlecloud", "table"}),
    "worker_usage_v1": ("workers", {"bigquery", "table"}),
    "worker_utilization_v1": ("costs", {"bigquery", "table"}),
}
OF_OTHERS = {
    "billing_azure_fxci": ("costs", {"bigquery", "source"}),
    "billing_azure_fxci_lookup": ("costs", {"bigquery", "source"}),
    "billing_azure_taskcluster": ("costs", {"bigquery", "source"}),
    "billing_azure_taskcluster_lookup": ("costs", {"bigquery", "source"}),
    "billing_gcp": ("costs", {"bigquery", "source"}),
    "cloud_monitoring_uptime": ("workers", {"googlecloud", "source"}),
}


def settings(root: Path, deployment: Deployment = "sandbox") -> Settings:
    return Settings(deployment=deployment, start_date=FIRST_DAY, sandbox_dir=root)


@pytest.fixture
def defs(tmp_path: Path) -> dg.Definitions:
    return build_defs(settings(tmp_path))


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


@pytest.mark.parametrize("deployment", ["sandbox", "local", "production"])
def test_they_load_without_credentials_and_touch_no_disk(
    tmp_path: Path, deployment: Deployment
) -> None:
    dg.Definitions.validate_loadable(build_defs(settings(tmp_path, deployment)))
    assert list(tmp_path.iterdir()) == []


def test_what_there_is(defs: dg.Definitions) -> None:
    assert {
        name: (spec.group_name, spec.kinds) for name, spec in specs(defs).items()
    } == GROUPS_AND_KINDS | OF_OTHERS
    assert sorted(job.name for job in defs.resolve_all_job_defs() if job.name[0] != "_") == [
        "checks",
        "costs",
        "ingest",
        "rebuild",
        "repair",
        "uptime",
    ]
    assert sorted(schedule.name for schedule in defs.schedules or ()) == [
        "checks_every_hour",
        "costs_every_day",
        "costs_every_week",
        "drain_every_ten_minutes",
        "repair_every_day",
        "uptime_every_night",
    ]
    assert sorted(sensor.name for sensor in defs.sensors or ()) == ["queue_depth", "stale_days"]


@pytest.mark.parametrize(
    ("deployment", "status"),
    [("sandbox", "RUNNING"), ("local", "STOPPED"), ("production", "STOPPED")],
)
def test_schedules_and_sensors_run_by_themselves_in_the_sandbox_only(
    tmp_path: Path, deployment: Deployment, status: str
) -> None:
    repository = build_defs(settings(tmp_path, deployment)).get_repository_def()
    statuses = {
        schedule.name: schedule.default_status.value for schedule in repository.schedule_defs
    } | {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs}
    assert len(statuses) == 8
    assert set(statuses.values()) == {status}


def test_loading_warns_of_nothing_and_imports_neither_plots_nor_clouds() -> None:
    """As a process of Dagster's loads them; what only a run needs would make each start slower."""
    code = """\
import dagster, pandas, sqlglot.lineage, sys, warnings  # what others warn of is theirs
warnings.simplefilter("error")
import fxci_assets.definitions
print(*{"matplotlib", "google", "grpc", "duckdb", "kombu", "amqp"} & sys.modules.keys())
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, "\n", "")


@pytest.mark.parametrize("asset", [*GROUPS_AND_KINDS, *OF_OTHERS])
def test_each_asset_says_what_it_is(defs: dg.Definitions, asset: str) -> None:
    spec = specs(defs)[asset]
    assert spec.description
    assert SIMULATED_NOTICE in spec.description
    # Nobody here runs those of others, which have no days.
    own = asset in GROUPS_AND_KINDS
    daily = dg.DailyPartitionsDefinition("2026-04-01", end_offset=1)
    assert spec.owners == (["team:release-engineering"] if own else [])
    assert (spec.freshness_policy is not None) is own
    assert spec.partitions_def == (daily if own else None)


def test_tables_and_views_are_called_as_they_are_set(tmp_path: Path) -> None:
    """And the views are an asset only where they are ours to keep."""
    called = BigQuery(
        project="a-project",
        dataset="derived",
        tables=BigQueryTables(runs="runs"),
        view_dataset="public",
    )
    found = specs(build_defs(Settings(sandbox_dir=tmp_path, bigquery=called)))
    runs = found["task_runs_v1"].metadata
    assert (runs["dagster/table_name"], runs["view"]) == (
        "a-project.derived.runs",
        "public.task_runs",
    )
    assert set(found) - {*GROUPS_AND_KINDS, *OF_OTHERS} == {"views"}
    assert found["views"].group_name == "views"


def test_only_the_sandbox_calls_its_data_simulated(tmp_path: Path) -> None:
    for spec in specs(build_defs(settings(tmp_path, "local"))).values():
        assert SIMULATED_NOTICE not in (spec.description or "")


@pytest.mark.parametrize("table", tables.TABLES, ids=lambda table: table.name)
def test_a_table_shows_the_columns_of_its_spec(defs: dg.Definitions, table: tables.Table) -> None:
    metadata = specs(defs)[table.name].metadata
    assert metadata["dagster/table_name"] == f"moz-fx-data-shared-prod.fxci_derived.{table.name}"
    assert metadata["key"] == list(table.key)
    assert metadata["partition_column"] == table.partition_column
    shown = metadata["dagster/column_schema"]
    assert isinstance(shown, dg.TableSchema)
    top = [column for column in shown.columns if "." not in column.name]
    assert [
        (column.name, column.type, column.description, column.constraints.nullable)
        for column in top
    ] == [
        (
            column.name,
            f"{column.type}{' REPEATED' if column.mode is tables.Mode.REPEATED else ''}",
            column.description,
            column.mode is tables.Mode.NULLABLE,
        )
        for column in table.columns
    ]


def test_the_fields_of_a_record_are_shown_with_their_path(defs: dg.Definitions) -> None:
    shown = specs(defs)["tasks_v2"].metadata["dagster/column_schema"]
    names = [column.name for column in shown.columns]
    assert names[names.index("tags") :][:3] == ["tags", "tags.created_for_user", "tags.kind"]


def test_a_repeated_column_is_shown_as_such(tmp_path: Path) -> None:
    from fxci_assets.assets.specs import column_schema

    labels = tables.Column("labels", "STRING", tables.Mode.REPEATED, "Labels.")
    [shown] = column_schema(dataclasses.replace(tables.TASKS, columns=(labels,))).columns
    assert (shown.type, shown.constraints.nullable) == ("STRING REPEATED", False)


BILLS = tuple(sorted(name for name in OF_OTHERS if name.startswith("billing_")))
AZURE = tuple(name for name in BILLS if "azure" in name)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("tasks_v2", {"pulse_events": (0, 0)}),
        ("task_runs_v1", {"pulse_events": (0, 0)}),
        ("worker_metrics_v1", {"cloud_monitoring_uptime": None}),
        ("worker_costs_v1", dict.fromkeys(BILLS)),
        ("worker_usage_v1", {"worker_metrics_v1": (0, 0)} | dict.fromkeys(AZURE)),
        (
            "task_run_costs_v1",
            {"task_runs_v1": (0, 0), "worker_costs_v1": (-30, 0), "worker_usage_v1": (-30, 0)},
        ),
        (
            "worker_utilization_v1",
            {"task_runs_v1": (0, 6), "worker_costs_v1": (0, 0), "worker_usage_v1": (0, 0)},
        ),
    ],
)
def test_on_which_days_of_what_a_day_depends(
    defs: dg.Definitions, table: str, expected: dict[str, tuple[int, int] | None]
) -> None:
    graph = defs.resolve_asset_graph()
    key, day = dg.AssetKey(table), dt.date(2026, 6, 1)
    found: dict[str, tuple[int, int] | None] = {}
    for parent in graph.get(key).parent_keys:
        name = parent.to_user_string()
        if graph.get(parent).partitions_def is None:
            found[name] = None
            continue
        mapping = graph.get_partition_mapping(key, parent)
        daily = dg.DailyPartitionsDefinition("2026-04-01", end_offset=1)
        subset = daily.subset_with_partition_keys([day.isoformat()])
        read = mapping.get_upstream_mapped_partitions_result_for_partitions(
            subset, daily, daily, current_time=dt.datetime(2026, 6, 30, tzinfo=dt.UTC)
        ).partitions_subset.get_partition_keys()
        days = sorted(dt.date.fromisoformat(read_day) for read_day in read)
        found[name] = (days[0] - day).days, (days[-1] - day).days
        assert len(days) == (days[-1] - days[0]).days + 1
    assert found == expected


def test_all_there_is_leads_to_utilization(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    upstream = graph.get_ancestor_asset_keys(dg.AssetKey("worker_utilization_v1"))
    assert {key.to_user_string() for key in upstream} == (
        {*GROUPS_AND_KINDS, *OF_OTHERS}
        - {"tasks_v2", "task_definitions_v1", "task_run_costs_v1", "worker_utilization_v1"}
    )


# Days, and what a query says itself.
OF_NO_COLUMN = {
    "tasks_v2": {"submission_date"},
    "task_runs_v1": {"submission_date"},
    "task_definitions_v1": {"submission_date"},
    "worker_metrics_v1": {"submission_date"},
    "worker_usage_v1": {"usage_start_date", "cloud_provider", "attribution_method"},
    "worker_costs_v1": {"usage_start_date", "cloud_provider"},
    "task_run_costs_v1": {"submission_date"},
    "worker_utilization_v1": {"usage_date"},
}


def columns_of(spec: dg.AssetSpec) -> set[str]:
    shown = spec.metadata["dagster/column_schema"]
    assert isinstance(shown, dg.TableSchema)
    assert all(column.description for column in shown.columns)
    return {column.name for column in shown.columns}


def made_of(spec: dg.AssetSpec) -> dict[str, set[tuple[str, str]]]:
    lineage = spec.metadata["dagster/column_lineage"]
    assert isinstance(lineage, dg.TableColumnLineage)
    return {
        name: {(dep.asset_key.to_user_string(), dep.column_name) for dep in deps}
        for name, deps in lineage.deps_by_column.items()
    }


@pytest.mark.parametrize("table", tables.TABLES, ids=lambda table: table.name)
def test_each_column_of_a_table_is_made_of_columns_that_are_there(
    defs: dg.Definitions, table: tables.Table
) -> None:
    found = specs(defs)
    lineage = made_of(found[table.name])
    assert set(lineage) == columns_of(found[table.name]) - OF_NO_COLUMN[table.name]
    upstream = {dep.asset_key.to_user_string() for dep in found[table.name].deps}
    for deps in lineage.values():
        assert deps
        for asset, column in deps:
            assert asset in upstream
            assert column in columns_of(found[asset])


def test_what_dollars_are_made_of(defs: dg.Definitions) -> None:
    found = specs(defs)
    assert made_of(found["worker_costs_v1"])["total_cost"] == {
        ("billing_gcp", "cost"),
        ("billing_gcp", "credits"),
        ("billing_azure_fxci", "costInBillingCurrency"),
        ("billing_azure_taskcluster", "costInBillingCurrency"),
    }
    assert made_of(found["task_run_costs_v1"])["run_cost"] == {
        ("task_runs_v1", "started"),
        ("task_runs_v1", "resolved"),
        ("worker_costs_v1", "total_cost"),
        ("worker_usage_v1", "uptime"),
    }
    assert made_of(found["worker_utilization_v1"])["billed_cost"] == {
        ("worker_costs_v1", "total_cost")
    }


def test_each_table_has_one_blocking_check(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    blocking = [key for key in graph.asset_check_keys if graph.get_check_spec(key).blocking]
    assert sorted(key.to_user_string() for key in blocking) == sorted(
        f"{table.name}:rows_are_valid" for table in tables.TABLES
    )


def test_two_drains_are_never_run_at_once(defs: dg.Definitions) -> None:
    ops = defs.resolve_job_def("ingest").graph.node_defs
    assert {op.name: op.pool for op in ops if isinstance(op, dg.OpDefinition)} == {
        "pulse_events": "pulse",
        "task_tables": None,
        "task_definitions_v1": None,
    }


def test_locally_a_drain_without_credentials_fails_in_one_line(tmp_path: Path) -> None:
    defs = build_defs(settings(tmp_path, "local"))
    with dg.DagsterInstance.ephemeral() as instance:
        run = defs.resolve_job_def("ingest").execute_in_process(
            instance=instance, partition_key="2026-04-13", raise_on_error=False
        )
        assert not run.success
        assert (
            "FXCI_ETL_PULSE_USER is not set (nor is [pulse] user in a configuration file)\n"
            in failures(run)
        )


def test_locally_rebuilding_needs_no_credentials(tmp_path: Path) -> None:
    defs = build_defs(settings(tmp_path, "local"))
    with dg.DagsterInstance.ephemeral() as instance:
        run = defs.resolve_job_def("rebuild").execute_in_process(
            instance=instance,
            partition_key="2026-04-13",
            asset_selection=[dg.AssetKey("tasks_v2"), dg.AssetKey("task_runs_v1")],
        )
        assert run.success


def test_locally_costs_without_bills_fail_in_one_line(tmp_path: Path) -> None:
    defs = build_defs(settings(tmp_path, "local"))
    with dg.DagsterInstance.ephemeral() as instance:
        run = defs.resolve_job_def("costs").execute_in_process(
            instance=instance, partition_key="2026-04-13", raise_on_error=False
        )
    assert not run.success
    assert (
        "the local warehouse has no billing exports (gcp, azure_fxci, azure_fxci_lookup, "
        "azure_taskcluster, azure_taskcluster_lookup): the tables of costs need them; see "
        "fxci-etl billing load --help)\n"
    ) in failures(run)


def test_a_resource_can_be_replaced(tmp_path: Path) -> None:
    pulse = MemoryPulse([completed(1)])
    defs = build_defs(settings(tmp_path), {"pulse": pulse})
    with dg.DagsterInstance.ephemeral() as instance:
        run = defs.resolve_job_def("ingest").execute_in_process(
            instance=instance, partition_key=DAY.isoformat()
        )
        assert run.success
    assert pulse.waiting == []
