"""What must be done on a local file system for a name and its content to survive a crash.

A new name is durable once its folder has been synchronised, and a new folder once its parent has
(fsync(2)). Which files there are does not belong here.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

TEMPORARY = ".tmp-"
"""Begins the name of a file that is being written; a reader passes it over."""


_known: set[Path] = set()
"""Folders that this process knows to be durable."""


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    if folder in _known and folder.is_dir():
        return
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    # Also where it was there: another process may have made it, and not come to this yet. A
    # parent that we may not read was not made by us.
    with contextlib.suppress(PermissionError):
        sync(folder.parent)
    _known.add(folder)


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(target: Path, data: bytes, *, new: bool = False) -> None:
    """Write a file, whole or not at all, in place of any before it; with `new`, raise
    FileExistsError if there is one."""
    make_folder(target.parent)
    temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            # A hard link, unlike a rename, refuses to replace what is there.
            os.link(temporary, target)
        else:
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync(target.parent)
