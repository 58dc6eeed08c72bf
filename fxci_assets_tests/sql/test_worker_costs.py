"""`worker_costs_v1`: which rows of the bills are workers, and what they add up to."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from fxci_assets.freshness import Tallied
from fxci_assets.pipeline import NotReady
from fxci_assets.resources.billing import BillingExports, LoadedExports
from fxci_assets.settings import Monitoring, Settings
from fxci_assets.tables import AZURE_FXCI, AZURE_TASKCLUSTER, GCP, WORKER_COSTS, WORKER_METRICS
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
    days_after,
    instance_hour,
    machine_day,
    metric,
)


def named(name: str | None = "worker", global_name: str | None = None) -> dict[str, Row]:
    """What was used, by its two names in the bill."""
    path = f"//compute.googleapis.com/projects/4711/zones/{ZONE}/instances/1"
    return {"resource": {"name": name, "global_name": global_name or path}}


def machine(path: str) -> dict[str, str]:
    """What was used, by the end of its path in Azure's bill."""
    return {"ResourceId": f"/subscriptions/0000/providers/Microsoft.Compute{path}"}


# --- GCP ------------------------------------------------------------------------------------------


def test_an_hour_of_a_gcp_worker(small: Small) -> None:
    small.bill(GCP, instance_hour("1234", 0.75, credits=[-0.25]))
    assert small.build(WORKER_COSTS) == [
        {
            "project": LEVEL_1,
            "name": "worker-1234",
            "zone": ZONE,
            "instance_id": "1234",
            "total_cost": 0.5,
            "usage_start_date": DAY,
            "cloud_provider": "gcp",
        }
    ]


def test_usage_is_of_the_utc_day_on_which_it_starts(small: Small) -> None:
    small.bill(
        GCP,
        instance_hour("before", start=at("23:59:59.999999", days_after(-1))),
        day=days_after(-1),
    )
    small.bill(
        GCP,
        instance_hour("first", start=at("00:00"), usage_end_time=at("01:00")),
        instance_hour(
            "last", start=at("23:59:59.999999"), usage_end_time=at("01:00", days_after(1))
        ),
    )
    small.bill(GCP, instance_hour("after", start=at("00:00", days_after(1))), day=days_after(1))
    assert columns(small.build(WORKER_COSTS), "instance_id") == [("first",), ("last",)]


def test_only_the_projects_of_workers_count(small: Small) -> None:
    small.bill(
        GCP,
        instance_hour("1", project=LEVEL_1),
        instance_hour("2", project=LEVEL_3),
        instance_hour("3", project="fxci-production-level2-workers"),
        instance_hour("4", project=LEVEL_1.upper()),
        instance_hour("5") | {"project": {"name": LEVEL_1}},
        instance_hour("6") | {"project": None},
    )
    rows = small.build(WORKER_COSTS)
    assert columns(rows, "project", "instance_id") == [(LEVEL_1, "1"), (LEVEL_3, "2")]


def test_which_projects_have_workers_is_a_setting(tmp_path: Path) -> None:
    small = Small(
        tmp_path,
        Settings(sandbox_dir=tmp_path, monitoring=Monitoring(projects=("ours", "theirs"))),
    )
    small.bill(
        GCP,
        instance_hour("1", project=LEVEL_1),
        instance_hour("2", project="ours"),
        instance_hour("3", project="theirs"),
    )
    assert columns(small.build(WORKER_COSTS), "instance_id") == [("2",), ("3",)]


def test_what_is_no_instance_is_no_worker(small: Small) -> None:
    zone = "//compute.googleapis.com/projects/4711/zones/us-central1-b"
    small.bill(
        GCP,
        instance_hour() | named("kept", f"{zone}/instances/1"),
        instance_hour() | named("disk", f"{zone}/disks/1"),
        instance_hour() | named("case", f"{zone}/Instances/1"),
        instance_hour() | named("no slash behind", f"{zone}/instances"),
        instance_hour() | named("instances/by name", f"{zone}/disks/2"),
        instance_hour() | {"resource": {"name": "no global name"}},
        instance_hour() | {"resource": None},
    )
    assert columns(small.build(WORKER_COSTS), "name") == [("kept",)]


def test_zone_and_instance_follow_their_first_mention(small: Small) -> None:
    small.bill(
        GCP,
        instance_hour() | named("1", "//x/projects/1/zones/us-a/instances/7"),
        instance_hour() | named("2", "//x/zones/us-a/instances/7/zones/us-b/instances/8/more"),
        instance_hour() | named("3", "//x/projects/1/instances/7"),
        instance_hour() | named("4", "//x/zones/US-A/instances/Seven"),
        instance_hour() | named("5", "//x/Zones/us-a/instances/7"),
    )
    rows = small.build(WORKER_COSTS)
    assert sorted(columns(rows, "name", "zone", "instance_id"), key=str) == [
        ("1", "us-a", "7"),
        ("2", "us-a", "7"),
        ("3", None, "7"),
        ("4", "US-A", "Seven"),
        ("5", None, "7"),
    ]


def test_the_name_is_all_that_follows_the_first_instances(small: Small) -> None:
    small.bill(
        GCP,
        instance_hour() | named("plain"),
        instance_hour() | named("projects/4711/zones/us-a/instances/behind/the/path"),
        instance_hour() | named("projects/4711/instances/first/instances/second"),
        instance_hour() | named("projects/4711/Instances/other-case"),
        instance_hour() | named(None),
    )
    assert columns(small.build(WORKER_COSTS), "name") == [
        ("behind/the/path",),
        ("first/instances/second",),
        ("plain",),
        ("projects/4711/Instances/other-case",),
        (None,),
    ]


def test_all_credits_are_added_to_the_cost(small: Small) -> None:
    small.bill(
        GCP,
        instance_hour("none", 1.0),
        instance_hour("one", 1.0, credits=[-0.25]),
        instance_hour("several", 1.0, credits=[-0.25, -0.125, 0.5]),
        instance_hour("null", 1.0, credits=[None]),
        instance_hour("null among others", 1.0, credits=[-0.25, None]),
        instance_hour("too much", 1.0, credits=[-1.5]),
    )
    assert columns(small.build(WORKER_COSTS), "instance_id", "total_cost") == [
        ("none", 1.0),
        ("null", 1.0),
        ("null among others", 0.75),
        ("one", 0.75),
        ("several", 1.125),
        ("too much", -0.5),
    ]


def test_a_cost_that_is_not_known_is_null_only_if_none_is_known(small: Small) -> None:
    small.bill(
        GCP,
        instance_hour("none known", None, credits=[-0.25]),
        instance_hour("none known", None),
        instance_hour("some known", None, credits=[-0.25]),
        instance_hour("some known", 1.0),
        instance_hour("nothing", 0.0),
    )
    assert columns(small.build(WORKER_COSTS), "instance_id", "total_cost") == [
        ("none known", None),
        ("nothing", 0.0),
        ("some known", 0.75),
    ]


def test_hours_and_skus_of_a_name_are_summed_and_spellings_kept_apart(small: Small) -> None:
    small.bill(
        GCP,
        instance_hour("1", 0.5, start=at("01:00"), sku={"id": "core"}),
        instance_hour("1", 0.25, [-0.125], start=at("01:00"), sku={"id": "memory"}),
        instance_hour("1", 2.0, start=at("02:00"), sku={"id": "core"}),
        instance_hour("1", -1.0, start=at("02:00"), cost_type="adjustment"),
        instance_hour("1", 4.0, zone="US-CENTRAL1-B"),
        instance_hour("1", 8.0, resource=instance_hour("1")["resource"] | {"name": "renamed"}),
        instance_hour("1", 16.0, project=LEVEL_3),
    )
    rows = small.build(WORKER_COSTS)
    assert columns(rows, "project", "zone", "name", "total_cost") == [
        (LEVEL_1, "US-CENTRAL1-B", "worker-1", 4.0),
        (LEVEL_1, "us-central1-b", "renamed", 8.0),
        (LEVEL_1, "us-central1-b", "worker-1", 1.625),
        (LEVEL_3, "us-central1-b", "worker-1", 16.0),
    ]


# --- Azure ----------------------------------------------------------------------------------------


def test_a_day_of_an_azure_worker(small: Small) -> None:
    small.bill_azure(machine_day("vm-Abc", 0.75))
    assert small.build(WORKER_COSTS) == [
        {
            "project": SUBSCRIPTION,
            "name": "vm-Abc",
            "zone": LOCATION,
            "instance_id": "vm-Abc",
            "total_cost": 0.75,
            "usage_start_date": DAY,
            "cloud_provider": "azure",
        }
    ]


def test_only_rows_of_the_day_count(small: Small) -> None:
    for days in (-1, 0, 1):
        day = days_after(days)
        small.bill(AZURE_FXCI, machine_day(f"vm-{days}", day=day), day=day)
    small.bill_azure(machine_day("vm-today"))
    assert columns(small.build(WORKER_COSTS), "name") == [("vm-today",)]


def test_only_current_snapshots_count(small: Small) -> None:
    small.bill_azure(
        machine_day("vm-a", 1.0, snapshot="first half"),
        machine_day("vm-b", 2.0, snapshot="second half"),
        machine_day("vm-a", 4.0, snapshot="of yesterday"),
        machine_day("vm-c", 8.0, snapshot="First Half"),
        machine_day("vm-d", 16.0, snapshot=None),
        current=["first half", "second half", None],
    )
    rows = small.build(WORKER_COSTS)
    assert columns(rows, "name", "total_cost") == [("vm-a", 1.0), ("vm-b", 2.0)]


def test_a_snapshot_that_is_listed_repeatedly_counts_once(small: Small) -> None:
    small.bill_azure(
        machine_day("vm-a", 1.0, snapshot="one"),
        machine_day("vm-a", 2.0, snapshot="two"),
        current=["one", "two", "one", "one", "two"],
    )
    assert columns(small.build(WORKER_COSTS), "total_cost") == [(3.0,)]


def test_both_exports_count_each_with_its_own_snapshots(small: Small) -> None:
    small.bill_azure(
        # Rows that are the same are no repeats.
        machine_day("vm-a", 1.0, snapshot="f"),
        machine_day("vm-a", 1.0, snapshot="f"),
        machine_day("vm-b", 2.0, snapshot="t"),
        export=AZURE_FXCI,
        current=["f"],
    )
    small.bill_azure(
        machine_day("vm-a", 4.0, snapshot="t"),
        machine_day("vm-c", 8.0, snapshot="t", subscriptionName="Taskcluster Azure"),
        machine_day("vm-d", 16.0, snapshot="f"),
        export=AZURE_TASKCLUSTER,
        current=["t"],
    )
    rows = small.build(WORKER_COSTS)
    assert columns(rows, "project", "name", "total_cost") == [
        ("FXCI Azure", "vm-a", 6.0),
        ("Taskcluster Azure", "vm-c", 8.0),
    ]


def test_workers_of_both_clouds_stand_side_by_side(small: Small) -> None:
    small.bill(GCP, instance_hour("1", 1.0))
    small.bill_azure(machine_day("vm-a", 2.0))
    rows = small.build(WORKER_COSTS)
    assert columns(rows, "cloud_provider", "total_cost") == [("azure", 2.0), ("gcp", 1.0)]


def test_a_worker_is_a_machine_whose_name_begins_with_vm_in_any_case(small: Small) -> None:
    small.bill_azure(
        machine_day() | machine("/virtualMachines/vm-a"),
        machine_day() | machine("/VIRTUALMACHINES/VM-B"),
        machine_day() | machine("/virtualmachines/Vm-c"),
        machine_day() | machine("/virtualMachines/bastion"),
        machine_day() | machine("/virtualMachines/vm"),
        machine_day() | machine("/virtualMachineScaleSets/vm-d"),
        machine_day() | machine("/disks/vm-e_OsDisk"),
        machine_day() | {"ResourceId": None},
    )
    rows = small.build(WORKER_COSTS)
    assert columns(rows, "name", "instance_id") == [
        ("VM-B", "VM-B"),
        ("Vm-c", "Vm-c"),
        ("vm-a", "vm-a"),
    ]


def test_only_usage_counts(small: Small) -> None:
    small.bill_azure(
        machine_day("vm-a", 1.0, chargeType="Usage"),
        machine_day("vm-a", 2.0, chargeType="Purchase"),
        machine_day("vm-a", 4.0, chargeType="Refund"),
        machine_day("vm-a", 8.0, chargeType="usage"),
        machine_day("vm-a", 16.0, chargeType=None),
    )
    assert columns(small.build(WORKER_COSTS), "total_cost") == [(1.0,)]


def test_what_is_billed_to_a_part_of_a_machine_has_no_name_and_keeps_its_dollars(
    small: Small,
) -> None:
    small.bill_azure(
        machine_day("vm-a", 1.0),
        machine_day("vm-a/extensions/antivirus", 2.0),
        machine_day("vm-b/extensions/antivirus", 4.0),
        machine_day("vm-a/", 8.0),
    )
    rows = small.build(WORKER_COSTS)
    assert columns(rows, "name", "instance_id", "zone", "total_cost") == [
        ("vm-a", "vm-a", LOCATION, 1.0),
        (None, None, LOCATION, 14.0),
    ]


def test_meters_of_a_machine_are_summed_and_spellings_kept_apart(small: Small) -> None:
    small.bill_azure(
        machine_day("vm-a", 1.0),
        machine_day("vm-a", 2.0, meterCategory="Bandwidth", unitOfMeasure="1 GB"),
        machine_day("vm-a", -0.5, meterCategory=None),
        machine_day("VM-A", 4.0),
        machine_day("vm-a", 8.0, resourceLocation="WestUS2"),
        machine_day("vm-a", 16.0, subscriptionName="Another"),
    )
    rows = small.build(WORKER_COSTS)
    assert columns(rows, "project", "zone", "name", "total_cost") == [
        ("Another", "westus2", "vm-a", 16.0),
        ("FXCI Azure", "WestUS2", "vm-a", 8.0),
        ("FXCI Azure", "westus2", "VM-A", 4.0),
        ("FXCI Azure", "westus2", "vm-a", 2.5),
    ]


def test_an_azure_cost_that_is_not_known_is_null_only_if_none_is_known(small: Small) -> None:
    small.bill_azure(
        machine_day("vm-none-known", None),
        machine_day("vm-some-known", None),
        machine_day("vm-some-known", 0.5),
    )
    rows = small.build(WORKER_COSTS)
    assert columns(rows, "name", "total_cost") == [("vm-none-known", None), ("vm-some-known", 0.5)]


# --- what is there, and what is counted -----------------------------------------------------------


def test_a_day_without_bills_is_empty(small: Small) -> None:
    assert small.build(WORKER_COSTS) == []
    assert small.counts(WORKER_COSTS) == {
        "subscriptions_in_both_exports": Tallied(0),
        "hours_billed": Tallied(0),
        "seconds_up": Tallied(0),
        "seconds_up_and_billed": Tallied(0),
    }


def test_the_exports_are_brought_up_to_date_before_they_are_read(tmp_path: Path) -> None:
    class Billing(BillingExports):
        def refresh(self, day: dt.date) -> None:
            small.bill(GCP, instance_hour(f"asked for {day}"))

    small = Small(tmp_path, billing=Billing())
    rows = small.build(WORKER_COSTS)
    assert columns(rows, "instance_id") == [("asked for 2026-04-13",)]


def test_no_day_is_built_from_exports_that_nobody_has_loaded(tmp_path: Path) -> None:
    small = Small(tmp_path, billing=LoadedExports(Small(tmp_path).warehouse.is_filled))
    small.bill(GCP, instance_hour())
    small.bill_azure(machine_day(), export=AZURE_FXCI)
    with pytest.raises(NotReady, match=r"\(azure_taskcluster, azure_taskcluster_lookup\)"):
        small.rebuild(WORKER_COSTS)
    assert small.warehouse.partitions(WORKER_COSTS) == []
    small.bill_azure(export=AZURE_TASKCLUSTER)
    assert len(small.build(WORKER_COSTS)) == 2


def test_subscriptions_in_both_exports_are_counted(small: Small) -> None:
    names = ("Both", "Both", "And both", "Old in the other", "Only here", "Only here")
    small.bill_azure(*(machine_day(subscriptionName=name) for name in names), export=AZURE_FXCI)
    small.bill_azure(
        # Whatever it is that the subscription is billed for.
        machine_day(subscriptionName="Both", chargeType="Purchase"),
        machine_day(subscriptionName="Both"),
        machine_day(subscriptionName="And both") | machine("/disks/vm-e_OsDisk"),
        machine_day(subscriptionName="Old in the other", snapshot="old"),
        machine_day(subscriptionName="Only there"),
        export=AZURE_TASKCLUSTER,
    )
    small.bill(
        AZURE_TASKCLUSTER,
        machine_day(subscriptionName="Only here", day=days_after(1)),
        day=days_after(1),
    )
    small.build(WORKER_COSTS)
    counted = small.counts(WORKER_COSTS)["subscriptions_in_both_exports"]
    assert counted == Tallied(2, ("And both", "Both"))


def test_the_hours_for_which_workers_are_billed_are_counted(small: Small) -> None:
    small.bill(
        GCP,
        instance_hour("1", start=at("00:00")),
        instance_hour("2", start=at("00:30")),
        instance_hour("2", start=at("23:59:59")),
        instance_hour("2", start=at("07:00"), project="not-of-workers"),
        instance_hour("2", start=at("08:00")) | named(global_name="//x/zones/us-a/disks/2"),
    )
    small.bill_azure(machine_day("vm-a"))
    small.build(WORKER_COSTS)
    assert small.counts(WORKER_COSTS)["hours_billed"] == Tallied(2)


def test_the_uptime_and_how_much_of_it_is_billed_are_counted(small: Small) -> None:
    small.put(
        WORKER_METRICS,
        metric("two-hours-of-three", 3 * 3600.0),
        metric("half-an-hour-of-one", 1800.0, zone="US-CENTRAL1-B"),
        metric("AN-HOUR-OF-AN-HOUR", 3600.0),
        metric("not billed", 100.4),
        metric("not known", None),
    )
    small.bill(
        GCP,
        instance_hour("two-hours-of-three", start=at("03:00"), sku={"id": "core"}),
        instance_hour("two-hours-of-three", start=at("03:00"), sku={"id": "memory"}),
        instance_hour("two-hours-of-three", start=at("04:00")),
        instance_hour("Half-An-Hour-Of-One", start=at("05:00")),
        instance_hour("an-hour-of-an-hour", zone="US-CENTRAL1-B", start=at("05:00")),
        instance_hour("not known", start=at("05:00")),
        instance_hour("not metered", start=at("05:00")),
    )
    small.build(WORKER_COSTS)
    counts = small.counts(WORKER_COSTS)
    assert counts["seconds_up"] == Tallied(10_800 + 1_800 + 3_600 + 100)
    assert counts["seconds_up_and_billed"] == Tallied(7_200 + 1_800 + 3_600)
