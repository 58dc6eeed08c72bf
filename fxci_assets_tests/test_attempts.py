"""Which stale days are one request. How often one is tried is in `test_sensors`, by real runs."""

from __future__ import annotations

import datetime as dt

from fxci_assets.attempts import requests_for
from fxci_assets.pipeline import StaleDay
from fxci_assets.tables import (
    TASK_RUN_COSTS,
    TASK_RUNS,
    TASKS,
    WORKER_METRICS,
    WORKER_UTILIZATION,
    Table,
)
from fxci_assets_tests.events import DAY, NEXT_DAY, RECEIVED


def stale(
    table: Table, version: str, day: dt.date = DAY, built_at: dt.datetime | None = None
) -> StaleDay:
    derived = table in (TASK_RUN_COSTS, WORKER_UTILIZATION)
    return StaleDay(table, day, version, "inputs changed", built_at, derived)


def test_tables_with_the_same_inputs_are_one_request_and_so_are_derived_ones() -> None:
    found = requests_for(
        [
            stale(TASK_RUN_COSTS, "a"),
            stale(TASK_RUNS, "b"),
            stale(TASKS, "b"),
            stale(WORKER_METRICS, "c"),
            stale(WORKER_UTILIZATION, "d"),
            stale(TASKS, "e", NEXT_DAY),
        ]
    )
    assert [request.tag for request in found] == [
        "task_run_costs_v1+worker_utilization_v1/2026-04-13/derived",
        "task_runs_v1+tasks_v2/2026-04-13/b",
        "worker_metrics_v1/2026-04-13/c",
        "tasks_v2/2026-04-14/e",
    ]
    assert [request.derived for request in found] == [True, False, False, False]


def test_a_request_is_built_when_the_last_of_its_tables_is() -> None:
    later = RECEIVED + dt.timedelta(hours=1)
    runs, tasks = stale(TASK_RUNS, "a", built_at=RECEIVED), stale(TASKS, "a", built_at=later)
    [built] = requests_for([runs, tasks])
    assert built.built_at == later
    [never] = requests_for([runs, stale(TASKS, "a")])
    assert never.built_at is None
