"""Durable before acknowledged, and nothing dropped in silence."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from fxci_assets.archive import Archive
from fxci_assets.archive.records import Gap
from fxci_assets.archive.store import LocalStore
from fxci_assets.drain import DrainLimits, DrainReport, drain
from fxci_assets.resources.pulse import BatchLimits, Message
from fxci_assets_tests.events import (
    DAY,
    FIRST_DAY,
    NEXT_DAY,
    RECEIVED,
    body,
    message,
    run,
    task_id,
)
from fxci_assets_tests.pulse import MemoryPulse

NOW = RECEIVED + dt.timedelta(minutes=1)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.over(LocalStore(tmp_path), "project.dataset")


def drained(
    archive: Archive, pulse: MemoryPulse, batch: int = 100, messages: int = 1000, seconds: float = 9
) -> DrainReport:
    limits = DrainLimits(BatchLimits(messages=batch), messages, seconds)
    return drain(pulse, archive, FIRST_DAY, limits, lambda: NOW)


def bodies(archive: Archive, day: dt.date) -> list[bytes]:
    parts = archive.events.read(day, archive.events.files(day))
    return sorted(content for part in parts for content in part["body"].to_pylist())


def completed(number: int, *resolved: str) -> Message:
    times = resolved or ("2026-04-13T10:00:00Z",)
    return message(body(task_id(number), [run(i, at) for i, at in enumerate(times)]))


def test_messages_are_filed_under_their_days_and_acknowledged(archive: Archive) -> None:
    across = completed(2, "2026-04-13T23:59:59.999Z", "2026-04-14T00:00:00Z")
    pulse = MemoryPulse([completed(1), across])
    report = drained(archive, pulse)
    assert bodies(archive, DAY) == sorted([completed(1).body, across.body])
    assert bodies(archive, NEXT_DAY) == [across.body]
    assert pulse.waiting == []
    assert (report.received, report.filed, report.ended) == (2, 2, "empty")
    of_day = report.days[DAY]
    assert (of_day.filed, of_day.size) == (2, len(completed(1).body) + len(across.body))
    assert of_day.oldest == dt.datetime(2026, 4, 13, 10, tzinfo=dt.UTC)
    assert of_day.newest == dt.datetime(2026, 4, 13, 23, 59, 59, 999000, dt.UTC)
    assert report.days[NEXT_DAY].received == 2


def test_one_file_a_day_and_batch(archive: Archive) -> None:
    drained(archive, MemoryPulse([completed(n) for n in range(10)]), batch=4)
    assert len(archive.events.files(DAY)) == 3


def test_a_definition_is_filed_under_its_day_of_receipt(archive: Archive) -> None:
    defined = message(body(task_id(1), []), "task-defined")
    drained(archive, MemoryPulse([defined]))
    assert bodies(archive, NEXT_DAY) == [defined.body]


def test_what_cannot_be_used_is_in_quarantine_before_it_is_acknowledged(archive: Archive) -> None:
    pulse = MemoryPulse([message(b"{"), completed(1), completed(2, "1970-01-01T00:00:00Z")])
    in_quarantine: list[str] = []
    pulse.before_ack = lambda: in_quarantine.extend(i.reason for i in archive.quarantine.entries())
    report = drained(archive, pulse)
    assert sorted(in_quarantine) == ["resolved-before-first-partition", "unreadable"]
    assert report.quarantined == {"unreadable": 1, "resolved-before-first-partition": 1}
    assert report.days[NEXT_DAY].quarantined == 2
    assert pulse.waiting == []
    [first, _] = sorted(archive.quarantine.entries(), key=lambda item: item.reason, reverse=True)
    assert (archive.quarantine.body(first), first.exchange) == (
        b"{",
        "exchange/taskcluster-queue/v1/task-completed",
    )


def test_a_message_of_which_a_part_is_possible_is_filed_and_quarantined(archive: Archive) -> None:
    partly = completed(1, "2026-04-13T10:00:00Z", "2036-01-01T00:00:00Z")
    report = drained(archive, MemoryPulse([partly]))
    assert bodies(archive, DAY) == [partly.body]
    assert [item.reason for item in archive.quarantine.entries()] == ["resolved-in-the-future"]
    assert archive.events.days() == [DAY]
    assert (report.filed, sum(report.quarantined.values())) == (1, 1)


def test_a_drain_that_dies_before_it_acknowledges_loses_nothing(archive: Archive) -> None:
    pulse = MemoryPulse([completed(n) for n in range(4)])

    def die() -> None:
        raise ConnectionError("lost")

    pulse.before_ack = die
    with pytest.raises(ConnectionError):
        drained(archive, pulse, batch=2)
    pulse.before_ack = lambda: None
    drained(archive, pulse, batch=3)
    assert set(bodies(archive, DAY)) == {completed(n).body for n in range(4)}
    assert len(bodies(archive, DAY)) == 6  # two came again; the build drops them


def test_a_drain_ends_at_its_bound_on_messages(archive: Archive) -> None:
    pulse = MemoryPulse([completed(n) for n in range(10)])
    report = drained(archive, pulse, batch=4, messages=6)
    assert (report.received, report.ended, len(pulse.waiting)) == (6, "messages", 4)


def test_a_drain_ends_at_its_bound_on_seconds(archive: Archive) -> None:
    report = drained(archive, MemoryPulse([completed(1)]), seconds=0)
    assert (report.received, report.ended) == (0, "seconds")


def test_a_queue_that_is_new_is_no_gap(archive: Archive) -> None:
    report = drained(archive, MemoryPulse(missing=["queue/test/task-failed"]))
    assert report.gaps == []
    assert archive.queues.drained("queue/test/task-failed") == NOW


def test_a_queue_that_was_drained_and_is_gone_is_a_gap(archive: Archive) -> None:
    archive.queues.record_drained("queue/test/task-failed", RECEIVED)
    report = drained(archive, MemoryPulse(missing=["queue/test/task-failed"]))
    gap = Gap("queue/test/task-failed", RECEIVED, NOW)
    assert report.gaps == [gap]
    assert archive.queues.open_gaps() == [gap]


def test_what_a_drain_says_of_itself(archive: Archive) -> None:
    pulse = MemoryPulse([completed(1), message(b"{")])
    described = drained(archive, pulse).describe()
    assert described.startswith("2 messages received, 1 filed under 1 days, 1 to quarantine, in ")
    assert described.endswith("the queues are empty")


def test_a_report_says_how_fast_a_drain_is() -> None:
    assert DrainReport(received=1_500, seconds=3.0).rate() == "1,500 messages, 500 a second"
    assert DrainReport().rate() == "0 messages, 0 a second"
