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

    from fxci_assets.archive.store import Store
    from fxci_assets_tests.dagster_instance import Project
    from fxci_assets_tests.gcs import Emulator
    from fxci_assets_tests.postgres import Postgres


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for Dagster to remember in, about 1 s."""
    from fxci_assets_tests.postgres import Postgres, missing

    reason = missing()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must test against a real PostgreSQL: {reason}")
        pytest.skip(reason)
    server = Postgres()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def gcs_emulator() -> Iterator[Emulator]:
    """One Google Cloud Storage for all tests; each has a prefix of its own."""
    from fxci_assets_tests.gcs import Emulator

    emulator = Emulator()
    try:
        yield emulator
    finally:
        emulator.close()


@pytest.fixture(params=["local", "gcs"])
def location(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Where an archive is, in a folder and on GCS, for `gcs.store_at`, here and in processes that
    the test starts."""
    if request.param == "local":
        return str(tmp_path / "archive")
    emulator: Emulator = request.getfixturevalue("gcs_emulator")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.endpoint)
    return emulator.location()


@pytest.fixture
def store(location: str) -> Store:
    """What each implementation of the archive's files must do."""
    from fxci_assets_tests.gcs import store_at

    return store_at(location)


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
