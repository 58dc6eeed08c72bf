"""Rows that another job had left in the tables when this project took them over, and since when.

`baseline/<target>/<table>/date=YYYY-MM-DD/from=<partition>.parquet`, `…/began` and `…/floor`. The
rows of a day are those that its messages do not tell, because they came before the first drain.
Which rows these are, and in which order all this is written, is `fxci_assets.takeover`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable

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
        """Begin a takeover. Returns the day on which it was begun first: one that was broken off
        goes on with the same days."""
        with contextlib.suppress(FileExistsError):
            self._store.create(f"{self._folder}/began", msgspec.json.encode(today))
        began = self.began()
        assert began is not None
        return began

    def finish(self, floor: dt.date) -> None:
        """All that is to be kept is kept: from now on days are built from the floor on."""
        self._store.replace(f"{self._folder}/floor", msgspec.json.encode(floor))

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

    def write(self, table: Table, day: dt.date, partition: dt.date, rows: pa.Table) -> None:
        """Keep the rows of a partition that belong to a day, in place of what was kept of them."""
        data = to_parquet(rows.cast(arrow_schema(table)), _FORMAT)
        self._store.replace(f"{self._of(table, day)}/from={partition.isoformat()}.parquet", data)

    def days(self, table: Table) -> list[dt.date]:
        """The days of which rows are kept, ascending."""
        return days_of(self._store.folders(f"{self._folder}/{table.name}"))

    def files(self, table: Table, day: dt.date) -> list[str]:
        """Names of the files with rows of a day. None of an unfinished takeover."""
        if self.floor() is None:
            return []
        return self._store.files(self._of(table, day))

    def read(self, table: Table, day: dt.date, files: Iterable[str]) -> pa.Table:
        """The rows in some of a day's files, each key once: the row of the latest partition.
        Sorted by the key; with the day as their partition."""
        schema = arrow_schema(table)
        parts: list[pa.Table] = []
        # Behind each other, the latest first.
        for name in sorted(files, reverse=True):
            path = f"{self._of(table, day)}/{name}"
            data, uri = self._store.read(path), self._store.uri(path)
            parts += [part.cast(schema) for part in from_parquet(data, _FORMAT, uri)]
        rows = pa.concat_tables(parts) if parts else schema.empty_table()
        days = pa.repeat(pa.scalar(day, pa.date32()), len(rows))
        index = schema.get_field_index(table.partition_column)
        rows = rows.set_column(index, schema.field(index), days)
        return _first_of_each_key(rows, table).cast(schema)

    def _of(self, table: Table, day: dt.date) -> str:
        return folder_of(f"{self._folder}/{table.name}", day)


def _first_of_each_key(rows: pa.Table, table: Table) -> pa.Table:
    numbered = rows.select(list(table.key)).append_column(
        "number", pa.array(range(len(rows)), pa.int64())
    )
    firsts = numbered.group_by(list(table.key), use_threads=False).aggregate([("number", "min")])
    order = firsts.sort_by([(name, "ascending") for name in table.key])
    return rows.take(order["number_min"])
