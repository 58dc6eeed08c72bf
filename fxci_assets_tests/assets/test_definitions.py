"""Materialising `task_definitions_v1`: what messages tell was defined is fetched, then built."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import pytest

from fxci_assets.tables import TASK_DEFINITIONS
from fxci_assets_tests.dagster_instance import (
    Daemon,
    Project,
    checked,
    failures,
    materialisations,
    running,
)
from fxci_assets_tests.definitions import definition
from fxci_assets_tests.events import NEXT_DAY, body, message, task_id

TODAY = NEXT_DAY
NAME = TASK_DEFINITIONS.name


def define(project: Project, number: int) -> None:
    """A task is defined today, of which a message waits in the queue."""
    project.taskcluster.known[task_id(number)] = definition(created="2026-04-14T05:00:00.123Z")
    project.arrive(message(body(task_id(number), []), "task-defined"))


def ids(project: Project) -> list[str]:
    rows = project.pipeline.warehouse.query(
        "SELECT taskId FROM fxci.task_definitions WHERE submission_date = @day ORDER BY taskId",
        {"day": TODAY},
    )
    found: list[str] = rows["taskId"].to_pylist()
    return found


def archived(project: Project) -> int:
    return len(project.pipeline.archive.definitions.files(TODAY))


def test_what_was_defined_is_fetched_and_built(
    project: Project, instance: dg.DagsterInstance
) -> None:
    define(project, 1)
    project.pipeline.drain(project.pulse)
    done = project.execute("rebuild", TODAY, only=[NAME], config={}, instance=instance)
    assert done.success
    assert project.taskcluster.asked == [[task_id(1)]]
    assert ids(project) == [task_id(1)]
    [event] = materialisations(instance, NAME)
    assert (event.day, event.metadata["dagster/partition_row_count"]) == ("2026-04-14", 1)
    assert checked(instance, done.run_id)[f"{NAME}:rows_are_valid"].passed


def test_a_rebuild_asks_nobody(project: Project, instance: dg.DagsterInstance) -> None:
    define(project, 1)
    project.pipeline.drain(project.pulse)
    assert project.execute("rebuild", TODAY, only=[NAME], instance=instance).success
    assert (project.taskcluster.asked, ids(project)) == ([], [])


def test_where_the_queue_gives_no_answer_the_day_stays_as_it_is(
    project: Project, instance: dg.DagsterInstance
) -> None:
    define(project, 1)
    assert project.execute("ingest", TODAY, instance=instance).success
    define(project, 2)
    project.taskcluster.fails = True
    project.now += dt.timedelta(hours=1)
    done = project.execute("ingest", TODAY, instance=instance)
    assert not done.success
    assert "TaskclusterError" in failures(done)
    assert ids(project) == [task_id(1)]


class TestToday:
    """A day is large, and each drain adds to it."""

    @pytest.fixture
    def daemon(self, project: Project) -> Iterator[Daemon]:
        with running(project) as daemon:
            yield daemon

    def tick(self, project: Project, daemon: Daemon) -> int:
        """Two minutes later. Returns how often the sensor has asked for definitions by now."""
        project.now += dt.timedelta(minutes=2)
        daemon.tick_sensors()
        alone = {dg.AssetKey(NAME)}
        return sum(run.asset_selection == alone for run in daemon.runs("rebuild"))

    def drain(self, project: Project, daemon: Daemon) -> None:
        """The schedule's drain, ten minutes after the last."""
        project.now += dt.timedelta(minutes=10)
        daemon.tick_schedules()

    def test_is_fetched_by_each_drain_and_built_once_an_hour(
        self, project: Project, daemon: Daemon
    ) -> None:
        daemon.stop("checks_every_hour")
        project.now = dt.datetime(2026, 4, 14, 6, 9, 30, tzinfo=dt.UTC)
        daemon.tick_schedules()
        built = []
        for number in range(1, 9):
            define(project, number)
            self.drain(project, daemon)
            assert archived(project) == number
            built.append(len(ids(project)))
        assert built == [1, 1, 1, 1, 1, 1, 7, 7]
        assert {run.status.value for run in daemon.runs("ingest")} == {"SUCCESS"}
        # A day that is left as it is is not materialised.
        events = materialisations(daemon.instance, NAME)
        assert [event.metadata["dagster/partition_row_count"] for event in events] == [1, 7]

    def test_is_asked_for_by_the_sensor_once_an_hour(
        self, project: Project, daemon: Daemon
    ) -> None:
        define(project, 1)
        project.pipeline.drain(project.pulse)
        project.pipeline.fetch_definitions(project.taskcluster)
        assert self.tick(project, daemon) == 1
        define(project, 2)
        project.pipeline.drain(project.pulse)
        project.pipeline.fetch_definitions(project.taskcluster)
        assert self.tick(project, daemon) == 1
        project.now += dt.timedelta(minutes=58)
        assert self.tick(project, daemon) == 2
        assert ids(project) == [task_id(1), task_id(2)]
