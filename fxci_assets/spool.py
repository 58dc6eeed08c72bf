"""Bodies in a temporary file, while a day is built: in memory, a day of them would not fit.

What they are, and in which order they are wanted, does not belong here.
"""

from __future__ import annotations

import os
import struct
import tempfile
import weakref
from collections.abc import Iterator

import pyarrow as pa

_HEAD = struct.Struct("<QQ")
"""Before each body: its size as it lies there, and as it is."""


class Spool:
    """A file that has no name, so that it is gone with this object, or with this process."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="fxci-")  # noqa: SIM115
        self._end = 0
        weakref.finalize(self, self._file.close)

    def add(self, body: bytes) -> int:
        """Keep a body. Returns where it is."""
        stored = pa.compress(body, codec="lz4", asbytes=True)
        at = self._end
        self._file.write(_HEAD.pack(len(stored), len(body)))
        self._file.write(stored)
        self._end += _HEAD.size + len(stored)
        return at

    def read(self, at: int) -> bytes:
        """The body that is at a place."""
        return self._read(at)[0]

    def __iter__(self) -> Iterator[bytes]:
        """All that were added, in that order."""
        at = 0
        while at < self._end:
            body, at = self._read(at)
            yield body

    def _read(self, at: int) -> tuple[bytes, int]:
        """The body at a place, and the place of the next one."""
        self._file.flush()
        stored, size = _HEAD.unpack(os.pread(self._file.fileno(), _HEAD.size, at))
        start = at + _HEAD.size
        content = os.pread(self._file.fileno(), stored, start)
        body: bytes = pa.decompress(content, size, codec="lz4", asbytes=True)
        return body, start + stored
