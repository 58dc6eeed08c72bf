"""What could not be used, with its reason, until somebody mends and replays it, or accepts it.

`quarantine/date=<day of receipt>/<unique>.parquet`, `quarantine/replayed/<id>` and
`quarantine/accepted/<id>`. An item is known by the SHA-256 of its body and its reason: the same
message for the same reason is one item, however often it came or a day was rebuilt. Why a message
is unusable is decided elsewhere.

Bodies are as large and as many as whoever creates tasks likes, and compress a thousandfold. So
they are in memory a few at a time when they are added, and one when it is asked for: what lists,
counts or finds items goes by their entries.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from fxci_assets.archive.files import ArchiveError, days_of, folder_of, from_parquet, to_parquet
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
        pa.field("size", pa.int64(), nullable=False),
    ]
)
"""The first files have no column `size`."""

_FILE_BYTES = 16_000_000
"""Of bodies that are held in memory before they are written."""


@dataclass(frozen=True, slots=True)
class Item:
    """A message that cannot be used."""

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


@dataclass(frozen=True, slots=True)
class Entry:
    """An item in quarantine, but for its body."""

    id: str
    reason: str
    exchange: str
    routing_key: str
    received_at: dt.datetime
    quarantined_at: dt.datetime
    size: int
    """Bytes of its body."""


_ENTRY = tuple(Entry.__annotations__)


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
        held = 0
        for item in items:
            of_day = by_day.setdefault(item.received_at.date(), {})
            id = item.id
            if id not in of_day:
                of_day[id] = item
                held += len(item.body)
            if held >= _FILE_BYTES:
                self._write(by_day)
                by_day.clear()
                held = 0
        self._write(by_day)

    def _write(self, by_day: Mapping[dt.date, Mapping[str, Item]]) -> None:
        for day, items in by_day.items():
            # Named by what is in it, so that a rebuild which finds the same items again finds
            # its file there.
            name = hashlib.sha256("".join(sorted(items)).encode()).hexdigest()[:32]
            columns = {
                "id": list(items),
                "size": [len(item.body) for item in items.values()],
                **{
                    field: [getattr(item, field) for item in items.values()]
                    for field in Item.__annotations__
                },
            }
            data = to_parquet(pa.table(columns, _SCHEMA), _FORMAT)
            try:
                self._store.create(f"{folder_of(_FOLDER, day)}/{name}.parquet", data)
            except FileExistsError:
                continue

    def add_new(self, items: Iterable[Item]) -> None:
        """As `add`, without those that are there already: a build finds its items at each of a
        day's rebuilds."""
        known: dict[dt.date, set[str]] = {}

        def is_new(item: Item) -> bool:
            day = item.received_at.date()
            if day not in known:
                known[day] = {
                    id
                    for name in self._files(day)
                    for part in self._read(day, name, ["id"])
                    for id in part["id"].to_pylist()
                }
            id = item.id
            if id in known[day]:
                return False
            known[day].add(id)
            return True

        self.add(filter(is_new, items))

    def entries(self, since: dt.date = dt.date.min) -> Iterator[Entry]:
        """The items received on a day or later, each once, by day of receipt."""
        seen: set[str] = set()
        folders = [name for name in self._store.folders(_FOLDER) if name.startswith("date=")]
        for day in days_of(folders):
            if day < since:
                continue
            found: dict[str, Entry] = {}
            for entry in self._entries(day):
                known = found.get(entry.id)
                if known is None or entry.quarantined_at < known.quarantined_at:
                    found[entry.id] = entry
            for entry in sorted(found.values(), key=lambda entry: (entry.quarantined_at, entry.id)):
                if entry.id not in seen:
                    seen.add(entry.id)
                    yield entry

    def open_entries(self, since: dt.date = dt.date.min) -> Iterator[Entry]:
        """Those of the items that were neither replayed nor accepted."""
        settled = self.replayed_ids() | self._accepted_ids()
        return (entry for entry in self.entries(since) if entry.id not in settled)

    def body(self, entry: Entry) -> bytes:
        """The body of an item. Raises ArchiveError where it was removed meanwhile."""
        day = entry.received_at.date()
        for name in self._files(day):
            if any(self._of(entry, part) for part in self._read(day, name, ["id"])):
                for part in self._read(day, name, ["id", "body"]):
                    for row in self._of(entry, part).to_pylist():
                        body: bytes = row["body"]
                        return body
        raise ArchiveError(f"{entry.id} is in quarantine no longer")

    @staticmethod
    def _of(entry: Entry, part: pa.Table) -> pa.Table:
        return part.filter(pc.equal(part["id"], entry.id))

    def _entries(self, day: dt.date) -> Iterator[Entry]:
        for name in self._files(day):
            for part in self._read(day, name, _ENTRY):
                if "size" not in part.column_names:
                    break
                yield from (Entry(**row) for row in part.to_pylist())
            else:
                continue
            for part in self._read(day, name):
                sizes = pc.cast(pc.binary_length(part["body"]), pa.int64())
                sized = part.append_column("size", sizes).select(_ENTRY)
                yield from (Entry(**row) for row in sized.to_pylist())

    def _files(self, day: dt.date) -> list[str]:
        return self._store.files(folder_of(_FOLDER, day))

    def _read(
        self, day: dt.date, name: str, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """A file's columns, or those of some that it has, in parts."""
        path = f"{folder_of(_FOLDER, day)}/{name}"
        yield from from_parquet(self._store.read(path), _FORMAT, self._store.uri(path), columns)

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
