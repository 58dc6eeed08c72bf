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
    return _WithTakenOver(built, archive, day, files) if any(files.values()) else built


class _WithTakenOver:
    """A day's rows, and of the rows that were taken over those whose key is not among them."""

    def __init__(
        self, built: DayRows, archive: Archive, day: dt.date, files: Mapping[Table, Sequence[str]]
    ) -> None:
        self._built = built
        self._archive = archive
        self._day = day
        self._files = files
        self._read: dict[Table, int] = {}
        self.unusable = built.unusable
        self.first_event = built.first_event
        self.last_event = built.last_event

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        self._read[table] = 0
        newer = (pa.Table.from_batches([batch]) for batch in self._built.batches(table))
        # Of rows that the other job repeated, that of the latest partition.
        older = [self._rows(table, name) for name in sorted(self._files[table], reverse=True)]
        for rows in merged([newer, *older], table.key):
            yield from rows.combine_chunks().to_batches()

    def _rows(self, table: Table, file: str) -> Iterator[pa.Table]:
        for part in self._archive.baseline.read(table, self._day, file):
            self._read[table] += len(part)
            yield part

    def staged(self, table: Table) -> int:
        return self._built.staged(table) + self._read.get(table, 0)

    def counts(self, table: Table) -> Mapping[str, Tally]:
        return self._built.counts(table)


def merged(sources: Sequence[Iterator[pa.Table]], key: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of sources that are sorted by a key each, in its order and each key once: of several
    rows that of the first source, and its first. In memory is a part of each source."""
    waiting = [_Waiting(source, key[0]) for source in sources]
    while True:
        for one in waiting:
            if not len(one.rows):
                one.read()
        unfinished = [one for one in waiting if not one.finished]
        if not unfinished and not any(len(one.rows) for one in waiting):
            return
        # What comes before the last row of each part that is not the last: nothing that is still
        # to be read can be among it.
        end = min((one.last for one in unfinished), default=None)
        parts = [part for part in (one.before(end) for one in waiting) if len(part)]
        if parts:
            yield _first_of_each_key(pa.concat_tables(parts), key)
        else:
            for one in unfinished:
                if one.last == end:
                    one.read()


class _Waiting:
    """What was read of a source and is not merged yet."""

    def __init__(self, source: Iterator[pa.Table], column: str) -> None:
        self._source = source
        self._column = column
        self.rows: pa.Table = pa.table({})
        self.finished = False

    @property
    def last(self) -> str:
        """The key's first column in the last row."""
        found: str = self.rows[self._column][-1].as_py()
        return found

    def read(self) -> None:
        """The next rows of the source, behind those that wait."""
        for part in self._source:
            if len(part):
                self.rows = pa.concat_tables([self.rows, part]) if len(self.rows) else part
                return
        self.finished = True

    def before(self, end: str | None) -> pa.Table:
        """Takes the rows whose key begins with less, or all."""
        taken = self.rows
        if end is not None and len(taken):
            taken = taken.slice(0, pc.sum(pc.less(taken[self._column], end)).as_py())
        self.rows = self.rows.slice(len(taken))
        return taken


def _first_of_each_key(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """In the order of the key."""
    numbered = rows.select(list(key)).append_column(
        "number", pa.array(range(len(rows)), pa.int64())
    )
    firsts = numbered.group_by(list(key), use_threads=False).aggregate([("number", "min")])
    order = firsts.sort_by([(name, "ascending") for name in key])
    return rows.take(order["number_min"])
