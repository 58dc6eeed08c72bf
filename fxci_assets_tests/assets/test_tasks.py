"""Materialising `tasks_v2` and `task_runs_v1`: each day is built, checked and reported."""

import datetime as dt
import re

import dagster as dg
import pytest

from fxci_assets.assets.building import OWN_DAYS
from fxci_assets.tables import TASK_RUNS, TASKS, Table
from fxci_assets_tests.dagster_instance import (
    Project,
    completed,
    failures,
    materialisations,
)
from fxci_assets_tests.events import DAY, NEXT_DAY, body, message, run, task_id

DAY_BEFORE = dt.date(2026, 4, 12)
NAMES = [table.name for table in (TASKS, TASK_RUNS)]


def row_counts(instance: dg.DagsterInstance, asset: str) -> list[tuple[str | None, object]]:
    return [
        (event.day, event.metadata["dagster/partition_row_count"])
        for event in materialisations(instance, asset)
    ]


def verdicts(run: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {
        check.asset_check_key.to_user_string(): check.passed
        for check in run.get_asset_check_evaluations()
        if check.check_name == OWN_DAYS
    }


def test_both_tables_of_a_day(project: Project, instance: dg.DagsterInstance) -> None:
    retried = message(body(task_id(2), [run(0, state="exception"), run(1)]))
    project.drain(completed(1), retried)
    done = project.execute("rebuild", DAY, instance=instance, only=NAMES)
    assert done.success
    assert project.ids(TASKS, DAY) == [task_id(1), task_id(2)]
    assert project.ids(TASK_RUNS, DAY) == [task_id(1), task_id(2), task_id(2)]
    assert row_counts(instance, "tasks_v2") == [("2026-04-13", 2)]
    assert row_counts(instance, "task_runs_v1") == [("2026-04-13", 3)]
    assert verdicts(done) == {"tasks_v2:rows_are_valid": True, "task_runs_v1:rows_are_valid": True}


@pytest.mark.parametrize(("one", "other"), [(TASKS, TASK_RUNS), (TASK_RUNS, TASKS)])
def test_one_table_alone(
    project: Project, instance: dg.DagsterInstance, one: Table, other: Table
) -> None:
    project.drain(completed(1))
    done = project.execute("rebuild", DAY, instance=instance, only=[one.name])
    assert done.success
    assert row_counts(instance, one.name) == [("2026-04-13", 1)]
    assert materialisations(instance, other.name) == []
    assert [stale.table for stale in project.pipeline.stale()] == [other]


def test_a_range_is_built_by_one_run_with_counts_for_each_day(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.drain(completed(1), completed(2), completed(3, "2026-04-14T01:00:00Z"), completed(2))
    assert project.execute("rebuild", DAY_BEFORE, NEXT_DAY, instance=instance, only=NAMES).success
    expected = [("2026-04-12", 0), ("2026-04-13", 2), ("2026-04-14", 1)]
    assert row_counts(instance, "tasks_v2") == row_counts(instance, "task_runs_v1") == expected
    repeats = [e.metadata["repeats_dropped"] for e in materialisations(instance, "tasks_v2")]
    assert repeats == [0, 1, 0]
    assert instance.get_runs_count() == 1


def test_what_is_counted_is_in_the_metadata(project: Project, instance: dg.DagsterInstance) -> None:
    project.drain(message(body(task_id(1), [run()])))
    project.execute("rebuild", DAY, instance=instance, only=NAMES)
    [tasks] = materialisations(instance, "tasks_v2")
    assert (tasks.metadata["tasks_without_tags"], tasks.metadata["conflicting_tasks"]) == (1, 0)
    [runs] = materialisations(instance, "task_runs_v1")
    assert runs.metadata["conflicting_runs"] == 0


def test_a_day_that_fails_is_named_and_the_others_are_built_and_reported(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.drain(
        completed(1, "2026-04-12T10:00:00Z"), completed(2), completed(3, "2026-04-14T01:00:00Z")
    )
    project.damage(DAY)
    done = project.execute("rebuild", DAY_BEFORE, NEXT_DAY, instance=instance, only=NAMES)
    assert not done.success
    assert "not rebuilt: 2026-04-13 (file://" in failures(done)
    expected = [("2026-04-12", 1), ("2026-04-14", 1)]
    assert row_counts(instance, "tasks_v2") == row_counts(instance, "task_runs_v1") == expected
    assert {stale.day for stale in project.pipeline.stale()} == {DAY}


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build with a defect: it lets through what the table's spec does not allow."""
    monkeypatch.setattr("fxci_assets.taskcluster.parsing._QUEUE_ID", re.compile(""))


@pytest.mark.usefixtures("careless")
def test_rows_that_break_the_spec_fail_the_run_and_stop_what_is_downstream(
    project: Project,
) -> None:
    @dg.asset(deps=["tasks_v2"])
    def downstream() -> None: ...

    everything = dg.define_asset_job("everything", dg.AssetSelection.all())
    defs = dg.Definitions.merge(
        project.defs, dg.Definitions(assets=[downstream], jobs=[everything])
    )
    project.drain(completed(1, queue="no-provisioner"))
    with dg.DagsterInstance.ephemeral() as instance:
        done = defs.resolve_job_def("everything").execute_in_process(
            instance=instance, partition_key="2026-04-13", raise_on_error=False
        )
        assert not done.success
        assert row_counts(instance, "tasks_v2") == [("2026-04-13", 1)]
        assert materialisations(instance, "downstream") == []
    failed = [check for check in done.get_asset_check_evaluations() if not check.passed]
    assert "tasks_v2:rows_are_valid" in [c.asset_check_key.to_user_string() for c in failed]


@pytest.mark.usefixtures("careless")
def test_a_blocking_check_says_which_condition_is_broken_on_which_day(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.drain(completed(1, queue="no-provisioner"), completed(2))
    done = project.execute("rebuild", DAY, instance=instance, only=NAMES)
    assert not done.success
    assert verdicts(done) == {"tasks_v2:rows_are_valid": False, "task_runs_v1:rows_are_valid": True}
    [failed] = [check for check in done.get_asset_check_evaluations() if not check.passed]
    assert failed.blocking
    assert failed.description == "1 conditions on tasks_v2 are broken on 2026-04-13"
    assert failed.metadata["bad_days"].value == "2026-04-13"
    cases = failed.metadata["cases"]
    assert isinstance(cases, dg.TableMetadataValue)
    [case] = cases.records
    assert case.data == {
        "day": "2026-04-13",
        "condition": ("REGEXP_CONTAINS(task_queue_id, r'^[^/]+/[^/]+$')"),
        "rows": 1,
    }
