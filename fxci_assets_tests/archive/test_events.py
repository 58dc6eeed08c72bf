"""Archived messages come back byte for byte, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fxci_assets.archive.events import EVENT_SCHEMA, ArchiveError, EventFiles
from fxci_assets.archive.store import LocalStore
from fxci_assets_tests.events import DAY, NEXT_DAY, events


@pytest.fixture
def files(tmp_path: Path) -> EventFiles:
    return EventFiles(LocalStore(tmp_path))


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


def test_only_the_files_that_were_asked_for_are_read(files: EventFiles) -> None:
    files.write(DAY, events(b"first"))
    resolved = files.files(DAY)
    files.write(DAY, events(b"second"))
    assert [part["body"][0].as_py() for part in files.read(DAY, resolved)] == [b"first"]


def test_a_damaged_file_is_named(files: EventFiles, tmp_path: Path) -> None:
    files.write(DAY, events(b"first"))
    [path] = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArchiveError, match=path.name):
        list(files.read(DAY, files.files(DAY)))


def test_a_file_of_another_format_is_refused(files: EventFiles, tmp_path: Path) -> None:
    files.write(DAY, events(b"first"))
    [path] = tmp_path.rglob("*.parquet")
    pa.parquet.write_table(events(b"x").replace_schema_metadata({"fxci.format": "new/9"}), path)
    with pytest.raises(ArchiveError, match="format new/9, not pulse_events/1"):
        list(files.read(DAY, files.files(DAY)))
