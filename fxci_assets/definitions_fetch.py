"""Fetch the definitions of the tasks that messages tell of, each once, before the queue forgets
them.

What an answer means is `fxci_assets.taskcluster.definitions`; how answers and the list of pending
tasks are kept, `fxci_assets.archive.definitions`; that a table is built from them,
`fxci_assets.builders.definitions`.

A file of events is looked at once. The tasks that it tells of are asked for, and then

1. what was answered goes to the archive, and to quarantine what cannot be filed;
2. what was not returned goes on the pending list, and so do tasks of which the answer is of no use
   while the queue answers about others: they must not keep these from being asked for;
3. the file of events is recorded as told, with its tasks.

A task is given up that was not returned for long, or has no answer of use where it alone is asked
for; never one of which nothing is known, because of others that were asked for with it. The pending
list is asked for in an order by chance, so that these are not the same each time.

So one that dies anywhere, or finds the queue silent, leaves a file that is not recorded, and the
next one looks at it again: nothing is lost, and at worst some definitions are fetched twice. Two at
once may both fetch the same, for neither waits for the other. That does no harm either: of two
answers about a task the table takes the one that was fetched first. And neither can undo what the
other did: archive and quarantine are only added to; the record of a file of events is the same
whoever writes it; a task leaves the pending list only when it is in the archive or in quarantine,
and who shortens the list writes what is left of it before removing what was read.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from fxci_assets.archive import Archive
from fxci_assets.archive.definitions import Definition, Pending
from fxci_assets.archive.quarantine import Item
from fxci_assets.resources.taskcluster import (
    CHANCE,
    Answered,
    AnswerTooLarge,
    Taskcluster,
    answers_of,
)
from fxci_assets.taskcluster.definitions import (
    DEFINITION_TOO_LARGE,
    EXCHANGE,
    day_created,
    defined_task,
    is_task_id,
)
from fxci_assets.taskcluster.messages import TASK_DEFINED, Unusable

_log = logging.getLogger(__name__)

DEFINITION_GONE = "definition-gone"

GONE_AFTER = dt.timedelta(days=7)
"""For how long a task that was not returned, or has no answer of use, is asked for again."""

_TOGETHER = 5_000
"""Tasks, at least, whose files of events are looked at together, so that requests are full and
files of the archive few."""

_FILE_BYTES = 32_000_000
"""Of bodies that are held in memory before they are written."""

_DAY = dt.timedelta(days=1)

Clock = Callable[[], dt.datetime]


@dataclass(slots=True)
class DefinitionsReport:
    """What a fetch did."""

    asked: int = 0
    archived: dict[dt.date, int] = field(default_factory=dict)
    """Definitions by the day that they are filed under."""
    quarantined: dict[str, int] = field(default_factory=dict)
    """What went to quarantine, by reason."""
    pending: int = 0
    """Tasks that are on the list at the end."""
    ended: bool = True
    """Whether all was looked at, rather than the time used up."""
    seconds: float = 0.0

    def describe(self) -> str:
        """One line."""
        return (
            f"{self.asked:,} definitions asked for, {sum(self.archived.values()):,} archived under "
            f"{len(self.archived)} days, {self.pending:,} pending, "
            f"{sum(self.quarantined.values()):,} to quarantine, in {self.seconds:.1f} s; "
            f"{'all messages are looked at' if self.ended else 'the time is used up'}"
        )


def fetch_definitions(
    source: Taskcluster,
    archive: Archive,
    first_day: dt.date,
    since: dt.date,
    seconds: float,
    clock: Clock,
) -> DefinitionsReport:
    """Fetch what is defined of the tasks of which messages told that were received on `since` or
    later, and what is pending. Begins with no more files when `seconds` are over.

    Raises TaskclusterError where the queue gives no answer; what was fetched until then stays, and
    the rest is asked for again by the next fetch.
    """
    started = time.monotonic()
    report = DefinitionsReport()
    fetch = _Fetch(source, archive, first_day, clock, report)
    # Not those that this fetch puts there itself.
    pending = archive.definitions.pending()
    for day in archive.events.days():
        if day < since or not report.ended:
            continue
        known = _Known(archive, day)
        for files in _together(_untold(archive, day, fetch)):
            fetch.look_at(day, files, known)
            if time.monotonic() - started >= seconds:
                report.ended = False
                break
    if report.ended:
        fetch.ask_again(pending)
    report.pending = len(archive.definitions.pending().since)
    report.seconds = time.monotonic() - started
    return report


def fetch_named(
    source: Taskcluster,
    archive: Archive,
    first_day: dt.date,
    tasks: Sequence[str],
    clock: Clock,
    report: DefinitionsReport,
) -> None:
    """Fetch what is defined of some tasks; what is not returned is pending. Adds to the report of
    another fetch what came of it.

    Raises TaskclusterError where the queue gives no answer.
    """
    started = time.monotonic()
    fetch = _Fetch(source, archive, first_day, clock, report)
    pending = fetch.ask(tasks).all
    archive.definitions.add_pending(dict.fromkeys(pending, clock()))
    report.pending += len(pending)
    report.seconds += time.monotonic() - started


class _Told(NamedTuple):
    """What a file of events tells."""

    file: str
    tasks: Sequence[str]


def _untold(archive: Archive, day: dt.date, fetch: _Fetch) -> Iterator[_Told]:
    """The files of a day that nobody has looked at."""
    told = frozenset(archive.definitions.told_files(day))
    for file in archive.events.files(day):
        # Who defined a task is filed under the day of receipt: what was received on another day
        # and is filed under this one tells of runs only.
        if file not in told and archive.events.received_on(file) in (day, None):
            yield _Told(file, fetch.look_into(day, file))


def _together(files: Iterable[_Told]) -> Iterator[Sequence[_Told]]:
    """Files by groups that tell of enough tasks for full requests."""
    group: list[_Told] = []
    for told in files:
        group.append(told)
        if sum(len(one.tasks) for one in group) >= _TOGETHER:
            yield group
            group = []
    if group:
        yield group


class _Known:
    """The tasks that were told before, by the files of a day and of the one before.

    A message is repeated within minutes, by pulse or by a decision task that did not see the
    queue's answer. One that comes later is asked for once more.
    """

    def __init__(self, archive: Archive, day: dt.date) -> None:
        self._archive = archive
        self._days = (day - _DAY, day)
        self._tasks: pa.ChunkedArray | None = None

    def without(self, tasks: Iterable[str]) -> Sequence[str]:
        """Those of the tasks that were not told before, each once."""
        distinct = pc.unique(pa.array(tasks, pa.string()))
        known = pc.is_in(distinct, value_set=self._read())
        new: list[str] = distinct.filter(pc.invert(known)).to_pylist()
        return new

    def add(self, tasks: Sequence[str]) -> None:
        chunks = [*self._read().chunks, pa.array(tasks, pa.string())]
        self._tasks = pa.chunked_array(chunks, pa.string())

    def _read(self) -> pa.ChunkedArray:
        if self._tasks is None:
            definitions = self._archive.definitions
            days = [definitions.told_tasks(day, definitions.told_files(day)) for day in self._days]
            self._tasks = pa.chunked_array(
                [chunk for day in days for chunk in day.chunks], pa.string()
            )
        return self._tasks


@dataclass(slots=True)
class _NotHad:
    """The tasks that are still to be asked for."""

    missing: list[str] = field(default_factory=list)
    """Not returned, or without an answer of use where they alone were asked for."""
    unknown: list[str] = field(default_factory=list)
    """Of which nothing is known, because of others or for want of time."""

    @property
    def all(self) -> Sequence[str]:
        return self.missing + self.unknown


class _Fetch:
    """Asks, and makes durable what is answered."""

    def __init__(
        self,
        source: Taskcluster,
        archive: Archive,
        first_day: dt.date,
        clock: Clock,
        report: DefinitionsReport,
    ) -> None:
        self._source = source
        self._archive = archive
        self._first_day = first_day
        self._clock = clock
        self._held: dict[dt.date, list[Definition]] = {}
        self._held_bytes = 0
        self.report = report

    def look_into(self, day: dt.date, file: str) -> Sequence[str]:
        """The tasks that a file of events tells of. On return, what tells of none is durable."""
        tasks: dict[str, None] = {}
        for part in self._archive.events.read(day, [file]):
            defined = part.filter(pc.equal(part["exchange"], TASK_DEFINED))
            unusable: list[Item] = []
            for index, body in enumerate(defined["body"].to_pylist()):
                try:
                    tasks[defined_task(body)] = None
                except Unusable as reason:
                    [event] = defined.slice(index, 1).to_pylist()
                    unusable.append(Item(str(reason), **event, quarantined_at=self._clock()))
            self._set_aside(unusable)
        return list(tasks)

    def look_at(self, day: dt.date, files: Sequence[_Told], known: _Known) -> None:
        """Take care of the tasks that some files tell of, and record that these are told."""
        pending = self.ask(known.without(task for told in files for task in told.tasks)).all
        self._archive.definitions.add_pending(dict.fromkeys(pending, self._clock()))
        for told in files:
            self._archive.definitions.record_told(day, told.file, told.tasks)
            known.add(told.tasks)

    def ask_again(self, pending: Pending) -> None:
        """Ask for what is pending, and give up what has been pending for long."""
        not_had = self.ask(CHANCE.sample(list(pending.since), len(pending.since)))
        missing, unknown = frozenset(not_had.missing), frozenset(not_had.unknown)
        now = self._clock()
        left: dict[str, dt.datetime] = {}
        gone: list[Item] = []
        for task_id, since in pending.since.items():
            if task_id in unknown or (task_id in missing and now - since < GONE_AFTER):
                left[task_id] = since
            elif task_id in missing:
                body = _only(task_id)
                gone.append(Item(DEFINITION_GONE, EXCHANGE, task_id, since, body, now))
        self._set_aside(gone)
        self._archive.definitions.settle_pending(pending, left)

    def ask(self, tasks: Sequence[str]) -> _NotHad:
        """Fetch definitions. On return, what was answered is durable; returns the tasks that were
        not."""
        # What can be no task must not cost the others their answer.
        not_had = _NotHad([task_id for task_id in tasks if not is_task_id(task_id)])
        try:
            for part in answers_of(self._source.definitions, list(filter(is_task_id, tasks))):
                self._hold(part.answers)
                self.report.asked += len(part.asked)
                self._look_for_missing(part, not_had)
        finally:
            # Where the queue gives no more answers, too: some may be deleted before it does.
            self._write()
        return not_had

    def _look_for_missing(self, part: Answered, not_had: _NotHad) -> None:
        if isinstance(part.unusable, AnswerTooLarge):
            # It will not become smaller, and its body would be too much to keep.
            now = self._clock()
            self._set_aside(
                [
                    Item(DEFINITION_TOO_LARGE, EXCHANGE, task_id, now, _only(task_id), now)
                    for task_id in part.asked
                ]
            )
            return
        if part.unusable is not None:
            _log.warning("%s", part.describe())
        is_known = part.unusable is None or part.is_alone
        to = not_had.missing if is_known else not_had.unknown
        to += [task_id for task_id in part.asked if task_id not in part.answers]

    def _hold(self, answers: Mapping[str, bytes]) -> None:
        now = self._clock()
        unusable: list[Item] = []
        for task_id, body in answers.items():
            try:
                day = day_created(body, now, self._first_day)
            except Unusable as reason:
                unusable.append(Item(str(reason), EXCHANGE, task_id, now, body, now))
                continue
            self._held.setdefault(day, []).append(Definition(task_id, now, body))
            self._held_bytes += len(body)
        self._set_aside(unusable)
        if self._held_bytes >= _FILE_BYTES:
            self._write()

    def _write(self) -> None:
        for day, definitions in sorted(self._held.items()):
            self._archive.definitions.write(day, definitions)
            archived = self.report.archived.get(day, 0)
            self.report.archived[day] = archived + len(definitions)
        self._held.clear()
        self._held_bytes = 0

    def _set_aside(self, items: Sequence[Item]) -> None:
        self._archive.quarantine.add(items)
        for item in items:
            self.report.quarantined[item.reason] = self.report.quarantined.get(item.reason, 0) + 1


def _only(task_id: str) -> bytes:
    """Stands for the definition of a task that is not to be had."""
    return msgspec.json.encode({"taskId": task_id})
