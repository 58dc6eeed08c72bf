"""`tasks_v2` and `task_runs_v1`, from the archived messages of a day, with one decoding.

Of days that were taken over from another job there are also the rows that it had left.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fxci_assets.archive import Archive
from fxci_assets.day_rows import DayRows, Tally, UnusableEvent
from fxci_assets.freshness import Inputs, version_of
from fxci_assets.resources.warehouse import Warehouse
from fxci_assets.tables import TASK_RUNS, TASKS, Table
from fxci_assets.taskcluster.rows import TaskTables

Files = Mapping[str, tuple[str, ...]]
"""Names of files: of messages, and of each table's rows that were taken over."""

_MESSAGES = "messages"


class TaskBuilder:
    """A `builders.Builder`."""

    tables = (TASKS, TASK_RUNS)
    derived = False

    def days(self, archive: Archive) -> Sequence[dt.date]:
        taken_over = (day for table in self.tables for day in archive.baseline.days(table))
        return sorted({*archive.events.days(), *taken_over})

    def resolve(self, archive: Archive, day: dt.date) -> Inputs[Files]:
        files = {_MESSAGES: tuple(archive.events.files(day))}
        for table in self.tables:
            files[table.name] = tuple(archive.baseline.files(table, day))
        names = list(files[_MESSAGES])
        names += [f"{table.name}/{name}" for table in self.tables for name in files[table.name]]
        return Inputs(version_of(names), files)

    def refusal(self, archive: Archive, warehouse: Warehouse, day: dt.date) -> str | None:
        return None

    def build(
        self, archive: Archive, day: dt.date, inputs: Inputs[Files], tables: Collection[Table]
    ) -> DayRows:
        files = inputs.content
        built = TaskTables(day, lambda: archive.events.read(day, files[_MESSAGES]), tables)
        taken_over = {
            table: archive.baseline.read(table, day, files[table.name])
            for table in tables
            if files[table.name]
        }
        return _WithTakenOver(built, taken_over) if taken_over else built


class _WithTakenOver:
    """A day's rows, and of the rows that were taken over those whose key is not among them."""

    def __init__(self, built: DayRows, taken_over: Mapping[Table, pa.Table]) -> None:
        self._built = built
        self._taken_over = taken_over
        self.unusable: list[UnusableEvent] = built.unusable
        self.first_event = built.first_event
        self.last_event = built.last_event

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        older = self._taken_over.get(table)
        if older is None:
            yield from self._built.batches(table)
            return
        # Both come in the order of the key.
        for batch in self._built.batches(table):
            newer = pa.Table.from_batches([batch])
            told = pc.is_in(_keys(older, table), value_set=_keys(newer, table).combine_chunks())
            older = older.filter(pc.invert(told))
            before = pc.sum(pc.less_equal(older["task_id"], newer["task_id"][-1])).as_py() or 0
            rows = pa.concat_tables([newer, older.slice(0, before)])
            rows = rows.sort_by([(name, "ascending") for name in table.key])
            yield from rows.combine_chunks().to_batches()
            older = older.slice(before)
        yield from older.combine_chunks().to_batches()

    def staged(self, table: Table) -> int:
        older = self._taken_over.get(table)
        return self._built.staged(table) + (0 if older is None else len(older))

    def counts(self, table: Table) -> Mapping[str, Tally]:
        return self._built.counts(table)


def _keys(rows: pa.Table, table: Table) -> pa.ChunkedArray:
    """Each row's key as one text."""
    parts = [pc.cast(rows[name], pa.string()) for name in table.key]
    return pc.binary_join_element_wise(*parts, "/")
