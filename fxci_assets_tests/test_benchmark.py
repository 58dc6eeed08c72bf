"""The benchmark, small: that it runs, and that no ratio is off by an order of magnitude."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fxci_assets_tests import rabbitmq
from fxci_assets_tests.benchmark import measure


@pytest.mark.slow
def test_a_drain_is_not_far_from_a_bare_channel_and_stays_small(tmp_path: Path) -> None:
    reason = rabbitmq.missing()
    if reason is not None and os.environ.get("CI") != "true":
        pytest.skip(reason)
    measured = measure(20_000, tmp_path)
    assert measured.messages == 20_000
    assert measured.drain > measured.channel / 4
    assert measured.command_megabytes < 200
