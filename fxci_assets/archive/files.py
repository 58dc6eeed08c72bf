"""What the archive's folders and files have in common: a folder for each UTC day, and Parquet that
names its format.

What lies in the files of one kind, and what their names mean, belongs in that kind's module.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from fxci_assets.archive.store import Store

_FORMAT_KEY = b"fxci.format"
_PART_BYTES = 8_000_000


class ArchiveError(Exception):
    """A file of the archive is not what it should be."""


def folder_of(parent: str, day: dt.date) -> str:
    """Where a day's files lie."""
    return f"{parent}/date={day.isoformat()}"


def days_of(folders: Sequence[str]) -> list[dt.date]:
    """The days of folders named `date=YYYY-MM-DD`; others are not ours."""
    days: list[dt.date] = []
    for name in folders:
        with contextlib.suppress(ValueError):
            days.append(dt.datetime.strptime(name, "date=%Y-%m-%d").date())  # noqa: DTZ007
    return days


class DayFiles:
    """The Parquet files of one kind, by day. They are never changed, so that their names stand for
    their contents."""

    def __init__(self, store: Store, folder: str, format: bytes) -> None:
        self._store = store
        self._folder = folder
        self._format = format

    def days(self) -> list[dt.date]:
        """The days that have any, ascending."""
        return days_of(self._store.folders(self._folder))

    def files(self, day: dt.date) -> list[str]:
        """Names of the day's files, sorted."""
        names = self._store.files(folder_of(self._folder, day))
        return [name for name in names if name.endswith(".parquet")]

    def parts(self, day: dt.date, name: str) -> Iterator[pa.Table]:
        """The rows of one of the day's files, in parts that are small in memory. Raises
        ArchiveError where it cannot be read."""
        data = self._store.read(self._path(day, name))
        yield from from_parquet(data, self._format, self.uri(day, name))

    def uri(self, day: dt.date, name: str) -> str:
        """Where a person finds one of the day's files."""
        return self._store.uri(self._path(day, name))

    def _path(self, day: dt.date, name: str) -> str:
        return f"{folder_of(self._folder, day)}/{name}"


def to_parquet(rows: pa.Table, format: bytes) -> bytes:
    """A Parquet file that names its format. Bodies differ from each other, so that a dictionary
    or statistics of them would only cost time."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows.replace_schema_metadata({_FORMAT_KEY: format}),
        sink,
        compression="zstd",
        use_dictionary=["exchange"],
        write_statistics=False,
        write_page_checksum=True,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_parquet(
    data: bytes, format: bytes, uri: str, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The rows of a file, at most a thousand at a time, and fewer where they are large.

    Raises ArchiveError where the file is damaged or of another format.
    """
    try:
        # Not pq.read_table, which takes six times as long for a file of this size.
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        found = (file.schema_arrow.metadata or {}).get(_FORMAT_KEY)
        if found != format:
            raise ArchiveError(
                f"{uri} has the format {(found or b'none').decode()}, not {format.decode()}: "
                "it was written by another version"
            )
        size = sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups))
        rows = max(1, min(1_000, file.metadata.num_rows * _PART_BYTES // max(1, size)))
        for batch in file.iter_batches(batch_size=rows, columns=columns, use_threads=False):
            yield pa.Table.from_batches([batch])
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{uri} cannot be read: {error}") from error
