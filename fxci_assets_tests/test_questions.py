"""The questions that people ask of the tables, as docs/queries writes them and `fxci-etl` answers.

Each answer is worked out again here from the tables' rows, in plain pandas: a filter, a merge and a
loop over groups. What the rows are is tested elsewhere; here is what becomes of them in a query.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from google.api_core.exceptions import Conflict

from fxci_assets import cli, deployments
from fxci_assets.resources.bigquery_warehouse import BigQueryWarehouse, plain_clients
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.pulse import Message
from fxci_assets.sandbox.firefox_ci import World, instant
from fxci_assets.sandbox.fleet import presences
from fxci_assets.sandbox.source import SimulatedPulse
from fxci_assets.settings import Settings
from fxci_assets.tables import (
    TASK_RUN_COSTS,
    TASK_RUNS,
    TASKS,
    WORKER_COSTS,
    WORKER_METRICS,
    WORKER_USAGE,
    arrow_schema,
)
from fxci_assets_tests.bigquery_server import BigQueryServer
from fxci_assets_tests.events import body, message, run, task_id
from fxci_assets_tests.pulse import MemoryPulse

QUERIES = Path(__file__).parents[1] / "docs" / "queries"
NAMES = sorted(path.stem for path in QUERIES.glob("*.sql"))
COMPARISONS = sorted(f"migrating/{path.stem}" for path in QUERIES.glob("migrating/*.sql"))
"""Of two datasets, that of the job of today and that of a shadow: docs/migrating.md."""

NOW = dt.datetime(2026, 5, 3, 12, tzinfo=dt.UTC)
TODAY = NOW.date()
DAYS = [TODAY - dt.timedelta(days=ago) for ago in range(5, 0, -1)]
LAST_RUNS = [DAYS[2], DAYS[3]]
EARLIER = [DAYS[0] - dt.timedelta(days=ago) for ago in range(4, 0, -1)]

# The days on which is asked: when all days are among the last 7, when the first two are not, nor
# among the last 30, and when April is before the two months before this one.
ASKED_ON = [TODAY, dt.date(2026, 5, 7), dt.date(2026, 5, 30), dt.date(2026, 7, 10)]

PULSE = (TASKS, TASK_RUNS)
DERIVED = (WORKER_METRICS, WORKER_COSTS, WORKER_USAGE, TASK_RUN_COSTS)

POOL = "gecko-t/t-linux-docker-noscratch-amd"
"""Of which `queue_time_of_a_pool` asks."""

Row = dict[str, Any]


class Rows(NamedTuple):
    """All rows of the tables; tags are columns."""

    runs: pd.DataFrame
    tasks: pd.DataFrame
    costs: pd.DataFrame


class Sandbox(NamedTuple):
    environment: Mapping[str, str]
    rows: Rows


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """Five days of a small Firefox-CI, and the morning after them."""
    root = tmp_path_factory.mktemp("questions")
    settings = Settings(sandbox_dir=root, sandbox_tasks_per_day=300, sandbox_days=len(DAYS))
    pipeline = deployments.pipeline(settings, lambda: NOW)
    world = World(settings.sandbox_seed, settings.sandbox_tasks_per_day)
    pipeline.drain(
        SimulatedPulse(world, root / "position", history_days=len(DAYS), clock=lambda: NOW)
    )
    pipeline.drain(MemoryPulse(odd_tasks(world, DAYS[2]), received_at=NOW))
    monitoring = deployments.monitoring(settings, lambda: NOW)
    for day in DAYS:
        pipeline.archive_uptime(monitoring, day)
    pipeline.rebuild_each(dict.fromkeys([*EARLIER, *DAYS, TODAY], PULSE))
    pipeline.rebuild_each(dict.fromkeys(DAYS, DERIVED))
    environment = {
        "HOME": str(root),
        "FXCI_DEPLOYMENT": "sandbox",
        "FXCI_SANDBOX_DIR": str(root),
        "FXCI_SANDBOX_TASKS_PER_DAY": str(settings.sandbox_tasks_per_day),
    }
    return Sandbox(environment, rows_of(deployments.local_warehouse(settings)))


def odd_tasks(world: World, day: dt.date) -> list[Message]:
    """What the simulated Firefox-CI need not have in so few days."""
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
    builders = (
        presence
        for presence in presences(world, day, instant(midnight + dt.timedelta(days=1)))
        if presence.worker.pool == "gecko-3/b-linux"
    )
    worker = max(builders, key=lambda presence: presence.end - presence.start).worker
    place = {"workerGroup": worker.zone, "workerId": worker.instance_id}

    def at(minutes: int) -> str:
        return f"{midnight + dt.timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"

    # There, all performance tasks run on hardware. The machine of this one was taken back shortly
    # before the day, and another one ran it.
    evicted = run(
        0,
        at(-10),
        state="exception",
        reasonResolved="worker-shutdown",
        scheduled=at(-30),
        started=at(-25),
    )
    retried = run(1, at(30), reasonCreated="retry", scheduled=at(-10), started=at(10), **place)
    awsy = {
        "createdForUser": "user3@example.com",
        "kind": "test",
        "label": "test-linux2404-64/opt-awsy-base-e10s",
        "project": "autoland",
        "trust-domain": "gecko",
        "test-suite": "awsy",
    }
    pool = {"taskQueueId": POOL}
    # A push that was cancelled after hours in the queue, of which nobody knows whose it was.
    cancelled = pool | {"taskGroupId": "CancelledAAQ_KA8cLFXIA"}
    late = run(0, at(600), scheduled=at(300), started=at(560), **place)
    never = run(
        0, at(600), state="exception", reasonResolved="canceled", scheduled=at(300), started=None
    )
    return [
        message(body(task_id(1), [evicted, retried], awsy, pool)),
        message(body(task_id(2), [late], {}, cancelled)),
        message(body(task_id(3), [late], {}, cancelled)),
        message(body(task_id(4), [never], {}, cancelled)),
        *(
            message(body(task_id(number), long_lived(day), {"project": "try"}, cancelled))
            for number, day in enumerate(LAST_RUNS, 5)
        ),
        # One whose message lacks what its task needs: a run without a task.
        message(body(task_id(7), [late], {}, cancelled | {"schedulerId": None})),
    ]


def long_lived(last: dt.date) -> list[Row]:
    """Runs that are as far apart as those of one task can be."""
    return [
        run(0, f"{last - dt.timedelta(days=6)}T20:00:00Z", reasonResolved="claim-expired"),
        run(1, f"{last}T20:00:00Z", reasonCreated="retry"),
    ]


def rows_of(warehouse: LocalWarehouse) -> Rows:
    def rows(view: str) -> pd.DataFrame:
        sql = f"SELECT * FROM fxci.{view} WHERE submission_date >= '2026-01-01'"
        frame: pd.DataFrame = warehouse.query(sql).to_pandas()
        return frame

    tasks = rows("tasks")
    tags = pd.DataFrame(list(tasks["tags"]), index=tasks.index)
    return Rows(rows("task_runs"), tasks.drop(columns="tags").join(tags), rows("task_run_costs"))


# --- how an answer is worked out ------------------------------------------------------------------


def days(frame: pd.DataFrame, first: dt.date, last: dt.date) -> pd.DataFrame:
    day = frame["submission_date"]
    return frame[(day >= first) & (day <= last)]


def ago(today: dt.date, days: int) -> dt.date:
    return today - dt.timedelta(days=days)


def runs_of(
    rows: Rows, first: dt.date, last: dt.date, how: Literal["inner", "left"] = "inner"
) -> pd.DataFrame:
    """The runs of some days, each with its task and, where it has one, its cost."""
    tasks = rows.tasks.drop(columns="submission_date")
    runs = days(rows.runs, first, last).merge(tasks, on="task_id", how=how, validate="m:1")
    costs = rows.costs[["task_id", "run_id", "run_cost"]]
    runs = runs.merge(costs, on=["task_id", "run_id"], how="left", validate="1:1")
    runs["queued"] = seconds(runs["started"] - runs["scheduled"])
    runs["ran"] = seconds(runs["resolved"] - runs["started"])
    return runs


def seconds(times: pd.Series[Any]) -> pd.Series[Any]:
    """Whole seconds, NaN where there is no time."""
    return pd.Series(np.trunc(times.dt.total_seconds()), times.index)


def groups(frame: pd.DataFrame, *names: str) -> Iterable[tuple[Row, pd.DataFrame]]:
    """NULL is a group of its own, as in SQL."""
    for key, rows in frame.groupby(list(names), dropna=False):
        values = key if isinstance(key, tuple) else (key,)
        yield dict(zip(names, map(null, values), strict=True)), rows


def quantile(values: pd.Series[Any], hundredths: int) -> int | None:
    """The smallest value that so many hundredths of all are not above."""
    ordered = sorted(values.dropna())
    rank = math.ceil(hundredths * len(ordered) / 100)
    return int(ordered[max(1, rank) - 1]) if ordered else None


def total(values: pd.Series[Any]) -> float | None:
    """The sum of what there is, NULL where there is nothing."""
    return math.fsum(values.dropna()) if values.notna().any() else None


def greatest(values: pd.Series[Any]) -> object:
    return max(values.dropna(), default=None)


def rounded(number: float | None, places: int) -> float | None:
    """Half away from zero, by the number that the float is."""
    if number is None:
        return None
    unit = decimal.Decimal(1).scaleb(-places)
    return float(decimal.Decimal(number).quantize(unit, decimal.ROUND_HALF_UP))


def null(value: object) -> object:
    return None if pd.isna(value) else value  # type: ignore[call-overload]


def up(value: Any) -> tuple[bool, Any]:  # noqa: ANN401
    """Ascending, NULL first."""
    return value is not None, value


def down(value: float | None) -> tuple[bool, float]:
    """Descending, NULL last."""
    return value is None, -(value or 0)


Answer = Callable[[Rows, dt.date], list[Row]]
ANSWERS: dict[str, Answer] = {}


def answers(query: str) -> Callable[[Answer], Answer]:
    """The answer to a query on a day."""

    def remember(answer: Answer) -> Answer:
        ANSWERS[query] = answer
        return answer

    return remember


# --- the answers ----------------------------------------------------------------------------------


@answers("queue_time_of_a_pool")
def queue_time_of_a_pool(rows: Rows, today: dt.date) -> list[Row]:
    runs = runs_of(rows, ago(today, 30), ago(today, 1))
    runs = runs[runs["task_queue_id"] == "gecko-t/t-linux-docker-noscratch-amd"]
    return [
        {
            "runs": len(runs),
            "never_claimed": int(runs["started"].isna().sum()),
            "median_seconds": quantile(runs["queued"], 50),
            "p90_seconds": quantile(runs["queued"], 90),
            "p95_seconds": quantile(runs["queued"], 95),
        }
    ]


@answers("daily_volume_by_project")
def daily_volume_by_project(rows: Rows, today: dt.date) -> list[Row]:
    found = [
        {
            "day": key["submission_date"].isoformat(),
            "project": key["project"],
            "tasks": runs["task_id"].nunique(),
            "runs": len(runs),
            "machine_hours": rounded(hours(runs["ran"]), 1),
        }
        for key, runs in groups(
            runs_of(rows, ago(today, 30), ago(today, 1), "left"), "submission_date", "project"
        )
    ]
    return sorted(found, key=lambda r: (r["day"], up(r["project"])))


def hours(values: pd.Series[Any]) -> float | None:
    whole = total(values)
    return None if whole is None else whole / 3600


@answers("top_pushers")
def top_pushers(rows: Rows, today: dt.date) -> list[Row]:
    tasks = days(rows.tasks, ago(today, 30), ago(today, 1))
    found = [
        {
            "pusher": key["created_for_user"],
            "pushes": theirs["task_group_id"].nunique(),
            "tasks": len(theirs),
            "tasks_on_try": int((theirs["project"] == "try").sum()),
        }
        for key, theirs in groups(tasks, "created_for_user")
        if key["created_for_user"] is not None
    ]
    return sorted(found, key=lambda r: (-r["pushes"], -r["tasks"], r["pusher"]))[:20]


@answers("queue_time_by_task_group")
def queue_time_by_task_group(rows: Rows, today: dt.date) -> list[Row]:
    found = [
        {
            **key,
            "project": greatest(runs["project"]),
            "pusher": greatest(runs["created_for_user"]),
            "runs": int(runs["started"].notna().sum()),
            "first_scheduled": instant_as_json(runs["scheduled"].min()),
            "median_seconds": quantile(runs["queued"], 50),
            "p95_seconds": quantile(runs["queued"], 95),
            "longest_seconds": int(runs["queued"].max()),
        }
        for key, runs in groups(runs_of(rows, ago(today, 7), ago(today, 1)), "task_group_id")
        if runs["started"].notna().any()
    ]
    return sorted(found, key=lambda r: (-r["longest_seconds"], r["task_group_id"]))[:50]


def instant_as_json(moment: pd.Timestamp) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@answers("evictions_by_pool_and_region")
def evictions_by_pool_and_region(rows: Rows, today: dt.date) -> list[Row]:
    runs = runs_of(rows, ago(today, 30), ago(today, 1))
    runs = runs[runs["started"].notna()]
    zone = runs["worker_group"].str
    runs["region"] = runs["worker_group"].where(zone[-2:-1] != "-", zone[:-2])
    found = []
    for key, of_pool in groups(runs, "task_queue_id", "region"):
        evictions = int((of_pool["reason_resolved"] == "worker-shutdown").sum())
        expired = int((of_pool["reason_resolved"] == "claim-expired").sum())
        if evictions + expired:
            found.append(
                {
                    "pool": key["task_queue_id"],
                    "region": key["region"],
                    "runs": len(of_pool),
                    "evictions": evictions,
                    "claims_expired": expired,
                    "share_lost": (evictions + expired) / len(of_pool),
                }
            )
    order = ("pool", "region")
    return sorted(
        found, key=lambda r: (-r["evictions"], -r["claims_expired"], *(up(r[n]) for n in order))
    )


@answers("retry_rate_by_pool_and_month")
def retry_rate_by_pool_and_month(rows: Rows, today: dt.date) -> list[Row]:
    first = (today.replace(day=1) - pd.DateOffset(months=2)).date()
    runs = runs_of(rows, first, today)
    runs["month"] = [day.replace(day=1).isoformat() for day in runs["submission_date"]]
    found = []
    for key, of_pool in groups(runs, "month", "task_queue_id"):
        retries = int(of_pool["reason_created"].isin(["retry", "task-retry"]).sum())
        found.append(
            {
                "month": key["month"],
                "pool": key["task_queue_id"],
                "runs": len(of_pool),
                "retries": retries,
                "retry_rate": retries / len(of_pool),
            }
        )
    return sorted(found, key=lambda r: (r["month"], -r["retry_rate"], r["pool"]))


@answers("cost_by_pusher_and_task_group")
def cost_by_pusher_and_task_group(rows: Rows, today: dt.date) -> list[Row]:
    found = [
        {
            "pusher": key["created_for_user"],
            "task_group_id": key["task_group_id"],
            "runs": len(runs),
            "runs_with_cost": int(runs["run_cost"].notna().sum()),
            "cost": rounded(total(runs["run_cost"]), 2),
        }
        for key, runs in groups(
            runs_of(rows, ago(today, 30), ago(today, 1)), "created_for_user", "task_group_id"
        )
    ]
    return sorted(found, key=lambda r: (down(r["cost"]), r["task_group_id"], up(r["pusher"])))[:50]


@answers("cost_by_project_kind_and_platform")
def cost_by_project_kind_and_platform(rows: Rows, today: dt.date) -> list[Row]:
    keys = ("project", "trust_domain", "kind", "test_platform")
    found = [
        {
            "project": key["project"],
            "trust_domain": key["trust_domain"],
            "kind": key["kind"],
            "platform": key["test_platform"],
            "runs": len(runs),
            "cost": rounded(total(runs["run_cost"]), 2),
        }
        for key, runs in groups(runs_of(rows, ago(today, 30), ago(today, 1)), *keys)
    ]
    order = ("project", "trust_domain", "kind", "platform")
    return sorted(found, key=lambda r: (down(r["cost"]), *(up(r[name]) for name in order)))


@answers("performance_tasks")
def performance_tasks(rows: Rows, today: dt.date) -> list[Row]:
    words = ("browsertime", "talos", "raptor", "awsy", "perftest")
    tasks = days(rows.tasks, ago(today, 30), ago(today, 1)).set_index("task_id")
    found = []
    for key, runs in groups(runs_of(rows, ago(today, 30), dt.date.max), "task_id"):
        if key["task_id"] not in tasks.index:
            continue
        task = tasks.loc[key["task_id"]]
        parts = str(task["label"]).replace("/", "-").split("-")
        if task["kind"] not in words and not set(words) & set(parts):
            continue
        ran = total(runs["ran"])
        found.append(
            {
                "task_id": key["task_id"],
                "day": task["submission_date"].isoformat(),
                "project": null(task["project"]),
                "label": null(task["label"]),
                "test_suite": null(task["test_suite"]),
                "pool": task["task_queue_id"],
                "runs": len(runs),
                "machine_seconds": ran if ran is None else int(ran),
                "cost": total(runs["run_cost"]),
            }
        )
    return sorted(found, key=lambda r: (r["day"], up(r["label"]), r["task_id"]))


# --- the tests ------------------------------------------------------------------------------------


def text_of(name: str, today: dt.date | None = None) -> str:
    """A file's query; asked on a day, if one is given."""
    sql = (QUERIES / f"{name}.sql").read_text()
    return sql if today is None else sql.replace("CURRENT_DATE()", f"DATE '{today}'")


def ask(environment: Mapping[str, str], sql: str) -> list[Row]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("FXCI_", "XDG_"))]:
            patch.delenv(name)
        result = CliRunner().invoke(
            cli.main, ["query", "--format=json", sql], env=dict(environment)
        )
    assert result.exit_code == 0, result.stderr
    rows: list[Row] = json.loads(result.stdout)
    return rows


def about(row: Row) -> Row:
    """Floats are added up in another order there."""
    return {
        name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
        for name, value in row.items()
    }


def test_every_question_has_an_answer_here() -> None:
    assert sorted(ANSWERS) == NAMES
    assert len(NAMES) == 9


@pytest.mark.parametrize("name", [*NAMES, *COMPARISONS])
def test_a_file_says_in_two_lines_what_it_answers(name: str) -> None:
    first, second, third, *_ = text_of(name).splitlines()
    assert first.startswith("-- ")
    assert second.startswith("-- ")
    assert third == "SELECT"
    assert all(len(line) <= 100 for line in text_of(name).splitlines())


# Without quotes, these are no names in GoogleSQL; the local engine takes some of them for names
# (https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords).
RESERVED = """
all and any array as asc assert_rows_modified at between by case cast collate contains create cross
cube current default define desc distinct else end enum escape except exclude exists extract false
fetch following for from full group grouping groups hash having if ignore in inner intersect
interval into is join lateral left like limit lookup merge natural new no not null nulls of on or
order outer over partition preceding proto qualify range recursive respect right rollup rows select
set some struct tablesample then to treat true unbounded union unnest using when where window with
within
"""


@pytest.mark.parametrize("name", [*NAMES, *COMPARISONS])
def test_no_alias_is_a_reserved_word(name: str) -> None:
    assert set(re.findall(r"\bAS ([a-z]\w*)", text_of(name))).isdisjoint(RESERVED.split())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("today", ASKED_ON, ids=str)
def test_answers(sandbox: Sandbox, name: str, today: dt.date) -> None:
    found = ask(sandbox.environment, text_of(name, today))
    wanted = ANSWERS[name](sandbox.rows, today)
    assert found == [about(row) for row in wanted]
    assert [list(row) for row in found] == [list(row) for row in wanted]


NULLS = {
    "daily_volume_by_project": ["project"],
    "queue_time_by_task_group": ["pusher"],
    "cost_by_pusher_and_task_group": ["pusher"],
    "cost_by_project_kind_and_platform": ["project", "trust_domain", "platform", "cost"],
    "performance_tasks": ["machine_seconds", "cost"],
}


@pytest.mark.parametrize("name", NAMES)
def test_the_answers_are_not_trivial(sandbox: Sandbox, name: str) -> None:
    found = ask(sandbox.environment, text_of(name, TODAY))
    limit = re.search(r"LIMIT (\d+)$", text_of(name))
    assert len(found) == int(limit[1]) if limit else found
    for column in found[0]:
        values = [row[column] for row in found]
        assert any(value not in (None, 0) for value in values), column
        if column in NULLS.get(name, []):
            assert None in values, column


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_a_query_as_it_is(sandbox: Sandbox, name: str) -> None:
    sql = text_of(name)
    assert sql != text_of(name, TODAY)
    # On the day on which the tests run, the days of the sandbox may be among the last.
    assert isinstance(ask(sandbox.environment, sql), list)


# --- two datasets side by side --------------------------------------------------------------------

OLD, SHADOW = "fxci_derived", "fxci_shadow"


@pytest.fixture(scope="module")
def both() -> Iterator[Mapping[str, str]]:
    """The environment of a shadow in which the two datasets are. The old job has filed one run on
    two days, one late, and one of another day; each has a run that the other lacks."""
    server = BigQueryServer()
    environment = {
        "FXCI_DEPLOYMENT": "production",
        "FXCI_ETL_BIGQUERY_PROJECT": server.project,
        "FXCI_ETL_BIGQUERY_DATASET": SHADOW,
        "BIGQUERY_EMULATOR_HOST": server.url,
    }

    def of_run(number: int, resolved: dt.date) -> Row:
        at = dt.datetime.combine(resolved, dt.time(12), dt.UTC)
        ended = {"state": "completed", "scheduled": at, "resolved": at}
        return {"task_id": task_id(number), "run_id": 0, **ended}

    def up(worker: str, seconds: float) -> Row:
        ends = dict.fromkeys(("interval_start_time", "interval_end_time"), NOW)
        where = {"project": "p", "zone": "us-west1-a", "instance_id": worker}
        return {**where, **ends, "uptime": seconds}

    third, fourth = ago(TODAY, 3), ago(TODAY, 4)
    try:
        with mock.patch.dict(os.environ, environment):
            clients = plain_clients(server.project, None)
            for dataset, table, day, rows in (
                (OLD, TASK_RUNS, third, [of_run(1, third), of_run(2, third), of_run(3, fourth)]),
                (OLD, TASK_RUNS, ago(TODAY, 2), [of_run(1, third), of_run(4, third)]),
                (SHADOW, TASK_RUNS, fourth, [of_run(3, fourth)]),
                (SHADOW, TASK_RUNS, third, [of_run(n, third) for n in (1, 4, 5, 6)]),
                (OLD, WORKER_METRICS, third, [up("1", 3_540), up("2", 3_540)]),
                (SHADOW, WORKER_METRICS, third, [up("1", 3_600), up("2", 3_600)]),
                (SHADOW, WORKER_METRICS, ago(TODAY, 1), [up("1", 60)]),
            ):
                with contextlib.suppress(Conflict), clients() as client:
                    client.create_dataset(dataset)
                of_day = [{**row, table.partition_column: day} for row in rows]
                batch = pa.RecordBatch.from_pylist(of_day, arrow_schema(table))
                warehouse = BigQueryWarehouse(clients, server.project, dataset)
                warehouse.write_partition(table, day, [batch])
            yield environment
    finally:
        server.close()


COMPARED: Mapping[str, list[Row]] = {
    "migrating/repeated_runs": [{"old_job": 1, "shadow": 0}],
    "migrating/runs_of_a_day": [{"only_old": 1, "only_shadow": 2, "in_both": 2}],
    "migrating/uptime_by_day": [
        {"day": f"{ago(TODAY, 3)}", "old_job": 7_080.0, "shadow": 7_200.0},
        {"day": f"{ago(TODAY, 1)}", "old_job": None, "shadow": 60.0},
    ],
}


def test_every_comparison_has_an_answer_here() -> None:
    assert sorted(COMPARED) == COMPARISONS


@pytest.mark.parametrize("name", COMPARISONS)
def test_compares(both: Mapping[str, str], name: str) -> None:
    assert ask(both, text_of(name, TODAY)) == COMPARED[name]
    assert isinstance(ask(both, text_of(name)), list)  # as it is


def test_a_file_can_be_pasted(sandbox: Sandbox) -> None:
    """It begins with a comment, which looks like an option."""
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    done = subprocess.run(
        ["sh", "-c", 'fxci-etl query "$(cat docs/queries/top_pushers.sql)" --format csv'],
        env={**sandbox.environment, "PATH": os.pathsep.join(folders)},
        cwd=QUERIES.parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "pusher,pushes,tasks,tasks_on_try"
