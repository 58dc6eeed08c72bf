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

from fxci_assets.archive.files import DayFiles, folder_of, to_parquet
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
_FORMAT = b"pulse_events/1"
_RECEIVED = "%Y%m%dT%H%M%SZ"
"""How a file's name begins, up to the first dash."""


class EventFiles(DayFiles):
    """The archived messages, under the days on which their runs resolved."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, _FOLDER, _FORMAT)

    def write(self, day: dt.date, events: pa.Table) -> int:
        """Add one file to a day; it is durable on return. Returns its size in bytes."""
        data = to_parquet(events, _FORMAT)
        received_at = events["received_at"][0].as_py()
        name = f"{received_at:{_RECEIVED}}-{uuid.uuid4().hex}.parquet"
        self._store.create(f"{folder_of(_FOLDER, day)}/{name}", data)
        return len(data)

    def received_on(self, name: str) -> dt.date | None:
        """The day on which a file's first message was received; None if its name does not say."""
        with contextlib.suppress(ValueError):
            return dt.datetime.strptime(name.partition("-")[0], _RECEIVED).date()  # noqa: DTZ007
        return None

    def read(self, day: dt.date, files: Sequence[str]) -> Iterator[pa.Table]:
        """The messages of some of the day's files, in parts that are small in memory.

        Raises ArchiveError where one cannot be read.
        """
        for name in files:
            yield from self.parts(day, name)
