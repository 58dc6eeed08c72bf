"""What Dagster is told of the project, by deployment."""

import dataclasses
from pathlib import Path

import dagster as dg
import pytest

from fxci_assets import tables
from fxci_assets.definitions import build_defs
from fxci_assets.sandbox import SIMULATED_NOTICE
from fxci_assets.settings import Deployment, Settings
from fxci_assets_tests.dagster_instance import completed, failures
from fxci_assets_tests.events import DAY, FIRST_DAY
from fxci_assets_tests.pulse import MemoryPulse

ASSETS = ["pulse_events", "task_runs_v1", "tasks_v2"]


def settings(root: Path, deployment: Deployment = "sandbox") -> Settings:
    return Settings(deployment=deployment, start_date=FIRST_DAY, sandbox_dir=root)


@pytest.fixture
def defs(tmp_path: Path) -> dg.Definitions:
    return build_defs(settings(tmp_path))


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


@pytest.mark.parametrize("deployment", ["sandbox", "local"])
def test_they_load_without_credentials_and_touch_no_disk(
    tmp_path: Path, deployment: Deployment
) -> None:
    dg.Definitions.validate_loadable(build_defs(settings(tmp_path, deployment)))
    assert list(tmp_path.iterdir()) == []


def test_what_there_is(defs: dg.Definitions) -> None:
    assert sorted(specs(defs)) == ASSETS
    assert sorted(job.name for job in defs.resolve_all_job_defs() if job.name[0] != "_") == [
        "checks",
        "ingest",
        "rebuild",
    ]
    assert sorted(schedule.name for schedule in defs.schedules or ()) == [
        "checks_every_hour",
        "drain_every_ten_minutes",
    ]
    assert sorted(sensor.name for sensor in defs.sensors or ()) == ["queue_depth", "stale_days"]


@pytest.mark.parametrize(("deployment", "status"), [("sandbox", "RUNNING"), ("local", "STOPPED")])
def test_schedules_and_sensors_run_by_themselves_in_the_sandbox_only(
    tmp_path: Path, deployment: Deployment, status: str
) -> None:
    repository = build_defs(settings(tmp_path, deployment)).get_repository_def()
    statuses = {
        schedule.name: schedule.default_status.value for schedule in repository.schedule_defs
    } | {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs}
    assert statuses == dict.fromkeys(
        ["checks_every_hour", "drain_every_ten_minutes", "queue_depth", "stale_days"], status
    )


@pytest.mark.parametrize("asset", ASSETS)
def test_each_asset_says_what_it_is(defs: dg.Definitions, asset: str) -> None:
    spec = specs(defs)[asset]
    assert spec.description
    assert SIMULATED_NOTICE in spec.description
    assert spec.owners == ["team:release-engineering"]
    assert spec.group_name == "pulse"
    assert "pulse" in spec.kinds
    assert spec.freshness_policy is not None
    assert spec.partitions_def == dg.DailyPartitionsDefinition("2026-04-01", end_offset=1)


def test_only_the_sandbox_calls_its_data_simulated(tmp_path: Path) -> None:
    for spec in specs(build_defs(settings(tmp_path, "local"))).values():
        assert SIMULATED_NOTICE not in (spec.description or "")


@pytest.mark.parametrize("table", tables.TABLES, ids=lambda table: table.name)
def test_a_table_shows_the_columns_of_its_spec(defs: dg.Definitions, table: tables.Table) -> None:
    metadata = specs(defs)[table.name].metadata
    assert metadata["dagster/table_name"] == f"moz-fx-data-shared-prod.fxci_derived.{table.name}"
    assert metadata["key"] == list(table.key)
    assert metadata["partition_column"] == "submission_date"
    shown = metadata["dagster/column_schema"]
    assert isinstance(shown, dg.TableSchema)
    top = [column for column in shown.columns if "." not in column.name]
    assert [
        (column.name, column.type, column.description, column.constraints.nullable)
        for column in top
    ] == [
        (column.name, column.type, column.description, column.mode is tables.Mode.NULLABLE)
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


def test_the_task_tables_depend_on_the_messages(defs: dg.Definitions) -> None:
    for table in ("tasks_v2", "task_runs_v1"):
        assert [dep.asset_key for dep in specs(defs)[table].deps] == [dg.AssetKey("pulse_events")]


def test_each_table_has_one_blocking_check(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    blocking = [key for key in graph.asset_check_keys if graph.get_check_spec(key).blocking]
    assert sorted(key.to_user_string() for key in blocking) == [
        "task_runs_v1:rows_are_valid",
        "tasks_v2:rows_are_valid",
    ]


def test_two_drains_are_never_run_at_once(defs: dg.Definitions) -> None:
    ops = defs.resolve_job_def("ingest").graph.node_defs
    assert {op.name: op.pool for op in ops if isinstance(op, dg.OpDefinition)} == {
        "pulse_events": "pulse",
        "task_tables": None,
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
            instance=instance, partition_key="2026-04-13"
        )
        assert run.success


def test_a_resource_can_be_replaced(tmp_path: Path) -> None:
    pulse = MemoryPulse([completed(1)])
    defs = build_defs(settings(tmp_path), {"pulse": pulse})
    with dg.DagsterInstance.ephemeral() as instance:
        run = defs.resolve_job_def("ingest").execute_in_process(
            instance=instance, partition_key=DAY.isoformat()
        )
        assert run.success
    assert pulse.waiting == []
