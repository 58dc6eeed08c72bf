"""Materialising `pulse_events` drains the queues, and says so of each day that it touched."""

import datetime as dt

import dagster as dg
import pytest

from fxci_assets.pipeline import Pipeline
from fxci_assets.tables import TASKS
from fxci_assets_tests.dagster_instance import (
    Project,
    completed,
    days_of,
    failures,
    materialisations,
)
from fxci_assets_tests.events import DAY, NEXT_DAY, message

DAY_BEFORE = dt.date(2026, 4, 12)


def drain(
    project: Project, instance: dg.DagsterInstance, first: dt.date, last: dt.date | None = None
) -> dg.ExecuteInProcessResult:
    return project.execute("ingest", first, last, instance=instance, only=["pulse_events"])


def counts(instance: dg.DagsterInstance) -> dict[str | None, tuple[object, object, object]]:
    return {
        event.day: tuple(event.metadata[name] for name in ("received", "filed", "quarantined"))  # type: ignore[misc]
        for event in materialisations(instance, "pulse_events")
    }


def test_each_day_that_received_messages_is_reported_once(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.arrive(
        completed(1, "2026-04-12T10:00:00Z"),  # late: outside of the run
        completed(2, "2026-04-14T01:00:00Z"),
        completed(3, "2026-04-14T05:00:00Z"),
        completed(4, "2026-04-15T00:10:00Z"),  # tomorrow, by a clock that is ahead
    )
    assert drain(project, instance, NEXT_DAY).success
    assert days_of(materialisations(instance, "pulse_events")) == [
        "2026-04-12",
        "2026-04-14",
        "2026-04-15",
    ]
    assert counts(instance) == {
        "2026-04-12": (0, 1, 0),
        "2026-04-14": (4, 2, 0),
        "2026-04-15": (0, 1, 0),
    }


def test_a_day_says_when_its_runs_were_resolved(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.arrive(completed(1, "2026-04-14T01:00:00Z"), completed(2, "2026-04-14T05:00:00Z"))
    drain(project, instance, NEXT_DAY)
    [today] = materialisations(instance, "pulse_events")
    assert (
        today.metadata["oldest_resolved"] == dt.datetime(2026, 4, 14, 1, tzinfo=dt.UTC).timestamp()
    )
    assert (
        today.metadata["newest_resolved"] == dt.datetime(2026, 4, 14, 5, tzinfo=dt.UTC).timestamp()
    )
    assert (today.metadata["received_in_drain"], today.metadata["ended"]) == (2, "empty")


def test_a_day_that_was_asked_for_and_received_nothing_is_reported_with_zeros(
    project: Project, instance: dg.DagsterInstance
) -> None:
    assert drain(project, instance, DAY).success
    assert counts(instance) == {"2026-04-13": (0, 0, 0)}


def test_a_range_is_one_drain_and_one_event_for_each_day(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.arrive(completed(1), completed(2, "2026-04-11T10:00:00Z"))
    assert drain(project, instance, DAY_BEFORE, NEXT_DAY).success
    assert days_of(materialisations(instance, "pulse_events")) == [
        "2026-04-11",
        "2026-04-12",
        "2026-04-13",
        "2026-04-14",
    ]
    assert counts(instance) == {
        "2026-04-11": (0, 1, 0),
        "2026-04-12": (0, 0, 0),
        "2026-04-13": (0, 1, 0),
        "2026-04-14": (2, 0, 0),
    }


def test_what_went_to_quarantine_is_counted_by_reason(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.arrive(completed(1), message(b"{"), message(b"[]"))
    drain(project, instance, NEXT_DAY)
    today = materialisations(instance, "pulse_events")[-1]
    assert (today.metadata["received"], today.metadata["quarantined"]) == (3, 2)
    reasons = today.metadata["quarantine_reasons"]
    assert isinstance(reasons, dict)
    assert sum(reasons.values()) == today.metadata["quarantined_in_drain"] == 2


def test_after_a_gap_the_days_are_reported_and_the_run_fails(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.drain()
    project.now += dt.timedelta(minutes=20)
    project.pulse.missing.append("queue/test/task-failed")
    project.arrive(completed(1))
    run = project.execute("ingest", NEXT_DAY, instance=instance)
    assert not run.success
    assert (
        "the queue queue/test/task-failed was gone and is declared again; what came between "
        "2026-04-14 06:00:00 and 2026-04-14 06:20:00 UTC is missing: run fxci-etl repair, "
    ) in failures(run)
    assert counts(instance) == {"2026-04-13": (0, 1, 0), "2026-04-14": (1, 0, 0)}
    # Nothing is built on what is not whole by this run; the sensor builds it.
    assert project.ids(TASKS, DAY) == []
    assert materialisations(instance, "tasks_v2") == []


@pytest.mark.parametrize("step", ["take_over", "forget"])
def test_what_fails_after_a_drain_fails_the_run_and_the_days_are_reported(
    project: Project,
    instance: dg.DagsterInstance,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(self: Pipeline) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(Pipeline, step, refused)
    project.arrive(completed(1, "2026-04-14T01:00:00Z"))
    done = drain(project, instance, NEXT_DAY)
    assert not done.success
    assert "not yours" in failures(done)
    assert counts(instance) == {"2026-04-14": (1, 1, 0)}
    assert project.pulse.waiting == []


def test_a_drain_that_dies_reports_nothing_and_loses_nothing(
    project: Project, instance: dg.DagsterInstance
) -> None:
    def die() -> None:
        raise ConnectionError("the broker went away")

    project.arrive(completed(1))
    project.pulse.before_ack = die
    run = drain(project, instance, NEXT_DAY)
    assert not run.success
    assert "the broker went away" in failures(run)
    assert materialisations(instance, "pulse_events") == []
    project.pulse.before_ack = lambda: None
    assert drain(project, instance, NEXT_DAY).success
    assert counts(instance) == {"2026-04-13": (0, 1, 0), "2026-04-14": (1, 0, 0)}
