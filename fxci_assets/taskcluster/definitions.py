"""What a task's definition says: the day it is filed under, and the row that it becomes.

A pure function of the answers of the queue's API, as they were archived: the clock is never read.
When an answer is fetched is `fxci_assets.definitions_fetch`; how it is kept,
`fxci_assets.archive.definitions`. The shape is that of Taskcluster's published schema (queue, v1,
task.json), with its defaults for what is left out.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from fxci_assets import flat_json
from fxci_assets.day_rows import SetAside, Tally, UnusableEvent
from fxci_assets.spool import Spool
from fxci_assets.tables import SLUGID_PATTERN, TASK_DEFINITIONS, Table, arrow_schema
from fxci_assets.taskcluster.filing import AHEAD
from fxci_assets.taskcluster.messages import (
    DECODE_ERRORS,
    NOT_AN_OBJECT,
    UNREADABLE,
    Instant,
    Unusable,
    decode_object,
    in_utc,
    utc_day,
)
from fxci_assets.taskcluster.parsing import TASK_ID_INVALID
from fxci_assets.taskcluster.staging import Row, to_table

EXCHANGE = "taskcluster-queue/task-definition"
"""Stands for an exchange where a definition is in quarantine; the routing key is its task."""

DEFINITION_INCOMPLETE = "definition-incomplete"
DEFINITION_TOO_LARGE = "definition-too-large"
DEFINITION_TOO_DEEP = "definition-too-deep"
DEFINITION_UNSTORABLE = "definition-unstorable"
CREATED_UNREADABLE = "created-unreadable"
CREATED_TOO_EARLY = "created-before-first-partition"
CREATED_TOO_LATE = "created-in-the-future"
CREATED_ON_ANOTHER_DAY = "created-on-another-day"

_FOR_NO_ROW = (DEFINITION_TOO_LARGE, DEFINITION_TOO_DEEP, DEFINITION_UNSTORABLE)

UNUSABLE_DEFINITIONS = "unusable_definitions"
DEFINITIONS_TOO_LARGE = "definitions_too_large"
CONFLICTING_DEFINITIONS = "conflicting_definitions"

MOST_BYTES = 99_000_000
"""BigQuery loads rows of up to 100 MB from JSON (https://cloud.google.com/bigquery/quotas, load
jobs). A row says what its definition says, and a little more."""

DEEPEST = 500
"""Levels that a value of BigQuery's type JSON may have
(https://cloud.google.com/bigquery/docs/json-data, limitations)."""

_PART_ROWS = 1_000
_PART_BYTES = 8_000_000
"""What is taken into memory at a time."""


class _Status(msgspec.Struct, gc=False):
    taskId: str  # noqa: N815 - the queue's own name


class _Defined(msgspec.Struct, gc=False):
    status: _Status


_decode_defined = msgspec.json.Decoder(_Defined).decode
is_task_id = re.compile(SLUGID_PATTERN.removesuffix("$") + r"\Z").match
_is_queue_id = re.compile(
    (TASK_DEFINITIONS.column("taskQueueId").pattern or "").removesuffix("$") + r"\Z"
).match


def defined_task(body: bytes) -> str:
    """The task that a task-defined message is about, which is all that it tells for good: when a
    task was created it does not say, and it is sent again when the creation is repeated.

    Raises Unusable where that can be no task's id.
    """
    try:
        task_id: object = _decode_defined(body).status.taskId
    except DECODE_ERRORS:
        # Another shape, that filing accepted all the same.
        status = decode_object(body).get("status")
        task_id = status.get("taskId") if isinstance(status, dict) else None
    if not isinstance(task_id, str) or not is_task_id(task_id):
        raise Unusable(TASK_ID_INVALID)
    return task_id


class _Created(msgspec.Struct, gc=False):
    created: Instant


_decode_created = msgspec.json.Decoder(_Created).decode


def day_created(body: bytes, fetched_at: dt.datetime, first_day: dt.date) -> dt.date:
    """The day that a definition is filed under. Decided once, when it is fetched.

    Raises Unusable where it can be filed under none.
    """
    try:
        created = _decode_created(body).created
        day = utc_day(created)
    except RecursionError:
        raise Unusable(DEFINITION_TOO_DEEP) from None
    except (*DECODE_ERRORS, OverflowError):
        _check_object(body)
        raise Unusable(CREATED_UNREADABLE) from None
    if day < first_day:
        raise Unusable(CREATED_TOO_EARLY)
    if created > fetched_at + AHEAD:
        raise Unusable(CREATED_TOO_LATE)
    return day


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _check_object(body: bytes) -> None:
    """As `decode_object`, but without the values, which in Python take twenty times their text.
    Raises Unusable where it is not JSON, or not an object."""
    try:
        _decode_members(body)
        body.decode()
    except msgspec.ValidationError:
        raise Unusable(NOT_AN_OBJECT) from None
    except DECODE_ERRORS:
        raise Unusable(UNREADABLE) from None


_NOTHING = msgspec.Raw(b"{}")


class _Definition(msgspec.Struct, gc=False):
    created: Instant
    deadline: Instant
    payload: msgspec.Raw
    metadata: msgspec.Raw
    expires: Instant | None = None
    dependencies: list[str] = []
    routes: list[str] = []
    scopes: list[str] = []
    extra: msgspec.Raw = _NOTHING
    tags: msgspec.Raw = _NOTHING
    priority: str = "lowest"
    projectId: str = "none"  # noqa: N815 - the queue's own names, here and below
    requires: str = "all-completed"
    schedulerId: str = "-"  # noqa: N815
    retries: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 5
    taskGroupId: str | None = None  # noqa: N815
    taskQueueId: str | None = None  # noqa: N815
    provisionerId: str | None = None  # noqa: N815
    workerType: str | None = None  # noqa: N815


_decode = msgspec.json.Decoder(_Definition).decode

_COLUMNS = tuple(column.name for column in TASK_DEFINITIONS.columns)
_PRIORITY = _COLUMNS.index("priority")


def definition_row(task_id: str, body: bytes, day: dt.date) -> Row:
    """The row of `task_definitions_v1`, in the order of its columns. JSON is the text that the
    queue answered, to the last digit.

    Raises Unusable where a column cannot be filled, or BigQuery would not take the row.
    """
    if not is_task_id(task_id):
        raise Unusable(TASK_ID_INVALID)
    if len(body) > MOST_BYTES:
        raise Unusable(DEFINITION_TOO_LARGE)
    try:
        said = _decode(body)
        created, deadline = in_utc(said.created), in_utc(said.deadline)
        expires = _a_year_after(deadline) if said.expires is None else in_utc(said.expires)
        extra, metadata, payload, tags = map(
            _json, (said.extra, said.metadata, said.payload, said.tags)
        )
        queue_id, provisioner, worker_type = _queue(said)
    except RecursionError:
        # Of a thousand levels, less those of whoever calls this.
        raise Unusable(DEFINITION_TOO_DEEP) from None
    except (*DECODE_ERRORS, OverflowError):
        _check_object(body)
        raise Unusable(DEFINITION_INCOMPLETE) from None
    if created.date() != day:
        raise Unusable(CREATED_ON_ANOTHER_DAY)
    return (
        task_id,
        day,
        created,
        deadline,
        expires,
        said.dependencies,
        said.routes,
        said.scopes,
        extra,
        metadata,
        payload,
        tags,
        said.priority,
        said.projectId,
        provisioner,
        said.requires,
        said.schedulerId,
        task_id if said.taskGroupId is None else said.taskGroupId,
        queue_id,
        worker_type,
        said.retries,
    )


def _a_year_after(deadline: dt.datetime) -> dt.datetime:
    """When a task expires that does not say. Raises OverflowError for the last year there is."""
    year = deadline.year + 1
    if year > dt.MAXYEAR:
        raise OverflowError
    try:
        return deadline.replace(year=year)
    except ValueError:  # 29 February; the queue's Date makes 1 March of it
        return deadline.replace(year=year, month=3, day=1)


def _json(raw: msgspec.Raw) -> str:
    """The text of a JSON object. Raises Unusable where it is none, or BigQuery would not load it,
    and with it none of the day. Its JSON can have a name twice, of which the first counts, but
    neither too many levels nor a number that is no FLOAT64; of others a load job keeps what a
    FLOAT64 can (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#json_type,
    https://github.com/apache/beam/issues/25606). Half of a surrogate pair, which it would not take
    either, has failed to decode."""
    content = bytes(raw)
    # Also null, which would be loaded as NULL.
    if not content.startswith(b"{"):
        raise Unusable(DEFINITION_INCOMPLETE)
    # Counting brackets is enough for nearly all.
    if content.count(b"{") + content.count(b"[") > DEEPEST and flat_json.depth(content) > DEEPEST:
        raise Unusable(DEFINITION_TOO_DEEP)
    if flat_json.has_number_beyond_floats(content):
        raise Unusable(DEFINITION_UNSTORABLE)
    return content.decode()


def _queue(said: _Definition) -> tuple[str, str, str]:
    """The task queue's id and its two halves, of which either can be left out: definitions of
    before 2021 have only the halves, and these are to go."""
    queue_id, provisioner, worker_type = said.taskQueueId, said.provisionerId, said.workerType
    if queue_id is None:
        queue_id = f"{provisioner or ''}/{worker_type or ''}"
    if not _is_queue_id(queue_id):
        raise Unusable(DEFINITION_INCOMPLETE)
    first, _, second = queue_id.partition("/")
    return (
        queue_id,
        first if provisioner is None else provisioner,
        second if worker_type is None else worker_type,
    )


class DefinitionsOfDay:
    """The rows of one day, and what was met on the way to them; implements `DayRows`.

    `definitions` are what was archived under the day, with the columns task_id, fetched_at and
    body, in parts. A day has a gigabyte of them: the bodies go to a temporary file as they come,
    and only what tells where each lies stays in memory.

    A task has one row, whatever the order in which its definitions come: of several that can be
    used, the one that was fetched first.
    """

    def __init__(self, day: dt.date, definitions: Iterable[pa.Table]) -> None:
        self._day = day
        self._bodies = Spool()
        self._tallies = {
            name: Tally()
            for name in (UNUSABLE_DEFINITIONS, DEFINITIONS_TOO_LARGE, CONFLICTING_DEFINITIONS)
        }
        self.unusable = SetAside()
        self.first_event: dt.datetime | None = None
        self.last_event: dt.datetime | None = None
        parts = [self._stage(part) for part in definitions]
        entries = pa.concat_tables([_ENTRIES.empty_table(), *parts])
        self._staged = len(entries)
        self._entries = self._first_of_each(
            entries.sort_by([("task_id", "ascending"), ("fetched_at", "ascending")])
        )

    def _stage(self, definitions: pa.Table) -> pa.Table:
        """Keep the usable ones' bodies, and return where they are."""
        entries: list[Row] = []
        for task_id, fetched_at, body in zip(
            *(definitions[name].to_pylist() for name in ("task_id", "fetched_at", "body")),
            strict=True,
        ):
            try:
                row = definition_row(task_id, body, self._day)
            except Unusable as unusable:
                self._set_aside(UnusableEvent(str(unusable), EXCHANGE, task_id, fetched_at, body))
                continue
            created = row[_COLUMNS.index("created")]
            assert isinstance(created, dt.datetime)
            self.first_event = min(created, self.first_event or created)
            self.last_event = max(created, self.last_event or created)
            entries.append((task_id, fetched_at, self._bodies.add(body), len(body)))
        return to_table(entries, _ENTRIES)

    def _set_aside(self, event: UnusableEvent) -> None:
        self.unusable.add(event)
        name = DEFINITIONS_TOO_LARGE if event.reason in _FOR_NO_ROW else UNUSABLE_DEFINITIONS
        self._tallies[name].add([event.routing_key])

    def _first_of_each(self, entries: pa.Table) -> pa.Table:
        """Of entries in order, one for each task."""
        ids = entries["task_id"].combine_chunks()
        if len(ids) < 2:
            return entries
        repeats = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))
        if not pc.any(repeats).as_py():
            return entries
        repeated = pc.unique(ids.slice(1).filter(repeats))
        is_repeated = pc.is_in(ids, value_set=repeated)
        by_task: dict[str, list[_Entry]] = {}
        for entry in map(_Entry._make, _rows(entries.filter(is_repeated))):
            by_task.setdefault(entry.task_id, []).append(entry)
        chosen = [self._settle(several) for several in by_task.values()]
        alone = entries.filter(pc.invert(is_repeated))
        return pa.concat_tables([alone, to_table(chosen, _ENTRIES)]).sort_by("task_id")

    def _settle(self, entries: Sequence[_Entry]) -> _Entry:
        """The first that was fetched; of several at the same moment, the least in byte order."""
        bodies = {entry: self._bodies.read(entry.at) for entry in entries}
        rows = {
            tuple(map(repr, _but_priority(definition_row(entry.task_id, body, self._day))))
            for entry, body in bodies.items()
        }
        if len(rows) > 1:
            self._tallies[CONFLICTING_DEFINITIONS].add([entries[0].task_id])
        return min(entries, key=lambda entry: (entry.fetched_at, bodies[entry]))

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, sorted by the table's key."""
        schema = arrow_schema(table)
        rows: list[Row] = []
        size = 0
        for start in range(0, len(self._entries), _PART_ROWS):
            for entry in map(_Entry._make, _rows(self._entries.slice(start, _PART_ROWS))):
                rows.append(definition_row(entry.task_id, self._bodies.read(entry.at), self._day))
                size += entry.size
                if len(rows) >= _PART_ROWS or size >= _PART_BYTES:
                    yield _batch(rows, schema)
                    rows, size = [], 0
        if rows:
            yield _batch(rows, schema)

    def staged(self, table: Table) -> int:
        """Rows before repeats were dropped."""
        return self._staged

    def counts(self, table: Table) -> Mapping[str, Tally]:
        """What the table's spec asks to be counted."""
        return self._tallies


def _rows(table: pa.Table) -> Iterator[Row]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def _batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    [batch] = to_table(rows, schema).combine_chunks().to_batches()
    return batch


def _but_priority(row: Row) -> Row:
    return row[:_PRIORITY] + row[_PRIORITY + 1 :]


_ENTRIES = pa.schema(
    [
        pa.field("task_id", pa.string()),
        pa.field("fetched_at", pa.timestamp("us", tz="UTC")),
        pa.field("at", pa.int64()),
        pa.field("size", pa.int64()),
    ]
)


class _Entry(NamedTuple):
    """Where a definition's body is; a row of _ENTRIES."""

    task_id: str
    fetched_at: dt.datetime
    at: int
    size: int
