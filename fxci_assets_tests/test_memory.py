"""A small command: without pandas, and with the allocator that gives memory back.

In processes of their own, since what is imported once stays.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def output(code: str, **environment: str) -> list[str]:
    """What a program prints."""
    inherited = {k: v for k, v in os.environ.items() if k != "ARROW_DEFAULT_MEMORY_POOL"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=inherited | environment,
        check=True,
    )
    return done.stdout.splitlines()


def test_pyarrow_does_not_bring_pandas_and_gives_memory_back() -> None:
    assert output(
        "import sys\n"
        "from fxci_assets import memory\n"
        "print('pyarrow' in sys.modules)\n"
        "with memory.small():\n"
        "    import pyarrow as pa\n"
        "    pa.array([{'a': 1}, None])\n"
        "    print('pandas' in sys.modules, pa.default_memory_pool().backend_name)\n"
    ) == ["False", "False system"]


def test_an_allocator_that_was_chosen_stays() -> None:
    assert output(
        "from fxci_assets import memory\n"
        "with memory.small():\n"
        "    import pyarrow as pa\n"
        "    print(pa.default_memory_pool().backend_name)\n",
        ARROW_DEFAULT_MEMORY_POOL="mimalloc",
    ) == ["mimalloc"]


@pytest.mark.parametrize("leave", ["pass", "raise ValueError"])
def test_afterwards_pandas_is_there_again(leave: str) -> None:
    assert output(
        "import contextlib\n"
        "from fxci_assets import memory\n"
        "with contextlib.suppress(ValueError), memory.small():\n"
        "    try:\n"
        "        import pandas\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(error)\n"
        "    import json.tool\n"
        f"    {leave}\n"
        "import pandas, pyarrow as pa\n"
        "print(pa.table({'a': [1]}).to_pandas().shape, len(pa.array(pandas.Series([1, 2]))))\n"
    ) == ["pandas is kept out of this command", "(1, 1) 2"]
