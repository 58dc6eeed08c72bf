"""`fxci-etl` as its users meet it: what it prints where, and with which exit code it ends.

In this process where possible; what is imported, and what a pipe does, in processes of their own.
"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import grpc  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from google.cloud.monitoring_v3 import TimeSeries

from fxci_assets import cli, command_line, deployments
from fxci_assets.archive.quarantine import Item
from fxci_assets.pipeline import Pipeline
from fxci_assets.resources.amqp import PulseError
from fxci_assets.resources.cloud_monitoring import CloudMonitoring
from fxci_assets.sandbox import SIMULATED_NOTICE
from fxci_assets.settings import Settings, load
from fxci_assets.tables import TABLES, TASKS
from fxci_assets_tests import cli_reference
from fxci_assets_tests.events import DAY, NEXT_DAY, RECEIVED, body, message, run, task_id
from fxci_assets_tests.monitoring_server import Failure, MonitoringServer, Page, Reply
from fxci_assets_tests.pulse import MemoryPulse

SANDBOX = {"FXCI_SANDBOX_TASKS_PER_DAY": "30", "FXCI_SANDBOX_DAYS": "1"}
LOCAL = {"FXCI_DEPLOYMENT": "local"}
QUEUE = MemoryPulse.queues[1]

Run = Callable[..., Result]


def environment(folder: Path) -> dict[str, str]:
    """As of a user who has set nothing, with all state in a folder."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("FXCI_", "DAGSTER_", "XDG_"))}
    return ours | {
        "HOME": str(folder / "home"),
        "FXCI_SANDBOX_DIR": str(folder / "state"),
        # What a command would set for the rest of this process.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }


def invoke(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: str | None = None
) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(environment(folder)):
            patch.delenv(name)
        for name, value in (environment(folder) | dict(env or {})).items():
            patch.setenv(name, value)
        return CliRunner().invoke(cli.main, arguments, input=stdin)


def process(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fxci_assets.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment(folder) | dict(env or {}),
    )


def on_terminal(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """What a command prints on a terminal, which is little enough to fit in its buffer."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal, open(theirs, "wb") as stdout:  # noqa: PTH123
        subprocess.run(
            [sys.executable, "-m", "fxci_assets.cli", *arguments],
            stdout=stdout,
            check=True,
            env=environment(folder) | dict(env or {}),
        )
        return terminal.read(4096).decode().replace("\r\n", "\n")


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """A command sets how much is logged, for its process."""
    ours = logging.getLogger("fxci_assets")
    before = ours.level
    yield
    ours.setLevel(before)


def pipeline(folder: Path) -> Pipeline:
    """The pipeline of the local deployment whose commands run with this folder."""
    return deployments.pipeline(load(environment(folder) | LOCAL))


TAGS = {"project": "autoland", "label": "\x1b[2Jtest", "kind": "日本"}


def seed(folder: Path) -> None:
    """Two days with rows, and two messages in quarantine."""
    messages = [
        message(body(task_id(1), [run()], TAGS)),
        message(body(task_id(2), [run(0, "2026-04-14T01:00:00Z", started=None)], {})),
        message(b"{", "task-failed"),
        message(b"\xff\x00\n", "task-exception"),
    ]
    line = pipeline(folder)
    line.drain(MemoryPulse(messages))
    line.rebuild_stale()


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For commands that change nothing."""
    folder = tmp_path_factory.mktemp("seeded")
    seed(folder)
    return folder


@pytest.fixture
def pulse(monkeypatch: pytest.MonkeyPatch) -> MemoryPulse:
    """In place of the deployment's."""
    source = MemoryPulse()
    monkeypatch.setattr(deployments, "pulse", lambda settings: source)
    return source


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise PulseError("127.0.0.1:5672: connection refused")

    monkeypatch.setattr(MemoryPulse, "open", refused)
    monkeypatch.setattr(MemoryPulse, "depth", refused)


def error_of(result: Result, exit_code: int = 1) -> str:
    """The one line that a command failed with."""
    lines = [line for line in result.stderr.splitlines() if line != SIMULATED_NOTICE]
    assert (result.exit_code, len(lines)) == (exit_code, 1), result.output
    assert lines[0].startswith("fxci-etl: ")
    return lines[0].removeprefix("fxci-etl: ")


def usage_error_of(result: Result) -> str:
    assert result.exit_code == 2
    assert result.stdout == ""
    [line] = [line for line in result.stderr.splitlines() if line != SIMULATED_NOTICE]
    error, _, hint = line.removeprefix("fxci-etl: ").partition(" (see ")
    assert hint.endswith(" --help)")
    return error


# --- help -----------------------------------------------------------------------------------------

CONTEXTS = list(cli_reference.contexts())
NAMES = [context.command_path.replace(" [OPTIONS]", "") for context in CONTEXTS]


@pytest.mark.parametrize(("context", "name"), list(zip(CONTEXTS, NAMES, strict=True)), ids=NAMES)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(
    tmp_path: Path, context: click.Context, name: str, option: str
) -> None:
    result = invoke(tmp_path, *name.split()[1:], option)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: {name.replace('fxci-etl', 'main')} ")
    assert "..." not in result.stdout.partition("Commands:")[2]
    if not isinstance(context.command, click.Group):
        example = result.stdout.splitlines()[-1]
        assert result.stdout.splitlines()[-3:-1] == ["  Example:", ""]
        assert example.startswith(f"    {name}")


def test_the_reference_is_up_to_date() -> None:
    assert cli_reference.FILE.read_text() == cli_reference.reference(), "run `make docs`"


def test_help_answers_at_once(tmp_path: Path) -> None:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        assert process(tmp_path, "--help").returncode == 0
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3


HEAVY = {"dagster", "duckdb", "kombu", "amqp", "msgspec", "pandas", "pyarrow", "sqlglot"}


def imported(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> set[str]:
    code = (
        "import sys\n"
        "from fxci_assets.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment(folder) | dict(env or {}),
        check=True,
    )
    return HEAVY & {*done.stderr.split()}


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    assert imported(tmp_path, "--help") == set()
    assert imported(tmp_path, "pulse", "drain", "--help") == set()


def test_a_drain_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    assert imported(tmp_path, "pulse", "drain", env=SANDBOX) == {"msgspec", "pyarrow"}


def test_the_version(tmp_path: Path) -> None:
    assert re.search(r"\d+\.\d+", invoke(tmp_path, "--version").stdout)


@pytest.mark.parametrize(
    "arguments", [["no-such"], ["pulse", "no-such"], ["status", "--no-such"], ["query"]]
)
def test_what_cannot_be_understood(tmp_path: Path, arguments: Sequence[str]) -> None:
    assert usage_error_of(invoke(tmp_path, *arguments))


# --- options of every command ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        ("gaps list", logging.WARNING),
        ("-v gaps list", logging.INFO),
        ("gaps -v list", logging.INFO),
        ("gaps list -v", logging.INFO),
        ("gaps list -vv", logging.DEBUG),
        ("-v gaps list -v", logging.DEBUG),
        ("gaps list -vvv", logging.DEBUG),
        ("gaps list --verbose --verbose", logging.DEBUG),
    ],
)
def test_verbosity_before_and_after_the_command(tmp_path: Path, arguments: str, level: int) -> None:
    assert invoke(tmp_path, *arguments.split()).exit_code == 0
    assert logging.getLogger("fxci_assets").level == level


@pytest.mark.parametrize(
    "arguments",
    [
        "--config {a} status",
        "--config={a} status",
        "status --config {a}",
        "status --config={a}",
        "--config {b} status --config {a}",
    ],
)
def test_a_configuration_file_before_and_after_the_command(
    tmp_path: Path, pulse: MemoryPulse, arguments: str
) -> None:
    """Of two, the one nearer to the end counts."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(f'[bigquery]\nproject = "{name}"\n')
    arguments = arguments.format(a=tmp_path / "a", b=tmp_path / "b")
    result = invoke(tmp_path, *arguments.split(), env=LOCAL)
    assert result.stdout.startswith("deployment     local (a.fxci_derived)\n")


def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    result = invoke(tmp_path, "status", "--config", "none.toml")
    assert error_of(result) == "There is no configuration file none.toml"
    result = invoke(tmp_path, "pulse", "drain", env={"FXCI_DEPLOYMENT": "staging"})
    assert error_of(result) == "FXCI_DEPLOYMENT must be sandbox or local or production"
    assert not (tmp_path / "state").exists()


def test_an_error_is_one_line_and_its_place_is_told_at_vv(tmp_path: Path) -> None:
    seed(tmp_path)
    for path in (tmp_path / "state/local/archive/pulse_events/date=2026-04-13").iterdir():
        path.write_bytes(b"damaged")
    command = ["rebuild", "--from", "2026-04-13", "--to", "2026-04-13", "tasks_v2"]
    plain = process(tmp_path, *command, env=LOCAL)
    assert (plain.returncode, plain.stdout) == (1, "")
    assert "Traceback" not in plain.stderr
    *logged, error = plain.stderr.splitlines()
    assert re.fullmatch(r"fxci-etl: not rebuilt: 2026-04-13 \(.* cannot be read: .*\)", error)
    assert all(" ERROR fxci_assets." in line for line in logged)
    talkative = process(tmp_path, *command, "-vv", env=LOCAL)
    assert "Traceback" in talkative.stderr
    assert talkative.stderr.splitlines()[-1] == error


# --- pulse drain ----------------------------------------------------------------------------------

# Only what is made of messages can have repeats.
REBUILT = re.compile(r"(\w+) (\d{4}-\d\d-\d\d): ([\d,]+) rows(, [\d,]+ repeats dropped)?, [\d.]+ s")
DRAINED = re.compile(
    r"([\d,]+) messages received, ([\d,]+) filed under \d+ days, [\d,]+ to quarantine, "
    r"in [\d.]+ s; the queues are empty"
)


def test_a_drain_in_the_sandbox(tmp_path: Path) -> None:
    first = invoke(tmp_path, "pulse", "drain", env=SANDBOX)
    assert first.exit_code == 0
    assert first.stderr == f"{SIMULATED_NOTICE}\n"
    drained, fetched, *rebuilt = first.stdout.splitlines()
    matched = DRAINED.fullmatch(drained)
    assert matched
    assert int(matched[1]) > 30
    assert " definitions asked for, " in fetched
    built = [REBUILT.fullmatch(line) for line in rebuilt]
    tables = {"tasks_v2", "task_runs_v1", "task_definitions_v1"}
    assert {found[1] for found in built if found} == tables
    assert len(built) >= 2
    assert all(built)

    status = invoke(tmp_path, "status", env=SANDBOX)
    assert status.exit_code == 0
    assert "stale days     0\n" in status.stdout
    second = invoke(tmp_path, "pulse", "drain", env=SANDBOX)
    drained, _, *rebuilt = second.stdout.splitlines()
    matched = DRAINED.fullmatch(drained)
    assert matched
    # The simulated world goes on while the test runs.
    assert rebuilt == [] or int(matched[1]) > 0


def test_another_simulated_world_is_refused(tmp_path: Path) -> None:
    invoke(tmp_path, "pulse", "drain", env=SANDBOX)
    other = SANDBOX | {"FXCI_SANDBOX_TASKS_PER_DAY": "31"}
    for command in (["pulse", "drain"], ["status"]):
        error = error_of(invoke(tmp_path, *command, env=other))
        assert "tasks_per_day was 30 and is now 31" in error
        assert "`make clean`" in error


def test_without_credentials_nothing_is_done(tmp_path: Path) -> None:
    result = invoke(tmp_path, "pulse", "drain", env=LOCAL)
    assert error_of(result) == (
        "FXCI_ETL_PULSE_USER is not set (nor is [pulse] user in a configuration file)"
    )
    result = invoke(tmp_path, "pulse", "drain", env=LOCAL | {"FXCI_ETL_PULSE_USER": "fxci"})
    assert error_of(result).startswith("FXCI_ETL_PULSE_PASSWORD is not set ")
    assert list(tmp_path.iterdir()) == []


def test_what_is_archived_is_rebuilt_though_pulse_cannot_be_reached(
    tmp_path: Path, pulse: MemoryPulse, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline(tmp_path).drain(MemoryPulse([message(body(task_id(1), [run()]))]))
    unreachable(monkeypatch)
    result = invoke(tmp_path, "pulse", "drain", env=LOCAL)
    assert error_of(result) == "127.0.0.1:5672: connection refused"
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == [
        "0 definitions asked for",
        "tasks_v2 2026-04-13: 1 rows",
        "task_runs_v1 2026-04-13: 1 rows",
    ]
    assert pipeline(tmp_path).stale() == []


def test_a_drain_that_finds_a_queue_gone_fails_and_says_what_to_do(
    tmp_path: Path, pulse: MemoryPulse
) -> None:
    assert invoke(tmp_path, "pulse", "drain", env=LOCAL).exit_code == 0
    pulse.missing = [QUEUE]
    pulse.waiting = [message(body(task_id(1), [run()]))]
    result = invoke(tmp_path, "pulse", "drain", env=LOCAL)
    assert error_of(result).startswith(f"the queue {QUEUE} was gone and is declared again; ")
    assert "is missing: run fxci-etl repair, which fills and closes the gap" in result.stderr
    assert result.stdout.startswith("1 messages received, 1 filed under 1 days, ")
    assert invoke(tmp_path, "pulse", "drain", env=LOCAL).exit_code == 0


def test_not_even_the_most_talkative_drain_tells_the_password(tmp_path: Path) -> None:
    env = LOCAL | {
        "FXCI_ETL_PULSE_USER": "fxci",
        "FXCI_ETL_PULSE_PASSWORD": "hunter2",
        "FXCI_ETL_PULSE_HOST": "127.0.0.1",
        "FXCI_ETL_PULSE_PORT": "1",
        "FXCI_ETL_PULSE_TLS": "false",
    }
    done = process(tmp_path, "pulse", "drain", "-vvv", env=env)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "fxci-etl: 127.0.0.1:1: connection refused; check FXCI_ETL_PULSE_HOST and "
        "FXCI_ETL_PULSE_PORT"
    )
    assert "hunter2" not in done.stdout + done.stderr


def piped(folder: Path, *arguments: str, env: Mapping[str, str], lines: int) -> tuple[int, str]:
    """Run with a reader that goes away after some lines: the exit code and standard error."""
    with subprocess.Popen(
        [sys.executable, "-m", "fxci_assets.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(folder) | dict(env),
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        for _ in range(lines):
            assert running.stdout.readline()
        running.stdout.close()
        error = running.stderr.read().decode()
    return running.returncode, error


def test_a_drain_does_its_work_though_nobody_reads_its_output(tmp_path: Path) -> None:
    code, error = piped(tmp_path, "pulse", "drain", env=SANDBOX, lines=0)
    assert (code, error) == (0, f"{SIMULATED_NOTICE}\n")
    assert "stale days     0\n" in invoke(tmp_path, "status", env=SANDBOX).stdout


@pytest.mark.parametrize("format", ["table", "csv", "json"])
# More than a pipe holds, with a reader that sees the beginning; and less than a buffer holds.
@pytest.mark.parametrize(("count", "lines"), [(150, 1), (2, 0)])
def test_rows_that_nobody_reads_make_no_noise(
    tmp_path: Path, format: str, count: int, lines: int
) -> None:
    numbers = list(range(count))
    sql = f"SELECT x, '{'x' * 100}' AS t FROM UNNEST({numbers}) AS x, UNNEST({numbers}) AS y"
    code, error = piped(tmp_path, "query", sql, "--format", format, env=LOCAL, lines=lines)
    assert error == ""
    assert code in (0, 1)  # Python does not always learn that the rest of a long write was lost


# --- rebuild --------------------------------------------------------------------------------------


def rebuilt_by(result: Result) -> list[tuple[str, str, str]]:
    """The table, the day and the number of rows of each line."""
    assert result.exit_code == 0, result.output
    found = [REBUILT.fullmatch(line) for line in result.stdout.splitlines()]
    return [(match[1], match[2], match[3]) for match in found if match]


def test_rebuild_a_range(tmp_path: Path) -> None:
    seed(tmp_path)
    tables = ["tasks_v2", "task_runs_v1"]
    command = ["rebuild", "--from", "2026-04-13", "--to=2026-04-15", *tables]
    result = invoke(tmp_path, *command, env=LOCAL)
    assert rebuilt_by(result) == [
        ("tasks_v2", "2026-04-13", "1"),
        ("task_runs_v1", "2026-04-13", "1"),
        ("tasks_v2", "2026-04-14", "1"),
        ("task_runs_v1", "2026-04-14", "1"),
        ("tasks_v2", "2026-04-15", "0"),
        ("task_runs_v1", "2026-04-15", "0"),
    ]
    assert result.stdout.startswith("tasks_v2 2026-04-13: 1 rows, 0 repeats dropped, ")
    assert result.stderr == ""


def test_rebuild_one_table(tmp_path: Path) -> None:
    command = ["rebuild", "--from", "2026-04-13", "--to", "2026-04-13", "task_runs_v1"]
    result = invoke(tmp_path, *command, env=LOCAL)
    assert rebuilt_by(result) == [("task_runs_v1", "2026-04-13", "0")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("--from 2026-04-14 --to 2026-04-13", "--to is before --from"),
        (
            "--from 2026-04-13 --to 2026-04-13 tasks",
            f"no table tasks; there are {', '.join(table.name for table in TABLES)}",
        ),
        ("--from 2026-04-13", "Missing option '--to'."),
    ],
)
def test_a_rebuild_that_cannot_be_understood(tmp_path: Path, arguments: str, error: str) -> None:
    result = invoke(tmp_path, "rebuild", *arguments.split(), env=LOCAL)
    assert usage_error_of(result) == error


@pytest.mark.parametrize(
    ("first", "last", "error"),
    [
        ("2024-07-07", "2026-04-13", "2024-07-07 is before 2024-07-08, the first day"),
        ("2026-04-13", "2999-01-01", "2999-01-01 has not begun"),
    ],
)
def test_days_that_are_never_built_are_refused_before_any_is(
    tmp_path: Path, first: str, last: str, error: str
) -> None:
    result = invoke(tmp_path, "rebuild", "--from", first, "--to", last, env=LOCAL)
    assert error_of(result).startswith(error)
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


# --- metric export --------------------------------------------------------------------------------

MORNING = dt.datetime(2026, 4, 14, 6, tzinfo=dt.UTC)
PIPELINE = deployments.pipeline
UPTIME = (
    "SELECT project, zone, instance_id, interval_start_time, interval_end_time, submission_date, "
    "uptime FROM fxci.worker_metrics WHERE submission_date = '2026-04-13' "
    "ORDER BY project, zone, instance_id"
)


def set_clock(monkeypatch: pytest.MonkeyPatch, now: dt.datetime) -> None:
    """The time of the pipeline."""

    def pipeline_then(settings: Settings) -> Pipeline:
        return PIPELINE(settings, lambda: now)

    monkeypatch.setattr(deployments, "pipeline", pipeline_then)


@pytest.fixture
def morning(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the morning after DAY."""
    set_clock(monkeypatch, MORNING)


@pytest.mark.parametrize(
    "arguments",
    [
        "metric export",
        "metric export --date 2026-04-13",
        "metric export --date=2026-04-13",
        # As the scheduled job calls it.
        "metric export -vv --date=2026-04-13",
        "-vv metric export --date=2026-04-13",
        "metric -v export --date 2026-04-13 -v",
    ],
)
def test_a_day_of_uptime_is_yesterday_or_the_one_that_is_named(
    tmp_path: Path, morning: None, arguments: str
) -> None:
    result = invoke(tmp_path, *arguments.split(), env=SANDBOX)
    [(table, day, rows)] = rebuilt_by(result)
    assert (table, day) == ("worker_metrics_v1", "2026-04-13")
    found = json.loads(invoke(tmp_path, "query", UPTIME, "--format=json", env=SANDBOX).stdout)
    assert len(found) == int(rows) > 0


def test_a_dry_run_prints_the_records_and_writes_nothing(tmp_path: Path, morning: None) -> None:
    dry = invoke(tmp_path, "metric", "export", "--dry-run", env=SANDBOX)
    assert (dry.exit_code, dry.stderr) == (0, f"{SIMULATED_NOTICE}\n")
    assert list(tmp_path.iterdir()) == []
    records = json.loads(dry.stdout)
    assert records[0]["submission_date"] == "2026-04-13"
    assert records[0]["interval_end_time"] == "2026-04-13T23:59:59Z"

    assert invoke(tmp_path, "metric", "export", env=SANDBOX).exit_code == 0
    stored = invoke(tmp_path, "query", UPTIME, "--format=json", env=SANDBOX)
    assert json.loads(stored.stdout) == records


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("now", "date", "day", "complete"),
    [
        ("00:00:00", [], "2026-04-13", "2026-04-14 00:10"),
        ("00:09:59", [], "2026-04-13", "2026-04-14 00:10"),
        ("12:00:00", ["--date=2026-04-14"], "2026-04-14", "2026-04-15 00:10"),
        ("12:00:00", ["--date=2999-01-01"], "2999-01-01", "2999-01-02 00:10"),
    ],
)
def test_a_day_of_uptime_that_is_not_complete(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: list[str],
    now: str,
    date: list[str],
    day: str,
    complete: str,
) -> None:
    set_clock(monkeypatch, dt.datetime.combine(NEXT_DAY, dt.time.fromisoformat(now), dt.UTC))
    result = invoke(tmp_path, "metric", "export", *date, *option, env=SANDBOX)
    assert error_of(result) == f"the uptime of {day} is complete from {complete} UTC on"
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_day_of_uptime_is_complete_ten_minutes_after_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, dt.datetime(2026, 4, 14, 0, 10, tzinfo=dt.UTC))
    assert invoke(tmp_path, "metric", "export", env=SANDBOX).exit_code == 0


@pytest.mark.parametrize("option", ["--date=yesterday", "--date=2026-02-30", "--no-such"])
def test_an_export_that_cannot_be_understood(tmp_path: Path, option: str) -> None:
    assert usage_error_of(invoke(tmp_path, "metric", "export", option, env=SANDBOX))


def test_an_export_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    day = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=2)
    command = ["metric", "export", f"--date={day}"]
    # Arrow, given Python's objects, looks for pandas among them.
    assert imported(tmp_path, *command, env=SANDBOX) <= {"msgspec", "pyarrow", "pandas"}


def time_series(instance: str, seconds: float) -> TimeSeries:
    """The uptime of an instance on DAY."""
    return TimeSeries(
        resource={"labels": {"zone": "us-central1-b", "instance_id": instance}},
        points=[
            {"interval": {"end_time": "2026-04-14T00:00:00Z"}, "value": {"double_value": seconds}}
        ],
    )


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., MonitoringServer]]:
    """Starts a server with a script, in place of Google's."""
    servers: list[MonitoringServer] = []

    def start(*script: Reply) -> MonitoringServer:
        server = MonitoringServer(*script)
        servers.append(server)
        client = CloudMonitoring(stand_in_port=server.port, request_seconds=5, retry_seconds=5)
        monkeypatch.setattr(deployments, "monitoring", lambda settings: client)
        return server

    yield start
    for server in servers:
        server.close()


def test_an_export_needs_no_more_than_cloud_monitoring(
    tmp_path: Path, morning: None, serve: Callable[..., MonitoringServer]
) -> None:
    """Neither settings of pulse nor messages."""
    server = serve(Page([time_series("1", 60.125), time_series("2", 30)]), Page())
    result = invoke(tmp_path, "metric", "export", "--date=2026-04-13", env=LOCAL)
    assert rebuilt_by(result) == [("worker_metrics_v1", "2026-04-13", "2")]
    assert [request.name for request in server.requests] == [
        "projects/fxci-production-level1-workers",
        "projects/fxci-production-level3-workers",
    ]
    stored = json.loads(invoke(tmp_path, "query", UPTIME, "--format=json", env=LOCAL).stdout)
    assert [(row["instance_id"], row["uptime"]) for row in stored] == [("1", 60.12), ("2", 30.0)]
    assert {row["project"] for row in stored} == {"fxci-production-level1-workers"}


def test_the_projects_are_a_setting(
    tmp_path: Path, morning: None, serve: Callable[..., MonitoringServer]
) -> None:
    server = serve(Page([time_series("1", 60)]))
    env = LOCAL | {"FXCI_ETL_MONITORING_PROJECTS": "one, two,three"}
    result = invoke(tmp_path, "metric", "export", "--date=2026-04-13", env=env)
    assert rebuilt_by(result) == [("worker_metrics_v1", "2026-04-13", "3")]
    assert [r.name for r in server.requests] == ["projects/one", "projects/two", "projects/three"]


def test_a_failed_export_leaves_the_day_alone(
    tmp_path: Path, morning: None, serve: Callable[..., MonitoringServer]
) -> None:
    serve(Page([time_series("1", 60)]))
    command = ["metric", "export", "--date=2026-04-13"]
    assert invoke(tmp_path, *command, env=LOCAL).exit_code == 0
    before = invoke(tmp_path, "query", UPTIME, env=LOCAL).stdout
    # What one project answered is no day.
    denied = Failure(grpc.StatusCode.PERMISSION_DENIED, "not\nyou")
    serve(Page([time_series("2", 60)]), denied)
    error = error_of(invoke(tmp_path, *command, env=LOCAL))
    assert error.startswith(
        "Cloud Monitoring, project fxci-production-level3-workers: PermissionDenied: not you; "
    )
    serve(Page())
    error = error_of(invoke(tmp_path, *command, env=LOCAL))
    assert error.startswith("Cloud Monitoring has no uptime for 2026-04-13 in any of ")
    assert invoke(tmp_path, "query", UPTIME, env=LOCAL).stdout == before


def test_a_day_that_is_forgotten_is_built_of_what_was_archived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., MonitoringServer]
) -> None:
    """Cloud Monitoring is not even asked: it may know half of the day."""
    server = serve(Page([time_series("1", 60)]))
    set_clock(monkeypatch, MORNING)
    command = ["metric", "export", "--date=2026-04-13"]
    assert invoke(tmp_path, *command, env=LOCAL).exit_code == 0
    asked = len(server.requests)
    set_clock(monkeypatch, MORNING + dt.timedelta(days=41))
    assert invoke(tmp_path, *command, env=LOCAL).exit_code == 0
    result = invoke(tmp_path, "metric", "export", "--date=2026-04-12", env=LOCAL)
    assert error_of(result) == (
        "the uptime of 2026-04-12 was never fetched, and Cloud Monitoring is asked for the last 40 "
        "days only (FXCI_ETL_MONITORING_RETENTION_DAYS)"
    )
    assert len(server.requests) == asked


SECRETS = {
    "not base64 (of": "hunter2",
    "base64, but not of": base64.b64encode(b'{"private_key": "hunter2"}').decode(),
}


@pytest.mark.parametrize(("error", "secret"), SECRETS.items())
@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_credentials_that_are_none(
    tmp_path: Path, morning: None, error: str, secret: str, option: list[str]
) -> None:
    env = LOCAL | {"FXCI_ETL_MONITORING_CREDENTIALS": secret}
    result = invoke(tmp_path, "metric", "export", *option, env=env)
    assert (
        f"FXCI_ETL_MONITORING_CREDENTIALS is {error} a service account's key in JSON"
        in error_of(result)
    )
    assert secret not in result.output
    assert list(tmp_path.iterdir()) == []


def test_not_even_the_most_talkative_export_tells_a_secret(tmp_path: Path) -> None:
    secret = SECRETS["base64, but not of"]
    env = LOCAL | {"FXCI_ETL_MONITORING_CREDENTIALS": secret}
    day = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=2)
    done = process(tmp_path, "metric", "export", f"--date={day}", "-vvv", env=env)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "FXCI_ETL_MONITORING_CREDENTIALS is base64, but not of" in done.stderr
    for word in (secret, "hunter2"):
        assert word not in done.stdout + done.stderr


def test_credentials_that_are_nowhere(
    tmp_path: Path, morning: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    env = LOCAL | {"NO_GCE_CHECK": "true", "CLOUDSDK_CONFIG": str(tmp_path / "none")}
    result = invoke(tmp_path, "metric", "export", env=env)
    assert error_of(result).endswith(
        "; set FXCI_ETL_MONITORING_CREDENTIALS, or default credentials in the environment"
    )
    assert list(tmp_path.iterdir()) == []


# --- billing load ---------------------------------------------------------------------------------


def parquet(folder: Path, *rows: Mapping[str, Any], **types: pa.DataType) -> str:
    """A file with these rows; the types of columns that do not show in them can be given."""
    table = pa.Table.from_pylist(list(rows))
    for name, type_ in types.items():
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(type_))
    path = folder / "exports" / f"{len(list(folder.glob('exports/*')))}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)
    return str(path)


def at(day: dt.date, hour: int = 10) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour), dt.UTC)


def loaded(folder: Path, source: str, *files: str) -> str:
    result = invoke(folder, "billing", "load", source, *files, env=LOCAL)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def asked(folder: Path, sql: str) -> list[dict[str, Any]]:
    result = invoke(folder, "query", sql, "--format=json", env=LOCAL)
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


GCP = "billing_syndicate.gcp_billing_export_resource_v1_01E7D5_97288E_E2EBA0"
AZURE = "azure_billing_syndicate.fxci_daily_actual_load"
LOOKUP = "azure_billing_syndicate.fxci_daily_actual_lookup"

BILLED = (
    "SELECT DATE(usage_start_time) AS day, project.id AS project, cost, currency, "
    "(SELECT SUM(credit.amount) FROM UNNEST(credits) AS credit) AS credit, "
    f"ARRAY_LENGTH(labels) AS labels FROM {GCP} "
    "WHERE usage_start_time >= '2026-04-01' ORDER BY usage_start_time, cost"
)


@pytest.mark.parametrize(
    "credits",
    [
        [{"name": "a", "amount": -0.5}, {"name": "b", "amount": -0.25}],
        # As BigQuery writes arrays, by who reads them and by the version of the format.
        [{"element": {"name": "a", "amount": -0.5}}, {"element": {"name": "b", "amount": -0.25}}],
        [{"item": {"name": "a", "amount": -0.5}}, {"item": {"name": "b", "amount": -0.25}}],
        {"list": [{"element": {"amount": -0.5}}, {"element": {"amount": -0.25}}]},
        {"list": [{"item": {"amount": -0.5}}, {"item": {"amount": -0.25}}]},
    ],
)
def test_a_bill_is_loaded_as_bigquery_extracts_it(tmp_path: Path, credits: object) -> None:
    """In another order and case of columns, with some that nobody knows and without others."""
    none: object = [] if isinstance(credits, list) else {"list": []}
    row = {"Project": {"Number": "1", "ID": "p"}, "COST": 2.0, "new": 1, "credits": credits}
    file = parquet(
        tmp_path,
        row | {"Usage_Start_Time": at(DAY)},
        row | {"Usage_Start_Time": at(NEXT_DAY), "Project": None, "COST": None, "credits": none},
        row | {"Usage_Start_Time": at(NEXT_DAY, 11), "credits": None},
    )
    assert loaded(tmp_path, "gcp", file) == "gcp: 2 days\n"
    none_there = {"currency": None, "labels": 0}
    first, second = "2026-04-13", "2026-04-14"
    assert asked(tmp_path, BILLED) == [
        {"day": first, "project": "p", "cost": 2.0, "credit": -0.75} | none_there,
        {"day": second, "project": None, "cost": None, "credit": None} | none_there,
        {"day": second, "project": "p", "cost": 2.0, "credit": None} | none_there,
    ]


def test_loaded_days_are_replaced_and_others_stay(tmp_path: Path) -> None:
    rows = [{"usage_start_time": at(day), "cost": 1.0} for day in (DAY, NEXT_DAY)]
    loaded(tmp_path, "gcp", parquet(tmp_path, *rows))
    later = [{"usage_start_time": at(NEXT_DAY, hour), "cost": 5.0} for hour in (0, 23)]
    files = [parquet(tmp_path, row) for row in later]
    assert loaded(tmp_path, "gcp", *files) == "gcp: 1 days\n"
    assert [(row["day"], row["cost"]) for row in asked(tmp_path, BILLED)] == [
        ("2026-04-13", 1.0),
        ("2026-04-14", 5.0),
        ("2026-04-14", 5.0),
    ]


def test_a_lookup_has_no_days_and_is_replaced_whole(tmp_path: Path) -> None:
    snapshots = f"SELECT sourceDataId FROM {LOOKUP} ORDER BY sourceDataId"
    for names in (["a", "b"], ["b", "b", "c"]):
        file = parquet(tmp_path, *({"sourcedataid": name} for name in names))
        assert loaded(tmp_path, "azure_fxci_lookup", file) == "azure_fxci_lookup: all rows\n"
        assert [row["sourceDataId"] for row in asked(tmp_path, snapshots)] == names


def test_an_export_in_a_folder_that_is_named_like_a_column(tmp_path: Path) -> None:
    file = Path(parquet(tmp_path, {"date": DAY, "quantity": 1.5}))
    folder = tmp_path / "date=2026-04-14"
    folder.mkdir()
    loaded(tmp_path, "azure_fxci", str(file.rename(folder / file.name)))
    sql = f"SELECT date, quantity FROM {AZURE} WHERE date >= '2026-04-01'"
    assert asked(tmp_path, sql) == [{"date": "2026-04-13", "quantity": 1.5}]


WRONG_EXPORTS: list[tuple[str, dict[str, Any], str]] = [
    ("gcp", {"date": DAY}, "{file} has no column usage_start_time: is it another table?"),
    (
        "azure_fxci_lookup",
        {"cost": 1.0},
        "{file} has no column sourceDataId or loadTime: is it another table?",
    ),
    (
        "gcp",
        {"usage_start_time": at(DAY), "cost": "1.5"},
        "{file} does not have the columns of gcp: cost is string, and double is expected",
    ),
    (
        "gcp",
        {"usage_start_time": at(DAY), "project": {"id": 17}},
        "{file} does not have the columns of gcp: project.id is int64, and string is expected",
    ),
    (
        "gcp",
        {"usage_start_time": at(DAY), "credits": 1.5},
        "{file} does not have the columns of gcp: credits is double, and an array is expected",
    ),
    (
        "azure_fxci",
        {"date": "04/13/2026"},
        "{file} does not have the columns of azure_fxci: date is string, and date32[day] is "
        "expected",
    ),
]


@pytest.mark.parametrize(("source", "row", "error"), WRONG_EXPORTS)
def test_exports_that_are_refused(
    tmp_path: Path, source: str, row: dict[str, Any], error: str
) -> None:
    file = parquet(tmp_path, row)
    result = invoke(tmp_path, "billing", "load", source, file, env=LOCAL)
    assert error_of(result) == error.format(file=file)
    assert not (tmp_path / "state").exists()


def test_nothing_is_loaded_of_an_export_with_rows_of_no_day(tmp_path: Path) -> None:
    file = parquet(tmp_path, *({"date": day} for day in (DAY, None, None)))
    result = invoke(tmp_path, "billing", "load", "azure_fxci", file, env=LOCAL)
    assert error_of(result) == "azure_fxci: 2 rows have no date"
    assert not (tmp_path / "state").exists()


def test_a_file_that_is_no_export(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_text("date,cost\n")
    result = invoke(tmp_path, "billing", "load", "azure_fxci", str(file), env=LOCAL)
    assert error_of(result).startswith(f"{file} cannot be read as Parquet: ")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            "aws {file}",
            "no export aws; there are gcp, azure_fxci, azure_fxci_lookup, azure_taskcluster, "
            "azure_taskcluster_lookup",
        ),
        ("gcp", "Missing argument 'FILES...'."),
        ("gcp none.parquet", "Invalid value for 'FILES...': File 'none.parquet' does not exist."),
    ],
)
def test_a_load_that_cannot_be_understood(tmp_path: Path, arguments: str, error: str) -> None:
    file = parquet(tmp_path, {"usage_start_time": at(DAY)})
    command = ["billing", "load", *arguments.format(file=file).split()]
    assert usage_error_of(invoke(tmp_path, *command, env=LOCAL)) == error


def test_the_sandbox_has_bills_of_its_own(tmp_path: Path) -> None:
    file = parquet(tmp_path, {"usage_start_time": at(DAY)})
    result = invoke(tmp_path, "billing", "load", "gcp", file, env=SANDBOX)
    assert error_of(result) == "the sandbox has simulated bills: set FXCI_DEPLOYMENT=local"
    assert not (tmp_path / "state").exists()


# --- the tables of costs --------------------------------------------------------------------------


@pytest.fixture
def billed(tmp_path: Path) -> Path:
    """What a GCP and an Azure worker cost on DAY; one of the Azure exports has no rows."""
    hour = {
        "project": {"id": "fxci-production-level1-workers"},
        "resource": {
            "name": "worker-77",
            "global_name": "//compute.googleapis.com/projects/4711/zones/us-central1-b/"
            "instances/7732042218797547089",
        },
    }
    machine = {
        "date": DAY,
        "subscriptionName": "FXCI Azure",
        "resourceLocation": "westus2",
        "ResourceId": "/subscriptions/0/resourceGroups/rg/providers/Microsoft.Compute/"
        "virtualMachines/vm-a",
        "chargeType": "Usage",
        "meterCategory": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "quantity": 2.0,
    }
    gcp = parquet(
        tmp_path,
        hour | {"usage_start_time": at(DAY, 9), "cost": 2.0, "credits": [{"amount": -0.5}]},
        hour | {"usage_start_time": at(DAY, 10), "cost": 4.0, "credits": []},
        hour | {"usage_start_time": at(NEXT_DAY, 0), "cost": 99.0, "credits": []},
    )
    azure = parquet(
        tmp_path,
        machine | {"costInBillingCurrency": 99.0, "sourceDataId": "superseded"},
        machine | {"costInBillingCurrency": 3.0, "sourceDataId": "current"},
    )
    lookup = parquet(tmp_path, {"sourceDataId": "current"}, {"sourceDataId": "current"})
    nothing = tmp_path / "exports" / "nothing.parquet"
    pq.write_table(pq.read_table(azure).slice(0, 0), nothing)
    loaded(tmp_path, "gcp", gcp)
    loaded(tmp_path, "azure_fxci", azure)
    loaded(tmp_path, "azure_fxci_lookup", lookup)
    assert loaded(tmp_path, "azure_taskcluster", str(nothing)) == "azure_taskcluster: 0 days\n"
    loaded(tmp_path, "azure_taskcluster_lookup", str(nothing))
    return tmp_path


COSTS = (
    "SELECT cloud_provider, project, zone, instance_id, name, total_cost FROM fxci.worker_costs "
    "WHERE usage_start_date = '2026-04-13' ORDER BY cloud_provider"
)
OF_DAY = ["rebuild", "--from", "2026-04-13", "--to", "2026-04-13"]


def test_costs_are_built_of_loaded_bills(billed: Path) -> None:
    result = invoke(billed, *OF_DAY, "worker_costs_v1", env=LOCAL)
    assert rebuilt_by(result) == [("worker_costs_v1", "2026-04-13", "2")]
    assert asked(billed, COSTS) == [
        {
            "cloud_provider": "azure",
            "project": "FXCI Azure",
            "zone": "westus2",
            "instance_id": "vm-a",
            "name": "vm-a",
            "total_cost": 3.0,
        },
        {
            "cloud_provider": "gcp",
            "project": "fxci-production-level1-workers",
            "zone": "us-central1-b",
            "instance_id": "7732042218797547089",
            "name": "worker-77",
            "total_cost": 5.5,
        },
    ]


def test_the_way_from_bills_uptime_and_messages_to_the_cost_of_a_run(
    billed: Path, morning: None, serve: Callable[..., MonitoringServer]
) -> None:
    # An hour and a half, of which a run of an hour and a minute has two thirds and a bit.
    seed(billed)
    serve(Page([time_series("7732042218797547089", 5_490.0)]), Page())
    assert invoke(billed, "metric", "export", env=LOCAL).exit_code == 0
    result = invoke(billed, *OF_DAY, env=LOCAL)
    assert [(table, rows) for table, _, rows in rebuilt_by(result)] == [
        ("tasks_v2", "1"),
        ("task_runs_v1", "1"),
        ("task_definitions_v1", "0"),
        ("worker_metrics_v1", "1"),
        ("worker_costs_v1", "2"),
        ("worker_usage_v1", "2"),
        ("task_run_costs_v1", "1"),
        ("worker_utilization_v1", "2"),
    ]
    assert result.stderr == ""
    sql = "SELECT run_duration, run_cost FROM fxci.task_run_costs WHERE submission_date = @day"
    [row] = asked(billed, sql.replace("@day", "'2026-04-13'"))
    # From 09:01:00 to 10:00:00.123; 5.5 dollars for 5,490 seconds.
    assert row == {"run_duration": 3_540, "run_cost": pytest.approx(3_540 / 5_490 * 5.5)}


def test_without_bills_a_table_of_costs_says_what_it_needs(tmp_path: Path) -> None:
    result = invoke(tmp_path, *OF_DAY, "worker_costs_v1", env=LOCAL)
    assert error_of(result) == (
        "not rebuilt: 2026-04-13 (worker_costs_v1: the local warehouse has no billing exports "
        "(gcp, azure_fxci, azure_fxci_lookup, azure_taskcluster, azure_taskcluster_lookup): the "
        "tables of costs need them; see fxci-etl billing load --help)"
    )
    assert result.stdout == ""


def test_each_of_the_bills_is_needed(billed: Path) -> None:
    [exports] = billed.glob("state/local/warehouse/*/fxci_daily_actual_lookup")
    exports.rename(billed / "elsewhere")
    error = error_of(invoke(billed, *OF_DAY, "worker_costs_v1", env=LOCAL))
    assert "has no billing exports (azure_fxci_lookup): " in error


def test_a_rebuild_of_all_tables_leaves_out_what_is_not_ready(
    billed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seed(billed)
    caplog.clear()
    result = invoke(billed, *OF_DAY, env=LOCAL)
    assert [(table, rows) for table, _, rows in rebuilt_by(result)] == [
        ("tasks_v2", "1"),
        ("task_runs_v1", "1"),
        ("task_definitions_v1", "0"),
        ("worker_costs_v1", "2"),
    ]
    assert [(r.levelname, r.getMessage().partition(":")[0]) for r in caplog.records] == [
        ("WARNING", "worker_metrics_v1"),
        ("WARNING", "worker_usage_v1"),
        ("WARNING", "task_run_costs_v1"),
        ("WARNING", "worker_utilization_v1"),
    ]


def test_a_rebuild_of_all_tables_needs_no_bills(tmp_path: Path) -> None:
    seed(tmp_path)
    assert invoke(tmp_path, *OF_DAY, env=LOCAL).exit_code == 0


@pytest.mark.parametrize(
    ("table", "error"),
    [
        (
            "worker_metrics_v1",
            "the uptime of 2026-04-13 was never fetched; run fxci-etl metric export --date "
            "2026-04-13",
        ),
        (
            "worker_usage_v1",
            "worker_metrics_v1 has no partition for 2026-04-13; run fxci-etl metric export --date "
            "2026-04-13",
        ),
        (
            "task_run_costs_v1",
            "2026-04-13 has a partition in worker_costs_v1 and none in worker_usage_v1; run "
            "fxci-etl rebuild --from 2026-04-13 --to 2026-04-13 worker_usage_v1",
        ),
        (
            "worker_utilization_v1",
            "worker_metrics_v1 has no partition for 2026-04-13; run fxci-etl metric export --date "
            "2026-04-13",
        ),
    ],
)
def test_a_table_that_is_named_and_not_ready(billed: Path, table: str, error: str) -> None:
    assert invoke(billed, *OF_DAY, "worker_costs_v1", env=LOCAL).exit_code == 0
    result = invoke(billed, *OF_DAY, table, env=LOCAL)
    assert error_of(result) == f"not rebuilt: 2026-04-13 ({table}: {error})"
    assert result.stdout == ""


def stale_by(folder: Path, env: Mapping[str, str]) -> list[str]:
    lines = invoke(folder, "status", env=env).stdout.splitlines()
    return [line.split(None, 1)[1] for line in lines if line.startswith("stale  ")]


def test_a_drain_leaves_tables_that_are_queries_to_others(
    billed: Path, morning: None, pulse: MemoryPulse, serve: Callable[..., MonitoringServer]
) -> None:
    serve(Page([time_series("7732042218797547089", 5_490.0)]), Page())
    assert invoke(billed, "metric", "export", env=LOCAL).exit_code == 0
    assert invoke(billed, *OF_DAY, "worker_costs_v1", env=LOCAL).exit_code == 0
    assert stale_by(billed, LOCAL) == ["worker_usage_v1 2026-04-13: never built"]
    assert invoke(billed, *OF_DAY, env=LOCAL).exit_code == 0
    assert stale_by(billed, LOCAL) == []

    pulse.waiting = [message(body(task_id(1), [run()], TAGS))]
    result = invoke(billed, "pulse", "drain", env=LOCAL)
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == [
        "tasks_v2",
        "task_runs_v1",
    ]
    assert stale_by(billed, LOCAL) == [
        "task_run_costs_v1 2026-04-13: inputs changed",
        "worker_utilization_v1 2026-04-13: inputs changed",
    ]


def test_a_drain_beside_stale_costs_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    days = SANDBOX | {"FXCI_SANDBOX_DAYS": "2"}
    day = str(dt.datetime.now(dt.UTC).date() - dt.timedelta(days=2))
    for command in (
        ["pulse", "drain"],
        ["metric", "export", "--date", day],
        ["rebuild", "--from", day, "--to", day, "worker_costs_v1"],
    ):
        assert invoke(tmp_path, *command, env=days).exit_code == 0
    assert f"worker_usage_v1 {day}: never built" in stale_by(tmp_path, days)
    assert imported(tmp_path, "pulse", "drain", env=days) == {"msgspec", "pyarrow"}
    assert f"worker_usage_v1 {day}: never built" in stale_by(tmp_path, days)


# --- status ---------------------------------------------------------------------------------------


def test_status_shows_it_all(tmp_path: Path, pulse: MemoryPulse) -> None:
    seed(tmp_path)
    line = pipeline(tmp_path)
    line.archive.queues.record_drained(QUEUE, RECEIVED)
    early = message(body(task_id(5), [run(0, "1970-01-01T00:00:00Z")]))
    line.drain(MemoryPulse([message(body(task_id(3), [run()])), early], missing=[QUEUE]))
    line.archive.definitions.add_pending({task_id(6): RECEIVED, task_id(7): line.clock()})
    [gap] = line.archive.queues.open_gaps()
    pulse.waiting = [message(b"")] * 1_200
    result = invoke(tmp_path, "status", env=LOCAL)
    assert result.stdout.splitlines() == [
        "deployment     local (moz-fx-data-shared-prod.fxci_derived)",
        "queue          queue/test/task-completed: 1,200 waiting",
        "queue          queue/test/task-failed: not there",
        "newest event   2026-04-14 01:00:00 UTC",
        "stale          task_runs_v1 2026-04-13: inputs changed",
        "stale          tasks_v2 2026-04-13: inputs changed",
        "stale days     2",
        "definitions    2 pending, the oldest since 2026-04-14 06:00:00 UTC",
        "quarantine     resolved-before-first-partition: 1",
        "quarantine     unreadable: 2",
        "in quarantine  3",
        f"gap            {QUEUE}@2026-04-14T06:00:00.000000Z until "
        f"{gap.found_at:%Y-%m-%d %H:%M:%S} UTC",
        "open gaps      1",
    ]
    assert (result.exit_code, result.stderr) == (0, "")


def test_status_before_anything_was_done(tmp_path: Path, pulse: MemoryPulse) -> None:
    result = invoke(tmp_path, "status", env=LOCAL)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[3:] == [
        "newest event   none",
        "stale days     0",
        "definitions    0 pending",
        "in quarantine  0",
        "open gaps      0",
    ]
    assert list(tmp_path.iterdir()) == []


def test_many_stale_days_are_counted(tmp_path: Path, pulse: MemoryPulse) -> None:
    days = [dt.date(2026, 4, 1) + dt.timedelta(days=n) for n in range(12)]
    messages = [message(body(task_id(1), [run(0, f"{day}T10:00:00Z")])) for day in days]
    pipeline(tmp_path).drain(MemoryPulse(messages))
    lines = invoke(tmp_path, "status", env=LOCAL).stdout.splitlines()
    assert "stale          and 4 more" in lines
    assert "stale days     24" in lines


def test_status_names_what_it_cannot_find_out_and_shows_the_rest(
    seeded: Path, pulse: MemoryPulse, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable(monkeypatch)
    result = invoke(seeded, "status", env=LOCAL)
    assert error_of(result) == "queues: 127.0.0.1:5672: connection refused"
    assert result.stdout.splitlines()[1:4] == [
        "queues         unknown",
        "newest event   2026-04-14 01:00:00 UTC",
        "stale days     0",
    ]
    assert result.stdout.splitlines()[-1] == "open gaps      0"


def test_status_without_credentials(seeded: Path) -> None:
    result = invoke(seeded, "status", env=LOCAL)
    assert error_of(result).startswith("queues: FXCI_ETL_PULSE_USER is not set ")
    assert "in quarantine  2\n" in result.stdout


# --- query ----------------------------------------------------------------------------------------

RUNS = (
    "SELECT run_id, started IS NULL AS waited, started, submission_date FROM fxci.task_runs "
    "WHERE submission_date >= '2026-04-13' ORDER BY submission_date"
)


def test_query_as_a_table(seeded: Path) -> None:
    result = invoke(seeded, "query", RUNS, env=LOCAL)
    assert result.stdout.splitlines() == [
        "run_id  waited  started               submission_date",
        "------  ------  --------------------  ---------------",
        "     0  false   2026-04-13T09:01:00Z  2026-04-13",
        "     0  true    NULL                  2026-04-14",
    ]
    assert (result.exit_code, result.stderr) == (0, "")


def test_query_as_csv(seeded: Path) -> None:
    assert invoke(seeded, "query", RUNS, "--format=csv", env=LOCAL).stdout.splitlines() == [
        "run_id,waited,started,submission_date",
        "0,false,2026-04-13T09:01:00Z,2026-04-13",
        "0,true,,2026-04-14",
    ]


@pytest.mark.parametrize("option", [["--format=json"], ["--format", "json"]])
def test_query_as_json(seeded: Path, option: list[str]) -> None:
    result = invoke(seeded, "query", *option, RUNS, env=LOCAL)
    assert json.loads(result.stdout) == [
        {
            "run_id": 0,
            "waited": False,
            "started": "2026-04-13T09:01:00Z",
            "submission_date": "2026-04-13",
        },
        {"run_id": 0, "waited": True, "started": None, "submission_date": "2026-04-14"},
    ]


def test_a_record_in_each_format(seeded: Path) -> None:
    sql = "SELECT tags FROM fxci.tasks WHERE submission_date = '2026-04-13'"
    names = [column.name for column in TASKS.column("tags").fields]
    expected = dict.fromkeys(names) | TAGS
    [row] = json.loads(invoke(seeded, "query", sql, "--format=json", env=LOCAL).stdout)
    assert row == {"tags": expected}
    output = invoke(seeded, "query", sql, "--format=csv", env=LOCAL).stdout
    header, [cell] = csv.reader(io.StringIO(output))
    assert header == ["tags"]
    assert json.loads(cell) == expected
    _, _, table = invoke(seeded, "query", sql, env=LOCAL).stdout.splitlines()
    assert json.loads(table) == expected


def test_a_tag_cannot_move_the_cursor(seeded: Path) -> None:
    sql = "SELECT tags.label, tags FROM fxci.tasks WHERE submission_date = '2026-04-13'"
    for format in ("table", "json"):
        result = invoke(seeded, "query", sql, "--format", format, env=LOCAL)
        assert "2Jtest" in result.stdout
        assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    "name",
    [
        "fxci.task_runs",
        "fxci_derived.task_runs_v1",
        "moz-fx-data-shared-prod.fxci.task_runs",
        "`moz-fx-data-shared-prod.fxci.task_runs`",
        "`moz-fx-data-shared-prod`.fxci_derived.task_runs_v1",
        "`fxci`.`task_runs`",
        "`fxci_derived.task_runs_v1`",
    ],
)
def test_names_of_a_table(seeded: Path, name: str) -> None:
    sql = f"SELECT COUNT(*) AS n FROM {name} WHERE submission_date = '2026-04-13'"
    result = invoke(seeded, "query", sql, "--format=json", env=LOCAL)
    assert json.loads(result.stdout) == [{"n": 1}]


@pytest.mark.parametrize(
    ("format", "output"),
    [("table", "task_id\n-------\n"), ("csv", "task_id\n"), ("json", "[]\n")],
)
def test_no_rows(tmp_path: Path, format: str, output: str) -> None:
    sql = "SELECT task_id FROM fxci.tasks WHERE submission_date = '2020-01-01'"
    result = invoke(tmp_path, "query", sql, "--format", format, env=LOCAL)
    assert (result.exit_code, result.stdout) == (0, output)


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        (
            "SELECT state FROM fxci.task_runs",
            "Cannot query over table fxci_derived.task_runs_v1, which the view fxci.task_runs "
            "reads, without a filter over column submission_date that can be used for partition "
            "elimination",
        ),
        ("SELECT ML_PREDICT(1)", "ML_PREDICT is not supported by the local warehouse"),
        ("DROP TABLE fxci.tasks", "Only SELECT is supported: a query changes nothing"),
    ],
)
def test_queries_that_are_refused(seeded: Path, sql: str, error: str) -> None:
    result = invoke(seeded, "query", sql, env=LOCAL)
    assert error_of(result) == error
    assert result.stdout == ""


def test_simulated_rows_are_called_so_beside_them(tmp_path: Path) -> None:
    result = invoke(tmp_path, "query", "SELECT 1 AS n", "--format=csv", env=SANDBOX)
    assert (result.stdout, result.stderr) == ("n\n1\n", f"{SIMULATED_NOTICE}\n")


ONE_ROW = {
    "table": ("day         run_id", "----------  ------", "2026-04-13       0"),
    "csv": ("day,run_id", "2026-04-13,0"),
    "json": ("[", "  {", '    "day": "2026-04-13",', '    "run_id": 0', "  }", "]"),
}


@pytest.mark.parametrize(("format", "lines"), ONE_ROW.items())
def test_no_more_rows_are_printed_than_the_limit(
    seeded: Path, format: str, lines: tuple[str, ...]
) -> None:
    """How many there are beside them is none of what another program reads."""
    sql = (
        "SELECT submission_date AS day, run_id FROM fxci.task_runs "
        "WHERE submission_date >= '2026-04-13' ORDER BY day"
    )
    result = invoke(seeded, "query", sql, "--limit", "1", "--format", format, env=LOCAL)
    assert tuple(result.stdout.splitlines()) == lines
    assert (result.exit_code, result.stderr) == (0, "1 more rows are not shown\n")
    for enough in ("2", "1000"):
        result = invoke(seeded, "query", sql, f"--limit={enough}", "--format", format, env=LOCAL)
        assert result.stdout == invoke(seeded, "query", sql, "--format", format, env=LOCAL).stdout
        assert result.stderr == ""


def test_a_limit_of_many_rows(tmp_path: Path) -> None:
    sql = f"SELECT x FROM UNNEST({list(range(2_000))}) AS x"
    result = invoke(tmp_path, "query", sql, "--limit=3", "--format=csv", env=LOCAL)
    assert (result.stdout, result.stderr) == ("x\n0\n1\n2\n", "1,997 more rows are not shown\n")


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_is_none(tmp_path: Path, limit: str) -> None:
    error = usage_error_of(invoke(tmp_path, "query", "SELECT 1", "--limit", limit, env=LOCAL))
    assert error.startswith("Invalid value for '--limit': ")


@pytest.mark.parametrize("comment", ["-- one = 1?", "--one", "--limit is none", "/* one */"])
def test_a_query_that_begins_with_a_comment(tmp_path: Path, comment: str) -> None:
    result = invoke(tmp_path, "query", f"{comment}\nSELECT 1 AS n", "--format=csv", env=LOCAL)
    assert (result.exit_code, result.stdout) == (0, "n\n1\n"), result.output


def test_an_option_with_a_blank_in_its_value_is_one(tmp_path: Path) -> None:
    config = tmp_path / "a file"
    config.write_text('[bigquery]\ndataset = "other"\n')
    sql = "SELECT COUNT(*) AS n FROM other.tasks_v2 WHERE submission_date = '2026-04-13'"
    result = invoke(tmp_path, "query", f"--config={config}", sql, "--format=csv", env=LOCAL)
    assert (result.exit_code, result.stdout) == (0, "n\n0\n"), result.output
    assert usage_error_of(invoke(tmp_path, "query", "--no-such", sql, env=LOCAL)) == (
        "No such option '--no-such'."
    )


def test_an_unknown_format(tmp_path: Path) -> None:
    error = usage_error_of(invoke(tmp_path, "query", "SELECT 1", "--format=xml"))
    assert "'table', 'csv', 'json'" in error


# --- quarantine -----------------------------------------------------------------------------------


def quarantined(folder: Path) -> dict[bytes, str]:
    """The ids in quarantine, by body."""
    items = pipeline(folder).archive.quarantine
    return {items.body(item): item.id for item in items.entries()}


def test_quarantine_list(seeded: Path) -> None:
    ids = quarantined(seeded)
    result = invoke(seeded, "quarantine", "list", env=LOCAL)
    assert sorted(line.split() for line in result.stdout.splitlines()) == sorted(
        [
            [ids[b"{"], "2026-04-14", "06:00:00", "unreadable", "1", "bytes", "task-failed"],
            [ids[b"\xff\x00\n"], "2026-04-14", "06:00:00", "unreadable", "3", "bytes",
             "task-exception"],
        ]
    )  # fmt: skip


def test_quarantine_show_gives_the_very_bytes(seeded: Path) -> None:
    id = quarantined(seeded)[b"\xff\x00\n"]
    result = invoke(seeded, "quarantine", "show", id[:8], env=LOCAL)
    assert result.stdout_bytes == b"\xff\x00\n"
    assert result.stderr.splitlines() == [
        f"id {id}",
        "reason unreadable",
        "received 2026-04-14 06:00:00 UTC",
        "exchange exchange/taskcluster-queue/v1/task-exception",
        "routing key primary.#",
    ]


def test_a_mended_message_is_replayed(tmp_path: Path) -> None:
    seed(tmp_path)
    id = quarantined(tmp_path)[b"{"]
    mended = tmp_path / "mended.json"
    mended.write_bytes(body(task_id(4), [run()]))
    result = invoke(tmp_path, "quarantine", "replay", id, "--body", str(mended), env=LOCAL)
    assert (result.exit_code, result.stdout) == (0, f"{id} filed under 2026-04-13\n")

    assert id not in invoke(tmp_path, "quarantine", "list", env=LOCAL).stdout
    listed = invoke(tmp_path, "quarantine", "list", "--all", env=LOCAL).stdout.splitlines()
    assert [line.endswith("replayed") for line in listed if id in line] == [True]
    assert len(listed) == 2

    line = pipeline(tmp_path)
    assert {stale.day for stale in line.stale()} == {DAY}
    line.rebuild_stale()
    sql = "SELECT COUNT(*) AS n FROM fxci.tasks WHERE submission_date = '2026-04-13'"
    assert invoke(tmp_path, "query", sql, "--format=csv", env=LOCAL).stdout == "n\n2\n"


def test_a_replay_that_fails_in_part(tmp_path: Path) -> None:
    """What was unusable by the first day of then is usable by that of now."""
    seed(tmp_path)
    early = message(body(task_id(5), [run(0, "2024-07-01T10:00:00Z")]))
    pipeline(tmp_path).drain(MemoryPulse([early]))
    ids = quarantined(tmp_path)
    env = LOCAL | {"FXCI_START_DATE": "2024-01-01"}
    result = invoke(tmp_path, "quarantine", "replay", ids[b"{"], ids[early.body], env=env)
    assert result.stdout == f"{ids[early.body]} filed under 2024-07-01\n"
    assert error_of(result) == f"{ids[b'{']} cannot be filed: unreadable"
    assert ids[b"{"] in invoke(tmp_path, "quarantine", "list", env=env).stdout


def test_what_is_accepted_leaves_the_list_and_says_why(tmp_path: Path) -> None:
    seed(tmp_path)
    id, other = quarantined(tmp_path).values()
    result = invoke(tmp_path, "quarantine", "accept", id, "--why", "a test of ours", env=LOCAL)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{id} accepted\n", "")
    assert [item.id for item in pipeline(tmp_path).in_quarantine()] == [other]
    [listed] = invoke(tmp_path, "quarantine", "list", env=LOCAL).stdout.splitlines()
    assert listed.startswith(other)
    all_ = invoke(tmp_path, "quarantine", "list", "--all", env=LOCAL).stdout.splitlines()
    assert {line[:16]: line.partition("accepted: ")[2] for line in all_} == {
        id: "a test of ours",
        other: "",
    }
    invoke(tmp_path, "quarantine", "accept", other, "--why", "\x1b[2J", env=LOCAL)
    assert "accepted: \\x1b[2J" in invoke(tmp_path, "quarantine", "list", "--all", env=LOCAL).stdout


def test_an_empty_quarantine_is_called_so_beside_the_list(tmp_path: Path) -> None:
    result = invoke(tmp_path, "quarantine", "list", env=LOCAL)
    assert (result.stdout, result.stderr) == ("", "nothing is in quarantine\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("accept nothing --why fine", "no item in quarantine with an id that begins nothing"),
        ("accept nothing", "Missing option '--why'."),
        ("show nothing", "no item in quarantine with an id that begins nothing"),
        ("replay nothing", "no item in quarantine with an id that begins nothing"),
        ("replay a b --body {body}", "--body goes with one ID"),
        ("replay", "Missing argument 'ID...'."),
    ],
)
def test_items_that_are_not_there(seeded: Path, arguments: str, error: str) -> None:
    content = seeded / "content"
    content.write_bytes(b"")
    arguments = arguments.format(body=content)
    result = invoke(seeded, "quarantine", *arguments.split(), env=LOCAL)
    assert usage_error_of(result) == error


@pytest.mark.parametrize("command", ["show", "replay"])
def test_an_id_that_could_be_two(tmp_path: Path, command: str) -> None:
    quarantine = pipeline(tmp_path).archive.quarantine
    by_start: dict[str, Item] = {}
    number = 0
    while True:
        item = Item("unreadable", "e", "k", RECEIVED, b"%d" % (number := number + 1), RECEIVED)
        other = by_start.setdefault(item.id[:2], item)
        if other is not item:
            break
    quarantine.add([item, other])
    result = invoke(tmp_path, "quarantine", command, item.id[:2], env=LOCAL)
    assert " items in quarantine with an id that begins " in usage_error_of(result)


@pytest.mark.parametrize("command", ["show", "replay"])
def test_an_id_that_is_empty(seeded: Path, command: str) -> None:
    result = invoke(seeded, "quarantine", command, "", env=LOCAL)
    assert usage_error_of(result) == "no item in quarantine with an id that begins "


# --- text of others -------------------------------------------------------------------------------


HOSTILE = "\x1b[2J\r\n\x9b1A\u202e"
SPELLED_OUT = r"\x1b[2J\r\n\x9b1A\u202e"


def test_what_others_name_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    """Whoever may publish on the broker, or wrote the files that are taken over."""
    item = Item("unreadable", HOSTILE, HOSTILE, RECEIVED, b"{", RECEIVED)
    pipeline(tmp_path).archive.quarantine.add([item])
    [line] = invoke(tmp_path, "quarantine", "list", env=LOCAL).stdout.splitlines()
    assert line.endswith(f"1 bytes  {SPELLED_OUT}")
    shown = invoke(tmp_path, "quarantine", "show", item.id, env=LOCAL)
    assert shown.stderr.splitlines()[-2:] == [
        f"exchange {SPELLED_OUT}",
        f"routing key {SPELLED_OUT}",
    ]


def test_a_body_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    body = b'{\n"a": "\x1b[2J\xc2\x9b\xff\xe6\x97\xa5"}'
    item = Item("unreadable", "exchange", "key", RECEIVED, body, RECEIVED)
    pipeline(tmp_path).archive.quarantine.add([item])
    assert on_terminal(tmp_path, "quarantine", "show", item.id, env=LOCAL) == (
        '{\n"a": "\\x1b[2J\\x9b\\xff日"}\n'
    )


def test_an_error_does_nothing_to_a_terminal(tmp_path: Path, pulse: MemoryPulse) -> None:
    def refused(*arguments: object) -> None:
        raise OSError(HOSTILE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryPulse, "depth", refused)
        result = invoke(tmp_path, "status", env=LOCAL)
    assert error_of(result) == r"queues: OSError: \x1b[2J \x9b1A\u202e"


def test_a_value_in_an_error_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    result = invoke(tmp_path, "query", r"SELECT CAST('\x1b[2J' AS INT64)", env=LOCAL)
    assert error_of(result) == r"Cannot convert to INT64: \x1b[2J"


@pytest.mark.parametrize("formatter", [command_line.Visible, command_line.WithoutTraceback])
def test_a_log_line_does_nothing_to_a_terminal(formatter: type[logging.Formatter]) -> None:
    record = logging.LogRecord("n", logging.INFO, "", 1, "told: %s", (HOSTILE,), None)
    assert formatter("%(levelname)s %(message)s").format(record) == f"INFO told: {SPELLED_OUT}"


def test_a_traceback_does_nothing_to_a_terminal() -> None:
    error = ValueError(HOSTILE)
    record = logging.LogRecord(
        "n", logging.INFO, "", 1, "failed", (), (ValueError, error, error.__traceback__)
    )
    assert command_line.Visible().format(record).splitlines() == [
        "failed",
        r"ValueError: \x1b[2J\r",
        r"\x9b1A\u202e",
    ]


# --- gaps -----------------------------------------------------------------------------------------


def test_gaps_are_listed_and_closed(tmp_path: Path) -> None:
    line = pipeline(tmp_path)
    line.archive.queues.record_drained(QUEUE, RECEIVED)
    line.drain(MemoryPulse(missing=[QUEUE]))
    id = f"{QUEUE}@2026-04-14T06:00:00.000000Z"
    assert invoke(tmp_path, "gaps", "list", env=LOCAL).stdout.startswith(f"{id}  until 20")
    result = invoke(tmp_path, "gaps", "close", id, env=LOCAL)
    assert usage_error_of(result) == "Missing option '--why'."
    result = invoke(tmp_path, "gaps", "close", id, "--why", "nothing failed then", env=LOCAL)
    assert (result.exit_code, result.stdout) == (0, f"{id} closed\n")
    result = invoke(tmp_path, "gaps", "list", env=LOCAL)
    assert (result.stdout, result.stderr) == ("", "no gap is open\n")
    result = invoke(tmp_path, "gaps", "close", id, "--why", "again", env=LOCAL)
    assert usage_error_of(result) == f"no open gap {id}"


@pytest.mark.parametrize(
    "arguments", ["gaps list", "gaps close x --why y", "quarantine list", "quarantine replay x"]
)
def test_what_is_said_of_simulated_data_is_called_so(tmp_path: Path, arguments: str) -> None:
    result = invoke(tmp_path, *arguments.split(), env=SANDBOX)
    assert result.stderr.splitlines()[0] == SIMULATED_NOTICE


# --- sandbox --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["pulse.mozilla.org", "192.0.2.1", "127.0.0.1.example.org"])
@pytest.mark.parametrize("place", ["option", "environment"])
def test_simulated_messages_never_leave_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, place: str
) -> None:
    def connect(*arguments: object, **more: object) -> None:
        pytest.fail("it connects")

    monkeypatch.setattr("amqp.Connection", connect)
    command, env = ["sandbox", "publish"], dict(SANDBOX)
    if place == "option":
        command += ["--host", host]
    else:
        env["FXCI_ETL_PULSE_HOST"] = host
    assert error_of(invoke(tmp_path, *command, env=env)) == (
        f"simulated messages are only ever published to this machine, not to {host}"
    )


def test_the_demo_is_simulated_only(tmp_path: Path) -> None:
    result = invoke(tmp_path, "sandbox", "demo", env=LOCAL)
    assert error_of(result) == "the demo runs in the sandbox only: unset FXCI_DEPLOYMENT"
