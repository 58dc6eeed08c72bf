"""That files are durable, whole, and never replaced by accident: in a folder and on GCS.

What only GCS does to us is in `test_gcs`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fxci_assets.archive.store import LocalStore, Store
from fxci_assets_tests.gcs import store_at


def test_what_was_created_is_read_and_listed(store: Store) -> None:
    store.create("a/date=2026-04-14/y", b"")
    store.create("a/date=2026-04-13/x", b"content")
    assert store.read("a/date=2026-04-13/x") == b"content"
    assert store.folders("a") == ["date=2026-04-13", "date=2026-04-14"]
    assert store.files("a/date=2026-04-14") == ["y"]
    assert (store.files("a"), store.folders("nowhere"), store.files("nowhere")) == ([], [], [])
    assert (store.files(""), store.folders("")) == ([], ["a"])


def test_names_that_begin_alike_are_not_taken_for_each_other(store: Store) -> None:
    for path in ("a/x", "a/xy/z", "ab/x", "b/a/x"):
        store.create(path, path.encode())
    assert (store.files("a"), store.folders("a")) == (["x"], ["xy"])
    store.remove("a/x")
    assert (store.files("a"), store.read("a/xy/z")) == ([], b"a/xy/z")


@pytest.mark.parametrize("name", ["queue%2Ffxci", "a b", "date=2026-04-13", "é", "a?b#c&d+e"])
def test_any_name_is_a_name(store: Store, name: str) -> None:
    store.create(f"{name}/{name}", name.encode())
    assert (store.folders(""), store.files(name)) == ([name], [name])
    assert store.read(f"{name}/{name}") == name.encode()


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)),
        b"",
        b"ends in a line break\r\n",
        b"ends in half of one\r",
        b"a\r\n--==0==--\r\nb",
        bytes(3_000_000),
    ],
    ids=["any byte", "empty", "line break", "half a line break", "a boundary", "large"],
)
def test_contents_come_back_byte_for_byte(store: Store, content: bytes) -> None:
    store.create("x", content)
    store.replace("y", content)
    assert store.read("x") == store.read("y") == content


def test_a_file_that_is_there_is_not_created_again(store: Store) -> None:
    store.create("x", b"first")
    with pytest.raises(FileExistsError):
        store.create("x", b"second")
    assert store.read("x") == b"first"


def test_of_many_who_create_a_file_at_once_one_succeeds(store: Store) -> None:
    def create(number: int) -> int | None:
        try:
            store.create("x", str(number).encode())
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        created = [number for number in pool.map(create, range(40)) if number is not None]
    assert [str(number).encode() for number in created] == [store.read("x")]


def test_what_one_writes_the_other_sees_at_once(location: str, store: Store) -> None:
    other = store_at(location)
    for number in range(20):
        assert other.files("folder") == [f"{n:02}" for n in range(number)]
        store.create(f"folder/{number:02}", b"")
        store.replace("state", str(number).encode())
        assert other.read("state") == str(number).encode()
    other.remove("folder/00")
    assert store.files("folder")[0] == "01"


def test_replacing_and_removing(store: Store) -> None:
    store.replace("x", b"first")
    store.replace("x", b"second")
    assert store.read("x") == b"second"
    store.remove("x")
    store.remove("x")
    with pytest.raises(FileNotFoundError):
        store.read("x")


def test_the_content_is_synchronised_before_its_name_appears_and_the_name_before_returning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path / "archive")
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def recording_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        fsync(descriptor)
        if path.is_relative_to(tmp_path):
            name = "content" if path.is_file() else str(path.relative_to(tmp_path))
            steps.append(f"fsync {name}")

    def recording_link(source: Path, target: Path) -> None:
        steps.append("name")
        link(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "link", recording_link)
    store.create("folder/x", b"content")
    assert steps == [
        "fsync .",  # the archive's own folder is new
        "fsync archive",  # so is the file's
        "fsync content",
        "name",
        "fsync archive/folder",
    ]


_WRITER = """
import sys
from fxci_assets_tests.gcs import store_at
store = store_at(sys.argv[1])
for number in range(10**6):
    store.create(str(number), b"x" * 3_000_000)
"""


def test_a_writer_that_is_killed_leaves_whole_files_only(location: str) -> None:
    for attempt in range(3):
        place = f"{location}/{attempt}"
        store = store_at(place)
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, place])
        deadline = time.monotonic() + 30
        while not store.files("") and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert store.files("")
        assert all(len(store.read(name)) == 3_000_000 for name in store.files(""))
