"""Rows in the order of their task ids, whatever order they came in, in memory that stays small.

An external merge sort: sorted runs in temporary files, each cut at the same ids, so that one range
of ids can be merged after the other. What the rows mean does not belong here.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

Row = tuple[object, ...]

_FIRST = tuple(sorted("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
"""First characters of task ids; each is a range. Ids are random, so that the ranges are of about
the same size."""

_RUN_ROWS = 40_000
"""Rows that are kept as they came before they become a run."""

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


def to_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


class Stage:
    """Rows with a column `task_id`: first all are added, then the distinct ones are read."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._runs: list[pa.ipc.RecordBatchFileReader] = []
        self._merged: list[pa.ipc.RecordBatchFileReader] | None = None
        self.rows = 0
        """Rows that were added, repeats and all."""

    def add(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        self._pending.append(to_table(rows, self._schema))
        self._pending_rows += len(rows)
        self.rows += len(rows)
        if self._pending_rows >= _RUN_ROWS:
            self._end_run()

    def _end_run(self) -> None:
        if not self._pending:
            return
        rows = pa.concat_tables(self._pending).combine_chunks().sort_by("task_id")
        self._pending.clear()
        self._pending_rows = 0
        counted = pc.value_counts(pc.utf8_slice_codeunits(rows["task_id"], 0, 1)).to_pylist()
        sizes = {count["values"]: count["counts"] for count in counted}
        cuts = list(itertools.accumulate((sizes.get(first, 0) for first in _FIRST), initial=0))
        parts = [rows.slice(start, end - start) for start, end in itertools.pairwise(cuts)]
        self._runs.append(self._written(parts))

    def _written(self, parts: Sequence[pa.Table]) -> pa.ipc.RecordBatchFileReader:
        """A temporary file with one batch for each part. It has no name any more, so that it is
        gone with its reader, or with this process."""
        descriptor, name = tempfile.mkstemp(prefix="fxci-", suffix=".arrow")
        os.close(descriptor)
        try:
            with pa.ipc.new_file(name, self._schema, options=_OPTIONS) as writer:
                for part in parts:
                    batches = part.combine_chunks().to_batches()
                    writer.write_batch(
                        batches[0] if batches else pa.RecordBatch.from_pylist([], self._schema)
                    )
            return pa.ipc.open_file(pa.OSFile(name))
        finally:
            Path(name).unlink()

    def ranges(self) -> Iterator[pa.Table]:
        """The distinct rows of one range of task ids after the other; within a range they have
        no order. Can be read again and again, and ends the adding."""
        if self._merged is None:
            self._merged = self._merge()
        for merged in self._merged:
            yield merged.read_all()

    def _merge(self) -> list[pa.ipc.RecordBatchFileReader]:
        self._end_run()
        merged: list[pa.ipc.RecordBatchFileReader] = []
        for index in range(len(_FIRST)):
            batches = [run.get_batch(index) for run in self._runs]
            rows = pa.Table.from_batches(batches, self._schema)
            if len(rows):
                names = self._schema.names
                distinct = rows.group_by(names, use_threads=False).aggregate([])
                merged.append(self._written([distinct.select(names).cast(self._schema)]))
        self._runs.clear()
        return merged
