"""What happens because of the state of things, by real ticks of the daemon: stale days are asked
for and healed, failing ones not for ever, and a queue that fills is drained."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.sensors import REBUILD_TAG, given_up
from fxci_assets.settings import Settings
from fxci_assets.tables import TASK_RUNS, TASKS
from fxci_assets_tests.dagster_instance import (
    Daemon,
    Project,
    checked,
    completed,
    days_of,
    materialisations,
    running,
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
