"""Rows that were taken over from another job, beside those that are built: built ones win by key.

Which rows were taken over, and under which day they lie, is `fxci_assets.takeover`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fxci_assets.archive import Archive
from fxci_assets.day_rows import DayRows, Tally
from fxci_assets.tables import Table


def with_taken_over(
    built: DayRows, archive: Archive, day: dt.date, files: Mapping[Table, Sequence[str]]
) -> DayRows:
    """The rows of a day with those in some files of the baseline; as they are if there are none."""
    taken_over = {
        table: archive.baseline.read(table, day, of_table)
        for table, of_table in files.items()
        if of_table
    }
    return _WithTakenOver(built, taken_over) if taken_over else built


class _WithTakenOver:
    """A day's rows, and of the rows that were taken over those whose key is not among them."""

    def __init__(self, built: DayRows, taken_over: Mapping[Table, pa.Table]) -> None:
        self._built = built
        self._taken_over = taken_over
        self.unusable = built.unusable
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
            before = (
                pc.sum(pc.less_equal(older[table.key[0]], newer[table.key[0]][-1])).as_py() or 0
            )
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
