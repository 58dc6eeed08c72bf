"""Rows that another job had left in the tables when this project took them over, and since when.

`baseline/<target>/<table>/date=YYYY-MM-DD/from=<partition>-<number>.parquet`, `…/began` and
`…/floor`. The rows of a day are those that its messages do not tell, because they came before the
first drain. Which rows these are, and in which order all this is written, is
`fxci_assets.takeover`; how they are merged with others, `fxci_assets.builders.taken_over`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator

import msgspec
import pyarrow as pa

from fxci_assets.archive.files import days_of, folder_of, from_parquet, to_parquet
from fxci_assets.archive.store import Store
from fxci_assets.tables import Table, arrow_schema

_FORMAT = b"baseline/1"


class Baseline:
    """What was taken over for one target."""

    def __init__(self, store: Store, target: str) -> None:
        self._store = store
        self._folder = f"baseline/{target}"
        self._floor: dt.date | None = None

    def began(self) -> dt.date | None:
        """The day on which a takeover was begun, if one was."""
        return self._date("began")

    def begin(self, today: dt.date) -> dt.date:
        """Begin a takeover. Returns the day on which it was begun first, if it was broken off."""
        with contextlib.suppress(FileExistsError):
            self._store.create(f"{self._folder}/began", msgspec.json.encode(today))
        began = self.began()
        assert began is not None
        return began

    def finish(self, floor: dt.date) -> dt.date:
        """All that is to be kept is kept: from now on days are built from the floor on. Returns the
        floor, which is another's where that one has finished before."""
        with contextlib.suppress(FileExistsError):
            self._store.create(f"{self._folder}/floor", msgspec.json.encode(floor))
        found = self.floor()
        assert found is not None
        return found

    def floor(self) -> dt.date | None:
        """The first day that is built, where the tables were taken over."""
        if self._floor is None:
            self._floor = self._date("floor")
        return self._floor

    def _date(self, name: str) -> dt.date | None:
        try:
            data = self._store.read(f"{self._folder}/{name}")
        except FileNotFoundError:
            return None
        return msgspec.json.decode(data, type=dt.date)

    def write(
        self, table: Table, day: dt.date, partition: dt.date, number: int, rows: pa.Table
    ) -> None:
        """Keep rows of a partition that belong to a day, in place of what was kept under the same
        number."""
        order = [(name, "ascending") for name in table.key]
        data = to_parquet(rows.cast(arrow_schema(table)).sort_by(order), _FORMAT)
        name = f"from={partition.isoformat()}-{number:04d}.parquet"
        self._store.replace(f"{self._of(table, day)}/{name}", data)

    def days(self, table: Table) -> list[dt.date]:
        """The days of which rows are kept, ascending."""
        return days_of(self._store.folders(f"{self._folder}/{table.name}"))

    def files(self, table: Table, day: dt.date) -> list[str]:
        """Names of the files with rows of a day. None of an unfinished takeover."""
        if self.floor() is None:
            return []
        return self._store.files(self._of(table, day))

    def read(self, table: Table, day: dt.date, file: str) -> Iterator[pa.Table]:
        """The rows in one of a day's files, sorted by the key, with the day as their partition; in
        parts that are small in memory."""
        schema = arrow_schema(table)
        index = schema.get_field_index(table.partition_column)
        path = f"{self._of(table, day)}/{file}"
        for part in from_parquet(self._store.read(path), _FORMAT, self._store.uri(path)):
            days = pa.repeat(pa.scalar(day, pa.date32()), len(part))
            yield part.set_column(index, schema.field(index), days).cast(schema)

    def _of(self, table: Table, day: dt.date) -> str:
        return folder_of(f"{self._folder}/{table.name}", day)
