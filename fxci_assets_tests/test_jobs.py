"""How long a run may take, and what happens when its process is gone, by the daemon's own loops.

What a job does to the tables belongs in `test_definitions` and the tests of assets.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from fxci_assets.definitions import build_defs
from fxci_assets.settings import Drain, Rebuild, Settings
from fxci_assets_tests.dagster_instance import Daemon, Project, completed, running

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def daemon(project: Project) -> Iterator[Daemon]:
    with running(project) as daemon:
        yield daemon


def limit(job: str, settings: Settings) -> int:
    return int(build_defs(settings).resolve_job_def(job).run_tags["dagster/max_runtime"])


def test_no_run_lives_longer_than_its_rebuilds_count_as_alive() -> None:
    settings = Settings(rebuild=Rebuild(run_limit_seconds=90.5))
    jobs = ("ingest", "rebuild", "uptime", "costs", "repair", "checks")
    assert {limit(job, settings) for job in jobs} == {91}


def test_a_drain_may_use_both_of_its_bounds_and_then_build() -> None:
    assert limit("ingest", Settings()) == 1_800
    assert limit("ingest", Settings(drain=Drain(max_seconds=60.0))) == 720
    assert limit("ingest", Settings(drain=Drain(max_seconds=1_800.0))) == 3_600
    assert limit("rebuild", Settings()) == 3_600


def test_a_drain_whose_process_is_gone_is_followed_by_another_before_a_queue_is_deleted(
    project: Project, daemon: Daemon
) -> None:
    """Which the launcher of Compose does not notice. Firefox-CI fills a queue in 53 minutes."""
    daemon.start_dead("ingest")
    project.arrive(*[completed(1)] * 1_000)
    for _ in range(40):
        project.now += MINUTE
        daemon.monitor_runs()
        daemon.tick_sensors()
        if project.pulse.waiting == []:
            break
        skipped = daemon.ticks("queue_depth")[0].skip_reason
        assert skipped is not None and skipped.endswith("and a drain is under way")
    dead, drained = daemon.runs("ingest")
    assert (dead.status.value, drained.status.value) == ("FAILURE", "SUCCESS")
    assert project.pulse.waiting == []


def test_a_rebuild_that_the_sensor_asks_for_is_ended_as_early(
    project: Project, daemon: Daemon
) -> None:
    """It keeps a drain of today from running, or has one of the few places of the queue."""
    project.drain(completed(1))
    daemon.tick_sensors()
    [run] = daemon.runs("rebuild")
    assert run.tags["dagster/max_runtime"] == "1800"


def test_what_dagster_tries_again_counts_as_one_of_the_sensors_attempts(
    project: Project, daemon: Daemon
) -> None:
    """A retry has the tags of its run, with its key. The next run that is asked for has a new one
    all the same: Dagster skips none."""
    project.drain(completed(1))
    project.damage(project.now.date() - dt.timedelta(days=1))
    daemon.tick_sensors()
    [asked] = daemon.runs("rebuild")
    daemon.try_again(asked)
    for _ in range(3):
        project.now += 2 * MINUTE
        daemon.tick_sensors()
    runs = daemon.runs("rebuild")
    assert [run.status.value for run in runs] == ["FAILURE"] * 3
    assert [run.tags["dagster/run_key"][-2:] for run in runs] == ["/1", "/1", "/2"]
    assert [run.parent_run_id for run in runs] == [None, asked.run_id, None]
    assert daemon.ticks("stale_days")[0].skip_reason == "1 were given up"
