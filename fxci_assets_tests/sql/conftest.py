"""The fixture that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from fxci_assets_tests.sql.small import Small


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """A warehouse of the test's own, with nothing in it yet."""
    return Small(tmp_path)
