"""The whole way: from a real broker, through the command `fxci-etl`, to rows.

What a drain is for, and what its users meet: settings that are wrong, bounds, queues that are gone.
Drains that are killed, and brokers, are in `test_faults`.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fxci_assets.resources.pulse import Message
from fxci_assets.sandbox.firefox_ci import World, moment
from fxci_assets.sandbox.messages import Published, published
from fxci_assets.tables import TASK_RUNS, TASKS
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX, EXCHANGES
from fxci_assets_tests import plain_rows
from fxci_assets_tests.command import DATASET, DRAIN, PASSWORD, Etl, User, publish
from fxci_assets_tests.events import body, message, run, task_id
from fxci_assets_tests.rabbitmq import Broker

COMPLETED, FAILED, _, DEFINED = EXCHANGES


@pytest.fixture(scope="module")
def user(broker: Broker) -> User:
    return User.add(broker, "whole-way")


@pytest.fixture
def queues(user: User) -> Iterator[None]:
    """The user's queues, bound and empty."""
    with user.queues():
        yield


@pytest.fixture
def etl(user: User, tmp_path: Path) -> Etl:
    return Etl(tmp_path / "state", user)


def completed(*numbers: int, name: str = COMPLETED) -> list[Message]:
    """A message about a task of its own for each number."""
    return [message(body(task_id(n), [run()], {"kind": "test"}), name) for n in numbers]


def ids(etl: Etl) -> list[object]:
    [runs, tasks] = etl.rows().values()
    found = [row["task_id"] for row in runs]
    assert [row["task_id"] for row in tasks] == found
    return found


@pytest.fixture(scope="session")
def recorded() -> list[Message]:
    """What others recorded of Firefox-CI's queue; nothing of it is in this project."""
    data = os.environ.get("FXCI_SAMPLE_DATA")
    if not data:
        pytest.skip("FXCI_SAMPLE_DATA does not name the folder of sample data")
    lines = [
        json.loads(line)
        for name in ("recorded", "derived")
        for line in (Path(data) / "pulse" / f"{name}.ndjson").read_text().splitlines()
    ]
    return [
        Message(line["exchange"], line["routing_key"], json.dumps(line["payload"]).encode())
        for line in lines
    ]


@pytest.mark.usefixtures("queues")
def test_recorded_messages_become_the_rows_that_the_tables_are_defined_by(
    broker: Broker, etl: Etl, recorded: list[Message]
) -> None:
    bound = [m for m in recorded if m.exchange.removeprefix(EXCHANGE_PREFIX) in EXCHANGES]
    assert 50 < len(bound) < len(recorded)
    for exchange in {m.exchange for m in recorded}:  # of running and pending tasks, too
        broker.declare_exchange(exchange)
    publish(broker, recorded)

    done = etl.drain(FXCI_START_DATE="2018-01-01")

    assert f"{len(bound)} messages received, {len(bound)} filed" in done.out
    wanted = plain_rows.rows_of(((m.exchange, m.body) for m in bound), first_day="2018-01-01")
    plain_rows.assert_same(etl.rows(), wanted)
    for table in (TASK_RUNS, TASKS):
        sql = (
            f"SELECT * FROM {DATASET}.{table.name} WHERE submission_date >= '2018-01-01' "
            f"ORDER BY {', '.join(table.key)}"
        )
        shown = json.loads(etl.run("query", "--format", "json", sql).out)
        for column in table.columns:
            assert [row[column.name] for row in shown] == [
                _as_shown(row[column.name]) for row in wanted[table.name]
            ], column.name
    assert len(wanted["task_runs_v1"]) > 50
    assert any(row["tags"] for row in wanted["tasks_v2"])


def _as_shown(value: object) -> object:
    if isinstance(value, dt.datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, dt.date) else value


@pytest.mark.slow
@pytest.mark.usefixtures("queues")
def test_of_twenty_thousand_messages_every_run_is_a_row_once_and_every_flaw_is_in_quarantine(
    broker: Broker, etl: Etl
) -> None:
    start = dt.datetime(2026, 4, 13, 12, tzinfo=dt.UTC)
    simulated = published(World(7, 10_000), start, start + dt.timedelta(days=2))
    told = list(itertools.islice(simulated, 20_000))
    assert len({m.body for m in told}) < 20_000  # some are repeats
    publish(broker, map(_message, told))

    done = etl.drain()

    assert done.out.startswith("20,000 messages received")
    found = etl.rows()
    usable = {
        (r.task.task_id, r.run_id): moment(r.resolved)
        for m in told
        for r in m.usable_runs
        if r.resolved is not None
    }
    rows = [((row["task_id"], row["run_id"]), row["resolved"]) for row in found["task_runs_v1"]]
    assert rows == sorted(usable.items())
    plain_rows.assert_same(found, plain_rows.rows_of((m.exchange, m.body) for m in told))

    quarantine = etl.archive.quarantine
    items = list(quarantine.entries())
    flawed = {m.body: m.flaw for m in told if m.flaw and _matters(m)}
    assert {quarantine.body(item): _FLAW_OF_REASON[item.reason] for item in items} == flawed
    assert len(items) == len(flawed) > 30


def _message(message: Published) -> Message:
    return Message(message.exchange, message.routing_key, message.body)


def _matters(message: Published) -> bool:
    """Of a definition's message only the task's id is ever read."""
    return not (message.exchange.endswith(DEFINED) and message.flaw == "tag-not-a-string")


_FLAW_OF_REASON = {
    "unreadable": "not-json",
    "not-an-object": "not-an-object",
    "no-status": "no-status",
    "tag-not-a-string": "tag-not-a-string",
    "resolved-missing": "no-resolved",
    "resolved-in-the-future": "resolved-too-late",
    "resolved-before-first-partition": "resolved-too-early",
}


@pytest.mark.usefixtures("queues")
def test_a_drain_of_nothing_ends_well(etl: Etl) -> None:
    assert etl.drain().out.startswith("0 messages received")


@pytest.mark.usefixtures("queues")
def test_what_was_drained_is_not_drained_again_and_a_repeat_changes_nothing(
    broker: Broker, etl: Etl
) -> None:
    publish(broker, completed(1, 2, 2))
    assert etl.drain().out.startswith("3 messages received")
    assert etl.drain().out.startswith("0 messages received")
    publish(broker, completed(1))
    assert "2 rows, 2 repeats dropped" in etl.drain().out
    assert ids(etl) == [task_id(1), task_id(2)]


@pytest.mark.usefixtures("queues")
def test_a_bound_on_messages_ends_the_drain_and_the_rest_stays(
    broker: Broker, user: User, etl: Etl
) -> None:
    publish(broker, completed(*range(250)))
    done = etl.drain(FXCI_ETL_DRAIN_MAX_MESSAGES=100)
    assert done.out.startswith("100 messages received, 100 filed under 1 days")
    assert "the bound on messages was reached" in done.out
    assert user.waiting() == [150, 0, 0, 0]
    assert len(ids(etl)) == 100
    assert "150 messages received" in (out := etl.drain().out)
    assert "the queues are empty" in out
    assert ids(etl) == [task_id(n) for n in range(250)]


@pytest.mark.usefixtures("queues")
def test_a_bound_on_seconds_ends_the_drain_and_the_rest_stays(
    broker: Broker, user: User, etl: Etl
) -> None:
    publish(broker, completed(*range(250)))
    done = etl.drain(FXCI_ETL_DRAIN_MAX_SECONDS=0.001, FXCI_ETL_DRAIN_BATCH_MESSAGES=10)
    assert "the bound on seconds was reached" in done.out
    waiting = user.waiting()[0]
    assert waiting is not None and waiting >= 240
    etl.drain()
    assert ids(etl) == [task_id(n) for n in range(250)]


class TestQueuesThatAreGone:
    def test_one_that_never_existed_is_no_gap(self, broker: Broker, user: User, etl: Etl) -> None:
        for name in EXCHANGES:
            broker.declare_exchange(EXCHANGE_PREFIX + name)
        assert user.waiting() == [None] * 4
        try:
            etl.drain()
            assert user.waiting() == [0] * 4
            assert etl.run("gaps", "list").out == ""
            publish(broker, completed(1))
            etl.drain()
            assert ids(etl) == [task_id(1)]
        finally:
            for name in EXCHANGES:
                broker.delete_queue(user.queue(name))

    @pytest.mark.usefixtures("queues")
    def test_one_that_was_drained_before_is_a_gap_until_it_is_closed(
        self, broker: Broker, user: User, etl: Etl
    ) -> None:
        etl.drain()
        gone = user.queue(FAILED)
        broker.delete_queue(gone)
        publish(broker, completed(1))

        done = etl.run(*DRAIN)

        self._names_the_gap(done.errors, gone)
        assert done.code == 1
        assert ids(etl) == [task_id(1)]
        self._is_bound_again(broker, etl, FAILED, 2)
        self._is_closed_by_hand(etl, gone)

    @pytest.mark.usefixtures("queues")
    def test_one_that_is_deleted_under_the_drain_is_a_gap_and_costs_no_others(
        self, broker: Broker, user: User, etl: Etl
    ) -> None:
        kept = [*completed(*range(1_000, 1_050), name=FAILED)]
        publish(broker, [*completed(*range(1_000)), *kept])
        gone = user.queue(COMPLETED)

        running = etl.start(*DRAIN, FXCI_ETL_DRAIN_BATCH_MESSAGES=10)
        with running.stopped(lambda: etl.filed() >= 3):
            assert broker.ready(gone)
            broker.delete_queue(gone)
        done = running.wait()

        self._names_the_gap(done.errors, gone)
        assert done.code == 1
        found = ids(etl)
        assert {task_id(n) for n in range(1_000, 1_050)} < set(found)
        assert len(found) < 1_000
        self._is_bound_again(broker, etl, COMPLETED, 2_000)
        assert etl.run("gaps", "list").out.startswith(f"{gone}@")

    def _names_the_gap(self, errors: str, queue: str) -> None:
        *_, line = errors.splitlines()
        moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        assert re.match(
            f"fxci-etl: the queue {queue} was gone and is declared again; "
            f"what came between {moment} and {moment} UTC is missing",
            line,
        )

    def _is_bound_again(self, broker: Broker, etl: Etl, name: str, number: int) -> None:
        publish(broker, completed(number, name=name))
        etl.drain()  # ends well: the gap was reported
        assert task_id(number) in ids(etl)

    def _is_closed_by_hand(self, etl: Etl, queue: str) -> None:
        [line] = etl.run("gaps", "list").out.splitlines()
        id, _, found_at = line.partition("  until ")
        assert id.startswith(f"{queue}@")
        assert found_at.endswith(" UTC")
        done = etl.run("gaps", "close", id, "--why", "repaired from elsewhere")
        assert (done.code, done.out) == (0, f"{id} closed\n")
        assert etl.run("gaps", "list").out == ""
        again = etl.run("gaps", "close", id, "--why", "once more")
        assert again.code == 2
        assert f"no open gap {id}" in again.errors


@pytest.mark.usefixtures("queues")
class TestTls:
    def test_with_the_right_authority(self, broker: Broker, etl: Etl) -> None:
        publish(broker, completed(1))
        etl.drain(
            FXCI_ETL_PULSE_PORT=broker.tls_port,
            FXCI_ETL_PULSE_TLS="",  # on unless it is turned off
            SSL_CERT_FILE=broker.ca_file,
        )
        assert ids(etl) == [task_id(1)]

    @pytest.mark.parametrize("case", ["unknown authority", "another host"])
    def test_with_a_certificate_that_is_not_accepted_nothing_is_read(
        self, broker: Broker, user: User, etl: Etl, case: str
    ) -> None:
        publish(broker, completed(1))
        settings: dict[str, object] = {
            "FXCI_ETL_PULSE_PORT": broker.tls_port,
            "FXCI_ETL_PULSE_TLS": "",
        }
        if case == "another host":
            settings |= {"FXCI_ETL_PULSE_HOST": "127.0.0.1", "SSL_CERT_FILE": broker.ca_file}
        done = etl.run(*DRAIN, **settings)
        [line] = done.errors.splitlines()
        assert line.startswith("fxci-etl: ")
        assert "the certificate is not accepted" in line
        assert done.code == 1
        assert "messages received" not in done.out
        assert etl.files() == []
        assert user.waiting() == [1, 0, 0, 0]


@pytest.mark.usefixtures("queues")
class TestThePasswordAppearsNowhere:
    def test_of_a_drain_that_works(self, broker: Broker, etl: Etl) -> None:
        publish(broker, [*completed(1), message(b"not json")])
        done = etl.run("-vvv", *DRAIN)
        assert done.code == 0
        assert "DEBUG" in done.errors
        self._is_nowhere(etl, done.out + done.errors)
        assert len(etl.files()) > 5

    @pytest.mark.parametrize(
        "settings",
        [
            pytest.param({"FXCI_ETL_PULSE_USER": "guest"}, id="login refused"),
            pytest.param({"FXCI_ETL_PULSE_PORT": "1"}, id="nobody listens"),
            pytest.param({"FXCI_ETL_PULSE_PORT": PASSWORD}, id="set to what it is not"),
            pytest.param({"FXCI_ETL_PULSE_TLS": "true"}, id="no TLS there"),
            pytest.param({"FXCI_SANDBOX_DIR": "/dev/null"}, id="nowhere to write"),
        ],
    )
    def test_of_a_drain_that_fails(self, etl: Etl, settings: dict[str, str]) -> None:
        done = etl.run(*DRAIN, "-vvv", **settings)
        assert done.code == 1
        assert "Traceback" in done.errors
        self._is_nowhere(etl, done.out + done.errors)

    def _is_nowhere(self, etl: Etl, output: str) -> None:
        assert PASSWORD not in output
        for path in etl.files():
            assert PASSWORD not in path.name
            assert PASSWORD.encode() not in path.read_bytes(), path
