"""What a rebuild of a derived table changes, and which days it makes stale: those that read it."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

from fxci_assets.settings import Rebuild, Settings
from fxci_assets.tables import (
    AZURE_FXCI,
    AZURE_TASKCLUSTER,
    GCP,
    TASK_RUN_COSTS,
    TASK_RUNS,
    WORKER_COSTS,
    WORKER_METRICS,
    WORKER_USAGE,
    WORKER_UTILIZATION,
    Table,
)
from fxci_assets_tests.sql.small import (
    DAY,
    Small,
    at,
    columns,
    cost,
    days_after,
    instance_hour,
    machine_day,
    metric,
    rows_of,
    task_run,
    usage,
)


def a_day(small: Small, days: int, dollars: float = 1.0) -> dt.date:
    """On a day a worker was up for 1000 s and billed, and ran a task for half of it."""
    day = days_after(days)
    small.bill(GCP, instance_hour("1234", dollars, start=at("10:00", day)), day=day)
    small.put(WORKER_METRICS, metric("1234", 1000.0, day=day), day=day)
    small.put(WORKER_USAGE, usage("1234", 1000.0), day=day)
    small.put(TASK_RUNS, task_run(days + 100, at("10:00:00", day), at("10:08:20", day)), day=day)
    return day


def built(small: Small, table: Table, *days: dt.date) -> list[str]:
    """The versions of the rows of the days, now that they are built."""
    return [small.rebuild(table, day).data_version for day in days]


def changed(small: Small, *tables: Table) -> list[tuple[str, dt.date]]:
    """What must be built again because its inputs are others now."""
    stale = small.pipeline.stale(tables=tables or None)
    return [(one.table.name, one.day) for one in stale if one.reason == "inputs changed"]


def test_the_same_inputs_give_the_same_rows_to_the_last_bit(small: Small) -> None:
    """Floats add up to another sum in another order, and the rows of a window are read from many
    files."""
    chance = random.Random(4)
    for days in range(-30, 1):
        dollars = [cost("1", chance.uniform(-1, 100), name=f"{n}") for n in range(20)]
        seconds = [usage("1", chance.uniform(0, 86_400)) for n in range(20)]
        small.put(WORKER_COSTS, *dollars, day=days_after(days))
        small.put(WORKER_USAGE, *seconds, day=days_after(days))
    small.put(TASK_RUNS, task_run(1, at("10:00"), at("11:00"), instance="1"))
    assert len({small.rebuild(TASK_RUN_COSTS).data_version for _ in range(4)}) == 1


def test_the_same_bills_give_the_same_rows_to_the_last_bit(small: Small) -> None:
    chance = random.Random(4)
    small.put(WORKER_METRICS, metric())
    small.bill(GCP, *(instance_hour(f"{n % 7}", chance.uniform(-1, 100)) for n in range(200)))
    for export in (AZURE_FXCI, AZURE_TASKCLUSTER):
        rows = [machine_day(f"vm-{n % 7}", quantity=chance.uniform(0, 1)) for n in range(200)]
        small.bill_azure(*rows, export=export)
    for table in (WORKER_COSTS, WORKER_USAGE, WORKER_UTILIZATION):
        first, second = built(small, table, DAY, DAY)
        assert first == second


def test_a_restated_bill_changes_its_day_and_makes_stale_what_reads_it(small: Small) -> None:
    day_before, day, last_of_the_window, beyond = (a_day(small, n) for n in (-1, 0, 30, 31))
    before = built(small, WORKER_COSTS, day_before, day)
    for later in (last_of_the_window, beyond):
        small.recorded(WORKER_COSTS, later)
    built(small, TASK_RUN_COSTS, day_before, day, last_of_the_window, beyond)
    built(small, WORKER_UTILIZATION, day_before, day)
    reading = (TASK_RUN_COSTS, WORKER_UTILIZATION)

    # Google exports the same once more; then it adds what was wrong.
    hour = instance_hour("1234", 1.0, start=at("10:00"))
    small.bill(GCP, hour)
    assert built(small, WORKER_COSTS, day_before, day) == before
    assert changed(small, *reading) == []
    small.bill(GCP, hour, instance_hour("1234", 0.5, start=at("10:00"), cost_type="adjustment"))
    of_day_before, of_day = built(small, WORKER_COSTS, day_before, day)
    assert (of_day_before == before[0], of_day == before[1]) == (True, False)
    assert changed(small, *reading) == [
        ("task_run_costs_v1", day),
        ("worker_utilization_v1", day),
        ("task_run_costs_v1", last_of_the_window),
    ]

    run_costs = small.rebuild(TASK_RUN_COSTS, last_of_the_window)
    utilization = small.rebuild(WORKER_UTILIZATION, day)
    assert changed(small, *reading) == [("task_run_costs_v1", day)]
    # A quarter of the uptime of two days, of which the bill of one is there.
    assert columns(rows_of(run_costs), "attribution_worker_cost", "run_cost") == [(1.5, 0.375)]
    assert columns(rows_of(utilization), "billed_cost", "busy_cost") == [(1.5, 0.75)]


def test_other_uptime_makes_stale_what_reads_it(small: Small) -> None:
    days = [days_after(n) for n in (0, 30, 31)]
    for day in days:
        small.recorded(WORKER_COSTS, day)
        small.recorded(WORKER_USAGE, day)
    small.put(WORKER_METRICS)
    built(small, TASK_RUN_COSTS, *days)
    built(small, WORKER_UTILIZATION, DAY)
    small.recorded(WORKER_USAGE)
    assert changed(small, TASK_RUN_COSTS, WORKER_UTILIZATION) == []
    small.recorded(WORKER_USAGE, rows="others")
    assert changed(small, TASK_RUN_COSTS, WORKER_UTILIZATION) == [
        ("task_run_costs_v1", days[0]),
        ("worker_utilization_v1", days[0]),
        ("task_run_costs_v1", days[1]),
    ]


def test_how_far_run_costs_look_back_for_changes_is_a_setting(tmp_path: Path) -> None:
    rebuild = Rebuild(run_costs_look_back_days=7)
    small = Small(tmp_path, Settings(sandbox_dir=tmp_path, rebuild=rebuild))
    day, a_week_later, beyond = [a_day(small, n) for n in (0, 7, 8)]
    built(small, WORKER_COSTS, day)
    for later in (a_week_later, beyond):
        small.recorded(WORKER_COSTS, later)
    built(small, TASK_RUN_COSTS, day, a_week_later, beyond)

    a_day(small, 0, dollars=4.0)
    built(small, WORKER_COSTS, day)
    assert changed(small, TASK_RUN_COSTS) == [
        ("task_run_costs_v1", day),
        ("task_run_costs_v1", a_week_later),
    ]
    # Once the day beyond is built, what is divided is all of its window.
    rows = small.build(TASK_RUN_COSTS, beyond)
    assert columns(rows, "attribution_worker_cost") == [(4.0,)]


def test_runs_make_stale_their_own_costs_and_the_utilization_of_seven_days(small: Small) -> None:
    before, first, day = [days_after(n) for n in (-7, -6, 0)]
    for one in (before, first, day):
        for table in (WORKER_COSTS, WORKER_METRICS, WORKER_USAGE):
            small.recorded(table, one)
    built(small, TASK_RUN_COSTS, first, day)
    built(small, WORKER_UTILIZATION, before, first, day)
    small.recorded(TASK_RUNS, day)
    assert changed(small, TASK_RUN_COSTS) == [("task_run_costs_v1", day)]
    assert changed(small, WORKER_UTILIZATION) == [
        ("worker_utilization_v1", first),
        ("worker_utilization_v1", day),
    ]


def test_new_uptime_makes_stale_what_is_made_of_it_or_counted_against_it(small: Small) -> None:
    """A new bill makes nothing stale, not even what reads bills: it has no version, and the
    schedule of both tables reads it again."""
    small.put(WORKER_METRICS)
    built(small, WORKER_USAGE, DAY)
    small.bill_azure(machine_day("vm-a"))
    built(small, WORKER_COSTS, DAY)
    assert changed(small) == []
    small.recorded(WORKER_METRICS)
    assert changed(small) == [("worker_costs_v1", DAY), ("worker_usage_v1", DAY)]
