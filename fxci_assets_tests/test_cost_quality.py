"""The checks of bills and costs: each passes on good data, and on bad data names what is bad."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from fxci_assets import quality
from fxci_assets.quality import Finding
from fxci_assets.tables import (
    GCP,
    TASK_RUN_COSTS,
    TASK_RUNS,
    WORKER_COSTS,
    WORKER_METRICS,
    WORKER_USAGE,
    WORKER_UTILIZATION,
)
from fxci_assets_tests.sql.small import (
    DAY,
    ZONE,
    Row,
    Small,
    at,
    cost,
    days_after,
    instance_hour,
    metric,
    task_run,
    usage,
)

DAY_BEFORE, DAY_AFTER = days_after(-1), days_after(1)


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


# --- bills ----------------------------------------------------------------------------------------


def hours(instance: str, *numbers: int, day: dt.date = DAY) -> list[Row]:
    """The bill of an instance for these hours of a day."""
    return [instance_hour(instance, start=at(f"{number:02}:00", day)) for number in numbers]


def bill_is_complete(small: Small, first: dt.date = DAY, last: dt.date = DAY) -> Finding:
    return quality.bill_is_complete(small.pipeline, first, last, 0.75)


def test_a_bill_that_is_complete(small: Small) -> None:
    small.put(WORKER_METRICS, metric("all day", 86_400.0), metric("an hour", 3600.0))
    small.bill(GCP, *hours("all day", *range(24)), *hours("an hour", 7))
    small.rebuild(WORKER_COSTS)
    assert bill_is_complete(small) == Finding(
        True,
        "the bill was not complete when it was last read for 0 of the days 2026-04-13; "
        "usually it is from 18:00 UTC of the next day on",
    )


def test_a_bill_in_which_an_hour_is_missing(small: Small) -> None:
    for day, numbers in ((DAY_BEFORE, range(24)), (DAY, range(23))):
        small.bill(GCP, *hours("1234", *numbers, day=day), day=day)
        small.rebuild(WORKER_COSTS, day)
    assert bill_is_complete(small, DAY_BEFORE, DAY_AFTER) == Finding(
        False,
        "the bill was not complete when it was last read for 1 of the days "
        "2026-04-12 to 2026-04-14; usually it is from 18:00 UTC of the next day on",
        [
            {
                "day": DAY,
                "hours_billed": 23,
                "share_of_uptime_billed": 1.0,
                "read_at": small.pipeline.clock(),
            }
        ],
        [DAY],
    )
    assert bill_is_complete(small, DAY_BEFORE, DAY_BEFORE).passed
    assert bill_is_complete(small, DAY_AFTER, DAY_AFTER).passed
    # It is read again, and complete.
    small.bill(GCP, *hours("1234", *range(24)))
    small.rebuild(WORKER_COSTS)
    assert bill_is_complete(small, DAY_BEFORE, DAY_AFTER).passed


def test_a_bill_in_which_the_hours_of_workers_are_missing(small: Small) -> None:
    small.put(WORKER_METRICS, metric("a", 86_400.0), metric("b", 28_800.0))
    small.bill(GCP, *hours("a", *range(24)))
    small.rebuild(WORKER_COSTS)
    # Three quarters of the uptime, which is just enough.
    assert bill_is_complete(small).passed
    small.put(WORKER_METRICS, metric("a", 86_400.0), metric("b", 57_600.0))
    small.rebuild(WORKER_COSTS)
    finding = bill_is_complete(small)
    assert (finding.passed, finding.days) == (False, [DAY])
    [case] = finding.cases
    assert (case["hours_billed"], case["share_of_uptime_billed"]) == (24, 0.6)


# --- dollars --------------------------------------------------------------------------------------


def built_utilization(small: Small, *costs: Row) -> None:
    """The utilization of a day, built from these costs."""
    small.put(WORKER_METRICS)
    small.put(WORKER_USAGE)
    small.put(WORKER_COSTS, *costs)
    small.rebuild(WORKER_UTILIZATION)


def costs_add_up(small: Small) -> Finding:
    return quality.costs_add_up(small.pipeline, DAY_BEFORE, DAY_AFTER)


def test_dollars_that_are_the_same_in_both_tables(small: Small) -> None:
    built_utilization(small, cost("1", 0.1), cost("2", 0.2), cost("3", -0.7), cost("4", None))
    assert costs_add_up(small) == Finding(
        True,
        "the dollars of worker_utilization_v1 and worker_costs_v1 differ on 0 of the days "
        "2026-04-12 to 2026-04-14",
    )


def test_dollars_that_differ(small: Small) -> None:
    built_utilization(small, cost("1", 1.5), cost("2", 2.0))
    small.put(WORKER_COSTS, cost("1", 1.5), cost("2", 2.25))
    assert costs_add_up(small) == Finding(
        False,
        "the dollars of worker_utilization_v1 and worker_costs_v1 differ on 1 of the days "
        "2026-04-12 to 2026-04-14",
        [{"day": DAY, "in_utilization": 3.5, "in_costs": 3.75, "size": 3.75}],
        [DAY],
    )


@pytest.mark.parametrize(
    ("then", "now", "passed"),
    [
        ([1.0], [1.0 + 9e-7], True),
        ([1.0], [1.0 + 2e-6], False),
        # Among large amounts of either sign a dollar is within what adding floats up may do.
        ([1.0, 1e9, -1e9], [2.0, 1e9, -1e9], True),
        ([1.0, 1e8, -1e8], [2.0, 1e8, -1e8], False),
    ],
)
def test_dollars_that_differ_by_what_adding_floats_up_does(
    small: Small, then: list[float], now: list[float], passed: bool
) -> None:
    built_utilization(small, *(cost(f"{n}", amount) for n, amount in enumerate(then)))
    small.put(WORKER_COSTS, *(cost(f"{n}", amount) for n, amount in enumerate(now)))
    assert costs_add_up(small).passed is passed


def test_costs_that_are_gone_differ(small: Small) -> None:
    built_utilization(small, cost("1", 1.5))
    small.put(WORKER_COSTS)
    finding = costs_add_up(small)
    assert finding.cases == [{"day": DAY, "in_utilization": 1.5, "in_costs": 0.0, "size": 0.0}]


def test_workers_that_are_gone_differ(small: Small) -> None:
    built_utilization(small)
    small.put(WORKER_COSTS, cost("1", 1.5))
    finding = costs_add_up(small)
    assert finding.cases == [{"day": DAY, "in_utilization": 0.0, "in_costs": 1.5, "size": 1.5}]


def test_a_day_that_is_to_be_built_again_is_not_looked_at(small: Small) -> None:
    small.bill(GCP, instance_hour("1", 1.0))
    small.put(WORKER_METRICS)
    for table in (WORKER_COSTS, WORKER_USAGE, WORKER_UTILIZATION):
        small.rebuild(table)
    small.bill(GCP, instance_hour("1", 2.0))
    small.rebuild(WORKER_COSTS)
    assert costs_add_up(small).passed
    assert small.pipeline.stale(tables=[WORKER_UTILIZATION]) != []


# --- runs -----------------------------------------------------------------------------------------


def runs_cost(small: Small, *runs: Row, uptime: float, dollars: float = 2.0) -> Finding:
    """What the check finds where a worker was up for so long and ran this."""
    small.put(TASK_RUNS, *runs)
    small.put(WORKER_COSTS, cost("1234", dollars))
    small.put(WORKER_USAGE, usage("1234", uptime))
    small.rebuild(TASK_RUN_COSTS)
    return quality.runs_cost_no_more_than_workers(small.pipeline, DAY_BEFORE, DAY_AFTER)


ONE_HOUR = task_run(1, at("10:00"), at("11:00"))
THE_NEXT_HALF = task_run(2, at("11:00"), at("11:30"))


def test_runs_that_cost_what_their_worker_did(small: Small) -> None:
    assert runs_cost(small, ONE_HOUR, THE_NEXT_HALF, uptime=5400.0) == Finding(
        True, "the runs of 0 workers cost more than these did on 2026-04-12 to 2026-04-14"
    )


def test_runs_that_cost_more_than_their_worker(small: Small) -> None:
    """An hour and a half of runs, one after the other, and an hour of uptime is known."""
    assert runs_cost(small, ONE_HOUR, THE_NEXT_HALF, uptime=3600.0) == Finding(
        False,
        "the runs of 1 workers cost more than these did on 2026-04-12 to 2026-04-14",
        [
            {
                "day": DAY,
                "cloud_provider": "gcp",
                "zone": ZONE,
                "instance_id": "1234",
                "cost_of_runs": 3.0,
                "cost_of_worker": 2.0,
            }
        ],
        [DAY],
    )


def test_runs_that_overlap_may_cost_more(small: Small) -> None:
    overlapping = task_run(2, at("10:59:59.999"), at("12:00"))
    assert runs_cost(small, ONE_HOUR, overlapping, uptime=3600.0).passed


def test_the_runs_of_a_worker_that_was_credited_are_not_looked_at(small: Small) -> None:
    """They cost a dollar less than nothing, and it two."""
    assert runs_cost(small, ONE_HOUR, uptime=7200.0, dollars=-2.0).passed


def test_runs_of_other_workers_and_other_days_are_not_added_up(small: Small) -> None:
    """An hour on each of two workers of an hour, and on one of them another on the next day."""
    small.put(TASK_RUNS, task_run(3, at("10:00", DAY_AFTER), at("11:00", DAY_AFTER)), day=DAY_AFTER)
    small.put(WORKER_COSTS, cost("1234"), cost("5678"))
    small.put(WORKER_USAGE, usage("1234"), usage("5678"))
    small.put(TASK_RUNS, ONE_HOUR, task_run(2, at("11:00"), at("12:00"), instance="5678"))
    for day in (DAY, DAY_AFTER):
        assert small.build(TASK_RUN_COSTS, day) != []
    assert quality.runs_cost_no_more_than_workers(small.pipeline, DAY, DAY_AFTER).passed
