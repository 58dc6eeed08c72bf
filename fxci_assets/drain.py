"""Read, file, acknowledge: messages from their queues to durable files.

A message is acknowledged only after its body is on durable storage, in the archive or in
quarantine. A drain that dies anywhere loses nothing: what it had not acknowledged comes again, and
disappears as a repeat when a day is built. What a message means, and how it is read from a
broker, does not belong here.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from fxci_assets.archive import Archive
from fxci_assets.archive.events import EVENT_SCHEMA
from fxci_assets.archive.quarantine import Item
from fxci_assets.archive.records import Gap
from fxci_assets.resources.pulse import Batch, BatchLimits, Message, PulseSession, PulseSource
from fxci_assets.taskcluster.filing import Filing, file_definition, file_event
from fxci_assets.taskcluster.messages import TASK_DEFINED

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """When a batch is filed, and when a drain ends although there is more."""

    batch: BatchLimits
    messages: int
    seconds: float


@dataclass(slots=True)
class DayCounts:
    """What a drain did to one day. Received and quarantined are of the messages received on the
    day, the others of those filed under it; a message can be filed under several."""

    received: int = 0
    quarantined: int = 0
    filed: int = 0
    size: int = 0
    """Bytes of the bodies filed."""
    oldest: dt.datetime | None = None
    newest: dt.datetime | None = None

    def _resolved(self, at: dt.datetime) -> None:
        self.oldest = at if self.oldest is None or at < self.oldest else self.oldest
        self.newest = at if self.newest is None or at > self.newest else self.newest

    def add(self, body: bytes, resolved: tuple[dt.datetime, ...]) -> None:
        self.filed += 1
        self.size += len(body)
        for at in resolved:
            self._resolved(at)


@dataclass(slots=True)
class DrainReport:
    """What a drain did."""

    received: int = 0
    filed: int = 0
    """Messages filed under at least one day."""
    quarantined: dict[str, int] = field(default_factory=dict)
    """Messages in quarantine, by reason; a message with two reasons counts under both."""
    aside: int = 0
    """Messages in quarantine."""
    days: dict[dt.date, DayCounts] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    ended: Literal["empty", "messages", "seconds"] = "empty"
    """Why it ended: the queues were empty by their own count, or a bound was reached."""
    seconds: float = 0.0
    floor: dt.date = dt.date.min
    """The first day that is built."""

    @property
    def too_early(self) -> int:
        """Messages filed under days that are never built; they may be filed under others too."""
        return sum(counts.filed for day, counts in self.days.items() if day < self.floor)

    def day(self, day: dt.date) -> DayCounts:
        return self.days.setdefault(day, DayCounts())

    def rate(self) -> str:
        """What a drain that goes on has done so far."""
        rate = self.received / self.seconds if self.seconds else 0
        return f"{self.received:,} messages, {rate:,.0f} a second"

    def describe(self) -> str:
        """One line."""
        why = {
            "empty": "the queues are empty",
            "messages": "the bound on messages was reached",
            "seconds": "the bound on seconds was reached",
        }[self.ended]
        kept = f"; {self.too_early:,} tell of days before {self.floor}, which are not built"
        return (
            f"{self.received:,} messages received, {self.filed:,} filed under "
            f"{sum(1 for counts in self.days.values() if counts.filed)} days, "
            f"{self.aside:,} to quarantine, in {self.seconds:.1f} s; {why}"
            f"{kept if self.too_early else ''}"
        )


def drain(
    source: PulseSource,
    archive: Archive,
    first_day: dt.date,
    limits: DrainLimits,
    clock: Callable[[], dt.datetime],
    progress: Callable[[DrainReport], None] = lambda report: None,
) -> DrainReport:
    """Move what is in the queues to the archive.

    A queue that was there when it was last drained and is gone is declared again by the source;
    the gap is recorded before that, and named in the report. Raises what the source raises; all
    that was filed until then stays filed.
    """
    started = time.monotonic()
    report = DrainReport()

    def on_missing(queue: str) -> None:
        since = archive.queues.drained(queue)
        if since is None:
            _log.info("the queue %s is new", queue)
            return
        gap = Gap(queue, since, clock())
        archive.queues.record_gap(gap)
        report.gaps.append(gap)
        _log.error("the queue %s is gone: what came since %s is lost", queue, since)

    with source.open(on_missing) as session:
        _record_drained(source, archive, clock())
        while True:
            left = limits.messages - report.received
            if left <= 0:
                report.ended = "messages"
                break
            if time.monotonic() - started >= limits.seconds:
                report.ended = "seconds"
                break
            batch = session.receive(_at_most(limits.batch, left))
            if batch is None:
                report.ended = "empty"
                break
            _file_and_acknowledge(session, batch, archive, first_day, report)
            report.seconds = time.monotonic() - started
            progress(report)
        _record_drained(source, archive, clock())
    report.seconds = time.monotonic() - started
    return report


def _record_drained(source: PulseSource, archive: Archive, at: dt.datetime) -> None:
    for queue in source.queues:
        archive.queues.record_drained(queue, at)


def _at_most(limits: BatchLimits, messages: int) -> BatchLimits:
    return BatchLimits(min(limits.messages, messages), limits.bytes, limits.seconds)


def _file_and_acknowledge(
    session: PulseSession,
    batch: Batch,
    archive: Archive,
    first_day: dt.date,
    report: DrainReport,
) -> None:
    file_messages(batch.messages, batch.received_at, archive, first_day, report)
    session.ack(batch)
    _log.debug("filed and acknowledged %d messages (%s)", len(batch.messages), batch.closed_by)


def file_messages(
    messages: list[Message],
    received_at: dt.datetime,
    archive: Archive,
    first_day: dt.date,
    report: DrainReport,
) -> None:
    """Make messages durable: one file for each day they are filed under, one for those in
    quarantine. On return, all are."""
    days: dict[dt.date, list[int]] = {}
    items: list[Item] = []
    filed = 0
    for index, message in enumerate(messages):
        filing = decide(message, received_at, first_day)
        for day, resolved in filing.days.items():
            days.setdefault(day, []).append(index)
            report.day(day).add(message.body, tuple(resolved))
        filed += bool(filing.days)
        report.aside += bool(filing.reasons)
        for reason in filing.reasons:
            items.append(
                Item(
                    reason,
                    message.exchange,
                    message.routing_key,
                    received_at,
                    message.body,
                    received_at,
                )
            )
    if days:
        events = _table(messages, received_at)
        for day, indices in sorted(days.items()):
            whole = len(indices) == len(messages)
            archive.events.write(day, events if whole else events.take(pa.array(indices)))
    if items:
        archive.quarantine.add(items)
    of_receipt = report.day(received_at.date())
    of_receipt.received += len(messages)
    of_receipt.quarantined += len(items)
    for item in items:
        report.quarantined[item.reason] = report.quarantined.get(item.reason, 0) + 1
    report.received += len(messages)
    report.filed += filed


def decide(message: Message, received_at: dt.datetime, first_day: dt.date) -> Filing:
    """Where a message goes."""
    if message.exchange == TASK_DEFINED:
        return file_definition(message.body, received_at)
    return file_event(message.body, received_at, first_day)


def _table(messages: list[Message], received_at: dt.datetime) -> pa.Table:
    exchanges, routing_keys, bodies = zip(*messages, strict=True)
    return pa.Table.from_arrays(
        [
            pa.array(exchanges, pa.string()),
            pa.array(routing_keys, pa.string()),
            pa.repeat(pa.scalar(received_at, EVENT_SCHEMA.field("received_at").type), len(bodies)),
            pa.array(bodies, pa.binary()),
        ],
        schema=EVENT_SCHEMA,
    )
