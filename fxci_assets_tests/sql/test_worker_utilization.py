"""`worker_utilization_v1`: where the money for each worker of a day went."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxci_assets.freshness import Tallied
from fxci_assets.pipeline import NotReady
from fxci_assets.tables import (
    TASK_RUNS,
    WORKER_COSTS,
    WORKER_METRICS,
    WORKER_USAGE,
    WORKER_UTILIZATION,
    Table,
)
from fxci_assets_tests.sql.small import (
    DAY,
    LEVEL_1,
    LEVEL_3,
    LOCATION,
    SUBSCRIPTION,
    ZONE,
    Row,
    Small,
    at,
    columns,
    cost,
    days_after,
    task_run,
    usage,
)

DAY_BEFORE, DAY_AFTER = days_after(-1), days_after(1)
AZURE = {"cloud_provider": "azure", "project": SUBSCRIPTION, "zone": LOCATION}


@pytest.fixture
def small(small: Small) -> Small:
    """All that is needed is there, and empty."""
    for table in (WORKER_COSTS, WORKER_METRICS, WORKER_USAGE):
        small.put(table)
    return small


def put_runs(small: Small, *runs: Row) -> None:
    """Each run on the day on which it was resolved, as `task_runs_v1` has them."""
    by_day: dict[dt.date, list[Row]] = {}
    for run in runs:
        by_day.setdefault(run["resolved"].date(), []).append(run)
    for day, of_day in by_day.items():
        small.put(TASK_RUNS, *of_day, day=day)


# --- one worker -----------------------------------------------------------------------------------


def test_a_worker_that_was_busy_for_a_quarter_of_its_time(small: Small) -> None:
    small.put(WORKER_COSTS, cost("1234", 2.0))
    small.put(WORKER_USAGE, usage("1234", 7200.0))
    put_runs(small, task_run(1, at("10:00"), at("10:30")))
    assert small.build(WORKER_UTILIZATION) == [
        {
            "usage_date": DAY,
            "cloud_provider": "gcp",
            "project": LEVEL_1,
            "zone": ZONE,
            "instance_id": "1234",
            "billed_cost": 2.0,
            "uptime": 7200.0,
            "busy_seconds": 1800.0,
            "runs": 1,
            "busy_cost": 0.5,
            "idle_cost": 1.5,
            "status": "used",
        }
    ]


def test_only_costs_and_uptime_of_the_day_count(small: Small) -> None:
    for days, amount in ((-1, 8.0), (0, 1.0), (1, 16.0)):
        small.put(WORKER_COSTS, cost("1234", amount), day=days_after(days))
        small.put(WORKER_USAGE, usage("1234", amount * 100), day=days_after(days))
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "billed_cost", "uptime") == [(1.0, 100.0)]


def test_names_and_methods_are_summed_before_they_are_joined(small: Small) -> None:
    """Two costs and three uptimes: joined row by row, it would be 36 dollars and 12 hours."""
    small.put(WORKER_COSTS, cost("1234", 4.0), cost("1234", 8.0, name="renamed"))
    small.put(
        WORKER_USAGE,
        usage("1234", 3600.0),
        usage("1234", 7200.0),
        usage("1234", 10_800.0, attribution_method="azure_billing_vm_quantity"),
    )
    put_runs(small, task_run(1, at("10:00"), at("11:00")), task_run(2, at("11:00"), at("11:30")))
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "billed_cost", "uptime", "busy_seconds", "runs", "busy_cost") == [
        (12.0, 21_600.0, 5400.0, 2, 3.0)
    ]


# --- which workers there are ----------------------------------------------------------------------


def test_a_worker_is_its_provider_project_zone_and_instance(small: Small) -> None:
    small.put(
        WORKER_COSTS,
        cost("1", 1.0),
        cost("1", 2.0, cloud_provider="azure"),
        cost("1", 4.0, project=LEVEL_3),
        cost("1", 8.0, zone="us-central1-c"),
        cost("2", 16.0),
        cost("1", 32.0, project=LEVEL_1.upper()),
    )
    small.put(WORKER_USAGE, usage("1", 600.0))
    rows = small.build(WORKER_UTILIZATION)
    names = ("cloud_provider", "project", "zone", "instance_id", "billed_cost", "uptime")
    assert columns(rows, *names) == [
        ("azure", LEVEL_1, ZONE, "1", 2.0, None),
        ("gcp", LEVEL_1.upper(), ZONE, "1", 32.0, None),
        ("gcp", LEVEL_1, ZONE, "1", 1.0, 600.0),
        ("gcp", LEVEL_1, ZONE, "2", 16.0, None),
        ("gcp", LEVEL_1, "us-central1-c", "1", 8.0, None),
        ("gcp", LEVEL_3, ZONE, "1", 4.0, None),
    ]


def test_what_a_worker_does_not_have_is_gcp_or_the_empty_string(small: Small) -> None:
    nothing = {"cloud_provider": None, "project": None, "zone": None}
    small.put(
        WORKER_COSTS,
        cost(None, 1.0, **nothing),
        cost("", 2.0, cloud_provider="gcp", project="", zone=""),
        cost(None, 4.0, **AZURE),  # billed to a part of a machine
    )
    small.put(WORKER_USAGE, usage(None, 600.0, **nothing), usage("", 60.0, project="", zone=None))
    rows = small.build(WORKER_UTILIZATION)
    names = ("cloud_provider", "project", "zone", "instance_id", "billed_cost", "uptime")
    assert columns(rows, *names) == [
        ("azure", SUBSCRIPTION, LOCATION, "", 4.0, None),
        ("gcp", "", "", "", 3.0, 660.0),
    ]


def test_zone_and_instance_are_compared_without_case(small: Small) -> None:
    small.put(
        WORKER_COSTS,
        cost("vm-abc", 1.0, zone="westus2"),
        cost("Vm-ABC", 2.0, zone="WestUS2"),
        cost("VM-abc", 4.0, zone="westUS2"),
    )
    small.put(WORKER_USAGE, usage("VM-ABC", 600.0, zone="WESTUS2"))
    put_runs(small, task_run(1, at("10:00"), at("10:01"), zone="WESTus2", instance="vm-ABC"))
    rows = small.build(WORKER_UTILIZATION)
    # The smallest spelling of each in the costs, though the one in the usage is smaller.
    assert columns(rows, "zone", "instance_id", "billed_cost", "uptime", "busy_seconds") == [
        ("WestUS2", "VM-abc", 7.0, 600.0, 60.0)
    ]


def test_without_a_cost_the_spelling_is_the_smallest_in_the_usage(small: Small) -> None:
    small.put(
        WORKER_USAGE, usage("vm-a", 60.0, zone="WestUS2"), usage("VM-a", 60.0, zone="westus2")
    )
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "zone", "instance_id", "uptime") == [("WestUS2", "VM-a", 120.0)]


def test_a_worker_has_a_row_if_there_is_a_cost_of_any_amount_or_uptime(small: Small) -> None:
    small.put(
        WORKER_COSTS,
        cost("cost 0", 0.0),
        cost("cost negative", -1.0),
        cost("cost null", None),
        cost("cost sums to 0", 1.0),
        cost("cost sums to 0", -1.0, name="renamed"),
    )
    small.put(
        WORKER_USAGE,
        usage("up", 0.01),
        usage("up 0", 0.0),
        usage("up null", None),
        usage("up negative", -60.0),
        usage("up sums to 0", 60.0),
        usage("up sums to 0", -60.0),
    )
    put_runs(small, task_run(1, at("10:00"), at("10:01"), instance="only runs"))
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "instance_id", "billed_cost", "uptime") == [
        ("cost 0", 0.0, None),
        ("cost negative", -1.0, None),
        ("cost null", 0.0, None),
        ("cost sums to 0", 0.0, None),
        ("up", 0.0, 0.01),
    ]


# --- which runs count, and for how long -----------------------------------------------------------

RUNS_AND_THEIR_TIME: dict[str, tuple[dt.datetime | None, dt.datetime, tuple[int, float]]] = {
    "starts at midnight": (at("00:00"), at("01:00"), (1, 3600.0)),
    "ends at midnight": (at("23:00", DAY_BEFORE), at("00:00"), (0, 0.0)),
    "ends just after midnight": (at("23:00", DAY_BEFORE), at("00:00:00.001"), (1, 0.001)),
    "starts just before midnight": (at("23:59:59.999"), at("01:00", DAY_AFTER), (1, 0.001)),
    "ends at the next midnight": (at("23:00"), at("00:00", DAY_AFTER), (1, 3600.0)),
    "starts at the next midnight": (at("00:00", DAY_AFTER), at("01:00", DAY_AFTER), (0, 0.0)),
    "no time at midnight": (at("00:00"), at("00:00"), (1, 0.0)),
    "no time at noon": (at("12:00"), at("12:00"), (1, 0.0)),
    "no time at the next midnight": (at("00:00", DAY_AFTER), at("00:00", DAY_AFTER), (0, 0.0)),
    "all day": (at("00:00"), at("00:00", DAY_AFTER), (1, 86_400.0)),
    "longer than the day": (at("12:00", DAY_BEFORE), at("12:00", DAY_AFTER), (1, 86_400.0)),
    "resolved before it started": (at("12:00"), at("11:00"), (1, 0.0)),
    "resolved six days later": (at("23:00"), at("23:00", days_after(6)), (1, 3600.0)),
    "resolved seven days later": (at("23:00"), at("00:00", days_after(7)), (0, 0.0)),
    "never started": (None, at("12:00"), (0, 0.0)),
}


def test_a_run_counts_for_the_time_that_it_shares_with_the_day(small: Small) -> None:
    """Each run is alone on a worker."""
    small.put(WORKER_USAGE, *(usage(name, 60.0) for name in RUNS_AND_THEIR_TIME))
    put_runs(
        small,
        *(
            task_run(number, started, resolved, instance=name)
            for number, (name, (started, resolved, _)) in enumerate(RUNS_AND_THEIR_TIME.items())
        ),
    )
    rows = small.build(WORKER_UTILIZATION)
    assert {row["instance_id"]: (row["runs"], row["busy_seconds"]) for row in rows} == {
        name: expected for name, (_, _, expected) in RUNS_AND_THEIR_TIME.items()
    }


RUNS_OF_A_WORKER: dict[str, tuple[list[tuple[str, str]], float]] = {
    "apart": ([("10:00", "11:00"), ("12:00", "13:00")], 7200.0),
    "adjacent": ([("10:00", "11:00"), ("11:00", "12:00")], 7200.0),
    "overlapping": ([("10:30", "11:30"), ("10:00", "11:00")], 5400.0),
    "nested": ([("10:00", "12:00"), ("10:30", "11:00"), ("11:30", "12:30")], 9000.0),
    "the same": ([("10:00", "11:00"), ("10:00", "11:00")], 3600.0),
    "the same start": ([("10:00", "11:00"), ("10:00", "10:30")], 3600.0),
    "no time within": ([("10:00", "11:00"), ("10:30", "10:30")], 3600.0),
    "milliseconds": ([("10:00:00.001", "10:00:00.500"), ("10:00:00.499", "10:00:01")], 0.999),
    "many": ([(f"10:{n:02}", f"10:{n + 2:02}") for n in range(57)], 3480.0),
}


def test_time_in_which_several_runs_ran_counts_once(small: Small) -> None:
    small.put(WORKER_USAGE, *(usage(name, 60.0) for name in RUNS_OF_A_WORKER))
    number = itertools.count()
    put_runs(
        small,
        *(
            task_run(next(number), at(started), at(resolved), instance=name)
            for name, (runs, _) in RUNS_OF_A_WORKER.items()
            for started, resolved in runs
        ),
    )
    rows = small.build(WORKER_UTILIZATION)
    assert {row["instance_id"]: (row["runs"], row["busy_seconds"]) for row in rows} == {
        name: (len(runs), seconds) for name, (runs, seconds) in RUNS_OF_A_WORKER.items()
    }


def test_runs_of_several_days_are_one_union(small: Small) -> None:
    """What ended on the day, what ended on the next, and what lasted for days."""
    small.put(WORKER_COSTS, cost("1234"))
    put_runs(
        small,
        task_run(1, at("22:00", DAY_BEFORE), at("02:00")),
        task_run(2, at("01:00"), at("03:00")),
        task_run(3, at("22:00"), at("02:00", DAY_AFTER)),
        task_run(4, at("23:00"), at("12:00", days_after(5))),
    )
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "runs", "busy_seconds") == [(4, 5 * 3600.0)]


def test_runs_without_a_worker_or_on_others_are_nobodys(small: Small) -> None:
    small.put(WORKER_COSTS, cost("1234", 2.0), cost(None, 4.0, zone=None, project=None))
    put_runs(
        small,
        task_run(1, at("10:00"), at("11:00"), zone=None, instance=None),
        task_run(2, at("10:00"), at("11:00"), zone=ZONE, instance=None),
        task_run(3, at("10:00"), at("11:00"), zone=None, instance="1234"),
        task_run(4, at("10:00"), at("11:00"), zone="mdc1", instance="1234"),
        task_run(5, at("10:00"), at("11:00"), instance="12345"),
        task_run(6, at("10:00"), at("11:00"), zone=None, instance=""),
    )
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "instance_id", "runs", "busy_seconds") == [("", 0, 0.0), ("1234", 0, 0.0)]


def test_attempts_of_a_task_are_runs_of_their_own(small: Small) -> None:
    small.put(WORKER_COSTS, cost("1234"))
    put_runs(
        small,
        task_run(1, at("10:00"), at("10:10"), run_id=0),
        task_run(1, at("10:20"), at("10:30"), run_id=1),
    )
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "runs", "busy_seconds") == [(2, 1200.0)]


# --- where the money went -------------------------------------------------------------------------


def test_a_worker_that_was_busy_for_longer_than_it_was_up_was_never_idle(small: Small) -> None:
    small.put(WORKER_COSTS, cost("longer", 2.0), cost("as long", 2.0))
    small.put(WORKER_USAGE, usage("longer", 1800.0), usage("as long", 3600.0))
    put_runs(
        small,
        *(
            task_run(n, at("10:00"), at("11:00"), instance=i)
            for n, i in enumerate(("longer", "as long"))
        ),
    )
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "instance_id", "busy_seconds", "busy_cost", "idle_cost") == [
        ("as long", 3600.0, 2.0, 0.0),
        ("longer", 3600.0, 2.0, 0.0),
    ]


def test_without_a_known_uptime_a_worker_was_busy_if_it_ran_anything(small: Small) -> None:
    names = ("null", "zero", "negative", "absent")
    for_nothing = [f"{name}, ran nothing" for name in names]
    small.put(WORKER_COSTS, *(cost(name, 2.0) for name in (*names, *for_nothing)))
    small.put(
        WORKER_USAGE,
        *(
            usage(f"{name}{suffix}", uptime)
            for name, uptime in (("null", None), ("zero", 0.0), ("negative", -60.0))
            for suffix in ("", ", ran nothing")
        ),
    )
    put_runs(
        small, *(task_run(n, at("10:00"), at("10:00"), instance=i) for n, i in enumerate(names))
    )
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "instance_id", "uptime", "busy_cost", "idle_cost", "status") == [
        ("absent", None, 2.0, 0.0, "unmetered"),
        ("absent, ran nothing", None, 0.0, 2.0, "unmetered"),
        ("negative", -60.0, 2.0, 0.0, "unmetered"),
        ("negative, ran nothing", -60.0, 0.0, 2.0, "unmetered"),
        ("null", None, 2.0, 0.0, "unmetered"),
        ("null, ran nothing", None, 0.0, 2.0, "unmetered"),
        ("zero", 0.0, 2.0, 0.0, "unmetered"),
        ("zero, ran nothing", 0.0, 0.0, 2.0, "unmetered"),
    ]


def test_each_status(small: Small) -> None:
    """The first that applies; what a worker ran is only asked of those billed and metered."""
    small.put(WORKER_COSTS, *(cost(n) for n in ("unmetered", "used", "never claimed", "used 0 s")))
    small.put(
        WORKER_USAGE,
        *(usage(n) for n in ("unbilled", "unbilled idle", "used", "used 0 s", "never claimed")),
    )
    put_runs(
        small,
        *(
            task_run(n, at("10:00"), at("11:00"), instance=name)
            for n, name in enumerate(("unbilled", "unmetered", "used"))
        ),
        task_run(9, at("10:00"), at("10:00"), instance="used 0 s"),
    )
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "instance_id", "status", "runs", "busy_cost") == [
        ("never claimed", "never_claimed", 0, 0.0),
        ("unbilled", "unbilled", 1, 0.0),
        ("unbilled idle", "unbilled", 0, 0.0),
        ("unmetered", "unmetered", 1, 1.0),
        ("used", "used", 1, 1.0),
        ("used 0 s", "used", 1, 0.0),
    ]


def test_a_cost_may_be_negative_and_null_is_nothing(small: Small) -> None:
    small.put(
        WORKER_COSTS,
        cost("negative", -2.0),
        cost("null", None),
        cost("partly null", None),
        cost("partly null", 4.0, name="renamed"),
    )
    names = ("negative", "null", "partly null")
    small.put(WORKER_USAGE, *(usage(name, 7200.0) for name in names))
    put_runs(
        small, *(task_run(n, at("10:00"), at("10:30"), instance=i) for n, i in enumerate(names))
    )
    rows = small.build(WORKER_UTILIZATION)
    assert columns(rows, "instance_id", "billed_cost", "busy_cost", "idle_cost", "status") == [
        ("negative", -2.0, -0.5, -1.5, "used"),
        ("null", 0.0, 0.0, 0.0, "used"),
        ("partly null", 4.0, 1.0, 3.0, "used"),
    ]


# --- what is counted ------------------------------------------------------------------------------


def test_runs_on_workers_of_two_projects_count_in_both_and_are_counted(small: Small) -> None:
    small.put(
        WORKER_COSTS,
        cost("twice", 2.0, project=LEVEL_1),
        cost("TWICE", 4.0, project=LEVEL_3),
        cost("once", 1.0),
        cost("twice and idle", 1.0, project=LEVEL_1),
        cost("twice and idle", 1.0, project=LEVEL_3),
    )
    small.put(WORKER_USAGE, usage("twice", 3600.0), usage("TWICE", 3600.0, project=LEVEL_3))
    put_runs(
        small,
        task_run(1, at("10:00"), at("10:15"), instance="twice"),
        task_run(2, at("10:15"), at("10:30"), instance="twice"),
        task_run(3, at("10:00"), at("11:00"), instance="once"),
    )
    rows = small.build(WORKER_UTILIZATION)
    assert [row for row in columns(rows, "project", "runs", "busy_cost") if row[1] == 2] == [
        (LEVEL_1, 2, 1.0),
        (LEVEL_3, 2, 2.0),
    ]
    counted = small.counts(WORKER_UTILIZATION)["runs_on_workers_of_two_projects"]
    assert counted == Tallied(2, (f"{ZONE}/TWICE",))


def test_azure_zones_with_costs_and_no_worker_group_are_counted(small: Small) -> None:
    small.put(
        WORKER_COSTS,
        cost("vm-a", 1.0, **AZURE | {"zone": "westus2"}),
        cost("vm-b", 1.0, **AZURE | {"zone": "EastUS"}),
        cost("vm-c", 1.0, **AZURE | {"zone": "Nowhere"}),
        cost("vm-d", 1.0, **AZURE | {"zone": "nowhere"}),
        cost("vm-d", -1.0, **AZURE | {"zone": "corrected"}),
        cost("vm-e", 1.0, **AZURE | {"zone": "a day later"}),
        cost("vm-f", 0.0, **AZURE | {"zone": "free"}),
        cost("vm-g", None, **AZURE | {"zone": "unknown"}),
        cost("1234", 1.0, zone="us-nowhere1-a"),
    )
    small.put(WORKER_USAGE, usage("vm-h", 60.0, **AZURE | {"zone": "unbilled"}))
    put_runs(
        small,
        # Any run of the days that are looked at, whether on a worker of the day or not.
        task_run(1, at("10:00"), at("11:00"), zone="WestUS2", instance="vm-z"),
        task_run(2, None, at("11:00", days_after(6)), zone="eastus", instance="vm-z"),
        task_run(3, at("10:00"), at("11:00", days_after(7)), zone="a day later", instance="vm-z"),
        task_run(4, at("10:00"), at("11:00"), zone=None, instance=None),
    )
    small.build(WORKER_UTILIZATION)
    counted = small.counts(WORKER_UTILIZATION)["azure_zones_of_no_worker_group"]
    assert counted == Tallied(3, ("a day later", "corrected", "nowhere"))


def test_nothing_is_counted_on_a_day_without_workers(small: Small) -> None:
    assert small.build(WORKER_UTILIZATION) == []
    assert small.counts(WORKER_UTILIZATION) == {
        "runs_on_workers_of_two_projects": Tallied(0),
        "azure_zones_of_no_worker_group": Tallied(0),
    }


# --- when a day may not be built ------------------------------------------------------------------


@pytest.mark.parametrize(
    "missing", [WORKER_COSTS, WORKER_METRICS, WORKER_USAGE], ids=lambda table: table.name
)
def test_no_day_is_built_while_an_input_is_missing(tmp_path: Path, missing: Table) -> None:
    small = Small(tmp_path)
    for table in (WORKER_COSTS, WORKER_METRICS, WORKER_USAGE):
        small.put(table, day=DAY if table is not missing else DAY_BEFORE)
    with pytest.raises(
        NotReady, match=f"worker_utilization_v1: {missing.name} has no partition for 2026-04-13"
    ):
        small.rebuild(WORKER_UTILIZATION)
    assert small.warehouse.partitions(WORKER_UTILIZATION) == []
    small.recorded(missing)
    assert small.build(WORKER_UTILIZATION) == []


# --- what always holds ----------------------------------------------------------------------------


def test_the_sum_of_a_day_is_what_its_workers_cost(small: Small) -> None:
    small.put(
        WORKER_COSTS,
        cost("used", 1.0),
        cost("used", 2.0, name="renamed"),
        cost("used", None, name="renamed again"),
        cost("never claimed", 4.0),
        cost("unmetered", 8.0),
        cost("corrected", -0.5),
        cost(None, 16.0, **AZURE),
        cost(None, 32.0, cloud_provider=None, project=None, zone=None),
    )
    small.put(WORKER_USAGE, usage("used"), usage("used"), usage("never claimed"), usage("unbilled"))
    put_runs(small, task_run(1, at("10:00"), at("10:20"), instance="used"))
    rows = small.build(WORKER_UTILIZATION)
    assert sum(row["billed_cost"] for row in rows) == 62.5
    assert sum(row["busy_cost"] + row["idle_cost"] for row in rows) == 62.5


DAY_IN_MILLISECONDS = 86_400_000
MINUTE = 60_000

moments = st.one_of(
    # Often the same ones, and the edges of the day.
    st.integers(-3, DAY_IN_MILLISECONDS // MINUTE + 3).map(lambda minute: minute * MINUTE),
    st.sampled_from([-1, 0, 1, DAY_IN_MILLISECONDS - 1, DAY_IN_MILLISECONDS + 1]),
    st.integers(0, 50).map(lambda n: 36_000_000 + n),
)
runs_of_one = st.lists(st.tuples(moments, moments).map(sorted), max_size=8)
dollars = st.none() | st.floats(-1e6, 1e6, allow_nan=False)
costs_of_one = st.lists(dollars, max_size=4)


def _moment(milliseconds: int) -> dt.datetime:
    return at("00:00") + dt.timedelta(milliseconds=milliseconds)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(runs_of_one, costs_of_one), min_size=1, max_size=30))
def test_busy_time_is_a_union_and_dollars_are_neither_lost_nor_made(
    workers: list[tuple[list[list[int]], list[float | None]]],
) -> None:
    """However the runs of a worker lie, and whatever its rows in the bill are."""
    with TemporaryDirectory() as folder:
        small = Small(Path(folder))
        small.put(WORKER_METRICS)
        numbered = [(f"{n}", runs, amounts) for n, (runs, amounts) in enumerate(workers)]
        small.put(
            WORKER_COSTS,
            *(
                cost(instance, amount, name=f"{n}")
                for instance, _, amounts in numbered
                for n, amount in enumerate(amounts)
            ),
        )
        small.put(WORKER_USAGE, *(usage(instance, 3600.0) for instance, _, _ in numbered))
        number = itertools.count()
        put_runs(
            small,
            *(
                task_run(next(number), _moment(start), _moment(end), instance=instance)
                for instance, runs, _ in numbered
                for start, end in runs
            ),
        )
        rows = small.build(WORKER_UTILIZATION)
    busy = {row["instance_id"]: round(row["busy_seconds"] * 1000) for row in rows}
    assert busy == {instance: _milliseconds_of_the_day(runs) for instance, runs, _ in numbered}
    amounts = [amount for _, _, amounts in numbered for amount in amounts if amount is not None]
    difference = abs(sum(row["billed_cost"] for row in rows) - sum(amounts))
    assert difference <= 1e-6 + 1e-9 * sum(map(abs, amounts))


def _milliseconds_of_the_day(runs: list[list[int]]) -> int:
    """By looking at each piece between two moments at which anything starts or ends."""
    edges = sorted({0, DAY_IN_MILLISECONDS, *(moment for run in runs for moment in run)})
    return sum(
        after - before
        for before, after in itertools.pairwise(edges)
        if 0 <= before < DAY_IN_MILLISECONDS
        and any(start <= before and after <= end for start, end in runs)
    )
