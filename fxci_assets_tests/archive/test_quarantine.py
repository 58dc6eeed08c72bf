"""What could not be used is kept once, and found again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fxci_assets.archive.files import ArchiveError, to_parquet
from fxci_assets.archive.quarantine import Accepted, Entry, Item, Quarantine, Replayed
from fxci_assets.archive.store import Store
from fxci_assets_tests.events import DAY, RECEIVED


@pytest.fixture
def quarantine(store: Store) -> Quarantine:
    return Quarantine(store)


def item(body: bytes = b"{", reason: str = "unreadable", hours: int = 0) -> Item:
    received = RECEIVED - dt.timedelta(hours=hours)
    return Item(reason, "exchange", "key", received, body, received)


def bodies(quarantine: Quarantine, entries: Iterable[Entry]) -> list[bytes]:
    return [quarantine.body(entry) for entry in entries]


def test_an_item_comes_back_whole(quarantine: Quarantine) -> None:
    content = b"\xff\x00"
    quarantine.add([item(content)])
    [entry] = quarantine.entries()
    assert entry == Entry(
        item(content).id, "unreadable", "exchange", "key", RECEIVED, RECEIVED, size=2
    )
    assert quarantine.body(entry) == content


def test_the_same_message_for_the_same_reason_is_one_item(quarantine: Quarantine) -> None:
    quarantine.add([item(), item(), item(b"[")])
    quarantine.add([item(hours=3)])  # the same day, in another company
    quarantine.add([item(hours=30)])  # the day before
    quarantine.add([item(reason="no-status")])
    found = [(quarantine.body(entry), entry.reason) for entry in quarantine.entries()]
    assert sorted(found) == [(b"[", "unreadable"), (b"{", "no-status"), (b"{", "unreadable")]


def test_adding_the_same_items_again_writes_nothing(quarantine: Quarantine, store: Store) -> None:
    quarantine.add([item(), item(b"[")])
    folder = f"quarantine/date={RECEIVED.date()}"
    before = store.files(folder)
    quarantine.add([item(b"["), item()])
    quarantine.add_new([item(b"[")])
    assert store.files(folder) == before
    assert len(before) == 1


def test_many_are_not_held_until_all_are_there(
    quarantine: Quarantine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxci_assets.archive.quarantine._FILE_BYTES", 20)
    folder = f"quarantine/date={RECEIVED.date()}"
    seen: list[int] = []

    def many() -> Iterator[Item]:
        for number in range(10):
            seen.append(len(store.files(folder)))
            yield item(b"%07d" % (number % 8))

    quarantine.add_new(many())
    assert seen == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert sorted(bodies(quarantine, quarantine.entries())) == [b"%07d" % n for n in range(8)]


def test_a_file_without_sizes_is_read_as_well(quarantine: Quarantine, store: Store) -> None:
    """As all were at first."""
    quarantine.add([item(b"body")])
    folder = f"quarantine/date={RECEIVED.date()}"
    [name] = store.files(folder)
    rows = pq.read_table(pa.BufferReader(store.read(f"{folder}/{name}"))).drop_columns("size")
    store.replace(f"{folder}/{name}", to_parquet(rows, b"quarantine/1"))
    [entry] = quarantine.entries()
    assert (entry.id, entry.size) == (item(b"body").id, 4)
    assert quarantine.body(entry) == b"body"


def test_the_body_of_an_item_that_is_no_longer_kept(quarantine: Quarantine, store: Store) -> None:
    quarantine.add([item()])
    [entry] = quarantine.entries()
    folder = f"quarantine/date={RECEIVED.date()}"
    for name in store.files(folder):
        store.remove(f"{folder}/{name}")
    with pytest.raises(ArchiveError, match=f"{entry.id} is in quarantine no longer"):
        quarantine.body(entry)


def test_items_since_a_day(quarantine: Quarantine) -> None:
    quarantine.add([item(b"old", hours=30), item(b"new")])
    assert bodies(quarantine, quarantine.entries(since=RECEIVED.date())) == [b"new"]
    assert bodies(quarantine, quarantine.entries(since=DAY)) == [b"old", b"new"]


def test_what_was_replayed_is_known(quarantine: Quarantine) -> None:
    quarantine.mark_replayed(item().id, Replayed(RECEIVED, mended=True))
    assert quarantine.replayed_ids() == {item().id}
    assert list(quarantine.entries()) == []


def test_what_was_accepted_is_known_and_why(quarantine: Quarantine) -> None:
    accepted = Accepted(RECEIVED, "the task was deleted")
    quarantine.accept(item().id, Accepted(RECEIVED, "no idea"))
    quarantine.accept(item().id, accepted)
    assert quarantine.accepted() == {item().id: accepted}
    assert quarantine.replayed_ids() == frozenset()


def test_items_are_open_until_they_are_replayed_or_accepted(quarantine: Quarantine) -> None:
    contents = b"replayed", b"accepted", b"open"
    replayed, accepted, left = (item(body) for body in contents)
    quarantine.add([replayed, accepted, left])
    quarantine.mark_replayed(replayed.id, Replayed(RECEIVED, mended=False))
    quarantine.accept(accepted.id, Accepted(RECEIVED, "a test of ours"))
    assert bodies(quarantine, quarantine.open_entries()) == [left.body]
    assert {*bodies(quarantine, quarantine.entries())} == {*contents}
