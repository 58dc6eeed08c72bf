"""What happens by the clock, by real ticks of the daemon."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.schedules import DAILY_BILLS, WEEKLY_BILLS, costs_of, default_schedules
from fxci_assets.settings import BigQuery, Settings
from fxci_assets.tables import TABLES, TASKS, WORKER_METRICS
from fxci_assets_tests.dagster_instance import (
    Daemon,
    Project,
    checked,
    completed,
    materialisations,
    running,
)
from fxci_assets_tests.definitions import definition
from fxci_assets_tests.events import DAY, body, message, task_id


@pytest.fixture
def daemon(project: Project) -> Iterator[Daemon]:
    with running(project) as daemon:
        yield daemon


def at(time: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{time}+00:00")


def wait(project: Project, daemon: Daemon, since: str, until: str) -> None:
    """The daemon runs from one time to another, and looks at its schedules at both."""
    for now in (since, until):
        project.now = at(now)
        daemon.tick_schedules()


def settings(root: Path, start: str) -> Settings:
    """A small world, from a first day on."""
    return Settings(
        start_date=dt.date.fromisoformat(start),
        sandbox_dir=root,
        sandbox_tasks_per_day=20,
        sandbox_days=1,
    )


def skipped(daemon: Daemon, schedule: str) -> str | None:
    return daemon.ticks(schedule)[0].skip_reason


def asked_for(daemon: Daemon, job: str) -> list[str | None]:
    return [run.tags.get("dagster/partition") for run in daemon.runs(job)]


@pytest.mark.parametrize(
    ("since", "until", "day"),
    [
        ("2026-04-14 06:09:30", "2026-04-14 06:10:05", "2026-04-14"),
        ("2026-04-13 23:59:30", "2026-04-14 00:00:05", "2026-04-14"),
    ],
)
def test_every_ten_minutes_today_is_drained_and_built(
    project: Project, daemon: Daemon, since: str, until: str, day: str
) -> None:
    project.arrive(completed(1, f"{day}T00:00:01Z"))
    wait(project, daemon, since, until)
    assert asked_for(daemon, "ingest") == [day]
    assert project.pulse.waiting == []
    assert project.ids(TASKS, dt.date.fromisoformat(day)) == [task_id(1)]


def test_every_hour_the_last_days_are_checked(project: Project, daemon: Daemon) -> None:
    wait(project, daemon, "2026-04-14 06:39:30", "2026-04-14 06:40:05")
    [run] = daemon.runs("checks")
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert "task_runs_v1:data_is_recent" in checked(daemon.instance, run.run_id)


def test_every_day_the_queue_is_asked_for_what_is_missing(project: Project, daemon: Daemon) -> None:
    project.drain(message(body(task_id(1), []), "task-defined"))
    project.taskcluster.known = {task_id(1): definition()}
    wait(project, daemon, "2026-04-14 05:19:30", "2026-04-14 05:20:05")
    [run] = daemon.runs("repair")
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert len(project.pipeline.archive.definitions.files(DAY)) == 1


def test_every_day_the_views_are_made_where_they_are_ours_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, str]] = []
    monkeypatch.setattr(LocalWarehouse, "ensure_views", lambda self, views: made.append(views))
    ours = BigQuery(view_dataset="public")
    project = Project(tmp_path, settings=Settings(sandbox_dir=tmp_path, bigquery=ours))
    with running(project) as daemon:
        wait(project, daemon, "2026-04-14 04:09:30", "2026-04-14 04:10:05")
    [views] = made
    assert set(views) == {f"public.{table.view}" for table in TABLES}


def test_when_each_runs(project: Project) -> None:
    assert {
        schedule.name: (schedule.cron_schedule, schedule.job_name)
        for schedule in default_schedules(project.settings)
    } == {
        "drain_every_ten_minutes": ("*/10 * * * *", "ingest"),
        "checks_every_hour": ("40 * * * *", "checks"),
        "uptime_every_night": ("30 0 * * *", "uptime"),
        "costs_every_day": ("0 18 * * *", "costs"),
        "costs_every_week": ("0 20 * * 0", "costs"),
        "repair_every_day": ("20 5 * * *", "repair"),
    }


ONLY_STALE = {
    "ops": {
        name: {"config": {"only_stale": True}}
        for name in ("task_run_costs_v1", "worker_utilization_v1")
    }
}


def ranges_of(asked: list[dg.RunRequest] | dg.SkipReason) -> list[tuple[str, str]]:
    assert isinstance(asked, list)
    assert all(request.run_config == ONLY_STALE for request in asked)
    return [
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in asked
    ]


def metered(project: Project, *but: dt.date) -> None:
    """The uptime of the last days is known, but of some."""
    for number in range(40):
        day = project.now.date() - dt.timedelta(days=number)
        if day not in but:
            project.write(WORKER_METRICS, day)


@pytest.mark.parametrize(
    ("bills", "start", "expected"),
    [
        (DAILY_BILLS, "2024-07-08", ("2026-04-10", "2026-04-13")),
        (WEEKLY_BILLS, "2024-07-08", ("2026-03-10", "2026-04-13")),
        (WEEKLY_BILLS, "2026-04-12", ("2026-04-12", "2026-04-13")),
        (DAILY_BILLS, "2026-04-13", ("2026-04-13", "2026-04-13")),
    ],
)
def test_the_days_whose_bills_are_read_end_yesterday_and_begin_no_earlier_than_the_first_day(
    tmp_path: Path, bills: int, start: str, expected: tuple[str, str]
) -> None:
    project = Project(tmp_path, settings=settings(tmp_path, start))
    metered(project)
    assert ranges_of(costs_of(project.pipeline, bills)) == [expected]


def test_no_bill_is_read_of_a_day_whose_uptime_is_not_known(tmp_path: Path) -> None:
    """Costs without usage would keep the run costs of the next 30 days from being built."""
    project = Project(tmp_path, settings=settings(tmp_path, "2024-07-08"))
    asked = costs_of(project.pipeline, DAILY_BILLS)
    assert isinstance(asked, dg.SkipReason)
    assert asked.skip_message == "the uptime of no day from 2026-04-10 to 2026-04-13 is known"
    metered(project, dt.date(2026, 4, 11))
    assert ranges_of(costs_of(project.pipeline, DAILY_BILLS)) == [
        ("2026-04-10", "2026-04-10"),
        ("2026-04-12", "2026-04-13"),
    ]


def test_nothing_is_asked_for_before_the_first_day_is_over(tmp_path: Path) -> None:
    project = Project(tmp_path, settings=settings(tmp_path, "2026-04-12"))
    with running(project) as daemon:
        wait(project, daemon, "2026-04-12 00:29:30", "2026-04-12 00:30:05")
        assert asked_for(daemon, "uptime") == []
        assert skipped(daemon, "uptime_every_night") == NOT_OVER
    with running(project) as daemon:
        wait(project, daemon, "2026-04-12 17:59:30", "2026-04-12 18:00:05")
        assert asked_for(daemon, "costs") == []
        assert skipped(daemon, "costs_every_day") == NOT_OVER


NOT_OVER = "the first day that is built, 2026-04-12, is not over"


def test_by_night_and_by_day_the_uptime_the_bills_and_what_follows_are_built(
    tmp_path: Path,
) -> None:
    """Of the first day, a Saturday, in a small simulated world."""
    project = Project(tmp_path, settings=settings(tmp_path, "2026-04-11"), simulated=True)
    with running(project) as daemon:
        wait(project, daemon, "2026-04-12 00:29:30", "2026-04-12 00:30:05")
        assert asked_for(daemon, "uptime") == ["2026-04-11"]
        # Else they would catch up on the hours in between.
        daemon.stop("drain_every_ten_minutes", "checks_every_hour")
        project.pipeline.rebuild_stale()
        wait(project, daemon, "2026-04-12 17:59:30", "2026-04-12 18:00:05")
        wait(project, daemon, "2026-04-12 19:59:30", "2026-04-12 20:00:05")
        runs = daemon.runs("costs")
        schedules = [run.tags["dagster/schedule_name"] for run in runs]
        assert schedules == ["costs_every_day", "costs_every_week"]
        for run in runs:
            assert run.tags["dagster/asset_partition_range_start"] == "2026-04-11"
            assert run.tags["dagster/asset_partition_range_end"] == "2026-04-11"
            assert run.run_config == ONLY_STALE
        assert {run.status.value for run in daemon.instance.get_runs()} == {"SUCCESS"}
        events = {
            table.name: [event.day for event in materialisations(daemon.instance, table.name)]
            for table in TABLES[3:]
        }
    assert events == {
        "worker_metrics_v1": ["2026-04-11"],
        "worker_costs_v1": ["2026-04-11"] * 2,
        "worker_usage_v1": ["2026-04-11"] * 2,
        # When the bills were read again, nothing had changed for these.
        "task_run_costs_v1": ["2026-04-11"],
        "worker_utilization_v1": ["2026-04-11"],
    }
    for table in TABLES[3:]:
        built = project.pipeline.archive.builds.built(table.name, dt.date(2026, 4, 11))
        assert built is not None
        assert built.rows > 0
    assert project.pipeline.stale() == []
