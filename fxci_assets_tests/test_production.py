"""Production, with the environment that today's jobs set: the command among servers of the tests.

What is the same in all deployments is in `test_end_to_end`; what each outside system does to us, in
the tests of its resource; the takeover's rules, in `test_takeover`.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.cloud.monitoring_v3 import TimeSeries

from fxci_assets import deployments, tables, takeover
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.pulse import Message
from fxci_assets.settings import load
from fxci_assets.tables import TASK_DEFINITIONS, TASK_RUNS, TASKS, WORKER_METRICS
from fxci_assets.taskcluster.messages import EXCHANGES
from fxci_assets_tests.bigquery_server import BigQueryServer, Refusal
from fxci_assets_tests.command import DATASET, PASSWORD, PROJECT, Done, Etl, User, publish
from fxci_assets_tests.definitions import definition
from fxci_assets_tests.events import body, message, run, task_id
from fxci_assets_tests.gcs import Emulator
from fxci_assets_tests.monitoring_server import MonitoringServer, Page
from fxci_assets_tests.old_job import old_run, old_task
from fxci_assets_tests.plain_rows import Row
from fxci_assets_tests.postgres import Postgres
from fxci_assets_tests.production import (
    CHECKOUT,
    DRAIN,
    PROGRAM,
    PROGRAMS,
    SECRETS,
    TABLES,
    Production,
    dies_at,
    monitored_at,
    rows_of,
)
from fxci_assets_tests.rabbitmq import Broker
from fxci_assets_tests.taskcluster_server import TaskclusterServer

NOW = dt.datetime.now(dt.UTC)
DEFINED = EXCHANGES[3]


def ago(days: int, time: str = "12:00") -> dt.datetime:
    """A moment of a day before today."""
    at = dt.time.fromisoformat(time)
    return dt.datetime.combine(NOW.date() - dt.timedelta(days=days), at, dt.UTC)


def happened(number: int) -> dt.datetime:
    """When a task was created; that of the old job, and resolved at once."""
    return ago(2 + number % 4)


def text(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.123Z"


def told(number: int, resolved: dt.datetime | None = None, runs: int = 1) -> list[Message]:
    """What the queue says of a task: that it is defined, and that its runs, an hour apart and
    yesterday unless another time is given, have ended."""
    first = resolved or ago(1)
    ended = [run(id, text(first + id * dt.timedelta(hours=1))) for id in range(runs)]
    return [
        message(json.dumps({"status": {"taskId": task_id(number)}}).encode(), DEFINED),
        message(body(task_id(number), ended, {"kind": "test", "createdForUser": "user1@example"})),
    ]


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
    """It knows the tasks below 100."""
    known = {
        task_id(number): definition(
            created=text(happened(number)),
            deadline=text(happened(number) + dt.timedelta(days=5)),
            expires=text(happened(number) + dt.timedelta(days=28)),
        )
        for number in range(100)
    }
    server = TaskclusterServer(definitions=known)
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
    made = Production(tmp_path / "production", user, gcs_emulator, bigquery, taskcluster.root_url)
    for name, value in made.stand_ins.items():
        monkeypatch.setenv(name, value)
    return made


def refused(done: Done) -> str:
    """The line for people of a command that failed; what is beside it is a log."""
    assert done.code == 1, done
    [line] = [line for line in done.errors.splitlines() if line.startswith("fxci-etl: ")]
    return line


def unset(name: str) -> Any:  # noqa: ANN401  (or mypy expects a program)
    """A setting that is not set, among the arguments of a command."""
    return {name: None}


class TestRows:
    def test_are_those_of_a_local_deployment(
        self, broker: Broker, production: Production, tmp_path: Path
    ) -> None:
        other = User.add(broker, "not-production")
        local = Etl(tmp_path / "local", other, PROGRAM)
        messages = [
            one for number in range(40) for one in told(number, ago(number % 3), 1 + number % 2)
        ]
        messages += [*messages[:6], message(b"not json")]
        with other.queues():
            publish(broker, messages)
            done = production.drain()
            local.drain(FXCI_ETL_TASKCLUSTER_ROOTURL=production.root_url, PYTHONPATH=str(CHECKOUT))

        assert f"{len(messages)} messages received" in done.out
        warehouse = LocalWarehouse(tmp_path / "local" / "local" / "warehouse", PROJECT, DATASET)
        wanted = {table.name: rows_of(warehouse, DATASET, table) for table in TABLES}
        assert [len(rows) for rows in wanted.values()] == [40, 60, 40]
        assert production.rows(*TABLES) == wanted
        assert production.user.waiting() == [0] * 4
        # All state is in the bucket.
        assert list(production.folder.iterdir()) == []

    def test_hold_what_anybody_wrote_into_a_task_and_do_nothing_with_it(
        self, broker: Broker, production: Production
    ) -> None:
        """Whoever may create a task chooses its tags and its worker's name."""
        hostile = [
            "'; DROP TABLE tasks_v2; --",
            "` OR 1=1 --",
            "<img src=x onerror=alert(1)>",
            "${task_runs_v1} {day} @day %s",
            "\x00\x1b[2J\u202e\n|",
        ]
        messages = []
        for number, text_ in enumerate(hostile, start=1):
            ended = run(0, text(ago(1)), workerGroup=text_, workerId=text_)
            tags = dict.fromkeys(("kind", "createdForUser", "label", "project"), text_)
            messages.append(message(body(task_id(number), [ended], tags)))
        publish(broker, messages)
        production.drain()
        found = production.rows(TASKS, TASK_RUNS)
        for number, text_ in enumerate(hostile):
            stored = found[TASKS.name][number]["tags"]
            assert isinstance(stored, dict)
            assert [stored[name] for name in ("kind", "label", "created_for_user")] == [text_] * 3
            assert found[TASK_RUNS.name][number]["worker_id"] == text_
        # As a value of a query it is one, too.
        done = production.run(
            *("query", "--format", "json"),
            f"SELECT tags.label FROM {production.dataset}.tasks_v2 "
            f"WHERE submission_date = '{ago(1):%Y-%m-%d}' ORDER BY task_id",
        )
        assert [row["label"] for row in json.loads(done.out)] == hostile

    def test_of_the_metric_job_need_no_settings_of_pulse(self, production: Production) -> None:
        day = (NOW - dt.timedelta(days=2)).date()
        monitoring = MonitoringServer(Page([_up("4711", day, 3_600)]), Page([_up("4712", day, 60)]))
        try:
            done = production.run(
                *("metric", "export", "-vv", f"--date={day}"),
                program=monitored_at(monitoring.port),
                job=production.of_the_metric_job,
            )
        finally:
            monitoring.close()
        assert done.code == 0, done
        assert f"worker_metrics_v1 {day}: 2 rows" in done.out
        [rows] = production.rows(WORKER_METRICS).values()
        assert [(row["instance_id"], row["submission_date"], row["uptime"]) for row in rows] == [
            ("4711", day, 3_600.0),
            ("4712", day, 60.0),
        ]
        # Nor does it take the tables of the other job over.
        assert production.takeover_is_due


def _up(worker: str, day: dt.date, seconds: float) -> TimeSeries:
    """A time series of a worker that was up for so long on a day."""
    end = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), dt.UTC)
    point = {"interval": {"end_time": end}, "value": {"double_value": seconds}}
    resource = {"labels": {"zone": "us-west1-a", "instance_id": worker}}
    return TimeSeries({"resource": resource, "points": [point]})


# --- the first drain


def old_definition(number: int, created: dt.datetime) -> Row:
    texts = ("priority", "projectId", "provisionerId", "requires", "schedulerId", "taskGroupId")
    return {
        **dict.fromkeys((*texts, "taskQueueId", "workerType"), "the old job"),
        **{name: [] for name in ("dependencies", "routes", "scopes")},
        **dict.fromkeys(("extra", "metadata", "payload", "tags"), "{}"),
        **dict.fromkeys(("created", "deadline", "expires"), created),
        "taskId": task_id(number),
        "retries": 5,
    }


OLD = range(1, 31)
"""Tasks of which the old job left all rows, mostly not in the partition of the day on which they
happened."""

FAILED_MESSAGE, FAILED_DEFINITION, NEW = 40, 41, 42


@pytest.fixture
def old(production: Production, broker: Broker) -> Production:
    """What the old job left, and a message that came since about a run that it had stored."""
    by_day: dict[dt.date, list[int]] = {}
    for number in OLD:
        by_day.setdefault(_processed(number), []).append(number)
    for day, numbers in by_day.items():
        runs = [old_run(number, happened(number)) for number in numbers]
        # Repeats were normal.
        production.left(TASK_RUNS, day, *runs, runs[0])
        production.left(TASKS, day, *map(old_task, numbers))
        definitions = [old_definition(number, happened(number)) for number in numbers]
        production.left(TASK_DEFINITIONS, day, *definitions)
    [_, failed] = told(FAILED_MESSAGE)
    events = json.dumps([{"data": json.loads(failed.body)}]).encode()
    production.root.create(takeover.FAILED_EVENTS, events)
    ids = json.dumps([task_id(FAILED_DEFINITION)]).encode()
    production.root.create(takeover.FAILED_TASKS, ids)
    publish(broker, [*told(NEW), *told(OLD[0], happened(OLD[0]))])
    return production


def _processed(number: int) -> dt.date:
    return (NOW - dt.timedelta(days=2 + number % 3)).date()


def every_row_once(production: Production) -> None:
    """Each row of before is there, and each that was told since."""
    found = production.rows(*TABLES)
    with_runs = [task_id(number) for number in (*OLD, FAILED_MESSAGE, NEW)]
    assert [row["task_id"] for row in found[TASK_RUNS.name]] == with_runs
    assert [row["task_id"] for row in found[TASKS.name]] == with_runs
    assert [row["taskId"] for row in found[TASK_DEFINITIONS.name]] == [
        task_id(number) for number in (*OLD, FAILED_DEFINITION, NEW)
    ]
    of_old_job = {
        row["task_id"] for row in found[TASK_RUNS.name] if row["reason_created"] == "the old job"
    }
    assert of_old_job == {task_id(number) for number in OLD[1:]}  # messages win
    for row in found[TASK_RUNS.name]:
        assert isinstance(row["resolved"], dt.datetime)
        assert row["submission_date"] == row["resolved"].date()
    # Left in place.
    assert [name for name in production.objects() if "/" not in name] == [
        takeover.FAILED_EVENTS,
        takeover.FAILED_TASKS,
    ]
    assert not production.takeover_is_due


class TestTakeover:
    def test_every_row_of_before_is_there_once(self, old: Production) -> None:
        done = old.drain()
        assert "4 messages received" in done.out
        every_row_once(old)
        first = old.rows(*TABLES)
        assert "0 messages received" in old.drain().out
        assert old.rows(*TABLES) == first

    @pytest.mark.parametrize(
        ("function", "call"),
        [
            pytest.param("takeover:import_failed_events", 1, id="before the failed messages"),
            pytest.param("archive.baseline:Attempt.write", 20, id="amid the copies"),
            pytest.param("pipeline:drain", 1, id="taken over, nothing drained"),
        ],
    )
    def test_one_that_was_killed_is_made_good_by_the_next_drain(
        self, old: Production, function: str, call: int
    ) -> None:
        before = old.rows(*TABLES)
        killed = old.run(*DRAIN, program=dies_at(function, call))
        assert killed.code == -signal.SIGKILL, killed
        assert old.rows(*TABLES) == before
        old.drain()
        every_row_once(old)

    def test_where_it_fails_nothing_is_built(
        self, old: Production, bigquery: BigQueryServer
    ) -> None:
        before = old.rows(*TABLES)
        bigquery.script("jobs.insert", None, Refusal(403, "accessDenied", "not yours"))
        assert "not yours" in refused(old.run(*DRAIN))
        assert old.user.waiting() == [0] * 4  # no queue overflows meanwhile
        # Whoever else would build the days, with the few rows that are archived by now.
        days = ("--from", f"{ago(3):%Y-%m-%d}", "--to", f"{ago(0):%Y-%m-%d}")
        assert "not taken over" in refused(old.run("rebuild", *days, TASK_RUNS.name))
        assert old.rows(*TABLES) == before
        old.drain()
        every_row_once(old)

    def test_waits_for_rows_that_the_old_job_has_just_streamed(
        self, old: Production, bigquery: BigQueryServer
    ) -> None:
        before = old.rows(*TABLES)
        streamed = (old.dataset, TASKS.name)
        bigquery.tables.streamed.add(streamed)
        line = refused(old.run(*DRAIN))
        assert f"{old.dataset}.tasks_v2 cannot be taken over yet: rows were streamed" in line
        assert old.rows(*TABLES) == before
        assert old.user.waiting() == [0] * 4  # no queue overflows meanwhile
        bigquery.tables.streamed.remove(streamed)
        old.drain()
        every_row_once(old)

    def test_makes_the_tables_that_are_missing(
        self, old: Production, bigquery: BigQueryServer
    ) -> None:
        """Else checks and views of what is written later would fail until then."""
        old.drain()
        for table in tables.TABLES:
            assert bigquery.tables.table(old.dataset, table.name)["type"] == "TABLE"

    def test_leaves_the_tables_alone_where_others_deploy_them(
        self, old: Production, bigquery: BigQueryServer
    ) -> None:
        bigquery.forget()
        done = old.run(*DRAIN, FXCI_ETL_BIGQUERY_CREATE_TABLES="false")
        assert done.code == 0
        assert "worker_costs_v1: the table is not there and has to be deployed" in done.errors
        every_row_once(old)
        assert "tables.insert" not in bigquery.operations()

    def test_with_the_archive_of_a_deployment_that_ran_beside_it(self, old: Production) -> None:
        before = old.rows(*TABLES)
        shadow = old.add_dataset("shadow")
        assert "4 messages received" in old.run(*DRAIN, FXCI_ETL_BIGQUERY_DATASET=shadow).out
        assert old.rows(*TABLES) == before
        assert "0 messages received" in old.drain().out
        every_row_once(old)


# --- what goes wrong


@pytest.mark.parametrize(
    ("function", "call"),
    [
        pytest.param("archive.events:EventFiles.write", 2, id="amid the files of a batch"),
        pytest.param("resources.amqp:_Session.ack", 1, id="archived, not acknowledged"),
        pytest.param("archive.definitions:DefinitionFiles.record_told", 1, id="fetched, not told"),
        pytest.param("pipeline:Pipeline.rebuild_stale", 1, id="drained, nothing rebuilt"),
        pytest.param(
            "resources.bigquery_warehouse:BigQueryWarehouse.write_partition", 2, id="one written"
        ),
        pytest.param("archive.records:BuildRecords.record", 1, id="written, not recorded"),
        pytest.param("archive.records:BuildRecords.remove_mark", 1, id="recorded, still marked"),
    ],
)
def test_a_drain_that_died_is_made_good_by_the_next(
    broker: Broker, production: Production, function: str, call: int
) -> None:
    """As locally (`test_faults`), over a bucket and BigQuery."""
    production.drain()  # there is nothing to take over
    numbers = range(1, 13)
    publish(broker, [one for n in numbers for one in told(n, ago(n % 3), runs=2)])
    killed = production.run(*DRAIN, program=dies_at(function, call))
    assert killed.code == -signal.SIGKILL, killed

    production.drain()

    assert production.user.waiting() == [0] * 4
    ids = [task_id(n) for n in numbers]
    found = production.rows(*TABLES)
    assert [row["task_id"] for row in found[TASKS.name]] == ids
    assert [(row["task_id"], row["run_id"]) for row in found[TASK_RUNS.name]] == [
        (id, run_id) for id in ids for run_id in range(2)
    ]
    assert [row["taskId"] for row in found[TASK_DEFINITIONS.name]] == ids


class TestFailures:
    def test_days_of_runs_are_built_while_taskcluster_is_down(
        self, broker: Broker, production: Production
    ) -> None:
        publish(broker, told(1))
        done = production.run(*DRAIN, FXCI_ETL_TASKCLUSTER_ROOTURL=f"http://127.0.0.1:{_free()}")
        assert re.match(
            "fxci-etl: Taskcluster at .*; check FXCI_ETL_TASKCLUSTER_ROOTURL and the network$",
            refused(done),
        )
        found = production.rows(TASKS, TASK_RUNS)
        assert [len(rows) for rows in found.values()] == [1, 1]
        production.drain()
        [definitions] = production.rows(TASK_DEFINITIONS).values()
        assert [row["taskId"] for row in definitions] == [task_id(1)]

    def test_what_bigquery_refuses_is_archived_and_built_by_the_next_drain(
        self, broker: Broker, production: Production, bigquery: BigQueryServer
    ) -> None:
        production.drain()
        publish(broker, told(1))
        refusal = Refusal(403, "accessDenied", "Access Denied: Dataset")
        bigquery.script("jobs.upload", *[refusal] * 3)
        line = refused(production.run(*DRAIN))
        assert line.startswith("fxci-etl: not rebuilt: ")
        assert "Access Denied: Dataset" in line
        assert "bigquery.jobs.create" in line
        assert production.user.waiting() == [0] * 4
        bigquery.forget()
        assert "0 messages received" in production.drain().out
        assert [len(rows) for rows in production.rows(*TABLES).values()] == [1, 1, 1]

    def test_without_its_bucket_nothing_is_read(
        self, broker: Broker, production: Production
    ) -> None:
        publish(broker, told(1))
        done = production.run(*DRAIN, FXCI_ETL_STORAGE_BUCKET="no-such-bucket")
        assert "there is no bucket no-such-bucket (FXCI_ETL_STORAGE_BUCKET)" in refused(done)
        assert production.user.waiting() == [1, 0, 0, 1]

    @pytest.mark.parametrize(
        "name", ["FXCI_ETL_PULSE_USER", "FXCI_ETL_PULSE_PASSWORD", "FXCI_ETL_STORAGE_BUCKET"]
    )
    def test_a_missing_setting_is_named(self, production: Production, name: str) -> None:
        done = production.run(*DRAIN, **unset(name))
        assert re.match(f"fxci-etl: {name} is not set ", refused(done))
        assert done.out == ""

    @pytest.mark.parametrize("case", ["unknown authority", "another host"])
    def test_a_certificate_that_is_not_accepted(
        self, broker: Broker, production: Production, case: str
    ) -> None:
        publish(broker, told(1))
        done = production.run(
            *DRAIN,
            FXCI_ETL_PULSE_HOST="127.0.0.1" if case == "another host" else broker.host,
            SSL_CERT_FILE=None if case == "unknown authority" else str(broker.ca_file),
        )
        assert "the certificate is not accepted" in refused(done)
        assert production.user.waiting() == [1, 0, 0, 1]
        assert not production.archive.events.days()


def _free() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class TestQueries:
    def test_say_what_they_would_process_and_are_bounded(self, production: Production) -> None:
        day = ago(1).date()
        production.left(TASK_RUNS, day, old_run(1, ago(1)))
        sql = (
            f"SELECT task_id FROM {production.dataset}.task_runs_v1 WHERE submission_date = '{day}'"
        )
        done = production.run("query", "--dry-run", sql)
        assert (done.code, done.out) == (0, "88 bytes\n")
        done = production.run("query", "--format", "csv", sql)
        assert (done.code, done.out.splitlines()[1:]) == (0, [task_id(1)])
        done = production.run("query", sql, FXCI_ETL_BIGQUERY_MAXIMUM_BYTES_BILLED="1000000")
        assert "limit for bytes billed: 1000000" in refused(done)


# --- secrets


def assert_without_secrets(*texts: str) -> None:
    for text in texts:
        for secret in SECRETS:
            assert secret not in text


class TestSecretsAppearNowhere:
    def test_in_what_a_drain_says(self, broker: Broker, production: Production) -> None:
        publish(broker, [*told(1), message(b"not json")])
        done = production.run("pulse", "drain", "-vvv")
        assert done.code == 0
        assert "DEBUG" in done.errors
        assert_without_secrets(done.out, done.errors, *production.objects())
        for name in production.objects():
            assert_without_secrets(production.root.read(name).decode(errors="replace"))

    @pytest.mark.parametrize(
        ("setting", "stand_in", "arguments"),
        [
            (
                "FXCI_ETL_STORAGE_CREDENTIALS",
                "STORAGE_EMULATOR_HOST",
                ("pulse", "drain", "-vvv"),
            ),
            (
                "FXCI_ETL_BIGQUERY_CREDENTIALS",
                "BIGQUERY_EMULATOR_HOST",
                ("query", "-vvv", "SELECT 1"),
            ),
        ],
    )
    def test_in_what_is_said_of_a_key_that_is_none(
        self, production: Production, setting: str, stand_in: str, arguments: tuple[str, ...]
    ) -> None:
        """Without a stand-in it is decoded; nothing is asked of Google with it."""
        done = production.run(*arguments, **unset(stand_in))
        assert done.code == 1
        assert f"{setting} is base64, but not of a service account's key in JSON" in done.errors
        assert "Traceback" in done.errors
        assert_without_secrets(done.out, done.errors)

    @pytest.mark.parametrize("password", [PASSWORD, "wr0ng-" + PASSWORD], ids=["right", "wrong"])
    def test_in_what_dagster_records(
        self,
        broker: Broker,
        production: Production,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
        password: str,
    ) -> None:
        import dagster as dg

        from fxci_assets.definitions import build_defs

        for name, value in production.of_the_pulse_job.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FXCI_ETL_PULSE_PASSWORD", password)
        settings = load()
        publish(broker, told(1))
        home = tmp_path / "dagster"
        home.mkdir()
        with caplog.at_level(logging.DEBUG), dg.DagsterInstance.local_temp(str(home)) as instance:
            job = build_defs(settings).resolve_job_def("ingest")
            done = job.execute_in_process(
                instance=instance, partition_key=f"{ago(1):%Y-%m-%d}", raise_on_error=False
            )
            assert done.success == (password == PASSWORD)
            run = instance.get_run_by_id(done.run_id)
            assert run is not None
            records = instance.all_logs(done.run_id)
            assert len(records) > 10
            assert_without_secrets(
                *(dg.serialize_value(record) for record in records),
                dg.serialize_value(run),
                str(run.run_config),
            )
        output = capfd.readouterr()
        assert_without_secrets(repr(settings), str(settings), caplog.text, output.out, output.err)
        for path in home.rglob("*"):
            if path.is_file():
                assert_without_secrets(path.name, path.read_bytes().decode(errors="replace"))


# --- under Dagster


class TestDagster:
    """Its daemon, with the instance that is deployed, on a real Postgres: what the command does in
    one process is asked for by sensors, waits in the queue, and is done by runs."""

    @pytest.fixture
    def environment(self, production: Production, postgres: Postgres) -> dict[str, str]:
        home = production.folder / "dagster"
        home.mkdir()
        shutil.copy(CHECKOUT / "deploy" / "dagster.yaml", home)
        return {
            **postgres.environment,
            "DAGSTER_HOME": str(home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "FXCI_ETL_DRAIN_QUEUE_WARNING": "2",
        }

    @staticmethod
    def start_sensor(production: Production, environment: Mapping[str, str], name: str) -> None:
        done = production.run(
            *("sensor", "start", "-m", "fxci_assets.definitions", name),
            program=[str(PROGRAMS / "dagster")],
            job={**production.of_the_pulse_job, **environment},
        )
        assert done.code == 0, done

    @pytest.mark.slow
    def test_sensors_drain_the_queues_and_build_all_days(
        self,
        broker: Broker,
        production: Production,
        postgres: Postgres,
        environment: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        import dagster as dg

        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        # All were created two days ago; half of them ended today, before they are told of.
        numbers = range(0, 40, 4)
        ended = [NOW - dt.timedelta(hours=1), ago(1)]
        publish(broker, [one for n in numbers for one in told(n, ended[n // 4 % 2])])
        self.start_sensor(production, environment, "queue_depth")
        daemon = production.start(
            *("run", "-m", "fxci_assets.definitions"),
            program=[str(PROGRAMS / "dagster-daemon")],
            job={**production.of_the_pulse_job, **environment},
        )
        try:
            with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:

                def states(job: str) -> set[str]:
                    runs = instance.get_runs(dg.RunsFilter(job_name=job))
                    return {run.status.value for run in runs}

                def built() -> bool:
                    pipeline = deployments.pipeline(production.settings)
                    return states("rebuild") == {"SUCCESS"} and not pipeline.stale()

                assert daemon.until(lambda: bool(states("ingest") & {"SUCCESS", "FAILURE"}))
                assert states("ingest") == {"SUCCESS"}
                assert production.user.waiting() == [0] * 4
                self.start_sensor(production, environment, "stale_days")
                assert daemon.until(built), daemon.kill()
                runs = {run.run_id: run for run in instance.get_runs()}
                told_of = instance.get_materialized_partitions(dg.AssetKey(TASK_RUNS.name))
        finally:
            daemon.process.terminate()
            done = daemon.wait()

        found = production.rows(*TABLES)
        assert [len(rows) for rows in found.values()] == [10, 10, 10]
        days = {str(row["submission_date"]) for row in found[TASK_RUNS.name]}
        assert days == {f"{end:%Y-%m-%d}" for end in ended}
        assert days <= told_of
        # Each partition in BigQuery says which run has written it.
        loads = production.bigquery.jobs("load")
        assert {job["configuration"]["labels"]["run"] for job in loads} <= runs.keys()
        assert len(loads) >= 2 * len(days) + 1  # runs and tasks of each, and definitions
        assert_without_secrets(done.out, done.errors, postgres.dump())
