"""Nothing is lost and nothing is wrong, whatever is killed and whenever.

Real drains from a real broker: processes are killed, connections dropped, the broker too. After
one drain that nothing disturbs the tables equal those of a drain that nothing ever disturbed. What
users meet in good times is in `test_end_to_end`.

FXCI_FAULT_ROUNDS is the number of rounds of the campaign; FXCI_FAULT_SEED repeats one.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.pipeline import RebuildsFailed
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.pulse import Message
from fxci_assets.resources.warehouse import PartitionWrite
from fxci_assets.sandbox.firefox_ci import World
from fxci_assets.sandbox.messages import published
from fxci_assets.tables import Table
from fxci_assets_tests.command import DRAIN, Etl, User, publish
from fxci_assets_tests.events import DAY, RECEIVED, body, message, run, task_id
from fxci_assets_tests.plain_rows import Rows, assert_same, rows_of
from fxci_assets_tests.pulse import MemoryPulse
from fxci_assets_tests.rabbitmq import Broker
from fxci_assets_tests.test_pipeline import make_pipeline

SMALL = {"FXCI_ETL_DRAIN_BATCH_MESSAGES": 20}
"""So many batches that a fault finds the drain in the middle."""


def simulated(count: int, seed: int = 11) -> list[Message]:
    """Messages of two days, with repeats and flaws."""
    start = dt.datetime(2026, 4, 13, 23, 30, tzinfo=dt.UTC)
    told = published(World(seed, 20_000), start, start + dt.timedelta(days=3))
    return [Message(m.exchange, m.routing_key, m.body) for m in itertools.islice(told, count)]


MESSAGES = simulated(2_000)


@pytest.fixture(scope="module")
def user(broker: Broker) -> User:
    return User.add(broker, "faults")


@pytest.fixture
def queues(user: User) -> Iterator[None]:
    """The user's queues, bound and empty."""
    with user.queues():
        yield


@pytest.fixture
def etl(user: User, tmp_path: Path) -> Etl:
    return Etl(tmp_path / "state", user)


@pytest.fixture(scope="module")
def undisturbed(user: User, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """What a drain of MESSAGES makes of them when all is well."""
    etl = Etl(tmp_path_factory.mktemp("undisturbed"), user)
    with user.queues():
        publish(user.broker, MESSAGES)
        etl.drain()
    rows = etl.rows()
    assert len({row["submission_date"] for row in rows["task_runs_v1"]}) == 2
    assert_same(rows, rows_of((m.exchange, m.body) for m in MESSAGES))
    return rows


@pytest.mark.usefixtures("queues")
class TestInTheMiddle:
    def test_connections_that_are_dropped_are_made_again(
        self, broker: Broker, user: User, etl: Etl, undisturbed: Rows
    ) -> None:
        publish(broker, MESSAGES)
        running = etl.start(*DRAIN, **SMALL)
        with running.stopped(lambda: etl.filed() >= 6):
            broker.close_all_connections()
        done = running.wait()
        assert done.code == 0
        assert "unacknowledged messages come again" in done.errors
        assert "Traceback" not in done.errors
        assert user.waiting() == [0] * 4
        assert_same(etl.rows(), undisturbed)

    @pytest.mark.slow
    def test_a_broker_that_is_killed_has_kept_the_messages(
        self, broker: Broker, user: User, etl: Etl, undisturbed: Rows
    ) -> None:
        publish(broker, MESSAGES)
        running = etl.start(*DRAIN, **SMALL)
        with running.stopped(lambda: etl.filed() >= 6):
            broker.kill()
        try:
            time.sleep(0.5)  # the drain meets it dead
        finally:
            broker.start()
        done = running.wait()
        assert "unacknowledged messages come again" in done.errors
        assert done.code == 0  # it waited for the broker
        assert user.waiting() == [0] * 4
        assert_same(etl.rows(), undisturbed)

    def test_two_drains_at_once_share_the_messages(
        self, broker: Broker, etl: Etl, undisturbed: Rows
    ) -> None:
        publish(broker, MESSAGES)
        one = etl.start(*DRAIN, **SMALL)
        with one.stopped(lambda: etl.filed() >= 3):
            filed = etl.filed()
            other = etl.start(*DRAIN, **SMALL)
            assert other.until(lambda: etl.filed() > filed + 3)
        ended = [one.wait(), other.wait()]
        assert [done.code for done in ended] == [0, 0], ended
        received = [int(done.out.split()[0].replace(",", "")) for done in ended]
        assert sum(received) == len(MESSAGES)
        assert all(received)
        assert_same(etl.rows(), undisturbed)

    def test_a_drain_that_ends_while_another_goes_on_ends_well(
        self, broker: Broker, etl: Etl, undisturbed: Rows
    ) -> None:
        publish(broker, MESSAGES)
        other = etl.start(*DRAIN, FXCI_ETL_DRAIN_BATCH_MESSAGES=4)
        assert other.until(lambda: etl.filed() >= 3)
        one = etl.start(*DRAIN, FXCI_ETL_DRAIN_MAX_MESSAGES=50)
        ended = [one.wait(), other.wait()]
        assert [done.code for done in ended] == [0, 0], ended
        assert_same(etl.rows(), undisturbed)


def test_a_day_whose_inputs_keep_changing_is_left_to_whoever_changes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = make_pipeline(tmp_path, lambda: RECEIVED)
    numbers = itertools.count()
    write = LocalWarehouse.write_partition

    def file_another() -> None:
        content = body(task_id(next(numbers)), [run()])
        pipeline.drain(MemoryPulse([message(content)]))

    def busy(
        warehouse: LocalWarehouse,
        table: Table,
        day: dt.date,
        rows: Iterable[pa.RecordBatch],
        *,
        labels: Mapping[str, str],
        before_commit: Callable[[], None],
    ) -> PartitionWrite:
        file_another()
        return write(warehouse, table, day, rows, before_commit=before_commit)

    file_another()
    with monkeypatch.context() as while_another_drains:
        while_another_drains.setattr(LocalWarehouse, "write_partition", busy)
        assert pipeline.rebuild_stale() == []
        assert "new inputs arrived" in caplog.text and "Traceback" not in caplog.text
        with pytest.raises(RebuildsFailed, match="new inputs arrived"):
            pipeline.rebuild_each({DAY: TaskBuilder.tables})  # asked for by name, and not done
    pipeline.rebuild_stale()
    assert pipeline.stale() == []


_DIES = """
import importlib, os, signal, sys

when, where, number = sys.argv[1:4]
module, _, path = where.partition(":")
owner, name = path.split(".")
owner = getattr(importlib.import_module(module), owner)
original = getattr(owner, name)
left = int(number)

def dying(*args, **kwargs):
    global left
    left -= 1
    if when == "before" and not left:
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **kwargs)
    if when == "after" and not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, dying)

from fxci_assets.cli import main

main(sys.argv[4:])
"""
"""The command, which kills itself before or after the n-th call of a method."""


@pytest.mark.usefixtures("queues")
@pytest.mark.parametrize(
    ("when", "where", "number"),
    [
        pytest.param("after", "archive.events:EventFiles.write", 1, id="amid the files of a batch"),
        pytest.param("before", "resources.amqp:_Session.ack", 3, id="written, not acknowledged"),
        pytest.param("after", "resources.amqp:_Session.ack", 3, id="acknowledged"),
        pytest.param("before", "pipeline:Pipeline.rebuild_stale", 1, id="drained, nothing rebuilt"),
        pytest.param("after", "archive.records:BuildRecords.put_mark", 1, id="a rebuild begun"),
        pytest.param(
            "after",
            "resources.local_warehouse:LocalWarehouse.write_partition",
            2,
            id="a day written, not recorded",
        ),
        pytest.param("after", "archive.records:BuildRecords.record", 1, id="one table recorded"),
    ],
)
def test_a_drain_that_died_is_made_good_by_the_next(
    broker: Broker, user: User, etl: Etl, undisturbed: Rows, when: str, where: str, number: int
) -> None:
    publish(broker, MESSAGES)
    mortal = replace(etl, program=(sys.executable, "-c", _DIES, when, f"fxci_assets.{where}"))
    done = mortal.run(str(number), *DRAIN, FXCI_ETL_DRAIN_BATCH_MESSAGES=400)
    assert done.code == -signal.SIGKILL, done
    if "Session" not in where and "Event" not in where:  # all is archived: nothing comes again
        assert user.waiting() == [0] * 4

    etl.drain()

    assert user.waiting() == [0] * 4
    assert_same(etl.rows(), undisturbed)


_OF_ROUND = 400


def campaign(etl: Etl, rounds: int, chance: random.Random) -> list[Message]:
    """Kill drains while messages are published; returns the messages."""
    messages = simulated(rounds * _OF_ROUND, seed=chance.randrange(1_000))
    for number in range(rounds):
        _round(etl, messages[number * _OF_ROUND : (number + 1) * _OF_ROUND], chance)
    return messages


def _round(etl: Etl, messages: list[Message], chance: random.Random) -> None:
    """Kill a drain, mostly in the midst of its batches, now and then with all connections dropped
    just before."""
    broker = etl.user.broker
    publisher = threading.Thread(target=publish, args=(broker, messages, 0.001))
    filed = etl.filed()
    running = etl.start(*DRAIN, FXCI_ETL_DRAIN_BATCH_MESSAGES=chance.choice([5, 20, 100]))
    time.sleep(chance.uniform(0, 0.4))
    publisher.start()
    if chance.random() < 0.8:
        running.until(lambda: etl.filed() > filed)
        time.sleep(chance.uniform(0, 0.2))
    else:
        time.sleep(chance.uniform(0, 1.0))
    if chance.random() < 0.2:
        publisher.join()  # whose connection would be dropped, too
        broker.close_all_connections()
    running.kill()
    publisher.join()


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.usefixtures("queues")
def test_drains_killed_at_any_moment_while_messages_come(etl: Etl) -> None:
    seed = int(os.environ.get("FXCI_FAULT_SEED", "5"))
    messages = campaign(etl, int(os.environ.get("FXCI_FAULT_ROUNDS", "4")), random.Random(seed))

    etl.drain()

    assert etl.user.waiting() == [0] * 4
    assert_same(etl.rows(), rows_of((m.exchange, m.body) for m in messages))
    status = etl.run("status").out
    assert "stale days     0\n" in status
    assert "open gaps      0\n" in status
