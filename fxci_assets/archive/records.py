"""State in small files: when queues were drained and what they lost, what was built from what.

`queues/<name>/…`, `built/<target>/<table>/<day>` and `rebuilding/<target>/<table>/<day>/<unique>`.
When a day is stale, and in which order these are written, is decided by `fxci_assets.freshness`
and `fxci_assets.drain`.
"""

from __future__ import annotations

import datetime as dt
import logging
import urllib.parse
import uuid
from typing import TypeVar

import msgspec

from fxci_assets.archive.files import days_of
from fxci_assets.archive.store import Store
from fxci_assets.freshness import Built, Mark

_log = logging.getLogger(__name__)

Record = TypeVar("Record")


class _Drained(msgspec.Struct, frozen=True):
    drained_at: dt.datetime


class _Found(msgspec.Struct, frozen=True):
    since: dt.datetime
    found_at: dt.datetime


class _Closed(msgspec.Struct, frozen=True):
    closed_at: dt.datetime
    why: str


class Gap(msgspec.Struct, frozen=True):
    """A queue was gone: what was published between `since` and `found_at` never reached it."""

    queue: str
    since: dt.datetime
    found_at: dt.datetime

    @property
    def id(self) -> str:
        return f"{self.queue}@{self.since:%Y-%m-%dT%H:%M:%S.%fZ}"

    def describe(self) -> str:
        return (
            f"the queue {self.queue} was gone and is declared again; what came between "
            f"{self.since:%Y-%m-%d %H:%M:%S} and {self.found_at:%Y-%m-%d %H:%M:%S} UTC is missing: "
            "run fxci-etl repair, which fills and closes the gap, or, where nothing is missing, "
            "fxci-etl gaps close"
        )


class QueueRecords:
    """When each queue was last drained, and the gaps in what it held."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def drained(self, queue: str) -> dt.datetime | None:
        """When the queue was last known to be there, or None if it was never drained."""
        try:
            data = self._store.read(f"{_folder(queue)}/drained")
        except FileNotFoundError:
            return None
        return msgspec.json.decode(data, type=_Drained).drained_at

    def record_drained(self, queue: str, at: dt.datetime) -> None:
        self._store.replace(f"{_folder(queue)}/drained", msgspec.json.encode(_Drained(at)))

    def record_gap(self, gap: Gap) -> None:
        """Recording the same gap again changes nothing."""
        path = f"{_folder(gap.queue)}/gaps/{gap.since:%Y%m%dT%H%M%S.%fZ}"
        self._store.replace(path, msgspec.json.encode(_Found(gap.since, gap.found_at)))

    def open_gaps(self) -> list[Gap]:
        """The gaps that nobody has closed, oldest first."""
        gaps: list[Gap] = []
        for folder in self._store.folders("queues"):
            path = f"queues/{folder}"
            closed = set(self._store.files(f"{path}/closed"))
            for name in self._store.files(f"{path}/gaps"):
                found = self._decode(f"{path}/gaps/{name}", _Found)
                if name in closed:
                    # One that was found again since then is longer than what was closed.
                    closed_at = self._decode(f"{path}/closed/{name}", _Closed).closed_at
                    if closed_at >= found.found_at:
                        continue
                gaps.append(Gap(urllib.parse.unquote(folder), found.since, found.found_at))
        return sorted(gaps, key=lambda gap: (gap.since, gap.queue))

    def _decode(self, path: str, type: type[Record]) -> Record:
        return msgspec.json.decode(self._store.read(path), type=type)

    def close_gap(self, gap: Gap, at: dt.datetime, why: str) -> None:
        path = f"{_folder(gap.queue)}/closed/{gap.since:%Y%m%dT%H%M%S.%fZ}"
        self._store.replace(path, msgspec.json.encode(_Closed(at, why)))


def _folder(queue: str) -> str:
    # The names have slashes, which would be folders.
    return f"queues/{urllib.parse.quote(queue, safe='')}"


class BuildRecords:
    """What each day of each table was built from; implements `freshness.Ledger`."""

    def __init__(self, store: Store, target: str) -> None:
        self._store = store
        self._target = target

    def built(self, table: str, day: dt.date) -> Built | None:
        try:
            data = self._store.read(f"built/{self._target}/{table}/{day.isoformat()}")
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(data, type=Built)
        except msgspec.MsgspecError:
            _log.warning("the record of %s %s is damaged: it counts as never built", table, day)
            return None

    def built_days(self, table: str) -> list[dt.date]:
        """The days that were built at least once, ascending."""
        names = self._store.files(f"built/{self._target}/{table}")
        return days_of([f"date={name}" for name in names])

    def marked_days(self, table: str) -> list[dt.date]:
        """The days with marks, ascending: of rebuilds under way, or that died."""
        names = self._store.folders(f"rebuilding/{self._target}/{table}")
        return days_of([f"date={name}" for name in names])

    def record(self, table: str, day: dt.date, built: Built) -> None:
        self._store.replace(
            f"built/{self._target}/{table}/{day.isoformat()}", msgspec.json.encode(built)
        )

    def marks(self, table: str, day: dt.date) -> list[Mark]:
        folder = self._marks(table, day)
        marks = []
        for name in self._store.files(folder):
            try:
                data = self._store.read(f"{folder}/{name}")
            except FileNotFoundError:  # its rebuild ended since the folder was listed
                continue
            marks.append(Mark(name, msgspec.json.decode(data, type=dt.datetime)))
        return marks

    def put_mark(self, table: str, day: dt.date, made_at: dt.datetime) -> Mark:
        mark = Mark(uuid.uuid4().hex, made_at)
        self._store.create(f"{self._marks(table, day)}/{mark.id}", msgspec.json.encode(made_at))
        return mark

    def remove_mark(self, table: str, day: dt.date, mark: Mark) -> None:
        self._store.remove(f"{self._marks(table, day)}/{mark.id}")

    def remembering(self) -> BuildRecords:
        """These records, each read at most once: for one look at many days, where a table's
        inputs are weeks of others' records, or several checks ask about the same."""
        return _Remembering(self._store, self._target)

    def _marks(self, table: str, day: dt.date) -> str:
        return f"rebuilding/{self._target}/{table}/{day.isoformat()}"


class _Remembering(BuildRecords):
    def __init__(self, store: Store, target: str) -> None:
        super().__init__(store, target)
        self._seen: dict[tuple[str, dt.date], Built | None] = {}
        self._marked: dict[str, frozenset[dt.date]] = {}

    def remembering(self) -> BuildRecords:
        return self

    def built(self, table: str, day: dt.date) -> Built | None:
        key = (table, day)
        if key not in self._seen:
            self._seen[key] = super().built(table, day)
        return self._seen[key]

    def marks(self, table: str, day: dt.date) -> list[Mark]:
        # Few days have any. One that is put after this was asked is no old one.
        if table not in self._marked:
            self._marked[table] = frozenset(self.marked_days(table))
        return super().marks(table, day) if day in self._marked[table] else []
