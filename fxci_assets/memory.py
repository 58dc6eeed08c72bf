"""How a command stays small: a drain runs beside others, in a container that was sized for it.

Here belongs what libraries do to our memory unless they are told not to. That our own code keeps
little at a time is each module's own matter. Imports nothing of ours, and not pyarrow.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas:
    """A finder of modules that says pandas is not installed."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is kept out of this command", name=name)
        return None


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Run without two things that double the memory of a drain; before pyarrow is imported.

    pyarrow imports pandas, 50 MB and half a second, as soon as it makes an array of Python
    objects, to see whether it was given one of pandas' own. And its default allocator keeps what
    it was given, where the system's gives it back; which one it takes, it reads at its start.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    sys.meta_path.insert(0, _NoPandas)
    try:
        yield
    finally:
        sys.meta_path.remove(_NoPandas)
