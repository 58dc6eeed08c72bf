"""A day's messages to the day's rows of `task_runs_v1` and `tasks_v2`.

A pure function of the messages: their order, their repetition and the files they came in make no
difference, and the clock is never read. Where a message is filed is `filing`; how rows are stored
does not belong here.

Memory does not grow with the day: rows are kept as sorted, compressed runs and merged one range
of task ids at a time. Nearly all messages about a task agree, so that distinct rows are found
column-wise; the few keys on which messages differ are settled by reading their messages again.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from fxci_assets.tables import SLUGID_PATTERN, TAGS, TASK_RUNS, TASKS, Table, arrow_schema
from fxci_assets.taskcluster.messages import (
    DECODE_ERRORS,
    RESOLVED_STATES,
    Instant,
    Unusable,
    decode_object,
    utc_day,
)

TASK_ID_INVALID = "task-id-invalid"
TASK_INCOMPLETE = "task-incomplete"
TASK_UNREADABLE = "task-unreadable"
RUN_UNREADABLE = "run-unreadable"
TAG_NOT_A_STRING = "tag-not-a-string"

CONFLICTING_RUNS = "conflicting_runs"
CONFLICTING_TASKS = "conflicting_tasks"
TASKS_WITHOUT_TAGS = "tasks_without_tags"

Events = Callable[[], Iterable[pa.Table]]
"""The day's messages, with the columns exchange, routing_key, received_at (a timestamp) and body
(binary); from the beginning at each call."""


class UnusableEvent(NamedTuple):
    """A message that is filed and of which a part cannot be used."""

    reason: str
    exchange: str
    routing_key: str
    received_at: dt.datetime
    body: bytes


@dataclass(slots=True)
class Tally:
    """How often something worth a look was seen, and the first few cases by name."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, count: int, examples: Iterable[str]) -> None:
        self.count += count
        self.examples.extend(list(examples)[: max(0, 10 - len(self.examples))])


class _Run(msgspec.Struct, gc=False):
    runId: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # noqa: N815
    state: str
    scheduled: Instant
    resolved: Instant
    started: Instant | None = None
    reasonCreated: str | None = None  # noqa: N815
    reasonResolved: str | None = None  # noqa: N815
    workerGroup: str | None = None  # noqa: N815
    workerId: str | None = None  # noqa: N815


class _AnyRun(msgspec.Struct, gc=False):
    """A run that may not have been resolved, or even begun."""

    state: str
    runId: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None  # noqa: N815
    scheduled: Instant | None = None
    resolved: Instant | None = None
    started: Instant | None = None
    reasonCreated: str | None = None  # noqa: N815
    reasonResolved: str | None = None  # noqa: N815
    workerGroup: str | None = None  # noqa: N815
    workerId: str | None = None  # noqa: N815


class _FiledRun(msgspec.Struct, gc=False):
    """What filing looked at. What it refused is in quarantine already."""

    state: str
    resolved: Instant | None = None


class _Status(msgspec.Struct, gc=False):
    taskId: Annotated[str, msgspec.Meta(pattern=SLUGID_PATTERN)]  # noqa: N815
    schedulerId: str  # noqa: N815
    taskGroupId: str  # noqa: N815
    runs: list[_AnyRun]
    taskQueueId: str | None = None  # noqa: N815
    provisionerId: str | None = None  # noqa: N815
    workerType: str | None = None  # noqa: N815


class _TaskPart(msgspec.Struct, gc=False):
    tags: dict[str, str] | None = None


class _Event(msgspec.Struct, gc=False):
    status: _Status
    task: _TaskPart | None = None


_decode = msgspec.json.Decoder(_Event).decode

_NOT_RUNS = "exchange/taskcluster-queue/v1/task-defined"
"""Archived beside the others, and about no run."""

_TAG_NAMES = tuple(tag.name for tag in TAGS)
_TAG_INDEX = {name: index for index, name in enumerate(_TAG_NAMES)}
_NO_TAGS: tuple[str | None, ...] = (None,) * len(_TAG_NAMES)


@functools.lru_cache(maxsize=4096)
def _tag_index(name: str) -> int | None:
    return _TAG_INDEX.get(normalise_tag_name(name))


def normalise_tag_name(name: str) -> str:
    """`createdForUser` and `created-for-user` to `created_for_user`."""
    name = name.replace("-", "_").replace(" ", "_")
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def _known_tags(tags: dict[str, object]) -> tuple[tuple[str | None, ...], bool]:
    """The values of the known tags in the table's order, and whether one was not a string."""
    origins: dict[int, str] = {}
    for name in tags:
        index = _tag_index(name)
        if index is None:
            continue
        other = origins.get(index)
        if other is None or _precedence(name) < _precedence(other):
            origins[index] = name
    values = list(_NO_TAGS)
    not_a_string = False
    for index, name in origins.items():
        value = tags[name]
        if isinstance(value, str):
            values[index] = value
        else:
            not_a_string = True
    return tuple(values), not_a_string


def _precedence(name: str) -> tuple[bool, str]:
    return (name not in _TAG_INDEX, name)


class _Parsed(NamedTuple):
    """What one message says of one day."""

    task_id: str
    seen: int
    """Entries of status.runs: how far the message has seen."""
    runs: list[tuple[object, ...]]
    """Columns of task_runs_v1 without the day, for each run that resolved on it."""
    task: tuple[str, str, str, str] | None
    """scheduler_id, task_group_id, task_id, task_queue_id, if run 0 resolved on the day."""
    tags: tuple[str | None, ...] | None
    """None where the message has no tags at all."""
    reasons: tuple[str, ...]


def _parse(body: bytes, day: dt.date) -> _Parsed:
    """Raises Unusable where nothing of the message can be used."""
    try:
        event = _decode(body)
    except DECODE_ERRORS:
        return _parse_leniently(body, day)
    status = event.status
    task_id = status.taskId
    runs: list[tuple[object, ...]] = []
    reasons: list[str] = []
    first = False
    for run in status.runs:
        resolved = run.resolved
        if resolved is None or run.state not in RESOLVED_STATES or _day(resolved) != day:
            continue
        run_id = run.runId
        if run_id is None or run.scheduled is None:
            reasons.append(RUN_UNREADABLE)
            continue
        first = first or run_id == 0
        runs.append(_run_row(task_id, run_id, run, run.scheduled, resolved))
    task = None
    tags: tuple[str | None, ...] | None = None
    if first:
        queue_id = _queue_id(status.taskQueueId, status.provisionerId, status.workerType)
        if queue_id is None:
            reasons.append(TASK_INCOMPLETE)
        else:
            task = (status.schedulerId, status.taskGroupId, task_id, queue_id)
            if event.task is not None and event.task.tags:
                tags, _ = _known_tags(event.task.tags)  # type: ignore[arg-type]
    return _Parsed(task_id, len(status.runs), runs, task, tags, tuple(reasons))


def _day(instant: dt.datetime) -> dt.date | None:
    try:
        return utc_day(instant)
    except OverflowError:
        return None


def _run_row(
    task_id: str, run_id: int, run: _Run | _AnyRun, scheduled: dt.datetime, resolved: dt.datetime
) -> tuple[object, ...]:
    return (
        task_id,
        run_id,
        run.reasonCreated,
        run.reasonResolved,
        resolved,
        scheduled,
        run.started,
        run.state,
        run.workerGroup,
        run.workerId,
    )


def _queue_id(queue_id: object, provisioner: object, worker_type: object) -> str | None:
    """Messages of before 2021 have no taskQueueId, but its two halves."""
    if isinstance(queue_id, str):
        return queue_id
    if isinstance(provisioner, str) and isinstance(worker_type, str):
        return f"{provisioner}/{worker_type}"
    return None


def _parse_leniently(body: bytes, day: dt.date) -> _Parsed:
    """A message of another shape than the published one: part by part, so that what is wrong
    costs no more than itself."""
    content = decode_object(body)
    status = content.get("status")
    if not isinstance(status, dict):  # filing would not have filed it
        raise Unusable(TASK_INCOMPLETE)
    task_id = status.get("taskId")
    if not isinstance(task_id, str) or not re.search(SLUGID_PATTERN, task_id):
        raise Unusable(TASK_ID_INVALID)
    listed = status.get("runs")
    listed = listed if isinstance(listed, list) else []
    reasons: list[str] = []
    runs: list[tuple[object, ...]] = []
    first = False
    for entry in listed:
        try:
            filed = msgspec.convert(entry, _FiledRun)
        except msgspec.ValidationError:
            continue
        if filed.state not in RESOLVED_STATES or filed.resolved is None:
            continue
        if _day(filed.resolved) != day:
            continue
        try:
            run = msgspec.convert(entry, _Run)
        except msgspec.ValidationError:
            reasons.append(RUN_UNREADABLE)
            continue
        first = first or run.runId == 0
        runs.append(_run_row(task_id, run.runId, run, run.scheduled, run.resolved))
    task = None
    tags: tuple[str | None, ...] | None = None
    if first:
        scheduler, group = status.get("schedulerId"), status.get("taskGroupId")
        queue_id = _queue_id(
            status.get("taskQueueId"), status.get("provisionerId"), status.get("workerType")
        )
        if isinstance(scheduler, str) and isinstance(group, str) and queue_id is not None:
            task = (scheduler, group, task_id, queue_id)
        else:
            reasons.append(TASK_INCOMPLETE)
        part = content.get("task", {})
        given = part.get("tags") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(given, dict | None):
            reasons.append(TASK_UNREADABLE)
        elif given:
            tags, not_a_string = _known_tags(given)
            if not_a_string:
                reasons.append(TAG_NOT_A_STRING)
    return _Parsed(task_id, len(listed), runs, task, tags, tuple(dict.fromkeys(reasons)))


def _fields(table: Table, names: Sequence[str]) -> list[pa.Field]:
    schema = arrow_schema(table)
    return [schema.field(name) for name in names]


_RUN_COLUMNS = tuple(c.name for c in TASK_RUNS.columns if c.name != TASK_RUNS.partition_column)
_RUN_STAGE = pa.schema(_fields(TASK_RUNS, _RUN_COLUMNS))
_TASK_COLUMNS = ("scheduler_id", "task_group_id", "task_id", "task_queue_id")
_TASK_STAGE = pa.schema(
    [
        *_fields(TASKS, _TASK_COLUMNS),
        pa.field("tagged", pa.bool_(), nullable=False),
        *(pa.field(name, pa.string()) for name in _TAG_NAMES),
    ]
)

_SLUG_CHARACTERS = sorted("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_RANGES = tuple(_SLUG_CHARACTERS[start] for start in range(4, len(_SLUG_CHARACTERS), 4))
"""First characters at which one range of task ids ends and the next begins; ids are uniform."""

_SPILL_ROWS = 40_000


class _Stage:
    """Rows in the order of their task ids, whatever order they came in: sorted, compressed runs,
    each cut at the same ids, so that one range can be read from all of them."""

    def __init__(self, schema: pa.Schema, order: Sequence[str]) -> None:
        self._schema = schema
        self._order = [(name, "ascending") for name in order]
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._runs: list[pa.Buffer] = []
        self.rows = 0

    def add(self, rows: list[tuple[object, ...]]) -> None:
        if not rows:
            return
        columns = zip(*rows, strict=True)
        arrays = [
            pa.array(column, field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._pending.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._pending_rows += len(rows)
        self.rows += len(rows)
        if self._pending_rows >= _SPILL_ROWS:
            self._spill()

    def _spill(self) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending).combine_chunks().sort_by(self._order)
        self._pending.clear()
        self._pending_rows = 0
        ids = table.column("task_id")
        cuts = [0]
        for character in _RANGES:
            cuts.append(pc.sum(pc.less(ids, character)).as_py() or 0)
        cuts.append(len(table))
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(sink, self._schema, options=options) as writer:
            for start, end in itertools.pairwise(cuts):
                part = table.slice(start, end - start).combine_chunks().to_batches()
                writer.write_batch(part[0] if part else _no_rows(self._schema))
        self._runs.append(sink.getvalue())

    def ranges(self) -> Iterator[pa.Table]:
        """The rows of one range of task ids after the other, in ascending order."""
        self._spill()
        readers = [pa.ipc.open_file(run) for run in self._runs]
        for index in range(len(_RANGES) + 1):
            parts = [reader.get_batch(index) for reader in readers]
            table = pa.Table.from_batches(parts, schema=self._schema)
            if len(table):
                yield table


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


class TaskTables:
    """The rows of one day, and what was seen on the way to them.

    `counts` is complete once `batches` has been read to its end for each wanted table.
    """

    def __init__(self, day: dt.date, events: Events, tables: Iterable[Table]) -> None:
        wanted = set(tables)
        self._day = day
        self._events = events
        self._runs = _Stage(_RUN_STAGE, TASK_RUNS.key)
        self._tasks = _Stage(_TASK_STAGE, TASKS.key)
        self._counts: dict[str, dict[str, Tally]] = {
            TASK_RUNS.name: {CONFLICTING_RUNS: Tally()},
            TASKS.name: {CONFLICTING_TASKS: Tally(), TASKS_WITHOUT_TAGS: Tally()},
        }
        self.unusable: list[UnusableEvent] = []
        self.events = 0
        for events_part in events():
            self.events += len(events_part)
            run_rows: list[tuple[object, ...]] = []
            task_rows: list[tuple[object, ...]] = []
            for parsed in self._parsed(events_part):
                run_rows += parsed.runs
                if parsed.task is not None:
                    tags = parsed.tags
                    task_rows.append((*parsed.task, tags is not None, *(tags or _NO_TAGS)))
            if TASK_RUNS in wanted:
                self._runs.add(run_rows)
            if TASKS in wanted:
                self._tasks.add(task_rows)

    def _parsed(self, events: pa.Table) -> Iterator[_Parsed]:
        day = self._day
        about_runs = events.filter(pc.not_equal(events["exchange"], _NOT_RUNS))
        bodies = about_runs["body"].to_pylist()
        for index, body in enumerate(bodies):
            try:
                parsed = _parse(body, day)
            except Unusable as unusable:
                self._set_aside(about_runs, index, str(unusable))
                continue
            for reason in parsed.reasons:
                self._set_aside(about_runs, index, reason)
            yield parsed

    def _set_aside(self, events: pa.Table, index: int, reason: str) -> None:
        row = events.slice(index, 1).to_pylist()[0]
        self.unusable.append(UnusableEvent(reason=reason, **row))

    def staged(self, table: Table) -> int:
        """Rows before repeats were dropped."""
        return (self._runs if table is TASK_RUNS else self._tasks).rows

    def counts(self, table: Table) -> dict[str, Tally]:
        return self._counts[table.name]

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, sorted by the table's key."""
        rows = self._run_tables() if table is TASK_RUNS else self._task_tables()
        for part in rows:
            yield from part.combine_chunks().to_batches()

    def _run_tables(self) -> Iterator[pa.Table]:
        schema = arrow_schema(TASK_RUNS)
        for staged in self._runs.ranges():
            rows = _distinct(staged, _RUN_COLUMNS)
            disputed = _repeated(rows, TASK_RUNS.key)
            if len(disputed):
                self._counts[TASK_RUNS.name][CONFLICTING_RUNS].add(
                    len(disputed), (f"{r['task_id']}/{r['run_id']}" for r in disputed.to_pylist())
                )
                rows = _without(rows, disputed, TASK_RUNS.key)
                keys = {(r["task_id"], r["run_id"]) for r in disputed.to_pylist()}
                rows = pa.concat_tables([rows, self._settled_runs(keys).cast(rows.schema)])
            yield _finished(rows, TASK_RUNS, schema, self._day)

    def _settled_runs(self, keys: set[tuple[str, int]]) -> pa.Table:
        """The run as the message tells it that has seen the most runs; of several such, the one
        whose body is greatest in byte order."""
        best: dict[tuple[object, object], tuple[tuple[int, bytes], tuple[object, ...]]] = {}
        for body, parsed in self._about({task_id for task_id, _ in keys}):
            rank = (parsed.seen, body)
            for run in parsed.runs:
                key = (run[0], run[1])
                if key in keys and (key not in best or rank >= best[key][0]):
                    best[key] = (rank, run)
        return _table([run for _, run in best.values()], _RUN_STAGE)

    def _task_tables(self) -> Iterator[pa.Table]:
        schema = arrow_schema(TASKS)
        for staged in self._tasks.ranges():
            tasks = _distinct(staged, _TASK_COLUMNS)
            tagged = _distinct(staged.filter(staged["tagged"]), ("task_id", *_TAG_NAMES))
            rows = tasks.join(tagged, "task_id", join_type="left outer")
            disputed = _repeated(rows, TASKS.key)
            if len(disputed):
                ids = disputed["task_id"].to_pylist()
                self._counts[TASKS.name][CONFLICTING_TASKS].add(len(ids), ids)
                rows = _without(rows, disputed, TASKS.key)
                rows = pa.concat_tables([rows, self._settled_tasks(set(ids), rows.schema)])
            untagged = _without(rows, tagged, TASKS.key)["task_id"]
            self._counts[TASKS.name][TASKS_WITHOUT_TAGS].add(
                len(untagged), sorted(untagged.to_pylist())[:10]
            )
            tags = pa.StructArray.from_arrays(
                [rows[name].combine_chunks() for name in _TAG_NAMES],
                fields=list(schema.field("tags").type),
            )
            rows = rows.select(_TASK_COLUMNS).append_column("tags", tags)
            yield _finished(rows, TASKS, schema, self._day)

    def _settled_tasks(self, ids: set[str], schema: pa.Schema) -> pa.Table:
        """As for runs; the tags are those of the best message that has any."""
        best: dict[str, tuple[tuple[int, bytes], tuple[str, ...]]] = {}
        best_tags: dict[str, tuple[tuple[int, bytes], tuple[str | None, ...]]] = {}
        for body, parsed in self._about(ids):
            if parsed.task is None:
                continue
            rank = (parsed.seen, body)
            if parsed.task_id not in best or rank >= best[parsed.task_id][0]:
                best[parsed.task_id] = (rank, parsed.task)
            if parsed.tags is not None and (
                parsed.task_id not in best_tags or rank >= best_tags[parsed.task_id][0]
            ):
                best_tags[parsed.task_id] = (rank, parsed.tags)
        rows = [
            (*task, *(best_tags[task_id][1] if task_id in best_tags else _NO_TAGS))
            for task_id, (_, task) in best.items()
        ]
        stage = pa.schema([*_fields(TASKS, _TASK_COLUMNS), *list(_TASK_STAGE)[-len(_TAG_NAMES) :]])
        return _table(rows, stage).select(schema.names).cast(schema)

    def _about(self, task_ids: set[str]) -> Iterator[tuple[bytes, _Parsed]]:
        """The day's messages about some tasks."""
        for events in self._events():
            about_runs = events.filter(pc.not_equal(events["exchange"], _NOT_RUNS))
            for body in about_runs["body"].to_pylist():
                try:
                    parsed = _parse(body, self._day)
                except Unusable:
                    continue
                if parsed.task_id in task_ids:
                    yield body, parsed


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _distinct(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    return rows.select(columns).group_by(list(columns), use_threads=False).aggregate([])


def _repeated(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """The keys that stand in more than one row, in order."""
    counted = rows.group_by(list(key), use_threads=False).aggregate([([], "count_all")])
    repeated = counted.filter(pc.greater(counted["count_all"], 1)).select(list(key))
    return repeated.sort_by([(name, "ascending") for name in key])


def _without(rows: pa.Table, others: pa.Table, key: Sequence[str]) -> pa.Table:
    names = list(key)
    return rows.join(others.select(names), names, join_type="left anti")


def _finished(rows: pa.Table, table: Table, schema: pa.Schema, day: dt.date) -> pa.Table:
    rows = rows.sort_by([(name, "ascending") for name in table.key])
    days = pa.repeat(pa.scalar(day, pa.date32()), len(rows))
    rows = rows.append_column(table.partition_column, days)
    return rows.select(schema.names).cast(schema)
