"""That files are durable, whole, and never replaced by accident."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fxci_assets.archive.store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "archive")


def test_what_was_created_is_read_and_listed(store: LocalStore) -> None:
    store.create("a/date=2026-04-13/x", b"content")
    store.create("a/date=2026-04-14/y", b"")
    assert store.read("a/date=2026-04-13/x") == b"content"
    assert store.folders("a") == ["date=2026-04-13", "date=2026-04-14"]
    assert store.files("a/date=2026-04-14") == ["y"]
    assert (store.files("a"), store.folders("nowhere"), store.files("nowhere")) == ([], [], [])


def test_a_file_that_is_there_is_not_created_again(store: LocalStore) -> None:
    store.create("x", b"first")
    with pytest.raises(FileExistsError):
        store.create("x", b"second")
    assert store.read("x") == b"first"


def test_replacing_and_removing(store: LocalStore) -> None:
    store.replace("x", b"first")
    store.replace("x", b"second")
    assert store.read("x") == b"second"
    store.remove("x")
    store.remove("x")
    with pytest.raises(FileNotFoundError):
        store.read("x")


def test_the_content_is_synchronised_before_its_name_appears_and_the_name_before_returning(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_writer_that_is_killed_leaves_whole_files_only(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from fxci_assets.archive.store import LocalStore\n"
        "store = LocalStore(Path(sys.argv[1]))\n"
        "for n in range(10**6): store.create(f'{n}', b'x' * 3_000_000)\n"
    )
    for _ in range(3):
        root = tmp_path / str(time.monotonic_ns())
        writer = subprocess.Popen([sys.executable, "-c", script, str(root)])
        deadline = time.monotonic() + 30
        while not (root.is_dir() and any(root.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        store = LocalStore(root)
        assert all(len(store.read(name)) == 3_000_000 for name in store.files(""))
