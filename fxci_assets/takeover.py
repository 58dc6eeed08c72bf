"""Taking the tables over from the job that filled them before: the old job.

It filed rows under the day on which it processed them, and its messages are gone: to build
one of its days from what late messages tell would replace a complete day by a few rows. So on the
first drain, on day T, before anything is written, the rows of the partitions T-7 to T are copied to
the archive, each under the day on which it happened, and T-7 becomes the floor: nothing earlier is
ever written. A day is built from these rows and from its messages, and messages win by key.

Each attempt writes into a folder of its own, and the floor is recorded last, with the attempt that
it is of: one that is broken off leaves nothing that counts, and nothing is built before that.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from fxci_assets import sql
from fxci_assets.archive import Archive
from fxci_assets.archive.baseline import Attempt
from fxci_assets.archive.store import Store
from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.drain import DrainReport, file_messages
from fxci_assets.resources.pulse import Message
from fxci_assets.resources.warehouse import Warehouse, WarehouseError
from fxci_assets.tables import TABLES as ALL_TABLES
from fxci_assets.tables import TASK_DEFINITIONS, TASK_RUNS, TASKS, Mode, Table, arrow_schema
from fxci_assets.taskcluster.messages import DECODE_ERRORS, EXCHANGE_PREFIX, LIFE

_log = logging.getLogger(__name__)

Entry = TypeVar("Entry")

DAYS_BACK = LIFE.days + 1
"""A run that is resolved today can be of a task that was created so long ago, and a day."""

TABLES = (TASK_RUNS, TASKS, TASK_DEFINITIONS)
"""The tables that are taken over."""

_GUESSED = "guessed"
"""The column of a row that is kept under its own day for want of a better one."""

_GUESSED_FROM = 5_000

_FILE_BYTES = 64_000_000
"""Of rows in memory, before they are compressed into a file."""

FAILED_EVENTS = "failed-pulse-events-bigquery.json"
"""What the old job had acknowledged and could not store, in the bucket."""

FAILED_TASKS = "failed-pulse-task-ids-bigquery.json"
"""The ids of tasks whose definitions it could not fetch."""


class TakeoverError(Exception):
    """The tables cannot be taken over. One line."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """What is done once, before the first day of these tables is built."""

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

        Raises TakeoverError where it must wait, or where what the old job left is not what it
        should be; and what the warehouse and the archive raise. Then it is to be run again.
        """
        if not self.is_due():
            return
        today = self.clock().date()
        if self.first_day > today:
            raise TakeoverError(
                f"the first day, {self.first_day} (FXCI_START_DATE), is still to come"
            )
        self._check_tables()
        # Of the tables that are taken over first, which are read below.
        self.warehouse.ensure_tables(TABLES)
        try:
            self.warehouse.ensure_tables([table for table in ALL_TABLES if table not in TABLES])
        except WarehouseError as error:
            # Others may write their days, and who writes them will meet it.
            _log.warning("%s", error)
        began = self.archive.baseline.begin(today)
        # One that was broken off goes on with the same first day, whose messages may be archived,
        # and up to today, for the old job may have gone on.
        first = max(began - dt.timedelta(days=DAYS_BACK), self.first_day)
        self._keep(first, max(began, today))

    def _keep(self, first: dt.date, last: dt.date) -> None:
        """Keep the rows of some days, and record the floor, which is none where the tables are
        empty, as those of a second deployment."""
        attempt = self.archive.baseline.attempt()
        left = [table for table in TABLES if self.warehouse.partitions(table)]
        guessed: list[_Guessed] = []
        for table in left:
            for number in range((last - first).days + 1):
                day = first + dt.timedelta(days=number)
                parameters = {"day": day, "first": first, "last": last}
                query = sql.text(f"takeover/{table.name}.sql", self.names)
                rows = self.warehouse.stream(query, parameters)
                guessed += _keep_partition(attempt, table, self.names[table.name], day, rows)
        # Nothing of the tables can be in the way any more: else it would be imported each time.
        import_failed_tasks(self.archive, self.bucket, self.clock)
        import_failed_events(self.archive, self.bucket, self.first_day, self.clock)
        _keep_guessed(attempt, guessed, self.archive, first, last)
        # Last: then none of this is done again.
        floor = attempt.finish(first if left else dt.date.min)
        _log.info("taken over: %s; nothing before %s is built", _named(left), floor)

    def _check_tables(self) -> None:
        there = [table for table in TABLES if self.warehouse.exists(table)]
        for table in TABLES:
            renamed = not self.names[table.name].endswith(f".{table.name}")
            if there and table not in there and renamed:
                raise TakeoverError(
                    f"there is no table {self.names[table.name]}, and there is "
                    f"{self.names[there[0].name]}: check the name in "
                    f"FXCI_ETL_BIGQUERY_TABLES_…, or make the table if it is to be a new one"
                )
        for table in there:
            if self.warehouse.has_unsettled_rows(table):
                raise TakeoverError(
                    f"{self.names[table.name]} cannot be taken over yet: rows were streamed to "
                    "it that are in no partition, and no write of one would replace them; pause "
                    "the old job, and drain again when they have settled, up to 90 minutes later"
                )


class _Guessed(NamedTuple):
    """Rows of tasks whose run 0 is not among the rows of runs, so that it is not known on which day
    they belong: they are kept in the partition in which they were found."""

    partition: dt.date
    rows: pa.Table


def _keep_partition(
    attempt: Attempt, table: Table, name: str, partition: dt.date, parts: Iterable[pa.Table]
) -> list[_Guessed]:
    """Keep the rows of a partition but those whose day is guessed, which it returns."""
    columns = [column.name for column in table.columns]
    # Its own day too where it keeps none: it must be built anew, without the rows that are kept
    # elsewhere.
    attempt.write(table, partition, partition, 0, arrow_schema(table).empty_table())
    guessed: list[_Guessed] = []
    kept = 0
    for number, part in enumerate(_by_size(parts), start=1):
        for column in table.columns:
            missing = part[column.name].null_count
            if column.mode is Mode.REQUIRED and missing:
                raise TakeoverError(
                    f"{name} of {partition} has {missing} rows without {column.name}, which is "
                    "required: mend or delete them, and drain again"
                )
        certain = part
        if _GUESSED in part.column_names:
            certain = part.filter(pc.invert(part[_GUESSED]))
            if len(certain) < len(part):
                guessed.append(_Guessed(partition, part.filter(part[_GUESSED]).select(columns)))
        for day in pc.unique(certain["kept_under"]).to_pylist():
            of_day = certain.filter(pc.equal(certain["kept_under"], day)).select(columns)
            attempt.write(table, day, partition, number, of_day)
        kept += len(part)
    _log.info("%s %s: %d rows taken over", name, partition, kept)
    return guessed


def _keep_guessed(
    attempt: Attempt,
    guessed: Sequence[_Guessed],
    archive: Archive,
    first: dt.date,
    last: dt.date,
) -> None:
    """Keep the rows of tasks whose day is guessed, but of those of which messages make a row: the
    old job stored their runs not, and what it had not stored came again, or was left behind."""
    if not guessed:
        return
    ids = pa.chunked_array([chunk for one in guessed for chunk in one.rows["task_id"].chunks])
    known = _told(archive, first, last, ids)
    # Of a task that stands in several partitions, the latest row.
    for number, (partition, rows) in enumerate(reversed(guessed), start=1):
        new = rows.filter(pc.invert(pc.is_in(rows["task_id"], value_set=known)))
        # Numbers of their own: the others' are below.
        attempt.write(TASKS, partition, partition, _GUESSED_FROM + number, new)
        known = pa.concat_arrays([known, *new["task_id"].chunks])


def _told(archive: Archive, first: dt.date, last: dt.date, ids: pa.ChunkedArray) -> pa.Array:
    """Those of the tasks of which the messages of some days make a row."""
    builder = TaskBuilder()
    told: set[str] = set()
    for day in builder.days(archive):
        if first <= day <= last:
            rows = builder.build(archive, day, builder.resolve(archive, day), [TASKS])
            for batch in rows.batches(TASKS):
                of_batch = batch["task_id"]
                told.update(of_batch.filter(pc.is_in(of_batch, value_set=ids)).to_pylist())
    return pa.array(sorted(told), pa.string())


def _by_size(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in parts of some size, for few files that are small in memory."""
    group: list[pa.Table] = []
    for part in parts:
        group.append(part)
        if sum(one.nbytes for one in group) >= _FILE_BYTES:
            yield pa.concat_tables(group)
            group = []
    if group:
        yield pa.concat_tables(group)


def import_failed_events(
    archive: Archive, bucket: Store, first_day: dt.date, clock: Callable[[], dt.datetime]
) -> None:
    """File the messages that the old job acknowledged and could not store; their file stays where
    it is. They have lost their exchange, which their task's state tells.

    Filing them again changes nothing. Raises TakeoverError where the file is not a list of
    messages.
    """
    entries = _left_behind(bucket, FAILED_EVENTS, list[_Failed], "messages")
    messages = [Message(_exchange(entry.data), "imported", bytes(entry.data)) for entry in entries]
    if messages:
        report = DrainReport()
        file_messages(messages, clock(), archive, first_day, report)
        _log.info("of the old job's failed messages, %s", report.describe())


def import_failed_tasks(archive: Archive, bucket: Store, clock: Callable[[], dt.datetime]) -> None:
    """Put the tasks whose definitions the old job could not fetch on the pending list; their file
    stays where it is.

    Raises TakeoverError where the file is not a list of ids.
    """
    ids = _left_behind(bucket, FAILED_TASKS, list[str], "task ids")
    archive.definitions.add_pending(dict.fromkeys(ids, clock()))


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
    except DECODE_ERRORS:
        state = "exception"
    kind = state if state in ("completed", "failed") else "exception"
    return f"{EXCHANGE_PREFIX}task-{kind}"


def _named(tables: Sequence[Table]) -> str:
    return ", ".join(table.name for table in tables) or "no table, for all are empty"
