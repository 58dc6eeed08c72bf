"""What the simulated queue publishes on pulse: JSON bodies and routing keys, in time order.

Here belong the shape of a message and the ways in which pulse is imperfect: at least once, out of
order, sometimes not at all, now and then unusable. What happened is `firefox_ci`; how messages
reach a reader is `source` and `publish`.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

from fxci_assets.sandbox.firefox_ci import (
    DAYS_OF_LIFE,
    Instant,
    Occurrence,
    Run,
    World,
    midnight,
    moment,
)
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX

Flaw = Literal[
    "not-json",  # cut off
    "not-an-object",
    "no-status",
    "tag-not-a-string",
    "no-resolved",  # the message's own run has none
    "resolved-too-late",  # the message's own run, in a distant future
    "resolved-too-early",  # the message's own run, in 1970
]
"""What is wrong with a message that no queue should have sent."""

BODY_FLAWS: frozenset[Flaw] = frozenset({"not-json", "not-an-object", "no-status"})
"""Nothing of such a message can be used."""

RUN_FLAWS: frozenset[Flaw] = frozenset({"no-resolved", "resolved-too-late", "resolved-too-early"})
"""The message's own run cannot be used; earlier runs that it lists can."""

_FLAWS_OF_ANY: tuple[Flaw, ...] = ("not-json", "not-an-object", "no-status", "tag-not-a-string")
_FLAWS_OF_RUNS: tuple[Flaw, ...] = ("no-resolved", "resolved-too-late", "resolved-too-early")

# What becomes of a message: cumulative.
_LOST = 0.002
_LATE = _LOST + 0.003
_REPEATED = _LATE + 0.005
_FLAWED = _REPEATED + 0.003

_DAY_MS = 86_400_000


class Position(NamedTuple):
    """Where a message stands in the world's stream: no two are the same, and later is greater."""

    at: Instant
    day: int  # ordinal of the day whose pushes it tells of
    number: int  # among that day's messages


@dataclass(frozen=True, slots=True)
class Published:
    """A message as it was published, and what only the simulator knows of it."""

    at: dt.datetime
    exchange: str
    routing_key: str
    body: bytes
    flaw: Flaw | None
    position: Position
    occurrence: Occurrence

    @property
    def usable_runs(self) -> tuple[Run, ...]:
        """The resolved runs that a careful reader learns of from this message."""
        if self.flaw in BODY_FLAWS:
            return ()
        told = self.occurrence
        return tuple(
            run
            for run in told.task.runs[: told.runs_seen]
            if not (run.run_id == told.runs_seen - 1 and told.state == "pending")
            and not (self.flaw in RUN_FLAWS and run.run_id == told.run_id)
        )


class _Sent(NamedTuple):
    """A message that is not yet written out; ordered by its position."""

    position: Position
    occurrence: Occurrence
    flaw: Flaw | None


class _RunBody(msgspec.Struct, rename="camel", omit_defaults=True):
    run_id: int
    state: str
    reason_created: str
    scheduled: str
    reason_resolved: str | None = None
    worker_group: str | None = None
    worker_id: str | None = None
    taken_until: str | None = None
    started: str | None = None
    resolved: str | None = None


class _Status(msgspec.Struct, rename="camel"):
    task_id: str
    provisioner_id: str
    worker_type: str
    task_queue_id: str
    scheduler_id: str
    project_id: str
    task_group_id: str
    priority: str
    deadline: str
    expires: str
    retries_left: int
    state: str
    runs: list[_RunBody]


class _TaskBody(msgspec.Struct):
    tags: dict[str, str] | dict[str, str | int]


class _Message(msgspec.Struct, rename="camel", omit_defaults=True):
    task: _TaskBody
    version: int | None = None
    status: _Status | None = None
    run_id: int | None = None
    worker_group: str | None = None
    worker_id: str | None = None


def published(world: World, start: dt.datetime, end: dt.datetime) -> Iterator[Published]:
    """All that is published from `start` until before `end`, in time order."""
    return published_after(world, Position(_instant(start), 0, -1), end)


def published_after(world: World, after: Position, end: dt.datetime) -> Iterator[Published]:
    """All that is published after a position until before `end`, in time order."""
    return (_write(sent) for sent in _sent_after(world, after, end))


def count_after(world: World, after: Position, end: dt.datetime) -> dict[str, int]:
    """How many messages of each exchange that is; faster than to write them."""
    counts: dict[str, int] = {}
    for sent in _sent_after(world, after, end):
        kind = sent.occurrence.kind
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _sent_after(world: World, after: Position, end: dt.datetime) -> Iterator[_Sent]:
    until = _instant(end)
    first = moment(after.at).date() - dt.timedelta(days=DAYS_OF_LIFE - 1)
    days = [first + dt.timedelta(days=n) for n in range((end.date() - first).days + 1)]
    for sent in heapq.merge(*(_sent_of_day(world, day) for day in days)):
        if sent.position.at >= until:
            return
        if sent.position > after:
            yield sent


def _sent_of_day(world: World, day: dt.date) -> Iterator[_Sent]:
    """What the tasks of a day's pushes publish, on that day and until all of it has happened."""
    chance = world.random(day, "pulse")
    ordinal = day.toordinal()
    last = midnight(day) + DAYS_OF_LIFE * _DAY_MS - 1
    delayed: list[_Sent] = []
    number = 0
    for occurrence in world.occurrences(day):
        number += 1
        sent = _Sent(Position(occurrence.at, ordinal, number), occurrence, None)
        while delayed and delayed[0] < sent:
            yield heapq.heappop(delayed)
        fate = chance.random()
        if fate >= _FLAWED:
            yield sent
        elif fate >= _REPEATED:
            resolves = occurrence.kind != "task-defined"
            flaws = _FLAWS_OF_ANY + _FLAWS_OF_RUNS if resolves else _FLAWS_OF_ANY
            yield sent._replace(flaw=chance.choice(flaws))
        elif fate >= _LATE:
            number += 1
            at = min(occurrence.at + chance.randrange(1_000, 600_000), last)
            heapq.heappush(delayed, sent._replace(position=Position(at, ordinal, number)))
            yield sent
        elif fate >= _LOST:
            at = min(occurrence.at + chance.randrange(60_000, _DAY_MS), last)
            heapq.heappush(delayed, sent._replace(position=Position(at, ordinal, number)))
    while delayed:
        yield heapq.heappop(delayed)


def _write(sent: _Sent) -> Published:
    occurrence = sent.occurrence
    task, group = occurrence.task, occurrence.task.group
    provisioner_id, _, worker_type = task.pool.id.partition("/")
    run = task.runs[occurrence.run_id] if occurrence.run_id >= 0 else None
    # What enforces deadlines in the queue knows of no worker.
    worker = run.worker if run and run.reason_resolved != "deadline-exceeded" else None
    message = _Message(
        version=1,
        status=_Status(
            task_id=task.task_id,
            provisioner_id=provisioner_id,
            worker_type=worker_type,
            task_queue_id=task.pool.id,
            scheduler_id=group.tree.scheduler_id,
            project_id="none",
            task_group_id=group.group_id,
            priority=group.tree.priority,
            deadline=_text(task.deadline),
            expires=_text(task.expires),
            retries_left=occurrence.retries_left,
            state=occurrence.state,
            runs=_runs(occurrence),
        ),
        task=_TaskBody({} if run and run.reason_resolved == "canceled" else task.tags),
        run_id=run.run_id if run else None,
        worker_group=worker.zone if worker else None,
        worker_id=worker.instance_id if worker else None,
    )
    body = msgspec.json.encode(message) if sent.flaw is None else _spoilt(message, sent.flaw)
    routing_key = (
        f"primary.{task.task_id}.{'_' if run is None else run.run_id}"
        f".{worker.zone if worker else '_'}.{worker.instance_id if worker else '_'}"
        f".{provisioner_id}.{worker_type}.{group.tree.scheduler_id}.{group.group_id}._"
    )
    return Published(
        at=moment(sent.position.at),
        exchange=EXCHANGE_PREFIX + occurrence.kind,
        routing_key=routing_key,
        body=body,
        flaw=sent.flaw,
        position=sent.position,
        occurrence=occurrence,
    )


def _runs(occurrence: Occurrence) -> list[_RunBody]:
    """The runs as they were known then: a run that was pending may have ended since."""
    bodies = []
    pending = occurrence.runs_seen - 1 if occurrence.state == "pending" else None
    for run in occurrence.task.runs[: occurrence.runs_seen]:
        body = _RunBody(run.run_id, "pending", run.reason_created, _text(run.scheduled))
        if run.run_id != pending:
            body.state = run.state
            body.reason_resolved = run.reason_resolved
            if run.resolved is not None:
                body.resolved = _text(run.resolved)
            if run.started is not None and run.taken_until is not None and run.worker:
                body.started = _text(run.started)
                body.taken_until = _text(run.taken_until)
                body.worker_group = run.worker.zone
                body.worker_id = run.worker.instance_id
        bodies.append(body)
    return bodies


def _spoilt(message: _Message, flaw: Flaw) -> bytes:
    status = message.status
    if flaw == "no-status":
        message.status = None
    elif flaw == "tag-not-a-string":
        message.task = _TaskBody({**message.task.tags, "label": 7})
    elif flaw in RUN_FLAWS and status is not None and message.run_id is not None:
        status.runs[message.run_id].resolved = {
            "no-resolved": None,
            "resolved-too-late": "2199-01-01T00:00:00.000Z",
            "resolved-too-early": "1970-01-01T00:00:00.000Z",
        }[flaw]
    body = msgspec.json.encode(message)
    if flaw == "not-json":
        return body[: len(body) // 2]
    if flaw == "not-an-object":
        return b"[" + body + b"]"
    return body


def _instant(moment: dt.datetime) -> Instant:
    """Rounded up, so that what happened before `moment` is before it, and the rest is not."""
    micros = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    return -(-micros // 1000)


@lru_cache(maxsize=64)
def _day_text(days: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=days)).isoformat()


def _text(instant: Instant) -> str:
    """The instant as the queue writes it. Called some ten times for each message."""
    days, ms = divmod(instant, _DAY_MS)
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{_day_text(days)}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z"
