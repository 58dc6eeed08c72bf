"""Fixtures that more than one test module shares.

What only one module uses belongs in that module. Dagster is imported by the fixtures that need it,
because that alone takes longer than most tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fxci_assets_tests import rabbitmq

if TYPE_CHECKING:
    import dagster as dg

    from fxci_assets_tests.dagster_instance import Project


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


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The definitions over test objects, with nothing archived or built yet."""
    from fxci_assets_tests.dagster_instance import Project

    return Project(tmp_path)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster that remembers until the end of the test."""
    import dagster as dg

    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
