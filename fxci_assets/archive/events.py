"""Messages as they were received, in one folder for each UTC day they are filed under.

`pulse_events/date=YYYY-MM-DD/<unique>.parquet` with the columns of EVENT_SCHEMA, zstd. Which
days those are is decided by `fxci_assets.taskcluster.filing`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from fxci_assets.archive.store import Store

EVENT_SCHEMA = pa.schema(
    [
        pa.field("exchange", pa.string(), nullable=False),
        pa.field("routing_key", pa.string(), nullable=False),
        pa.field("received_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("body", pa.binary(), nullable=False),
    ]
)
"""A message as it was received."""

_FOLDER = "pulse_events"
_FORMAT_KEY = b"fxci.format"
_FORMAT = b"pulse_events/1"
_PART_BYTES = 8_000_000


class ArchiveError(Exception):
    """A file of the archive is not what it should be."""


class EventFiles:
    """The archived messages."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, day: dt.date, events: pa.Table) -> int:
        """Add one file to a day; it is durable on return. Returns its size in bytes."""
        data = to_parquet(events, _FORMAT)
        received_at = events["received_at"][0].as_py()
        name = f"{received_at:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex}.parquet"
        self._store.create(f"{_folder(day)}/{name}", data)
        return len(data)

    def days(self) -> list[dt.date]:
        """The days under which anything is filed, ascending."""
        return days_of(self._store.folders(_FOLDER))

    def files(self, day: dt.date) -> list[str]:
        """Names of the day's files, sorted. Files are never changed, so that the names stand for
        the contents."""
        return [name for name in self._store.files(_folder(day)) if name.endswith(".parquet")]

    def read(self, day: dt.date, files: Sequence[str]) -> Iterator[pa.Table]:
        """The messages of some of the day's files, in parts that are small in memory.

        Raises ArchiveError where one cannot be read.
        """
        for name in files:
            path = f"{_folder(day)}/{name}"
            yield from from_parquet(self._store.read(path), _FORMAT, self._store.uri(path))


def _folder(day: dt.date) -> str:
    return f"{_FOLDER}/date={day.isoformat()}"


def days_of(folders: Sequence[str]) -> list[dt.date]:
    """The days of folders named `date=YYYY-MM-DD`; others are not ours."""
    days: list[dt.date] = []
    for name in folders:
        with contextlib.suppress(ValueError):
            days.append(dt.datetime.strptime(name, "date=%Y-%m-%d").date())  # noqa: DTZ007
    return days


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
