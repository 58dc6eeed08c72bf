"""What happens by the clock, by real ticks of the daemon."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import pytest

from fxci_assets.tables import TASKS
from fxci_assets_tests.dagster_instance import Daemon, Project, checked, completed, running
from fxci_assets_tests.events import task_id


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
