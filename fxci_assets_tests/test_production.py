"""Production, with the environment that today's jobs set: the command among servers of the tests.

What is the same in all deployments is in `test_end_to_end`; what each outside system does to us, in
the tests of its resource; the takeover's rules, in `test_takeover`.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud.monitoring_v3 import TimeSeries

from fxci_assets import takeover
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.pulse import Message
from fxci_assets.tables import TASK_DEFINITIONS, TASK_RUNS, TASKS, WORKER_METRICS
from fxci_assets.taskcluster.messages import EXCHANGES
from fxci_assets_tests.bigquery_server import BigQueryServer, Refusal
from fxci_assets_tests.command import DATASET, PASSWORD, PROJECT, Etl, User, publish
from fxci_assets_tests.definitions import definition
from fxci_assets_tests.events import body, message, run, task_id
from fxci_assets_tests.gcs import Emulator
from fxci_assets_tests.monitoring_server import MonitoringServer, Page
from fxci_assets_tests.plain_rows import Row
from fxci_assets_tests.production import (
    DRAIN,
    SECRETS,
    TABLES,
    Production,
    dies_at,
    monitored_at,
    rows_of,
)
from fxci_assets_tests.rabbitmq import Broker
from fxci_assets_tests.taskcluster_server import TaskclusterServer

TODAY = dt.datetime.now(dt.UTC).date()
DEFINED = EXCHANGES[3]


def ago(days: int, time: str = "12:00") -> dt.datetime:
    """A moment of a day before today."""
    at = dt.time.fromisoformat(time)
    return dt.datetime.combine(TODAY - dt.timedelta(days=days), at, dt.UTC)


def text(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.123Z"


def told(number: int, days_ago: int = 1, run_id: int = 0) -> list[Message]:
    """What the queue says of a task: that it is defined, and that its runs have ended."""
    runs = [
        run(id, text(ago(days_ago, f"{10 + id}:00")), workerGroup="us-west1-a")
        for id in range(run_id + 1)
    ]
    id = task_id(number)
    status = {"status": {"taskId": id}}
    return [
        message(json.dumps(status).encode(), DEFINED),
        message(body(id, runs, {"kind": "test", "created-for-user": "user1@example.com"})),
    ]


def defined(numbers: range, days_ago: int = 2) -> dict[str, bytes]:
    created = text(ago(days_ago))
    return {task_id(number): definition(created=created) for number in numbers}


@pytest.fixture(scope="module")
def user(broker: Broker) -> User:
    return User.add(broker, "production")


@pytest.fixture(autouse=True)
def queues(user: User) -> Iterator[None]:
    """The user's queues, bound and empty."""
    with user.queues():
        yield


@pytest.fixture(scope="module")
def bigquery() -> Iterator[BigQueryServer]:
    server = BigQueryServer("moz-fx-data-test")
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def taskcluster() -> Iterator[TaskclusterServer]:
    """It knows the tasks up to 100."""
    server = TaskclusterServer(definitions=defined(range(100)))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def production(
    user: User,
    gcs_emulator: Emulator,
    bigquery: BigQueryServer,
    taskcluster: TaskclusterServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Production:
    bigquery.forget()
    made = Production(
        tmp_path / "production", user, gcs_emulator, bigquery, taskcluster.root_url
    )
    for name, value in made.stand_ins.items():
        monkeypatch.setenv(name, value)
    return made


def one_error(errors: str) -> str:
    """The only line for people; the rest is a log."""
    [line] = [line for line in errors.splitlines() if line.startswith("fxci-etl: ")]
    return line


class TestRows:
    def test_are_those_of_a_local_deployment(
        self, broker: Broker, production: Production, tmp_path: Path
    ) -> None:
        other = User.add(broker, "not-production")
        local = Etl(tmp_path / "local", other)
        messages = [one for number in range(40) for one in told(number, number % 3, number % 2)]
        messages += [*messages[:6], message(b"not json")]
        with other.queues():
            publish(broker, messages)
            done = production.drain()
            local.drain(FXCI_ETL_TASKCLUSTER_ROOTURL=production.root_url)

        assert f"{len(messages)} messages received" in done.out
        warehouse = LocalWarehouse(tmp_path / "local" / "local" / "warehouse", PROJECT, DATASET)
        wanted = {table.name: rows_of(warehouse, DATASET, table) for table in TABLES}
        assert [len(rows) for rows in wanted.values()] == [40, 60, 40]
        assert production.rows(*TABLES) == wanted
        assert production.user.waiting() == [0] * 4
        # All state is in the bucket.
        assert list(production.folder.iterdir()) == []
