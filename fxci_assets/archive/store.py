"""Durable files under one prefix: a local folder now, an object store by the same interface.

Here belongs how bytes become durable and are listed. What lies in the files, and what their
names mean, does not.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from fxci_assets import durable

_AT_ONCE = 16

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def at_once(ask: Callable[[Asked], Answer], each: Iterable[Asked]) -> list[Answer]:
    """What is answered for each, in their order, by something that reads a small file or a few. One
    after the other, hundreds of them would each wait for an object store."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, each))


class Store(Protocol):
    """Files named by relative POSIX paths. When a method returns, its effect survives a crash
    of the process and of the machine."""

    def create(self, path: str, data: bytes) -> None:
        """Write a new file, whole or not at all. Raises FileExistsError if there is one."""

    def replace(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all, in place of any before it."""

    def read(self, path: str) -> bytes:
        """The file's bytes. Raises FileNotFoundError."""

    def files(self, folder: str) -> list[str]:
        """Names of the files directly in a folder, sorted; none if there is no such folder."""

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder, sorted."""

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens if there is none."""

    def uri(self, path: str) -> str:
        """Where a person finds the path."""


class LocalStore:
    """A folder. Through `os`, because fsspec's local filesystem never calls fsync."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, path: str, data: bytes) -> None:
        durable.write(self._root / PurePosixPath(path), data, new=True)

    def replace(self, path: str, data: bytes) -> None:
        durable.write(self._root / PurePosixPath(path), data)

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def files(self, folder: str) -> list[str]:
        return self._entries(folder, folders=False)

    def folders(self, folder: str) -> list[str]:
        return self._entries(folder, folders=True)

    def _entries(self, folder: str, *, folders: bool) -> list[str]:
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if entry.is_dir() == folders and not entry.name.startswith(durable.TEMPORARY)
                )
        except FileNotFoundError:
            return []

    def remove(self, path: str) -> None:
        target = self._root / path
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
            durable.sync(target.parent)

    def uri(self, path: str) -> str:
        return (self._root / path).absolute().as_uri()
