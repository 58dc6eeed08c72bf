"""Archived messages come back byte for byte, and damage is named."""

from __future__ import annotations

import pytest

from fxci_assets.archive.events import EVENT_SCHEMA, EventFiles
from fxci_assets.archive.files import ArchiveError, to_parquet
from fxci_assets.archive.store import Store
from fxci_assets_tests.events import DAY, NEXT_DAY, events

FOLDER = f"pulse_events/date={DAY}"


@pytest.fixture
def files(store: Store) -> EventFiles:
    return EventFiles(store)


def test_messages_come_back_as_they_were(files: EventFiles) -> None:
    whole = events(b"\xff\x00 not even text", b'{"a": 1}')
    files.write(DAY, whole)
    [read] = files.read(DAY, files.files(DAY))
    assert read.schema.equals(EVENT_SCHEMA)
    assert read.to_pylist() == whole.to_pylist()


def test_each_write_is_a_new_file_of_its_day(files: EventFiles) -> None:
    files.write(NEXT_DAY, events(b"1"))
    files.write(DAY, events(b"2"))
    files.write(DAY, events(b"3"))
    assert files.days() == [DAY, NEXT_DAY]
    assert len(files.files(DAY)) == 2
    assert all(name.startswith("20260414T060000Z-") for name in files.files(DAY))


def test_the_name_of_a_file_tells_when_it_was_received(files: EventFiles) -> None:
    files.write(DAY, events(b"1"))
    [name] = files.files(DAY)
    assert files.received_on(name) == NEXT_DAY
    assert files.received_on("copied-by-hand.parquet") is None


def test_only_the_files_that_were_asked_for_are_read(files: EventFiles) -> None:
    files.write(DAY, events(b"first"))
    resolved = files.files(DAY)
    files.write(DAY, events(b"second"))
    assert [part["body"][0].as_py() for part in files.read(DAY, resolved)] == [b"first"]


def test_a_damaged_file_is_named(files: EventFiles, store: Store) -> None:
    files.write(DAY, events(b"first"))
    [name] = files.files(DAY)
    store.replace(f"{FOLDER}/{name}", store.read(f"{FOLDER}/{name}")[:100])
    with pytest.raises(ArchiveError, match=name):
        list(files.read(DAY, files.files(DAY)))


def test_a_file_of_another_format_is_refused(files: EventFiles, store: Store) -> None:
    store.create(f"{FOLDER}/x.parquet", to_parquet(events(b"x"), b"new/9"))
    with pytest.raises(ArchiveError, match="format new/9, not pulse_events/1"):
        list(files.read(DAY, files.files(DAY)))
