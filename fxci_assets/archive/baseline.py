"""Rows that another job had left in the tables when this project took them over, and since when.

`baseline/<target>/<attempt>/<table>/date=YYYY-MM-DD/from=<partition>-<number>.parquet`; beside the
attempts `began`, and `floor`, which names the attempt that was finished first. The rows of a day
are those that its messages do not tell, because they came before the first drain. Which rows these
are, and in which order all this is written, is `fxci_assets.takeover`; how they are merged with
others, `fxci_assets.builders.taken_over`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterator

import msgspec
import pyarrow as pa

from fxci_assets.archive.files import days_of, folder_of, from_parquet, to_parquet
from fxci_assets.archive.store import Store
from fxci_assets.tables import Table, arrow_schema

_FORMAT = b"baseline/1"


class _Finished(msgspec.Struct, frozen=True):
    """What is in `floor`."""

    floor: dt.date
    attempt: str


class Attempt:
    """A takeover that is under way. What an earlier one has left, when the tables had other rows,
    is in a folder of its own, and so is what another does meanwhile."""

    def __init__(self, baseline: Baseline, store: Store, folder: str) -> None:
        self._baseline = baseline
        self._store = store
        self._folder = folder
        self._id = uuid.uuid4().hex

    def write(
        self, table: Table, day: dt.date, partition: dt.date, number: int, rows: pa.Table
    ) -> None:
        """Keep rows of a partition that belong to a day, as the partition's n-th of them."""
        order = [(name, "ascending") for name in table.key]
        data = to_parquet(rows.cast(arrow_schema(table)).sort_by(order), _FORMAT)
        folder = folder_of(f"{self._folder}/{self._id}/{table.name}", day)
        self._store.create(f"{folder}/from={partition.isoformat()}-{number:04d}.parquet", data)

    def finish(self, floor: dt.date) -> dt.date:
        """All that is to be kept is kept: from now on days are built from the floor on. Returns the
        floor, which is another's where that one has finished before."""
        with contextlib.suppress(FileExistsError):
            data = msgspec.json.encode(_Finished(floor, self._id))
            self._store.create(f"{self._folder}/floor", data)
        found = self._baseline.floor()
        assert found is not None
        return found


class Baseline:
    """What was taken over for one target."""

    def __init__(self, store: Store, target: str) -> None:
        self._store = store
        self._folder = f"baseline/{target}"
        self._known: _Finished | None = None

    def began(self) -> dt.date | None:
        """The day on which a takeover was begun, if one was."""
        try:
            data = self._store.read(f"{self._folder}/began")
        except FileNotFoundError:
            return None
        return msgspec.json.decode(data, type=dt.date)

    def begin(self, today: dt.date) -> dt.date:
        """Begin a takeover. Returns the day on which it was begun first, if it was broken off."""
        with contextlib.suppress(FileExistsError):
            self._store.create(f"{self._folder}/began", msgspec.json.encode(today))
        began = self.began()
        assert began is not None
        return began

    def attempt(self) -> Attempt:
        return Attempt(self, self._store, self._folder)

    def floor(self) -> dt.date | None:
        """The first day that is built, where the tables were taken over."""
        finished = self._finished()
        return None if finished is None else finished.floor

    def _finished(self) -> _Finished | None:
        if self._known is None:
            try:
                data = self._store.read(f"{self._folder}/floor")
            except FileNotFoundError:
                return None
            self._known = msgspec.json.decode(data, type=_Finished)
        return self._known

    def days(self, table: Table) -> list[dt.date]:
        """The days of which rows are kept, ascending. None of an unfinished takeover."""
        finished = self._finished()
        if finished is None:
            return []
        return days_of(self._store.folders(f"{self._folder}/{finished.attempt}/{table.name}"))

    def files(self, table: Table, day: dt.date) -> list[str]:
        """Names of the files with rows of a day. None of an unfinished takeover."""
        finished = self._finished()
        return [] if finished is None else self._store.files(self._of(finished, table, day))

    def read(self, table: Table, day: dt.date, file: str) -> Iterator[pa.Table]:
        """The rows in one of a day's files, sorted by the key, with the day as their partition; in
        parts that are small in memory."""
        finished = self._finished()
        assert finished is not None
        schema = arrow_schema(table)
        index = schema.get_field_index(table.partition_column)
        path = f"{self._of(finished, table, day)}/{file}"
        for part in from_parquet(self._store.read(path), _FORMAT, self._store.uri(path)):
            days = pa.repeat(pa.scalar(day, pa.date32()), len(part))
            yield part.set_column(index, schema.field(index), days).cast(schema)

    def _of(self, finished: _Finished, table: Table, day: dt.date) -> str:
        return folder_of(f"{self._folder}/{finished.attempt}/{table.name}", day)
