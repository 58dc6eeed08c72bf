"""A day's messages to the day's rows of `task_runs_v1` and `tasks_v2`.

A pure function of the messages: their order, their repetition and the files they came in make no
difference, and the clock is never read. What one message says is `parsing`; where it is filed is
`filing`; how rows are stored does not belong here.

Nearly all messages about a task agree, so that their distinct rows are the table. The few keys
that are left with several rows are settled by what is known of them, or, where messages differ,
by reading these messages once more.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fxci_assets.day_rows import SetAside, Tally, UnusableEvent
from fxci_assets.tables import TASK_RUNS, TASKS, Table, arrow_schema
from fxci_assets.taskcluster.messages import TASK_DEFINED, Unusable
from fxci_assets.taskcluster.parsing import NO_TAGS, TAG_NAMES, Parsed, parse
from fxci_assets.taskcluster.staging import Row, Stage, to_table

CONFLICTING_RUNS = "conflicting_runs"
CONFLICTING_TASKS = "conflicting_tasks"
TASKS_WITHOUT_TAGS = "tasks_without_tags"

Events = Callable[[], Iterable[pa.Table]]
"""The day's messages, with the columns exchange, routing_key, received_at (a timestamp) and body
(binary); from the beginning at each call."""

Rank = tuple[int, bool, bytes]
"""Runs that a message has seen, whether it is without a flaw, and its body."""


def _stage_schema(table: Table, names: Sequence[str], *others: pa.Field) -> pa.Schema:
    schema = arrow_schema(table)
    return pa.schema([*(schema.field(name) for name in names), *others])


_RUN_COLUMNS = tuple(c.name for c in TASK_RUNS.columns if c.name != TASK_RUNS.partition_column)
_RUN_STAGE = _stage_schema(TASK_RUNS, _RUN_COLUMNS)
_TASK_COLUMNS = ("scheduler_id", "task_group_id", "task_id", "task_queue_id")
_TASK_STAGE = _stage_schema(
    TASKS,
    _TASK_COLUMNS,
    # Whether the message had tags at all: all NULL is no tags, or none that we know.
    pa.field("tagged", pa.bool_(), nullable=False),
    *(pa.field(name, pa.string()) for name in TAG_NAMES),
)


class TaskTables:
    """The rows of one day, and what was met on the way to them."""

    def __init__(self, day: dt.date, events: Events, tables: Iterable[Table]) -> None:
        wanted = frozenset(tables)
        self._day = day
        self._events = events
        self._runs = Stage(_RUN_STAGE)
        self._tasks = Stage(_TASK_STAGE)
        self._tallies = {CONFLICTING_RUNS: Tally(), CONFLICTING_TASKS: Tally()}
        self._without_tags = Tally()
        self.unusable = SetAside()
        self.first_event: dt.datetime | None = None
        self.last_event: dt.datetime | None = None
        for part in events():
            self._stage(part, wanted)
        # The rows of the keys for which there were several.
        self._settled_runs: dict[Row, Row] = {}
        self._settled_tasks: dict[Row, Row] = {}
        self._settle()

    def _stage(self, events: pa.Table, wanted: frozenset[Table]) -> None:
        runs: list[Row] = []
        tasks: list[Row] = []
        times: list[dt.datetime] = []
        about_runs = events.filter(pc.not_equal(events["exchange"], TASK_DEFINED))
        for index, body in enumerate(about_runs["body"].to_pylist()):
            try:
                parsed = parse(body, self._day)
            except Unusable as unusable:
                self._set_aside(about_runs, index, str(unusable))
                continue
            for reason in parsed.reasons:
                self._set_aside(about_runs, index, reason)
            runs += parsed.runs
            times += parsed.resolved
            if parsed.task is not None:
                tasks.append(_task_row(parsed.task, parsed.tags))
        self.first_event = min(filter(None, (self.first_event, *times)), default=None)
        self.last_event = max(filter(None, (self.last_event, *times)), default=None)
        if TASK_RUNS in wanted:
            self._runs.add(runs)
        if TASKS in wanted:
            self._tasks.add(tasks)

    def _set_aside(self, events: pa.Table, index: int, reason: str) -> None:
        row = events.slice(index, 1).to_pylist()[0]
        self.unusable.add(UnusableEvent(reason=reason, **row))

    def staged(self, table: Table) -> int:
        """Rows before repeats were dropped."""
        return (self._runs if table is TASK_RUNS else self._tasks).rows

    def counts(self, table: Table) -> Mapping[str, Tally]:
        """What the table's spec asks to be counted; complete once its batches were read."""
        if table is TASK_RUNS:
            return {CONFLICTING_RUNS: self._tallies[CONFLICTING_RUNS]}
        return {
            CONFLICTING_TASKS: self._tallies[CONFLICTING_TASKS],
            TASKS_WITHOUT_TAGS: self._without_tags,
        }

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, sorted by the table's key."""
        self._without_tags = Tally()
        stage, settled = (
            (self._runs, self._settled_runs)
            if table is TASK_RUNS
            else (self._tasks, self._settled_tasks)
        )
        for staged in stage.ranges():
            rows, several = _split(staged, table.key)
            if several:
                ours = [settled[key] for key in sorted(several, key=repr)]
                rows = pa.concat_tables([rows, to_table(ours, staged.schema)])
            rows = rows.sort_by([(name, "ascending") for name in table.key])
            if table is TASKS:
                untagged = rows.filter(pc.invert(rows["tagged"]))["task_id"]
                self._without_tags.add(untagged.to_pylist())
                rows = _with_tags(rows)
            days = pa.repeat(pa.scalar(self._day, pa.date32()), len(rows))
            rows = rows.append_column(table.partition_column, days)
            schema = arrow_schema(table)
            yield from rows.select(schema.names).cast(schema).combine_chunks().to_batches()

    def _settle(self) -> None:
        """Find the row of each key that was left with several."""
        run_keys = {
            key for staged in self._runs.ranges() for key in _split(staged, TASK_RUNS.key)[1]
        }
        task_keys: set[Row] = set()
        for staged in self._tasks.ranges():
            for key, rows in _split(staged, TASKS.key)[1].items():
                tasks = {row[: len(_TASK_COLUMNS)] for row in rows}
                tagged = {row for row in rows if row[len(_TASK_COLUMNS)]}
                if len(tasks) == len(tagged) == 1:
                    # Some messages have tags and others none, and that is all.
                    self._settled_tasks[key] = tagged.pop()
                else:
                    task_keys.add(key)
        self._tallies[CONFLICTING_RUNS].add(sorted(f"{task}/{run}" for task, run in run_keys))
        self._tallies[CONFLICTING_TASKS].add(sorted(f"{task}" for (task,) in task_keys))
        if run_keys or task_keys:
            self._settle_by_message(run_keys, task_keys)

    def _settle_by_message(self, run_keys: set[Row], task_keys: set[Row]) -> None:
        """Where messages differ, the one that has seen the most runs is right, and of several
        such the one whose body is greatest in byte order: never the time of receipt, which a
        repeat would change. But one with nothing to set aside is preferred to one that is flawed,
        or a message that was mended and replayed could lose to what it replaces."""
        runs = _Best()
        tasks = _Best()
        tags = _Best()
        for rank, parsed in self._about({key[0] for key in run_keys | task_keys}):
            for run in parsed.runs:
                runs.offer(run[:2], rank, run)
            if parsed.task is not None:
                tasks.offer((parsed.task_id,), rank, parsed.task)
                if parsed.tags is not None:
                    tags.offer((parsed.task_id,), rank, parsed.tags)
        for key in run_keys:
            self._settled_runs[key] = runs.rows[key]
        for key in task_keys:
            self._settled_tasks[key] = _task_row(tasks.rows[key], tags.rows.get(key))

    def _about(self, task_ids: set[object]) -> Iterator[tuple[Rank, Parsed]]:
        """The day's messages about some tasks, with their rank among those that differ."""
        # Looking for the ids in the bytes spares decoding nearly all of them. An id could be
        # spelt with escapes, hence the backslash; and many ids make no good expression.
        pattern = "|".join([*(re.escape(str(id)) for id in task_ids), r"\\u"])
        few = len(task_ids) <= 200
        for events in self._events():
            about_runs = events.filter(pc.not_equal(events["exchange"], TASK_DEFINED))
            if few:
                about_runs = about_runs.filter(
                    pc.match_substring_regex(about_runs["body"], pattern)
                )
            for body in about_runs["body"].to_pylist():
                try:
                    parsed = parse(body, self._day)
                except Unusable:
                    continue
                if parsed.task_id in task_ids:
                    yield (parsed.seen, not parsed.reasons, body), parsed


class _Best:
    """The best-ranked row of each key."""

    def __init__(self) -> None:
        self._ranks: dict[Row, Rank] = {}
        self.rows: dict[Row, Row] = {}

    def offer(self, key: Row, rank: Rank, row: Row) -> None:
        if key not in self._ranks or self._ranks[key] <= rank:
            self._ranks[key] = rank
            self.rows[key] = row


def _task_row(task: Row, tags: Row | None) -> Row:
    return (*task, tags is not None, *(NO_TAGS if tags is None else tags))


def _split(rows: pa.Table, key: Sequence[str]) -> tuple[pa.Table, dict[Row, list[Row]]]:
    """The rows that are alone with their key, and those of the other keys."""
    names = list(key)
    counted = rows.group_by(names, use_threads=False).aggregate([([], "count_all")])
    if len(counted) == len(rows):
        return rows, {}
    repeated = counted.filter(pc.greater(counted["count_all"], 1)).select(names)
    several: dict[Row, list[Row]] = {}
    for row in rows.join(repeated, names, join_type="inner").select(rows.schema.names).to_pylist():
        several.setdefault(tuple(row[name] for name in names), []).append(tuple(row.values()))
    alone = rows.join(repeated, names, join_type="left anti")
    return alone.select(rows.schema.names).cast(rows.schema), several


def _with_tags(rows: pa.Table) -> pa.Table:
    """The tags as one record."""
    record = arrow_schema(TASKS).field("tags")
    tags = pa.StructArray.from_arrays(
        [rows[name].combine_chunks() for name in TAG_NAMES], fields=list(record.type)
    )
    return rows.select(_TASK_COLUMNS).append_column(record, tags)
