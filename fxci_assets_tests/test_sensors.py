"""What happens because of the state of things, by real ticks of the daemon: stale days are asked
for and healed, failing ones not for ever, and a queue that fills is drained."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fxci_assets import deployments
from fxci_assets.attempts import REBUILD_TAG, given_up
from fxci_assets.builders.derived import DERIVED
from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.settings import Rebuild, Settings
from fxci_assets.tables import (
    TASK_RUN_COSTS,
    TASK_RUNS,
    TASKS,
    WORKER_COSTS,
    WORKER_METRICS,
    WORKER_USAGE,
    WORKER_UTILIZATION,
)
from fxci_assets_tests.dagster_instance import (
    Daemon,
    Project,
    checked,
    completed,
    days_of,
    materialisations,
    on_worker,
    running,
    up,
)
from fxci_assets_tests.events import DAY, NEXT_DAY, task_id

TWO_MINUTES = dt.timedelta(minutes=2)
TODAY = NEXT_DAY
LONG_AGO = dt.date(2026, 2, 13)


@pytest.fixture
def daemon(project: Project) -> Iterator[Daemon]:
    with running(project) as daemon:
        yield daemon


def tick(project: Project, daemon: Daemon) -> list[str]:
    """Ticks the sensors, two minutes after the last time. Returns which days were asked for."""
    project.now += TWO_MINUTES
    daemon.tick_sensors()
    newest = daemon.ticks("stale_days")[0]
    assert newest.error is None
    return [str(request.partition_key) for request in newest.run_requests or ()]


def reason(daemon: Daemon, sensor: str = "stale_days") -> str | None:
    return daemon.ticks(sensor)[0].skip_reason


# --- stale_days -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def healed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Daemon]]:
    """A drain was killed when it had archived the messages of two days: there is no event and no
    rebuild. Then there was one tick."""
    project = Project(tmp_path_factory.mktemp("healed"))
    project.drain(completed(1), completed(2, "2026-04-14T01:00:00Z"))
    with running(project) as daemon:
        assert tick(project, daemon) == ["2026-04-13", "2026-04-14"]
        yield project, daemon


def test_the_first_tick_heals_what_a_killed_drain_has_left(healed: tuple[Project, Daemon]) -> None:
    project, daemon = healed
    assert project.pipeline.stale() == []
    for table in TaskBuilder.tables:
        assert project.ids(table, DAY) == [task_id(1)]
        assert project.ids(table, TODAY) == [task_id(2)]
        events = materialisations(daemon.instance, table.name)
        assert days_of(events) == ["2026-04-13", "2026-04-14"]


def test_one_run_builds_both_tables_of_a_day(healed: tuple[Project, Daemon]) -> None:
    _, daemon = healed
    both = {dg.AssetKey("tasks_v2"), dg.AssetKey("task_runs_v1")}
    assert [
        (run.status.value, run.tags["dagster/partition"], run.asset_selection)
        for run in daemon.runs("rebuild")
    ] == [("SUCCESS", "2026-04-13", both), ("SUCCESS", "2026-04-14", both)]


def test_only_the_blocking_checks_run_with_it(healed: tuple[Project, Daemon]) -> None:
    _, daemon = healed
    for run in daemon.runs("rebuild"):
        found = checked(daemon.instance, run.run_id)
        assert sorted(found) == ["task_runs_v1:rows_are_valid", "tasks_v2:rows_are_valid"]


def test_only_the_table_that_is_stale_is_built(project: Project, daemon: Daemon) -> None:
    project.drain(completed(1))
    project.pipeline.rebuild([TASKS], DAY)
    assert tick(project, daemon) == ["2026-04-13"]
    [run] = daemon.runs("rebuild")
    assert run.asset_selection == {dg.AssetKey("task_runs_v1")}
    assert project.pipeline.stale() == []


def test_nothing_is_asked_for_when_nothing_is_stale(project: Project, daemon: Daemon) -> None:
    assert tick(project, daemon) == []
    assert reason(daemon) == "no day is stale"


def test_an_older_day_waits_for_an_hour_and_today_does_not(
    project: Project, daemon: Daemon
) -> None:
    project.drain(completed(1), completed(2, "2026-04-14T01:00:00Z"))
    assert tick(project, daemon) == ["2026-04-13", "2026-04-14"]
    built = project.now
    project.drain(completed(3), completed(4, "2026-04-14T02:00:00Z"))
    assert tick(project, daemon) == ["2026-04-14"]
    assert tick(project, daemon) == []
    assert reason(daemon) == "1 stale days wait for their time"
    project.now = built + dt.timedelta(hours=1) - TWO_MINUTES
    assert tick(project, daemon) == ["2026-04-13"]
    assert project.ids(TASKS, DAY) == [task_id(1), task_id(3)]


def test_a_day_that_fails_is_tried_three_times_and_then_given_up(
    project: Project, daemon: Daemon
) -> None:
    project.drain(completed(1), completed(2, "2026-04-14T01:00:00Z"))
    project.damage(DAY)
    assert [tick(project, daemon) for _ in range(5)] == [
        ["2026-04-13", "2026-04-14"],
        ["2026-04-13"],
        ["2026-04-13"],
        [],
        [],
    ]
    assert [run.status.value for run in daemon.runs("rebuild")] == [
        "FAILURE",
        "SUCCESS",
        "FAILURE",
        "FAILURE",
    ]
    assert project.ids(TASKS, TODAY) == [task_id(2)]
    assert reason(daemon) == "1 were given up"
    assert {
        stale.day for stale in given_up(project.pipeline, daemon.instance, project.settings)
    } == {DAY}

    run = project.execute("checks", instance=daemon.instance)
    found = checked(daemon.instance, run.run_id)
    for table in TaskBuilder.tables:
        check = found[f"{table.name}:no_day_was_given_up"]
        assert not check.passed
        assert check.metadata["bad_days"].value == "2026-04-13"
        assert check.description == (
            f"1 days of {table.name} are stale and each attempt to rebuild them failed; look at "
            "their runs, then run fxci-etl rebuild"
        )

    # Other messages are another reason to try.
    project.drain(completed(3))
    assert tick(project, daemon) == ["2026-04-13"]


def test_a_day_that_was_built_after_all_is_not_given_up_when_the_marks_of_failures_expire(
    project: Project, daemon: Daemon
) -> None:
    project.drain(completed(1))
    [file] = (project.root / "sandbox/archive/pulse_events/date=2026-04-13").iterdir()
    whole = file.read_bytes()
    project.damage(DAY)
    assert [tick(project, daemon) for _ in range(2)] == [["2026-04-13"], ["2026-04-13"]]
    file.write_bytes(whole)
    assert tick(project, daemon) == ["2026-04-13"]
    assert project.pipeline.stale() == []

    project.now += project.settings.run_limit
    assert {stale.reason for stale in project.pipeline.stale()} == {"a rebuild died"}
    assert tick(project, daemon) == ["2026-04-13"]
    assert project.pipeline.stale() == []


def test_a_run_that_somebody_deleted_does_not_stall_its_day(
    project: Project, daemon: Daemon
) -> None:
    project.drain(completed(1))
    project.damage(DAY)
    assert [tick(project, daemon) for _ in range(2)] == [["2026-04-13"], ["2026-04-13"]]
    first, _ = daemon.runs("rebuild")
    daemon.instance.delete_run(first.run_id)
    assert tick(project, daemon) == ["2026-04-13"]
    assert len(daemon.runs("rebuild")) == 2


def test_a_day_is_not_asked_for_while_its_run_is_under_way(
    project: Project, daemon: Daemon
) -> None:
    project.drain(completed(1))
    version = project.pipeline.stale()[0].input_version
    tags = {REBUILD_TAG: f"task_runs_v1+tasks_v2/2026-04-13/{version}"}
    daemon.put_run("rebuild", dg.DagsterRunStatus.STARTED, tags)
    assert tick(project, daemon) == []
    assert given_up(project.pipeline, daemon.instance, project.settings) == []


def test_a_rebuild_that_died_is_asked_for_again_when_it_is_overdue(
    project: Project, daemon: Daemon
) -> None:
    project.drain(completed(1))
    assert tick(project, daemon) == ["2026-04-13"]
    project.pipeline.archive.builds.put_mark("tasks_v2", DAY, project.now)
    assert tick(project, daemon) == []
    project.now += dt.timedelta(hours=1)
    assert tick(project, daemon) == ["2026-04-13"]
    [_, run] = daemon.runs("rebuild")
    assert run.asset_selection == {dg.AssetKey("tasks_v2")}
    assert project.pipeline.stale() == []


def test_days_before_the_window_are_looked_at_by_the_first_tick_of_a_day(
    tmp_path: Path,
) -> None:
    settings = Settings(start_date=dt.date(2026, 2, 1), sandbox_dir=tmp_path)
    project = Project(tmp_path, settings=settings)
    late = completed(1, f"{LONG_AGO}T10:00:00Z")
    with running(project) as daemon:
        assert tick(project, daemon) == []
        project.drain(late)
        assert tick(project, daemon) == []
        assert reason(daemon) == "no day is stale"
        project.now = dt.datetime(2026, 4, 15, tzinfo=dt.UTC)
        assert tick(project, daemon) == ["2026-02-13"]
        assert project.ids(TASK_RUNS, LONG_AGO) == [task_id(1)]


# --- stale_days, of uptime and of what is derived ------------------------------------------------

DAY_BEFORE, TWO_DAYS_BEFORE = dt.date(2026, 4, 12), dt.date(2026, 4, 11)
DERIVED_ALL_SIX_HOURS = dt.timedelta(hours=6)


def costs_are_built(project: Project, *days: dt.date) -> None:
    """Nothing is stale, and each of the days has uptime, bills and what follows from them."""
    for day in days:
        project.bill_workers(2.0, day)
        project.pipeline.archive_uptime(project.monitoring, day)
    project.monitoring.asked.clear()
    tables = [TASKS, TASK_RUNS, WORKER_METRICS, *(derived.table for derived in DERIVED)]
    project.pipeline.rebuild_each(dict.fromkeys(days, tables))
    assert project.pipeline.stale() == []


def selected(daemon: Daemon, number: int) -> list[tuple[str, list[str]]]:
    """The newest runs that were asked for: their days and tables. All have succeeded."""
    found = []
    for run in daemon.runs("rebuild")[-number:]:
        assert run.status is dg.DagsterRunStatus.SUCCESS
        names = sorted(key.to_user_string() for key in run.asset_selection or ())
        found.append((run.tags["dagster/partition"], names))
    return found


def test_a_late_message_is_followed_by_the_costs_of_its_run_and_of_its_worker(
    project: Project, daemon: Daemon
) -> None:
    project.drain(*(on_worker(n, day) for n, day in enumerate((TWO_DAYS_BEFORE, DAY))))
    costs_are_built(project, TWO_DAYS_BEFORE, DAY_BEFORE, DAY)
    built = project.now
    project.now += dt.timedelta(hours=1)
    # It ran from the day before to the day on which it was resolved.
    project.drain(on_worker(7, started="2026-04-12T23:00:00Z", resolved="2026-04-13T01:00:00Z"))
    assert tick(project, daemon) == ["2026-04-13"]
    assert selected(daemon, 1) == [("2026-04-13", ["task_runs_v1", "tasks_v2"])]

    # Its workers are asked for of each day for which a run of that day can matter; not at once.
    assert tick(project, daemon) == []
    assert reason(daemon) == "3 stale days wait for their time"
    project.now = built + DERIVED_ALL_SIX_HOURS - 2 * TWO_MINUTES
    assert tick(project, daemon) == []
    assert tick(project, daemon) == ["2026-04-11", "2026-04-12", "2026-04-13"]
    assert selected(daemon, 3) == [
        ("2026-04-11", ["worker_utilization_v1"]),
        ("2026-04-12", ["worker_utilization_v1"]),
        ("2026-04-13", ["task_run_costs_v1", "worker_utilization_v1"]),
    ]
    assert project.pipeline.stale() == []
    busy = project.pipeline.warehouse.query(
        "SELECT usage_date, busy_seconds FROM fxci.worker_utilization "
        "WHERE usage_date BETWEEN '2026-04-11' AND '2026-04-13' AND runs > 0 ORDER BY usage_date"
    )
    assert busy["busy_seconds"].to_pylist() == [3_600, 3_600, 7_200]


def test_what_is_refused_is_not_asked_for_until_it_can_be_built(
    project: Project, daemon: Daemon
) -> None:
    project.drain(on_worker(1))
    project.bill_workers(2.0)
    project.pipeline.rebuild([TASKS, TASK_RUNS, WORKER_COSTS], DAY)
    assert tick(project, daemon) == []
    assert reason(daemon) == "no day is stale"

    # Somebody has fetched the uptime, and died.
    project.fetched(up(7_200))
    asked_for = [tick(project, daemon) for _ in range(4)]
    assert asked_for == [["2026-04-13"], ["2026-04-13"], ["2026-04-13"], []]
    assert [tables for _, tables in selected(daemon, 3)] == [
        ["worker_metrics_v1"],
        # Whether the bill is complete is counted against the uptime.
        ["worker_costs_v1", "worker_usage_v1"],
        ["task_run_costs_v1", "worker_utilization_v1"],
    ]
    for made in daemon.runs("rebuild"):
        names = {name.partition(":")[2] for name in checked(daemon.instance, made.run_id)}
        assert names == {"rows_are_valid"}

    # The day was fetched again: it is built of the newer fetch.
    project.now += dt.timedelta(hours=1)
    project.fetched(up(3_600))
    assert tick(project, daemon) == ["2026-04-13"]
    assert selected(daemon, 1) == [("2026-04-13", ["worker_metrics_v1"])]
    assert reason(daemon) is None
    assert tick(project, daemon) == []
    assert reason(daemon) == "1 stale days wait for their time"
    uptime = project.pipeline.warehouse.query(
        "SELECT uptime FROM fxci.worker_metrics WHERE submission_date = '2026-04-13'"
    )
    assert uptime["uptime"].to_pylist() == [3_600]
    # All of it from the archive.
    assert project.monitoring.asked == []


def test_derived_days_are_not_asked_for_while_the_bills_are_read(
    project: Project, daemon: Daemon
) -> None:
    project.drain(completed(1))
    project.bill_workers(2.0)
    project.pipeline.archive_uptime(project.monitoring, DAY)
    project.pipeline.rebuild([WORKER_METRICS, WORKER_COSTS, WORKER_USAGE], DAY)
    daemon.put_run("costs", dg.DagsterRunStatus.STARTED, {})
    assert tick(project, daemon) == ["2026-04-13"]
    assert selected(daemon, 1) == [("2026-04-13", ["task_runs_v1", "tasks_v2"])]
    assert tick(project, daemon) == []
    assert reason(daemon) == "1 stale days wait for their time"


def test_a_derived_day_that_fails_is_given_up_too(project: Project, daemon: Daemon) -> None:
    costs_are_built(project, DAY)
    project.now += DERIVED_ALL_SIX_HOURS
    project.bill_workers(3.0)
    project.pipeline.rebuild([WORKER_COSTS], DAY)
    folder = deployments.state_folder(project.settings) / "warehouse/fxci_derived/worker_usage_v1"
    [rows] = folder.glob("*/*.parquet")
    rows.write_bytes(b"damaged")
    # Its inputs are recorded as they were, and cannot be read. It rests between its attempts, and
    # that its inputs change meanwhile gives it no more of them.
    asked = []
    for number in range(4):
        asked += [tick(project, daemon), tick(project, daemon)]
        project.now += dt.timedelta(hours=1)
        project.drain(on_worker(number + 10))
        project.pipeline.rebuild_stale(tables=TaskBuilder.tables)
    assert asked == [["2026-04-13"], []] * 3 + [[], []]
    assert {run.status.value for run in daemon.runs("rebuild")} == {"FAILURE"}
    assert reason(daemon) == "1 were given up"
    stale = given_up(project.pipeline, daemon.instance, project.settings)
    assert {one.table for one in stale} == {TASK_RUN_COSTS, WORKER_UTILIZATION}


def test_a_restated_bill_is_followed_by_the_runs_of_as_many_days_as_is_set(
    tmp_path: Path,
) -> None:
    rebuild = Rebuild(run_costs_look_back_days=1)
    project = Project(tmp_path, settings=Settings(sandbox_dir=tmp_path, rebuild=rebuild))
    costs_are_built(project, TWO_DAYS_BEFORE, DAY_BEFORE, DAY)
    project.now += DERIVED_ALL_SIX_HOURS
    project.bill_workers(3.0, TWO_DAYS_BEFORE)
    project.pipeline.rebuild([WORKER_COSTS], TWO_DAYS_BEFORE)
    with running(project) as daemon:
        assert tick(project, daemon) == ["2026-04-11", "2026-04-12"]
        assert selected(daemon, 2) == [
            ("2026-04-11", ["task_run_costs_v1", "worker_utilization_v1"]),
            ("2026-04-12", ["task_run_costs_v1"]),
        ]
    assert project.pipeline.stale() == []


# --- queue_depth ----------------------------------------------------------------------------------


def waiting(project: Project, messages: int) -> None:
    project.arrive(*[completed(1)] * messages)


def test_a_drain_is_asked_for_at_half_of_the_depth_of_a_warning(
    project: Project, daemon: Daemon
) -> None:
    waiting(project, 999)
    daemon.tick_sensors()
    assert reason(daemon, "queue_depth") == "the fullest queue has 999 messages"
    assert daemon.runs("ingest") == []
    waiting(project, 1)
    project.now += dt.timedelta(minutes=1)
    daemon.tick_sensors()
    [run] = daemon.runs("ingest")
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.tags["dagster/partition"] == "2026-04-14"
    assert project.pulse.waiting == []
    waiting(project, 1_000)
    project.now += dt.timedelta(minutes=1)
    daemon.tick_sensors()
    assert len(daemon.runs("ingest")) == 2
    assert project.pulse.waiting == []


@pytest.mark.parametrize("status", ["QUEUED", "STARTED"])
def test_no_drain_is_asked_for_while_one_is_under_way(
    project: Project, daemon: Daemon, status: str
) -> None:
    daemon.put_run("ingest", dg.DagsterRunStatus(status), {})
    waiting(project, 1_000)
    daemon.tick_sensors()
    assert reason(daemon, "queue_depth") == (
        "queue/test/task-completed has 1,000 messages, and a drain is under way"
    )
    assert len(daemon.runs("ingest")) == 1
