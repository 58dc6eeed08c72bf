"""Rows of a bill that have most of their columns in common, without writing these out for each.

Here belongs how many rows become an Arrow table quickly. What is in them is `gcp` and `azure`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import pyarrow as pa


class Templates:
    """Values that thousands of rows share, each made once; a row has a template's number."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._numbers: dict[Hashable, int] = {}
        self._rows: list[Mapping[str, object]] = []

    def number(self, key: Hashable, make: Callable[[], Mapping[str, object]]) -> int:
        """The number of the template of this key, which `make` makes where it is new."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._rows)
            self._rows.append(make())
        return number

    def rows(self, numbers: Sequence[int]) -> pa.Table:
        """A row for each number, like its template."""
        repeated = [field.name for field in self._schema if pa.types.is_list(field.type)]
        templates = pa.Table.from_pylist(
            [{**dict.fromkeys(repeated, ()), **row} for row in self._rows], self._schema
        )
        return templates.take(pa.array(numbers, pa.int32()))
