"""Materialising the tables that are queries: in order, each day reported once, and of the scheduled
ones only what something changed for."""

import base64
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.schedules import costs_of
from fxci_assets.tables import WORKER_METRICS
from fxci_assets_tests.dagster_instance import (
    Project,
    days_of,
    failures,
    materialisations,
    on_worker,
    up,
)
from fxci_assets_tests.events import DAY

FIRST, MIDDLE = dt.date(2026, 4, 11), dt.date(2026, 4, 12)
DAYS = [FIRST, MIDDLE, DAY]
IN_ORDER = ["worker_costs_v1", "worker_usage_v1", "task_run_costs_v1", "worker_utilization_v1"]


def world_of_three_days(root: Path) -> Project:
    """A run of an hour on a worker that was up for two, on each of three days; and the bills, of 2
    dollars for each of two workers."""
    project = Project(root)
    project.drain(*(on_worker(number, day) for number, day in enumerate(DAYS)))
    project.pipeline.rebuild_stale(tables=TaskBuilder.tables)
    for day in DAYS:
        project.bill_workers(2.0, day)
        project.pipeline.archive_uptime(project.monitoring, day)
    project.pipeline.rebuild_stale(tables=[WORKER_METRICS])
    return project


@pytest.fixture
def three_days(tmp_path: Path) -> Project:
    return world_of_three_days(tmp_path)


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[dg.DagsterInstance, dg.ExecuteInProcessResult]]:
    """After one run of the job over the days."""
    project = world_of_three_days(tmp_path_factory.mktemp("built"))
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance, project.execute("costs", FIRST, DAY, instance=instance)


Built = tuple[dg.DagsterInstance, dg.ExecuteInProcessResult]


def test_one_run_builds_all_in_the_order_in_which_they_read_each_other(built: Built) -> None:
    instance, run = built
    assert run.success
    assert [event.step_key for event in run.get_step_success_events()] == IN_ORDER
    assert {
        check.asset_check_key.to_user_string(): (check.passed, check.blocking)
        for check in run.get_asset_check_evaluations()
    } == {f"{table}:rows_are_valid": (True, True) for table in IN_ORDER}
    assert instance.get_runs_count() == 1


@pytest.mark.parametrize(
    ("table", "rows", "counted"),
    [
        (
            "worker_costs_v1",
            2,
            {
                "subscriptions_in_both_exports": 0,
                "hours_billed": 24,
                "seconds_up": 14_400,
                "seconds_up_and_billed": 14_400,
            },
        ),
        ("worker_usage_v1", 2, {}),
        ("task_run_costs_v1", 1, {"runs_resolved_before_started": 0}),
        (
            "worker_utilization_v1",
            2,
            {"runs_on_workers_of_two_projects": 0, "azure_zones_of_no_worker_group": 0},
        ),
    ],
)
def test_each_day_is_reported_once_with_what_was_counted(
    built: Built, table: str, rows: int, counted: dict[str, int]
) -> None:
    instance, _ = built
    events = materialisations(instance, table)
    assert days_of(events) == ["2026-04-11", "2026-04-12", "2026-04-13"]
    for event in events:
        assert event.metadata["dagster/partition_row_count"] == rows
        assert {name: event.metadata.get(name) for name in counted} == counted
        # No message tells these rows.
        assert "repeats_dropped" not in event.metadata


@pytest.mark.parametrize("table", ["worker_costs_v1", "task_run_costs_v1", "worker_utilization_v1"])
def test_the_newest_day_of_a_run_has_a_plot(built: Built, table: str) -> None:
    instance, _ = built
    events = materialisations(instance, table)
    assert ["plot" in event.metadata for event in events] == [False, False, True]
    is_plot_of_png(events[-1].metadata["plot"])


def is_plot_of_png(markdown: object) -> None:
    assert isinstance(markdown, str)
    before, _, rest = markdown.partition("](data:image/png;base64,")
    assert before.startswith("![Cost of ")
    image = base64.b64decode(rest.removesuffix(")"), validate=True)
    assert image.startswith(b"\x89PNG\r\n")
    # An event is a row of Dagster's database.
    assert len(image) < 100_000


@pytest.mark.parametrize("table", IN_ORDER)
def test_the_newest_day_of_a_run_says_what_its_columns_are_made_of(
    built: Built, table: str
) -> None:
    instance, _ = built
    found = [e.metadata.get("dagster/column_lineage") for e in materialisations(instance, table)]
    assert found[:-1] == [None, None]
    assert isinstance(found[-1], dg.TableColumnLineage)


def test_a_table_without_dollars_has_no_plot(built: Built) -> None:
    instance, _ = built
    assert not any("plot" in e.metadata for e in materialisations(instance, "worker_usage_v1"))


def requested(asked: list[dg.RunRequest] | dg.SkipReason) -> list[dg.RunRequest]:
    assert isinstance(asked, list)
    return asked


def test_a_scheduled_run_builds_of_what_reads_no_bill_only_the_days_that_follow_a_change(
    three_days: Project,
) -> None:
    [request] = requested(costs_of(three_days.pipeline, days=3))
    config = {name: op["config"] for name, op in request.run_config["ops"].items()}

    def reported() -> dict[str, list[str | None]]:
        """The days that one more such run reports."""
        with dg.DagsterInstance.ephemeral() as instance:
            run = three_days.execute("costs", FIRST, DAY, instance=instance, config=config)
            assert run.success, failures(run)
            for table in ("task_run_costs_v1", "worker_utilization_v1"):
                for event in materialisations(instance, table)[-1:]:
                    is_plot_of_png(event.metadata["plot"])
            return {table: days_of(materialisations(instance, table)) for table in IN_ORDER}

    every_day: list[str | None] = ["2026-04-11", "2026-04-12", "2026-04-13"]
    assert reported() == dict.fromkeys(IN_ORDER, every_day)
    # Of bills it is not known whether they changed.
    unchanged = dict.fromkeys(IN_ORDER[:2], every_day)
    assert reported() == unchanged | {"task_run_costs_v1": [], "worker_utilization_v1": []}

    three_days.bill_workers(3.0, MIDDLE)
    assert reported() == unchanged | {
        # What a run cost is worked out from the 30 days before it too.
        "task_run_costs_v1": ["2026-04-12", "2026-04-13"],
        "worker_utilization_v1": ["2026-04-12"],
    }
    assert three_days.pipeline.stale() == []
    dollars = three_days.pipeline.warehouse.query(
        "SELECT SUM(billed_cost) AS billed, SUM(busy_cost) AS busy FROM fxci.worker_utilization "
        "WHERE usage_date BETWEEN '2026-04-11' AND '2026-04-13'"
    ).to_pylist()
    assert dollars == [{"billed": pytest.approx(14), "busy": pytest.approx(3.5)}]

    # What a person asks for is built, whether something changed or not.
    with dg.DagsterInstance.ephemeral() as instance:
        only = ["worker_utilization_v1"]
        assert three_days.execute("costs", DAY, instance=instance, only=only).success
        assert days_of(materialisations(instance, only[0])) == ["2026-04-13"]


def test_rows_that_break_the_spec_stop_what_is_downstream(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.drain(on_worker(1))
    project.bill_workers(2.0)
    project.fetched(up(90_000))  # longer than a day
    run = project.execute("rebuild", DAY, instance=instance)
    assert not run.success
    [failed] = [check for check in run.get_asset_check_evaluations() if not check.passed]
    assert failed.asset_check_key.to_user_string() == "worker_metrics_v1:rows_are_valid"
    tables = ["tasks_v2", "task_runs_v1", "worker_metrics_v1", *IN_ORDER]
    assert [table for table in tables if not materialisations(instance, table)] == [
        "worker_usage_v1",
        "task_run_costs_v1",
        "worker_utilization_v1",
    ]


def test_of_a_range_the_days_that_are_refused_are_named_and_the_others_built(
    three_days: Project, instance: dg.DagsterInstance
) -> None:
    run = three_days.execute("costs", dt.date(2026, 4, 10), MIDDLE, instance=instance)
    assert not run.success
    assert (
        "not rebuilt: 2026-04-10 "
        "(worker_usage_v1: worker_metrics_v1 has no partition for 2026-04-10; "
        "run fxci-etl metric export --date 2026-04-10)\n"
    ) in failures(run)
    assert [days_of(materialisations(instance, table)) for table in IN_ORDER] == [
        ["2026-04-10", "2026-04-11", "2026-04-12"],
        ["2026-04-11", "2026-04-12"],
        [],
        [],
    ]


def test_runs_are_not_charged_a_cost_whose_uptime_is_not_known(
    three_days: Project, instance: dg.DagsterInstance
) -> None:
    three_days.execute("costs", FIRST, instance=instance, only=["worker_costs_v1"])
    run = three_days.execute(
        "costs", DAY, instance=instance, only=["worker_usage_v1", "task_run_costs_v1"]
    )
    assert not run.success
    assert (
        "not rebuilt: 2026-04-13 (task_run_costs_v1: 2026-04-11 has a partition in "
        "worker_costs_v1 and none in worker_usage_v1"
    ) in failures(run)
