"""What Cloud Monitoring answered, in one folder for each UTC day that was asked for.

`worker_metrics/date=YYYY-MM-DD/<unique>.parquet`, one complete fetch to a file: the answers of all
projects that were asked, as they came. When a day is fetched, and from which fetch it is built, is
decided elsewhere; what the time series mean is `fxci_assets.uptime`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from fxci_assets.archive.files import ArchiveError, DayFiles, folder_of, to_parquet
from fxci_assets.archive.store import Store

_FOLDER = "worker_metrics"
_FORMAT = b"worker_metrics/1"
_SCHEMA = pa.schema(
    [
        pa.field("fetched_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("project", pa.string(), nullable=False),
        # NULL, once, for a project that was asked and has no series.
        pa.field("body", pa.binary()),
    ]
)


@dataclass(frozen=True, slots=True)
class Fetch:
    """The time series of each project that was asked, as JSON, from one fetch of one day."""

    fetched_at: dt.datetime
    answers: Mapping[str, Sequence[bytes]]


class UptimeFetches(DayFiles):
    """The archived fetches; of a day's files the newest is the last."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, _FOLDER, _FORMAT)

    def write(self, day: dt.date, fetch: Fetch) -> str:
        """Add a complete fetch to a day; it is durable on return. Returns the name of its file."""
        if not fetch.answers:
            raise ValueError("a fetch in which no project was asked says nothing")
        fetched_at = fetch.fetched_at.astimezone(dt.UTC)
        rows: list[tuple[str, bytes | None]] = []
        for project, series in fetch.answers.items():
            rows += [(project, body) for body in series] or [(project, None)]
        name = f"{fetched_at:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex}.parquet"
        columns = [[fetched_at] * len(rows), *zip(*rows, strict=True)]
        data = to_parquet(pa.table(columns, schema=_SCHEMA), _FORMAT)
        self._store.create(f"{folder_of(_FOLDER, day)}/{name}", data)
        return name

    def read(self, day: dt.date, name: str) -> Fetch:
        """One of the day's fetches. Raises ArchiveError where its file cannot be read."""
        fetched_at: dt.datetime | None = None
        answers: dict[str, list[bytes]] = {}
        for part in self.parts(day, name):
            for row in part.to_pylist():
                fetched_at = row["fetched_at"]
                series = answers.setdefault(row["project"], [])
                if row["body"] is not None:
                    series.append(row["body"])
        if fetched_at is None:
            raise ArchiveError(f"{self.uri(day, name)} holds no answer of any project")
        return Fetch(fetched_at, answers)
