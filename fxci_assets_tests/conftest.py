"""Fixtures that more than one test module shares: outside systems that cost seconds to start.

What only one module uses belongs in that module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fxci_assets_tests import rabbitmq


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rabbitmq.Broker]:
    """One RabbitMQ for all tests, about 5 s. A test that kills it starts it again."""
    reason = rabbitmq.missing()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must test against a real broker: {reason}")
        pytest.skip(reason)
    broker = rabbitmq.Broker(tmp_path_factory.mktemp("rabbitmq"))
    try:
        yield broker
    finally:
        broker.close()
