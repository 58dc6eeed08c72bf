"""Taking the tables over from the job that filled them before: the old job.

It filed rows under the day on which it processed them, and its messages are gone: to build
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import pyarrow.compute as pc

from fxci_assets import sql
from fxci_assets.archive import Archive
from fxci_assets.archive.store import Store
from fxci_assets.drain import DrainReport, file_messages
from fxci_assets.resources.pulse import Message
from fxci_assets.resources.warehouse import Warehouse, WarehouseError
from fxci_assets.tables import TASK_DEFINITIONS, TASK_RUNS, TASKS, Table
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX, LIFE

_log = logging.getLogger(__name__)

Entry = TypeVar("Entry")

DAYS_BACK = LIFE.days + 1
"""A run that is resolved today can be of a task that was created so long ago, and a day."""

TABLES = (TASK_RUNS, TASKS, TASK_DEFINITIONS)
"""The tables that are taken over."""

FAILED_EVENTS = "failed-pulse-events-bigquery.json"
"""What the old job had acknowledged and could not store, in the bucket."""

FAILED_TASKS = "failed-pulse-task-ids-bigquery.json"
"""The ids of tasks whose definitions it could not fetch."""


class TakeoverError(Exception):
    """The tables cannot be taken over. One line."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """What is done once, before the first messages are read."""

    archive: Archive
    warehouse: Warehouse
    bucket: Store
    """Where the old job left its files."""
    names: Mapping[str, str]
    """What queries call the tables (`sql.names`)."""
    first_day: dt.date
    clock: Callable[[], dt.datetime]

    def is_due(self) -> bool:
        """Whether the tables are still to be taken over: no day of them was ever built. That events
        are archived says nothing: they may have been drained for another dataset, or by a repair.
        """
        baseline = self.archive.baseline
        if baseline.floor() is not None:
            return False
        if baseline.began() is not None:
            return True
        return not any(self.archive.builds.built_days(table.name) for table in TABLES)

    def refusal(self, tables: Iterable[Table]) -> str | None:
        """Why these tables cannot be built yet: what little is archived by now would replace
        complete days of the old job."""
        if set(TABLES).isdisjoint(tables) or not self.is_due():
            return None
        return "not taken over from the old job yet, which a drain does (fxci-etl pulse drain)"

    def run(self) -> None:
        """Take over the rows of the last days, and what the old job could not store. Nothing is
        done where that is done.

        Raises TakeoverError where it must wait, or where a file of the old job cannot be read; and
        what the warehouse and the archive raise. Then it is to be run again.
        """
        if not self.is_due():
            return
        for table in TABLES:
            if self.warehouse.has_unsettled_rows(table):
                raise TakeoverError(
                    f"{self.warehouse.name(table)} cannot be taken over yet: rows were streamed to "
                    "it that are in no partition, and no write of one would replace them; pause "
                    "the old job, and drain again when they have settled, up to 90 minutes later"
                )
        import_failed_tasks(self.archive, self.bucket, self.clock)
        import_failed_events(self.archive, self.bucket, self.first_day, self.clock)
        try:
            self.warehouse.ensure_tables()
        except WarehouseError as error:
            # It may be about tables of which others write the days, and who writes will meet it.
            _log.warning("%s", error)
        # Last: it records the floor, and then none of this is done again.
        keep_rows(self.archive, self.warehouse, TABLES, self.names, self.clock().date())


def keep_rows(
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
        _log.info("of the old job's failed messages, %s", report.describe())
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
