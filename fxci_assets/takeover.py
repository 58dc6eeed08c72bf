"""Taking the tables over from the job that filled them before.

That job filed rows under the day on which it processed them, and its messages are gone: to build
one of its days from what late messages tell would replace a complete day by a few rows. So on the
first drain, on day T, before anything is written, the rows of the partitions T-7 to T are copied to
the archive, each under the day on which it happened, and T-7 becomes the floor: nothing earlier is
ever written. A day is built from these rows and from its messages, and messages win by key.

Every step can be repeated, and the floor is recorded last: a takeover that is broken off begins
again, with the same days, and nothing has been built before it is done.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import pyarrow.compute as pc

from fxci_assets import sql
from fxci_assets.archive import Archive
from fxci_assets.archive.store import Store
from fxci_assets.builders import Builder, DayQuery
from fxci_assets.builders.partitions import Partitions
from fxci_assets.day_rows import DayRows
from fxci_assets.drain import DrainReport, file_messages
from fxci_assets.freshness import Inputs
from fxci_assets.resources.pulse import Message
from fxci_assets.resources.warehouse import Warehouse
from fxci_assets.tables import TASK_DEFINITIONS, TASK_RUNS, TASKS, Table
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX

_log = logging.getLogger(__name__)

Entry = TypeVar("Entry")

DAYS_BACK = 7
"""A run that is resolved today can be of a task that was created six days ago."""

TABLES = (TASK_RUNS, TASKS, TASK_DEFINITIONS)
"""The tables that are taken over."""

FAILED_EVENTS = "failed-pulse-events-bigquery.json"
"""What the old job had acknowledged and could not store, in the bucket."""


FAILED_TASKS = "failed-pulse-task-ids-bigquery.json"
"""The ids of tasks whose definitions it could not fetch."""


class TakeoverError(Exception):
    """The tables cannot be taken over. One line."""


def is_due(archive: Archive) -> bool:
    """Whether the tables are still to be taken over: no day of them was ever built. That events
    are archived says nothing: they may have been drained for another dataset, or by a repair."""
    if archive.baseline.floor() is not None:
        return False
    if archive.baseline.began() is not None:
        return True
    return not any(archive.builds.built_days(table.name) for table in TABLES)


def held_back(builders: Sequence[Builder]) -> Sequence[Builder]:
    """The builders, of which those of the tables that are taken over build nothing before that is
    done: else what little is archived by then would replace complete days of the old job."""
    held: list[Builder] = []
    for builder in builders:
        is_held = not set(TABLES).isdisjoint(builder.tables)
        held.append(_AfterTakeover(builder) if is_held else builder)
    return held


class _AfterTakeover:
    """A `builders.Builder` that waits for the takeover."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self.derived = builder.derived

    @property
    def tables(self) -> tuple[Table, ...]:
        return self._builder.tables

    def days(self, archive: Archive) -> Sequence[dt.date]:
        return self._builder.days(archive)

    def resolve(self, archive: Archive, day: dt.date) -> Inputs[Any]:
        return self._builder.resolve(archive, day)

    def refusal(self, archive: Archive, partitions: Partitions, day: dt.date) -> str | None:
        if is_due(archive):
            return "not taken over from the old job yet, which a drain does (fxci-etl pulse drain)"
        return self._builder.refusal(archive, partitions, day)

    def build(
        self, archive: Archive, day: dt.date, inputs: Inputs[Any], tables: Collection[Table]
    ) -> DayRows | DayQuery:
        return self._builder.build(archive, day, inputs, tables)


def take_over(
    archive: Archive,
    warehouse: Warehouse,
    tables: Sequence[Table],
    names: Mapping[str, str],
    today: dt.date,
) -> dt.date:
    """Keep the rows of the last days, and record the floor, which is none where the tables are
    empty or not there, as those of a second deployment. Returns it.

    Raises what the warehouse and the archive raise; then nothing has been taken over.
    """
    last = archive.baseline.begin(today)
    first = last - dt.timedelta(days=DAYS_BACK)
    left = [table for table in tables if warehouse.partitions(table)]
    for table in left:
        query = sql.text(f"takeover/{table.name}.sql", names)
        for number in range(DAYS_BACK + 1):
            partition = first + dt.timedelta(days=number)
            rows = warehouse.query(query, {"day": partition, "first": first, "last": last})
            columns = [column.name for column in table.columns]
            # Its own day too where it keeps none: it must be built anew, without the rows that
            # are kept elsewhere.
            for day in sorted({partition, *pc.unique(rows["kept_under"]).to_pylist()}):
                of_day = rows.filter(pc.equal(rows["kept_under"], day)).select(columns)
                archive.baseline.write(table, day, partition, of_day)
            _log.info("%s %s: %d rows taken over", table.name, partition, len(rows))
    floor = first if left else dt.date.min
    archive.baseline.finish(floor)
    return floor


def import_failed_events(
    archive: Archive, bucket: Store, first_day: dt.date, clock: Callable[[], dt.datetime]
) -> DrainReport:
    """File the messages that the old job acknowledged and could not store; their file stays where
    it is. They have lost their exchange, which their task's state tells.

    Filing them again changes nothing. Raises TakeoverError where the file is not a list of
    messages.
    """
    report = DrainReport()
    entries = _left_behind(bucket, FAILED_EVENTS, list[_Failed], "messages")
    messages = [Message(_exchange(entry.data), "imported", bytes(entry.data)) for entry in entries]
    if messages:
        file_messages(messages, clock(), archive, first_day, report)
    return report


def import_failed_tasks(archive: Archive, bucket: Store, clock: Callable[[], dt.datetime]) -> int:
    """Put the tasks whose definitions the old job could not fetch on the pending list; their file
    stays where it is. Returns how many these are.

    Raises TakeoverError where the file is not a list of ids.
    """
    ids = _left_behind(bucket, FAILED_TASKS, list[str], "task ids")
    archive.definitions.add_pending(dict.fromkeys(ids, clock()))
    return len(ids)


def _left_behind(bucket: Store, name: str, type: type[list[Entry]], what: str) -> list[Entry]:
    """The entries of a file that the old job left, or none if there is no such file."""
    try:
        data = bucket.read(name)
    except FileNotFoundError:
        return []
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.MsgspecError as error:
        raise TakeoverError(
            f"{bucket.uri(name)} is not a list of {what} ({error}); "
            "move it away to go on without it"
        ) from error


class _Failed(msgspec.Struct):
    data: msgspec.Raw


class _Status(msgspec.Struct):
    state: str


class _Event(msgspec.Struct):
    status: _Status


def _exchange(body: msgspec.Raw) -> str:
    """The exchange that a message came from. Of one that does not say, that of exceptions: filing
    finds out what is wrong with it."""
    try:
        state = msgspec.json.decode(body, type=_Event).status.state
    except msgspec.MsgspecError:
        state = "exception"
    kind = state if state in ("completed", "failed") else "exception"
    return f"{EXCHANGE_PREFIX}task-{kind}"
