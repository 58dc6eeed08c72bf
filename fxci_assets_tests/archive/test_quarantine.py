"""What could not be used is kept once, and found again."""

from __future__ import annotations

import datetime as dt

import pytest

from fxci_assets.archive.quarantine import Accepted, Item, Quarantine, Replayed
from fxci_assets.archive.store import Store
from fxci_assets_tests.events import DAY, RECEIVED


@pytest.fixture
def quarantine(store: Store) -> Quarantine:
    return Quarantine(store)


def item(body: bytes = b"{", reason: str = "unreadable", hours: int = 0) -> Item:
    received = RECEIVED - dt.timedelta(hours=hours)
    return Item(reason, "exchange", "key", received, body, received)


def test_an_item_comes_back_whole(quarantine: Quarantine) -> None:
    quarantine.add([item(b"\xff\x00")])
    assert list(quarantine.items()) == [item(b"\xff\x00")]


def test_the_same_message_for_the_same_reason_is_one_item(quarantine: Quarantine) -> None:
    quarantine.add([item(), item(), item(b"[")])
    quarantine.add([item(hours=3)])  # the same day, in another company
    quarantine.add([item(hours=30)])  # the day before
    quarantine.add([item(reason="no-status")])
    found = [(i.body, i.reason) for i in quarantine.items()]
    assert sorted(found) == [(b"[", "unreadable"), (b"{", "no-status"), (b"{", "unreadable")]


def test_adding_the_same_items_again_writes_nothing(quarantine: Quarantine, store: Store) -> None:
    quarantine.add([item(), item(b"[")])
    folder = f"quarantine/date={RECEIVED.date()}"
    before = store.files(folder)
    quarantine.add([item(b"["), item()])
    assert store.files(folder) == before
    assert len(before) == 1


def test_items_since_a_day(quarantine: Quarantine) -> None:
    quarantine.add([item(b"old", hours=30), item(b"new")])
    assert [i.body for i in quarantine.items(since=RECEIVED.date())] == [b"new"]
    assert [i.body for i in quarantine.items(since=DAY)] == [b"old", b"new"]


def test_what_was_replayed_is_known(quarantine: Quarantine) -> None:
    quarantine.mark_replayed(item().id, Replayed(RECEIVED, mended=True))
    assert quarantine.replayed_ids() == {item().id}
    assert list(quarantine.items()) == []


def test_what_was_accepted_is_known_and_why(quarantine: Quarantine) -> None:
    accepted = Accepted(RECEIVED, "the task was deleted")
    quarantine.accept(item().id, Accepted(RECEIVED, "no idea"))
    quarantine.accept(item().id, accepted)
    assert quarantine.accepted() == {item().id: accepted}
    assert quarantine.replayed_ids() == frozenset()


def test_items_are_open_until_they_are_replayed_or_accepted(quarantine: Quarantine) -> None:
    bodies = b"replayed", b"accepted", b"open"
    replayed, accepted, left = (item(body) for body in bodies)
    quarantine.add([replayed, accepted, left])
    quarantine.mark_replayed(replayed.id, Replayed(RECEIVED, mended=False))
    quarantine.accept(accepted.id, Accepted(RECEIVED, "a test of ours"))
    assert list(quarantine.open_items()) == [left]
    assert {i.body for i in quarantine.items()} == {*bodies}
