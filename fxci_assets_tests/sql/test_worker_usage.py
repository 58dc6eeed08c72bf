"""`worker_usage_v1`: how long each worker was up, by what was measured and by what was billed."""

from __future__ import annotations

import pytest

from fxci_assets.pipeline import NotReady
from fxci_assets.tables import AZURE_FXCI, AZURE_TASKCLUSTER, GCP, WORKER_METRICS, WORKER_USAGE
from fxci_assets_tests.sql.small import (
    DAY,
    LEVEL_1,
    LEVEL_3,
    LOCATION,
    SUBSCRIPTION,
    ZONE,
    Small,
    columns,
    days_after,
    instance_hour,
    machine_day,
    metric,
)


@pytest.fixture
def metered(small: Small) -> Small:
    """The day's uptime was fetched, and of GCP there is none."""
    small.put(WORKER_METRICS)
    return small


def test_a_worker_of_each_cloud(small: Small) -> None:
    small.put(WORKER_METRICS, metric("1234", 5400.25))
    small.bill_azure(machine_day("vm-Abc", quantity=1.5))
    assert small.build(WORKER_USAGE) == [
        {
            "cloud_provider": "azure",
            "project": SUBSCRIPTION,
            "zone": LOCATION,
            "instance_id": "vm-Abc",
            "usage_start_date": DAY,
            "uptime": 5400.0,
            "attribution_method": "azure_billing_vm_quantity",
        },
        {
            "cloud_provider": "gcp",
            "project": LEVEL_1,
            "zone": ZONE,
            "instance_id": "1234",
            "usage_start_date": DAY,
            "uptime": 5400.25,
            "attribution_method": "gcp_monitoring_instance_uptime",
        },
    ]


def test_the_uptime_of_gcp_is_what_was_measured_on_the_day(small: Small) -> None:
    small.put(WORKER_METRICS, metric("1", 4.0, day=days_after(-1)), day=days_after(-1))
    small.put(
        WORKER_METRICS,
        metric("1", 1.0),
        # Rows of before keys were unique.
        metric("1", 2.0),
        metric("1", 8.0, project=LEVEL_3),
        metric("1", 16.0, zone="US-CENTRAL1-B"),
        metric("2", None),
        metric("3", 0.0),
    )
    small.put(WORKER_METRICS, metric("1", 32.0, day=days_after(1)), day=days_after(1))
    small.bill(GCP, instance_hour("billed and not metered"))
    rows = small.build(WORKER_USAGE)
    assert columns(rows, "project", "zone", "instance_id", "uptime") == [
        (LEVEL_1, "US-CENTRAL1-B", "1", 16.0),
        (LEVEL_1, "us-central1-b", "1", 3.0),
        (LEVEL_1, "us-central1-b", "2", None),
        (LEVEL_1, "us-central1-b", "3", 0.0),
        (LEVEL_3, "us-central1-b", "1", 8.0),
    ]


def test_the_uptime_of_azure_is_the_hours_that_are_billed_for_the_machine(
    metered: Small,
) -> None:
    metered.bill_azure(
        machine_day("vm-a", quantity=1.0),
        machine_day("vm-a", quantity=0.5, meterName="a new size"),
        machine_day("vm-a", quantity=100.0, meterCategory="Bandwidth"),
        machine_day("vm-a", quantity=100.0, meterCategory="virtual machines"),
        machine_day("vm-a", quantity=100.0, unitOfMeasure="100 Hours"),
        machine_day("vm-a", quantity=100.0, unitOfMeasure=None),
        machine_day("vm-b", quantity=None),
        machine_day("vm-only-traffic", quantity=100.0, meterCategory="Bandwidth"),
        # What is billed to a part of the machine belongs to none.
        machine_day("vm-a/extensions/x", quantity=2.0),
    )
    assert columns(metered.build(WORKER_USAGE), "instance_id", "uptime") == [
        ("vm-a", 5400.0),
        ("vm-b", None),
        (None, 7200.0),
    ]


def test_the_rows_of_azure_are_those_that_cost(metered: Small) -> None:
    metered.bill_azure(
        machine_day("vm-a", quantity=1.0, snapshot="one"),
        machine_day("vm-a", quantity=100.0, snapshot="old"),
        machine_day("vm-a", quantity=100.0, snapshot=None),
        machine_day("vm-a", quantity=100.0, snapshot="one", chargeType="Refund"),
        machine_day("bastion", quantity=100.0, snapshot="one"),
        export=AZURE_FXCI,
        current=["one", "one", None],
    )
    metered.bill_azure(
        machine_day("vm-a", quantity=2.0, snapshot="two"),
        machine_day("vm-a", quantity=100.0, snapshot="one"),
        machine_day("VM-A", quantity=4.0, snapshot="two"),
        export=AZURE_TASKCLUSTER,
        current=["two"],
    )
    for export, snapshot in ((AZURE_FXCI, "one"), (AZURE_TASKCLUSTER, "two")):
        for day in (days_after(-1), days_after(1)):
            metered.bill(export, machine_day("vm-b", snapshot=snapshot, day=day), day=day)
    rows = metered.build(WORKER_USAGE)
    assert columns(rows, "instance_id", "uptime") == [("VM-A", 4 * 3600.0), ("vm-a", 3 * 3600.0)]


def test_no_day_is_built_before_its_uptime_was_fetched(small: Small) -> None:
    small.put(WORKER_METRICS, day=days_after(-1))
    small.bill_azure(machine_day())
    with pytest.raises(NotReady) as refusal:
        small.rebuild(WORKER_USAGE)
    assert str(refusal.value) == (
        "worker_usage_v1: worker_metrics_v1 has no partition for 2026-04-13; "
        "run fxci-etl metric export --date 2026-04-13"
    )
    assert small.warehouse.partitions(WORKER_USAGE) == []
    small.put(WORKER_METRICS)
    assert columns(small.build(WORKER_USAGE), "uptime") == [(12 * 3600.0,)]


def test_a_day_whose_uptime_was_fetched_and_is_empty_has_a_partition(small: Small) -> None:
    """In BigQuery an empty day looks as if it were not there; that it was built is recorded."""
    small.recorded(WORKER_METRICS)
    assert small.warehouse.partitions(WORKER_METRICS) == []
    assert small.build(WORKER_USAGE) == []
