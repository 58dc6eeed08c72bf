"""`task_run_costs_v1`: a run's share, by time, of what its worker cost in 31 days."""

from __future__ import annotations

import datetime as dt

import pytest

from fxci_assets.freshness import Tallied
from fxci_assets.pipeline import NotReady
from fxci_assets.tables import TASK_RUN_COSTS, TASK_RUNS, WORKER_COSTS, WORKER_USAGE
from fxci_assets_tests.events import task_id
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

TEN = at("10:00")


def run_of(seconds: float, number: int = 0, *, instance: str = "1234", zone: str = ZONE) -> Row:
    """A run that took so long, up to ten o'clock."""
    started = TEN - dt.timedelta(seconds=seconds)
    return task_run(number, started, TEN, instance=instance, zone=zone)


def test_a_run_costs_its_share_of_its_worker(small: Small) -> None:
    small.put(TASK_RUNS, run_of(900))
    small.put(WORKER_COSTS, cost("1234", 2.0))
    small.put(WORKER_USAGE, usage("1234", 3600.0))
    assert small.build(TASK_RUN_COSTS) == [
        {
            "task_id": task_id(0),
            "run_id": 0,
            "submission_date": DAY,
            "run_cost": 0.5,  # a quarter of an hour of two dollars
            "cloud_provider": "gcp",
            "worker_project": LEVEL_1,
            "worker_zone": ZONE,
            "worker_instance_id": "1234",
            "attribution_worker_cost": 2.0,
            "attribution_worker_uptime": 3600.0,
            "run_duration": 900,
            "attribution_method": "gcp_monitoring_instance_uptime",
        }
    ]


def test_runs_of_a_worker_each_have_a_row(small: Small) -> None:
    small.put(
        TASK_RUNS,
        run_of(900, 0),
        run_of(1800, 1),
        task_run(1, at("09:00"), at("09:15"), run_id=1),
    )
    small.put(WORKER_COSTS, cost("1234", 2.0))
    small.put(WORKER_USAGE, usage("1234", 3600.0))
    rows = small.build(TASK_RUN_COSTS)
    assert columns(rows, "task_id", "run_id", "run_cost") == [
        (task_id(0), 0, 0.5),
        (task_id(1), 0, 1.0),
        (task_id(1), 1, 0.5),
    ]


def test_only_runs_that_were_resolved_on_the_day_have_a_row(small: Small) -> None:
    before, after = days_after(-1), days_after(1)
    small.put(TASK_RUNS, task_run(1, at("10:00", before), at("11:00", before)), day=before)
    small.put(TASK_RUNS, task_run(2, at("23:30", before), at("00:30")))
    small.put(TASK_RUNS, task_run(3, at("23:30"), at("00:30", after)), day=after)
    small.put(WORKER_COSTS, cost("1234", 2.0))
    small.put(WORKER_USAGE, usage("1234", 3600.0))
    assert columns(small.build(TASK_RUN_COSTS), "task_id", "run_cost") == [(task_id(2), 2.0)]


def test_cost_and_uptime_are_each_summed_before_they_are_joined(small: Small) -> None:
    """Two costs and three uptimes: joined row by row, the worker would cost 36 dollars in 12 hours
    instead of 12 dollars in 6."""
    small.put(TASK_RUNS, run_of(3600))
    small.put(WORKER_COSTS, cost("1234", 4.0), cost("1234", 8.0, name="renamed"))
    small.put(
        WORKER_USAGE,
        usage("1234", 3600.0),
        usage("1234", 7200.0),
        usage("1234", 10_800.0, attribution_method="azure_billing_vm_quantity"),
    )
    rows = small.build(TASK_RUN_COSTS)
    assert columns(rows, "attribution_worker_cost", "attribution_worker_uptime", "run_cost") == [
        (12.0, 21_600.0, 2.0)
    ]


def test_costs_and_uptime_are_of_the_day_and_the_thirty_before_it(small: Small) -> None:
    small.put(TASK_RUNS, run_of(896))
    for days, amount in ((1, 32.0), (0, 1.0), (-7, 2.0), (-30, 4.0), (-31, 64.0)):
        small.put(WORKER_COSTS, cost("1234", amount), day=days_after(days))
        small.put(WORKER_USAGE, usage("1234", amount * 1024), day=days_after(days))
    rows = small.build(TASK_RUN_COSTS)
    assert columns(rows, "attribution_worker_cost", "attribution_worker_uptime", "run_cost") == [
        (7.0, 7168.0, 0.875)
    ]


def test_workers_are_told_apart_by_zone_and_instance_without_case(small: Small) -> None:
    small.put(
        TASK_RUNS,
        run_of(1800, 1, zone="WestUS2", instance="VM-Abc"),
        run_of(1800, 2, zone="eastus", instance="vm-abc"),
    )
    azure = {"cloud_provider": "azure", "project": SUBSCRIPTION}
    small.put(
        WORKER_COSTS,
        cost("vm-abc", 1.0, zone="westus2", **azure),
        cost("vm-ABC", 2.0, zone="WESTUS2", **azure),
        cost("Vm-abc", 4.0, zone="westUS2", **azure),
        cost("vm-abc", 8.0, zone="eastus", **azure),
        cost("vm-abcd", 16.0, zone="westus2", **azure),
    )
    small.put(
        WORKER_USAGE,
        usage("VM-ABC", 1200.0, zone="WESTUS2", **azure),
        usage("vm-abc", 2400.0, zone="Westus2", **azure),
        usage("vm-abc", 1800.0, zone="EastUS", **azure),
    )
    rows = small.build(TASK_RUN_COSTS)
    # The smallest spelling of zone and instance in the costs, where capitals come first.
    assert columns(rows, "worker_zone", "worker_instance_id", "run_cost") == [
        ("WESTUS2", "Vm-abc", 3.5),
        ("eastus", "vm-abc", 8.0),
    ]


def test_projects_and_methods_are_listed_once_each_in_order(small: Small) -> None:
    small.put(TASK_RUNS, run_of(900))
    small.put(
        WORKER_COSTS,
        cost("1234", 1.0, project=LEVEL_3),
        cost("1234", 1.0, project=LEVEL_1),
        cost("1234", 1.0, project=LEVEL_3, name="renamed"),
        cost("1234", 1.0, project=None),
    )
    small.put(
        WORKER_USAGE,
        usage("1234", 900.0, attribution_method="gcp_monitoring_instance_uptime"),
        usage("1234", 900.0, attribution_method="azure_billing_vm_quantity"),
        usage("1234", 900.0, attribution_method="gcp_monitoring_instance_uptime"),
        usage("1234", 900.0, attribution_method=None),
    )
    rows = small.build(TASK_RUN_COSTS)
    assert columns(rows, "worker_project", "attribution_method", "run_cost") == [
        (
            f"{LEVEL_1},{LEVEL_3}",
            "azure_billing_vm_quantity,gcp_monitoring_instance_uptime",
            1.0,
        )
    ]


def test_rows_without_a_provider_are_gcp_and_only_of_the_worker_projects(small: Small) -> None:
    small.put(TASK_RUNS, run_of(1800, 1), run_of(1800, 2, instance="other"))
    small.put(
        WORKER_COSTS,
        cost("1234", 1.0, cloud_provider=None),
        cost("1234", 2.0, cloud_provider="gcp"),
        cost("1234", 32.0, cloud_provider=None, project="not-of-workers"),
        cost("1234", 64.0, cloud_provider=None, project=None),
        cost("other", 128.0, cloud_provider=None, project="not-of-workers"),
    )
    small.put(
        WORKER_USAGE,
        usage("1234", 1200.0, cloud_provider=None),
        usage("1234", 2400.0, cloud_provider="gcp"),
        usage("1234", 7200.0, cloud_provider=None, project="not-of-workers"),
        usage("other", 3600.0, cloud_provider=None, project=LEVEL_1),
    )
    rows = small.build(TASK_RUN_COSTS)
    assert columns(rows, "cloud_provider", "task_id", "attribution_worker_cost", "run_cost") == [
        ("gcp", task_id(1), 3.0, 1.5)
    ]


def test_costs_and_uptime_of_different_clouds_do_not_meet(small: Small) -> None:
    small.put(TASK_RUNS, run_of(900))
    small.put(WORKER_COSTS, cost("1234", 2.0, cloud_provider="gcp"))
    small.put(WORKER_USAGE, usage("1234", 3600.0, cloud_provider="azure"))
    assert small.build(TASK_RUN_COSTS) == []


def test_runs_whose_worker_is_not_billed_or_not_metered_have_no_row(small: Small) -> None:
    small.put(
        TASK_RUNS,
        run_of(60, 1, zone="mdc1", instance="macmini-r8-12"),
        run_of(60, 2, instance="only billed"),
        run_of(60, 3, instance="only metered"),
        run_of(60, 4, instance="both", zone="us-central1-c"),
        task_run(5, at("09:59"), TEN, instance=None, zone=None),
        task_run(6, at("09:59"), TEN, instance="both", zone=None),
        run_of(60, 7, instance="both"),
    )
    small.put(WORKER_COSTS, cost("only billed"), cost("both"), cost(None, zone=None))
    small.put(WORKER_USAGE, usage("only metered"), usage("both"), usage(None, zone=None))
    assert columns(small.build(TASK_RUN_COSTS), "task_id") == [(task_id(7),)]


def test_a_worker_must_have_been_up_for_as_long_as_the_run(small: Small) -> None:
    uptimes = {
        "null": None,
        "zero": 0.0,
        "negative": -60.0,
        "shorter": 59.99,
        "equal": 60.0,
        "longer": 120.0,
        "some null": 60.0,
    }
    small.put(TASK_RUNS, *(run_of(60, n, instance=name) for n, name in enumerate(uptimes)))
    small.put(WORKER_COSTS, *(cost(name, 2.0) for name in uptimes))
    small.put(
        WORKER_USAGE,
        usage("some null", None),
        *(usage(name, uptime) for name, uptime in uptimes.items()),
    )
    rows = small.build(TASK_RUN_COSTS)
    assert columns(rows, "worker_instance_id", "run_cost") == [
        ("equal", 2.0),
        ("longer", 1.0),
        ("some null", 2.0),
    ]


def test_a_run_of_no_time_needs_a_worker_that_was_up_all_the_same(small: Small) -> None:
    small.put(TASK_RUNS, run_of(0, 1, instance="up"), run_of(0, 2, instance="never up"))
    small.put(WORKER_COSTS, cost("up"), cost("never up"))
    small.put(WORKER_USAGE, usage("up", 0.01), usage("never up", 0.0))
    rows = small.build(TASK_RUN_COSTS)
    assert columns(rows, "worker_instance_id", "run_duration", "run_cost") == [("up", 0, 0.0)]


def test_a_duration_is_whole_seconds_truncated(small: Small) -> None:
    small.put(
        TASK_RUNS,
        task_run(1, at("09:59:58.500"), at("10:00:00.499")),  # 1.999 s
        task_run(2, at("09:59:58.500"), at("10:00:00.500")),  # 2 s
        task_run(3, at("10:00:00.001"), at("10:00:01.000")),  # 0.999 s over the turn of a second
    )
    small.put(WORKER_COSTS, cost("1234", 2.0))
    small.put(WORKER_USAGE, usage("1234", 4.0))
    rows = small.build(TASK_RUN_COSTS)
    assert columns(rows, "run_duration", "run_cost") == [(1, 0.5), (2, 1.0), (0, 0.0)]


def test_a_run_that_was_resolved_before_it_started_costs_nothing_and_is_counted(
    small: Small,
) -> None:
    small.put(
        TASK_RUNS,
        task_run(1, at("10:00:05"), TEN),
        task_run(2, at("10:00:00.001"), TEN),
        task_run(3, TEN, TEN),
        task_run(4, at("10:00:05"), TEN, instance="hardware", run_id=2),
    )
    for day in (days_after(-1), days_after(1)):
        small.put(TASK_RUNS, task_run(5, at("10:00:05", day), at("10:00", day)), day=day)
    small.put(WORKER_COSTS, cost("1234", 2.0))
    small.put(WORKER_USAGE, usage("1234", 3600.0))
    rows = small.build(TASK_RUN_COSTS)
    assert columns(rows, "task_id", "run_duration", "run_cost") == [
        (task_id(1), 0, 0.0),
        (task_id(2), 0, 0.0),
        (task_id(3), 0, 0.0),
    ]
    assert small.counts(TASK_RUN_COSTS) == {
        "runs_resolved_before_started": Tallied(
            3, (f"{task_id(1)}/0", f"{task_id(2)}/0", f"{task_id(4)}/2")
        )
    }


def test_a_run_that_never_started_has_no_row(small: Small) -> None:
    small.put(TASK_RUNS, task_run(1, None, TEN), run_of(60, 2))
    small.put(WORKER_COSTS, cost("1234"))
    small.put(WORKER_USAGE, usage("1234"))
    assert columns(small.build(TASK_RUN_COSTS), "task_id") == [(task_id(2),)]
    assert small.counts(TASK_RUN_COSTS)["runs_resolved_before_started"] == Tallied(0)


def test_what_a_worker_cost_may_be_negative_or_not_known(small: Small) -> None:
    names = ("negative", "nothing", "not known", "partly known")
    small.put(TASK_RUNS, *(run_of(1800, n, instance=name) for n, name in enumerate(names)))
    small.put(
        WORKER_COSTS,
        cost("negative", -2.0),
        cost("nothing", 0.0),
        cost("not known", None),
        cost("partly known", None),
        cost("partly known", 4.0, name="renamed"),
    )
    small.put(WORKER_USAGE, *(usage(name, 3600.0) for name in names))
    rows = small.build(TASK_RUN_COSTS)
    assert columns(rows, "worker_instance_id", "run_cost", "attribution_worker_cost") == [
        ("negative", -1.0, -2.0),
        ("nothing", 0.0, 0.0),
        ("not known", None, None),
        ("partly known", 2.0, 4.0),
    ]


def test_an_azure_run(small: Small) -> None:
    azure = {"cloud_provider": "azure", "project": SUBSCRIPTION, "zone": LOCATION}
    method = {"attribution_method": "azure_billing_vm_quantity"}
    small.put(TASK_RUNS, run_of(900, zone=LOCATION, instance="vm-a"))
    small.put(WORKER_COSTS, cost("vm-a", 2.0, **azure))
    small.put(WORKER_USAGE, usage("vm-a", 3600.0, **azure, **method))
    [row] = small.build(TASK_RUN_COSTS)
    assert (row["cloud_provider"], row["worker_project"], row["attribution_method"]) == (
        "azure",
        SUBSCRIPTION,
        "azure_billing_vm_quantity",
    )
    assert row["run_cost"] == 0.5


# --- when a day may not be built ------------------------------------------------------------------


@pytest.mark.parametrize(("days", "day"), [(0, "2026-04-13"), (-30, "2026-03-14")])
def test_no_day_is_built_while_a_day_of_the_window_has_costs_and_no_usage(
    small: Small, days: int, day: str
) -> None:
    small.put(TASK_RUNS, run_of(900))
    small.put(WORKER_COSTS, cost("1234", 2.0), day=days_after(days))
    with pytest.raises(NotReady) as refusal:
        small.rebuild(TASK_RUN_COSTS)
    assert str(refusal.value) == (
        f"task_run_costs_v1: {day} has a partition in worker_costs_v1 and none in "
        f"worker_usage_v1; run fxci-etl rebuild --from {day} --to {day} worker_usage_v1"
    )
    assert small.warehouse.partitions(TASK_RUN_COSTS) == []
    small.put(WORKER_USAGE, usage("1234", 3600.0), day=days_after(days))
    assert columns(small.build(TASK_RUN_COSTS), "run_cost") == [(0.5,)]


def test_days_outside_of_the_window_and_days_with_usage_alone_keep_nothing_from_being_built(
    small: Small,
) -> None:
    small.put(TASK_RUNS, run_of(900))
    small.put(WORKER_COSTS, cost(), day=days_after(-31))
    small.put(WORKER_COSTS, cost(), day=days_after(1))
    small.put(WORKER_USAGE, usage())
    assert small.build(TASK_RUN_COSTS) == []


def test_a_day_that_was_built_and_is_empty_has_a_partition(small: Small) -> None:
    """In BigQuery an empty day looks as if it were not there; that it was built is recorded."""
    small.put(TASK_RUNS, run_of(900))
    small.recorded(WORKER_COSTS)
    with pytest.raises(NotReady, match="2026-04-13 has a partition in worker_costs_v1 and none"):
        small.rebuild(TASK_RUN_COSTS)
    small.recorded(WORKER_USAGE)
    assert small.build(TASK_RUN_COSTS) == []
