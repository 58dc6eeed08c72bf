"""The data_version of a partition: what tells whether rebuilt rows are the same as before.

What follows from a change is `fxci_assets.freshness`; writing the rows is the warehouse's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc


class RowsHash:
    """The data_version of a partition: a hash of its sorted rows.

    Independent of how the rows are cut into batches, and of how a version of Arrow lays them
    out: what is hashed is, per column, which values are NULL, their lengths and their text.
    """

    def __init__(self) -> None:
        self._columns: dict[str, tuple[hashlib._Hash, hashlib._Hash]] = {}
        self.rows = 0

    def update(self, rows: pa.RecordBatch) -> None:
        self.rows += len(rows)
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            self._add(name, column)

    def over(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches, hashed as they pass by."""
        for batch in batches:
            self.update(batch)
            yield batch

    def _add(self, name: str, column: pa.Array) -> None:
        if pa.types.is_struct(column.type):
            self._add_values(f"{name}?", column.is_valid())
            for field, values in zip(column.type, column.flatten(), strict=True):
                self._add(f"{name}.{field.name}", values)
        elif pa.types.is_list(column.type):
            self._add_values(f"{name}#", pc.list_value_length(column))
            self._add(f"{name}[]", column.flatten())
        else:
            self._add_values(name, column)

    def _add_values(self, name: str, column: pa.Array) -> None:
        lengths, data = self._columns.setdefault(name, (hashlib.sha256(), hashlib.sha256()))
        if pa.types.is_timestamp(column.type):
            # The same instant, in a tenth of the time that writing out a date takes.
            column = pc.cast(column, pa.int64())
        if pa.types.is_floating(column.type):
            # Sums come out with other last digits where their parts come in another order. Adding
            # 0 makes one zero of both.
            column = pc.add(pc.round(column, 9), 0.0)
        # float's repr round-trips; Arrow's cast of it to text does too, so one cast serves all.
        text = pc.cast(column, pa.large_string())
        length = pc.fill_null(pc.cast(pc.binary_length(text), pa.int64()), -1)
        text = pc.fill_null(text, "")
        lengths.update(_bytes(length, length.buffers()[1], 8))
        offsets = pa.Array.from_buffers(
            pa.int64(), len(text) + 1, [None, text.buffers()[1]], offset=text.offset
        )
        start, end = offsets[0].as_py(), offsets[len(text)].as_py()
        if end > start:
            data.update(memoryview(text.buffers()[2])[start:end])

    def hexdigest(self) -> str:
        whole = hashlib.sha256(str(self.rows).encode())
        for name in sorted(self._columns):
            lengths, data = self._columns[name]
            whole.update(name.encode() + lengths.digest() + data.digest())
        return whole.hexdigest()[:32]


def _bytes(array: pa.Array, buffer: pa.Buffer, width: int) -> memoryview:
    return memoryview(buffer)[array.offset * width : (array.offset + len(array)) * width]
