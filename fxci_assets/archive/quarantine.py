"""What could not be used, with its reason, until somebody mends and replays it, or accepts it.

`quarantine/date=<day of receipt>/<unique>.parquet`, `quarantine/replayed/<id>` and
`quarantine/accepted/<id>`. An item is known by the SHA-256 of its body and its reason: the same
message for the same reason is one item, however often it came or a day was rebuilt. Why a message
is unusable is decided elsewhere.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from fxci_assets.archive.files import days_of, folder_of, from_parquet, to_parquet
from fxci_assets.archive.store import Store, at_once

_FOLDER = "quarantine"
_REPLAYED = f"{_FOLDER}/replayed"
_ACCEPTED = f"{_FOLDER}/accepted"
_FORMAT = b"quarantine/1"
_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("exchange", pa.string(), nullable=False),
        pa.field("routing_key", pa.string(), nullable=False),
        pa.field("received_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("body", pa.binary(), nullable=False),
        pa.field("quarantined_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Item:
    """A message in quarantine."""

    reason: str
    exchange: str
    routing_key: str
    received_at: dt.datetime
    body: bytes
    quarantined_at: dt.datetime

    @property
    def id(self) -> str:
        digest = hashlib.sha256(hashlib.sha256(self.body).digest() + self.reason.encode())
        return digest.hexdigest()[:16]


class Replayed(msgspec.Struct, frozen=True):
    """That an item was filed after all, and whether its body was mended for it."""

    replayed_at: dt.datetime
    mended: bool


class Accepted(msgspec.Struct, frozen=True):
    """That an item is to stay unusable, and why that does no harm."""

    accepted_at: dt.datetime
    why: str


class Quarantine:
    """The items, and which of them were replayed or accepted."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, items: Iterable[Item]) -> None:
        """Keep items; they are durable on return. Adding the same ones again changes nothing."""
        by_day: dict[dt.date, dict[str, Item]] = {}
        for item in items:
            by_day.setdefault(item.received_at.date(), {}).setdefault(item.id, item)
        for day, of_day in by_day.items():
            # Named by what is in it, so that a rebuild which finds the same items again finds
            # its file there.
            name = hashlib.sha256("".join(sorted(of_day)).encode()).hexdigest()[:32]
            rows = [
                {column: getattr(item, column) for column in _SCHEMA.names}
                for item in of_day.values()
            ]
            data = to_parquet(pa.Table.from_pylist(rows, _SCHEMA), _FORMAT)
            try:
                self._store.create(f"{folder_of(_FOLDER, day)}/{name}.parquet", data)
            except FileExistsError:
                continue

    def add_new(self, items: Iterable[Item]) -> None:
        """As `add`, without those that are there already: a build finds its items at each of a
        day's rebuilds."""
        known: dict[dt.date, set[str]] = {}
        new: list[Item] = []
        for item in items:
            day = item.received_at.date()
            if day not in known:
                known[day] = {row["id"] for row in self._rows(day, ["id"])}
            if item.id not in known[day]:
                new.append(item)
        self.add(new)

    def _rows(self, day: dt.date, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
        folder = folder_of(_FOLDER, day)
        for name in self._store.files(folder):
            path = f"{folder}/{name}"
            data, uri = self._store.read(path), self._store.uri(path)
            for part in from_parquet(data, _FORMAT, uri, columns):
                yield from part.to_pylist()

    def items(self, since: dt.date = dt.date.min) -> Iterator[Item]:
        """The items received on a day or later, each once, by day of receipt."""
        seen: set[str] = set()
        folders = [name for name in self._store.folders(_FOLDER) if name.startswith("date=")]
        for day in days_of(folders):
            if day < since:
                continue
            found: dict[str, Item] = {}
            for row in self._rows(day):
                del row["id"]
                item = Item(**row)
                known = found.get(item.id)
                if known is None or item.quarantined_at < known.quarantined_at:
                    found[item.id] = item
            for item in sorted(found.values(), key=lambda item: (item.quarantined_at, item.id)):
                if item.id not in seen:
                    seen.add(item.id)
                    yield item

    def open_items(self, since: dt.date = dt.date.min) -> Iterator[Item]:
        """Those of the items that were neither replayed nor accepted."""
        settled = self.replayed_ids() | self._accepted_ids()
        return (item for item in self.items(since) if item.id not in settled)

    def replayed_ids(self) -> frozenset[str]:
        """The ids of the items that were replayed; what their files hold is for people."""
        return frozenset(self._store.files(_REPLAYED))

    def mark_replayed(self, id: str, replayed: Replayed) -> None:
        self._store.replace(f"{_REPLAYED}/{id}", msgspec.json.encode(replayed))

    def accepted(self) -> dict[str, Accepted]:
        """The items that were accepted, by id."""
        ids = sorted(self._accepted_ids())
        files = at_once(self._store.read, [f"{_ACCEPTED}/{id}" for id in ids])
        return {
            id: msgspec.json.decode(data, type=Accepted)
            for id, data in zip(ids, files, strict=True)
        }

    def _accepted_ids(self) -> frozenset[str]:
        return frozenset(self._store.files(_ACCEPTED))

    def accept(self, id: str, accepted: Accepted) -> None:
        self._store.replace(f"{_ACCEPTED}/{id}", msgspec.json.encode(accepted))
