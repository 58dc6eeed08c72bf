"""The simulated bills charge for what the simulated workers were up, once, and in time.

What is expected is worked out from the world's workers and runs, and from dollars an hour that are
written out here."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fxci_assets.sandbox.billing import SimulatedBilling
from fxci_assets.sandbox.billing.azure import (
    EXPORTS,
    LOOKUP_DAYS,
    Export,
    azure_bill,
    azure_lookup,
)
from fxci_assets.sandbox.billing.gcp import gcp_bill
from fxci_assets.sandbox.catalogue import LEVEL_1_PROJECT, LEVEL_3_PROJECT, POOLS
from fxci_assets.sandbox.firefox_ci import Worker, World, instant, midnight
from fxci_assets.tables.billing import (
    AZURE_FXCI,
    AZURE_FXCI_LOOKUP,
    AZURE_TASKCLUSTER,
    AZURE_TASKCLUSTER_LOOKUP,
    BILLING,
    GCP,
)
from fxci_assets.tables.spec import Column, Mode, Source, arrow_schema
from fxci_assets_tests.sandbox.busy import DAY_MS, busy, days_from, lived, within

DAYS = days_from(dt.date(2026, 3, 2), 7)
WORLD = World(seed=1, tasks_per_day=2_000)
DEVTEST, TRUSTED = EXPORTS
LATER = dt.datetime(2026, 4, 10, tzinfo=dt.UTC)  # all has been corrected
HOUR = 3_600_000

DOLLARS_AN_HOUR = {
    "c2-standard-4": 0.20872,
    "c2-standard-16": 0.83488,
    "c3d-standard-4": 0.1816,
    "c3d-standard-8-lssd": 0.3632,
    "Standard_F8s_v2": 0.706,
    "Standard_F16s_v2": 1.412,
    "Standard_NV12s_v3": 1.692,
}
SPOT = {
    "c2-standard-4": 0.38,
    "c2-standard-16": 0.38,
    "c3d-standard-4": 0.32,
    "c3d-standard-8-lssd": 0.32,
    "Standard_F8s_v2": 0.2,
    "Standard_F16s_v2": 0.2,
    "Standard_NV12s_v3": 0.3,
}
COMMITTED = 0.63


def after(day: dt.date, days: int, hour: int) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour), dt.UTC) + dt.timedelta(days=days)


@cache
def workers() -> dict[str, Worker]:
    return {w.instance_id: w for w in lived(WORLD, DAYS) if w.provider != "hardware"}


@cache
def up(provider: str) -> dict[tuple[str, dt.date], float]:
    """Hours by worker and day."""
    return {
        (id_, day): within(w.started, w.stopped or 0, day) / HOUR
        for id_, w in workers().items()
        for day in DAYS
        if w.provider == provider and within(w.started, w.stopped or 0, day)
    }


def expected_dollars(worker: Worker, hours: float) -> float:
    list_price = hours * DOLLARS_AN_HOUR[worker.machine_type]
    if worker.spot:
        return list_price * SPOT[worker.machine_type]
    return list_price * (COMMITTED if worker.project == LEVEL_3_PROJECT else 1)


def texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


# --- GCP ------------------------------------------------------------------------------------------


def gcp(day: dt.date, now: dt.datetime = LATER) -> list[dict[str, Any]]:
    """The rows of a day, flat."""
    bill = gcp_bill(WORLD, day, now)

    def instants(name: str) -> pa.ChunkedArray:
        return bill.column(name).cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64())

    flat = pa.table(
        {
            "project": pc.struct_field(bill.column("project"), "id"),
            "name": pc.struct_field(bill.column("resource"), "name"),
            "global_name": pc.struct_field(bill.column("resource"), "global_name"),
            "sku": pc.struct_field(bill.column("sku"), "description"),
            "start": instants("usage_start_time"),
            "exported": instants("export_time"),
            "cost": bill.column("cost"),
            "cost_type": bill.column("cost_type"),
        }
    )
    rows: list[dict[str, Any]] = flat.to_pylist()
    for row, credits in zip(rows, bill.column("credits").to_pylist(), strict=True):
        row["day"] = day
        row["credits"] = [(credit["type"], credit["amount"]) for credit in credits]
        row["total"] = row["cost"] + sum(amount for _, amount in row["credits"])
    return rows


@cache
def gcp_rows() -> list[dict[str, Any]]:
    return [row for day in DAYS for row in gcp(day)]


def instance(row: dict[str, Any]) -> str | None:
    """The worker that a row is for, as the contract has it."""
    name = row["global_name"] or ""
    if row["project"] not in (LEVEL_1_PROJECT, LEVEL_3_PROJECT) or "/instances/" not in name:
        return None
    return str(name.partition("/instances/")[2])


def is_machine_time(row: dict[str, Any]) -> bool:
    return row["cost_type"] == "regular" and " running in " in row["sku"]


def dollars(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, dt.date], float]:
    found: dict[tuple[str, dt.date], float] = defaultdict(float)
    for row in rows:
        id_ = instance(row)
        if id_ is not None:
            found[id_, row["day"]] += row["total"]
    return found


@cache
def gcp_unbilled() -> set[str]:
    return {id_ for id_, _ in up("gcp")} - {instance(row) for row in gcp_rows()}


def test_few_gcp_workers_are_not_billed_at_all() -> None:
    assert 0 < len(gcp_unbilled()) < 0.01 * len({id_ for id_, _ in up("gcp")})


def test_each_hour_of_a_gcp_worker_is_billed_once() -> None:
    billed = [
        (instance(row), row["start"], row["sku"])
        for row in gcp_rows()
        if instance(row) and is_machine_time(row)
    ]
    expected = set()
    for id_, day in up("gcp"):
        if id_ not in gcp_unbilled():
            worker, begin = workers()[id_], midnight(day)
            start, end = max(worker.started, begin), min(worker.stopped or 0, begin + DAY_MS)
            expected |= {(id_, hour * HOUR) for hour in range(start // HOUR, -(-end // HOUR))}

    assert len(set(billed)) == len(billed) == 2 * len(expected)
    assert {(id_, hour) for id_, hour, _ in billed} == expected


def test_a_gcp_worker_costs_what_its_hours_cost_less_the_credits() -> None:
    found = dollars(row for row in gcp_rows() if is_machine_time(row))

    assert found.keys() == {key for key in up("gcp") if key[0] not in gcp_unbilled()}
    for (id_, day), cost in found.items():
        expected = expected_dollars(workers()[id_], up("gcp")[id_, day])
        assert cost == pytest.approx(expected, abs=1e-4)


def test_all_machine_types_of_the_catalogue_are_priced() -> None:
    assert {p.machine_type for p in POOLS.values()} - {"hardware"} == DOLLARS_AN_HOUR.keys()


def test_credits_are_negative_and_some_rows_have_none_and_some_several() -> None:
    types = {tuple(type_ for type_, _ in row["credits"]) for row in gcp_rows()}

    assert types == {
        (),
        ("DISCOUNT",),
        ("COMMITTED_USAGE_DISCOUNT", "COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE"),
    }
    assert all(amount <= 0 for row in gcp_rows() for _, amount in row["credits"])
    for row in gcp_rows():
        id_ = instance(row)
        if id_ and is_machine_time(row):
            worker = workers()[id_]
            assert bool(row["credits"]) == (worker.spot or worker.project == LEVEL_3_PROJECT)


def test_usage_is_in_the_units_of_its_sku() -> None:
    row = next(
        row
        for row in gcp_bill(WORLD, DAYS[0], LATER).to_pylist()
        if " Ram running " in row["sku"]["description"]
    )
    worker = workers()[row["resource"]["global_name"].rpartition("/")[2]]
    begin = instant(row["usage_start_time"])
    hours = (min(worker.stopped or 0, begin + HOUR) - max(worker.started, begin)) / HOUR
    gibibytes = int(worker.machine_type.split("-")[2]) * 4

    assert row["usage_end_time"] - row["usage_start_time"] == dt.timedelta(hours=1)
    assert row["usage"]["pricing_unit"] == "gibibyte hour"
    assert row["usage"]["amount_in_pricing_units"] == pytest.approx(gibibytes * hours)
    assert row["usage"]["unit"] == "byte-seconds"
    assert row["usage"]["amount"] == pytest.approx(gibibytes * hours * 3600 * 2**30)
    price = float(row["price"]["effective_price"])
    assert row["cost"] == pytest.approx(gibibytes * hours * price, abs=1e-6)


def test_the_gcp_bill_has_much_that_is_no_worker() -> None:
    names = {row["global_name"] for row in gcp_rows() if row["global_name"]}
    without = [row for row in gcp_rows() if row["global_name"] is None]

    assert any("/disk/" in name for name in names)
    assert not any("/disk/" in name and "/instances/" in name for name in names)
    assert {row["project"] for row in without} == {LEVEL_1_PROJECT, LEVEL_3_PROJECT}
    assert gcp_bill(WORLD, DAYS[0], LATER).column("resource").null_count > 0
    assert any(
        row["project"] == "simulated-site" and "/instances/" in row["global_name"]
        for row in gcp_rows()
    )
    assert any("Data Transfer Out" in row["sku"] for row in gcp_rows() if instance(row))


def test_an_instance_is_named_plainly_or_with_its_path() -> None:
    with_path = 0
    for row in gcp_rows():
        id_ = instance(row)
        if id_ is not None:
            with_path += "/instances/" in row["name"]
            assert row["name"].rpartition("/instances/")[2].startswith(workers()[id_].name)

    assert 0.05 < with_path / sum(instance(row) is not None for row in gcp_rows()) < 0.15


def test_some_instances_have_two_names_as_they_have_in_their_uptime() -> None:
    names: dict[str, set[str]] = defaultdict(set)
    for row in gcp_rows():
        id_ = instance(row)
        if id_ is not None:
            names[id_].add(row["name"].rpartition("/instances/")[2])

    assert 0 < sum(len(both) == 2 for both in names.values()) < 0.01 * len(names)


def test_some_adjustments_are_negative_and_some_days_of_a_worker_in_all() -> None:
    adjustments = [row for row in gcp_rows() if row["cost_type"] == "adjustment"]

    assert 0 < len(adjustments) < 0.02 * len(up("gcp"))
    assert all(row["cost"] < 0 and instance(row) for row in adjustments)
    assert any(cost < 0 for cost in dollars(gcp_rows()).values())


def test_the_bill_of_a_day_grows_and_never_changes() -> None:
    day = DAYS[2]
    whole = gcp_bill(WORLD, day, LATER)
    counts = []
    for hours in (0, 4, 9, 15, 24, 36, 42, 60, 80, 96, 300, 520):
        part = gcp_bill(WORLD, day, after(day, 0, 0) + dt.timedelta(hours=hours))
        assert part.equals(whole.slice(0, part.num_rows))
        counts.append(part.num_rows)

    assert counts[0] == counts[1] == 0
    assert counts == sorted(counts)
    assert counts[-1] == whole.num_rows


def test_an_hour_is_exported_some_hours_after_it_ended_and_rows_are_in_that_order() -> None:
    assert all(row["exported"] >= row["start"] + 8 * HOUR for row in gcp_rows())
    exported = [row["exported"] for row in gcp_rows() if row["day"] == DAYS[0]]
    assert exported == sorted(exported)


def test_yesterday_is_incomplete_at_noon_and_but_for_a_few_workers_complete_at_six() -> None:
    for day in DAYS[:3]:
        time = [row for row in gcp_rows() if row["day"] == day and is_machine_time(row)]
        whole = dollars(time)
        noon = dollars(row for row in gcp(day, after(day, 1, 12)) if is_machine_time(row))
        six = dollars(row for row in gcp(day, after(day, 1, 18)) if is_machine_time(row))

        assert 0.5 < sum(noon.values()) / sum(whole.values()) < 0.99
        assert all(cost == whole[key] for key, cost in six.items())
        assert 0.99 * len(whole) <= len(six) <= len(whole)


def test_some_workers_are_billed_days_later_and_some_corrected_weeks_later() -> None:
    late = restated = 0
    for row in gcp_rows():
        age = row["exported"] - midnight(row["day"]) - DAY_MS
        if row["cost_type"] == "adjustment" and age > 4 * DAY_MS:
            assert 10 * DAY_MS <= age <= 20 * DAY_MS
            restated += 1
        elif age > 17 * HOUR:
            assert 2 * DAY_MS <= age <= 3 * DAY_MS
            assert row["global_name"]
            late += is_machine_time(row)

    assert 0 < late < 0.01 * len(gcp_rows())
    assert 0 < restated < 0.01 * len(up("gcp"))


def test_of_today_there_is_what_was_used_some_hours_ago() -> None:
    now = after(DAYS[4], 0, 15)
    rows = gcp(DAYS[4], now)

    assert rows
    assert max(row["exported"] for row in rows) <= instant(now)
    assert max(row["start"] for row in rows) <= instant(now) - 8 * HOUR
    assert gcp_bill(WORLD, DAYS[5], now).num_rows == 0


# --- Azure ----------------------------------------------------------------------------------------


def named(export: Export, now: dt.datetime) -> set[str]:
    return set(azure_lookup(WORLD, export, now).column("sourceDataId").to_pylist())


_AZURE_COLUMNS = ["date", "subscriptionName", "ResourceId", "resourceLocation", "meterCategory"]
_AZURE_COLUMNS += ["meterSubCategory", "unitOfMeasure", "quantity", "chargeType", "sourceDataId"]
_AZURE_COLUMNS += ["costInBillingCurrency", "consumedService"]


def loaded(export: Export, day: dt.date, now: dt.datetime) -> list[dict[str, Any]]:
    bill = azure_bill(WORLD, export, day, now).select(_AZURE_COLUMNS)
    rows: list[dict[str, Any]] = bill.to_pylist()
    return rows


def current(export: Export, day: dt.date, now: dt.datetime) -> list[dict[str, Any]]:
    ids = named(export, now)
    return [row for row in loaded(export, day, now) if row["sourceDataId"] in ids]


@cache
def azure_rows() -> list[dict[str, Any]]:
    return [row for export in EXPORTS for day in DAYS for row in current(export, day, LATER)]


def machine(row: dict[str, Any]) -> str | None:
    """The worker that a row is for, as the contract has it."""
    path = row["ResourceId"].lower()
    if "/virtualmachines/vm-" not in path or row["chargeType"] != "Usage":
        return None
    name = path.partition("/virtualmachines/")[2]
    return None if "/" in name else name


def is_compute(row: dict[str, Any]) -> bool:
    return (
        machine(row) is not None
        and row["meterCategory"] == "Virtual Machines"
        and row["unitOfMeasure"] == "1 Hour"
    )


def compute(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, dt.date], tuple[float, float]]:
    """Hours and dollars of the machines' time."""
    found: dict[tuple[str, dt.date], tuple[float, float]] = {}
    for row in rows:
        if is_compute(row):
            key = (machine(row) or "", row["date"])
            assert key not in found
            found[key] = (row["quantity"], row["costInBillingCurrency"])
    return found


@cache
def azure_unbilled() -> set[str]:
    return {id_ for id_, _ in up("azure")} - {machine(row) for row in azure_rows()}


def test_few_azure_machines_are_not_billed_at_all() -> None:
    assert 0 < len(azure_unbilled()) < 0.01 * len({id_ for id_, _ in up("azure")})


def test_each_azure_machine_is_billed_once_a_day_for_its_time() -> None:
    found = compute(azure_rows())
    corrected = 0

    assert found.keys() == {key for key in up("azure") if key[0] not in azure_unbilled()}
    for (id_, day), (hours, cost) in found.items():
        was_up, worker = up("azure")[id_, day], workers()[id_]
        assert 0 <= hours - was_up < 1e-5
        if cost == pytest.approx(0.85 * expected_dollars(worker, hours)):
            corrected += 1
        else:
            assert cost == pytest.approx(expected_dollars(worker, hours))
    assert 0 < corrected < 0.01 * len(found)


def test_each_subscription_is_in_one_export() -> None:
    for export, subscription, others in (
        (DEVTEST, "Simulated FXCI DevTest", TRUSTED),
        (TRUSTED, "Simulated FXCI Trusted", DEVTEST),
    ):
        rows = loaded(export, DAYS[0], LATER)
        assert {row["subscriptionName"] for row in rows} == {subscription}
        assert {workers()[machine(r) or ""].project for r in rows if machine(r)} == {subscription}
        assert not named(export, LATER) & named(others, LATER)


def test_resources_and_locations_are_spelt_in_any_case() -> None:
    of_workers = [row for row in azure_rows() if machine(row)]
    paths = [row["ResourceId"] for row in of_workers]
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in of_workers:
        id_ = machine(row)
        assert row["resourceLocation"].lower() == workers()[id_ or ""].zone
        spellings[id_ or ""].add(row["resourceLocation"])

    assert any(path == path.lower() for path in paths)
    assert any(path == path.upper() for path in paths)
    assert any("/virtualMachines/vm-" in path for path in paths)
    assert any(row["resourceLocation"] == "NorthCentralUS" for row in of_workers)
    assert any(row["resourceLocation"] == "northcentralus" for row in of_workers)
    assert any(len(both) == 2 for both in spellings.values())


def test_the_azure_bill_has_much_that_is_no_worker() -> None:
    rows = azure_rows()
    with_parts = [row for row in rows if "/extensions/" in row["ResourceId"].lower()]

    assert any(row["meterSubCategory"] == "Premium SSD Managed Disks" for row in rows)
    assert any(row["meterCategory"] == "Bandwidth" and machine(row) for row in rows)
    assert 0 < len(with_parts) < 0.05 * len(up("azure"))
    assert all(0 < row["costInBillingCurrency"] < 0.01 for row in with_parts)
    assert all(machine(row) is None for row in with_parts)
    purchases = [row for row in rows if row["chargeType"] == "Purchase"]
    assert 0 < len(purchases) < 0.03 * len(up("azure"))
    assert all("/virtualmachines/vm-" in row["ResourceId"].lower() for row in purchases)
    assert any(row["chargeType"] == "RoundingAdjustment" for row in rows)
    assert any(row["consumedService"] == "Microsoft.Storage" for row in rows)


def test_snapshots_are_added_and_their_rows_stay() -> None:
    day = DAYS[2]
    for export in EXPORTS:
        whole = azure_bill(WORLD, export, day, LATER)
        counts = []
        for hours in (0, 13, 16, 31, 36, 42, 60, 102, 300, 600):
            part = azure_bill(WORLD, export, day, after(day, 0, 0) + dt.timedelta(hours=hours))
            assert part.equals(whole.slice(0, part.num_rows))
            counts.append(part.num_rows)
        assert counts[:2] == [0, 0]
        assert counts == sorted(counts)
        assert len(set(counts)) == 6  # none, and five snapshots


def test_superseded_snapshots_repeat_the_same_dollars() -> None:
    rows, ids = loaded(DEVTEST, DAYS[2], LATER), named(DEVTEST, LATER)
    by_snapshot: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_snapshot[row["sourceDataId"]].append(row)

    assert len(by_snapshot) == 5
    assert len(by_snapshot.keys() & ids) == 1
    before_last, last = list(by_snapshot.values())[-2:]
    assert len(compute(before_last)) == len(compute(last))
    assert sum(cost for _, cost in compute(before_last).values()) == pytest.approx(
        sum(cost for _, cost in compute(last).values()), rel=0.02
    )


def test_azures_yesterday_is_incomplete_at_noon_and_but_for_a_few_machines_complete_at_six() -> (
    None
):
    late = 0
    for day in DAYS[:3]:
        final = compute(current(DEVTEST, day, after(day, 5, 0)))
        today = compute(current(DEVTEST, day, after(day, 0, 18)))
        noon = compute(current(DEVTEST, day, after(day, 1, 12)))
        six = compute(current(DEVTEST, day, after(day, 1, 18)))
        late += len(final) - len(six)

        assert all(final[key] == billed for key, billed in six.items())
        assert len(six) >= 0.98 * len(final)
        assert 0 < len(today) < len(noon) < len(six)
        assert sum(h for h, _ in noon.values()) < 0.98 * sum(h for h, _ in six.values())
        assert all(billed <= final.get(key, billed) for key, billed in noon.items())
    assert late > 0


def test_a_lookup_names_one_snapshot_of_each_day_and_repeats_it() -> None:
    now = after(DAYS[3], 0, 19)
    for export in EXPORTS:
        lookup = azure_lookup(WORLD, export, now)
        ids = lookup.column("sourceDataId").to_pylist()

        assert len(set(ids)) == LOOKUP_DAYS + 1
        assert len(ids) > 1.5 * len(set(ids))
        assert max(lookup.column("loadTime").to_pylist()) <= now


def test_what_was_loaded_within_the_hour_has_the_snapshot_that_is_named() -> None:
    day, world = DAYS[1], World(seed=4, tasks_per_day=20)
    every = set(azure_bill(world, DEVTEST, day, LATER).column("sourceDataId").to_pylist())
    seen = set()
    # All hours in which a snapshot of the first days may appear.
    for hour in (13, 14, 15, 16, 28, 29, 30, 31, 39, 40, 41, 42, *range(76, 103)):
        for minute in (0, 30):
            now = after(day, 0, 0) + dt.timedelta(hours=hour, minutes=minute)
            filled = azure_bill(world, DEVTEST, day, now - dt.timedelta(minutes=59))
            lookup = azure_lookup(world, DEVTEST, now).column("sourceDataId").to_pylist()
            seen |= set(lookup) & every
            assert set(lookup) & every <= set(filled.column("sourceDataId").to_pylist())
    assert len(seen) == 4


# --- both -----------------------------------------------------------------------------------------


def test_each_run_on_a_cloud_worker_is_paid_for() -> None:
    ran = busy(WORLD, days_from(DAYS[0] - dt.timedelta(days=2), 9))
    billed = {(instance(row), row["day"]) for row in gcp_rows() if is_machine_time(row)}
    hours = {key: h for key, (h, _) in compute(azure_rows()).items()}
    unbilled = gcp_unbilled() | azure_unbilled()
    of_days = {key: ms for key, ms in ran.items() if key[1] in DAYS}

    assert len(of_days) > 6_000
    for (id_, day), ms in of_days.items():
        if id_ in unbilled:
            continue
        if workers()[id_].provider == "gcp":
            assert (id_, day) in billed
        else:
            assert hours[id_, day] * 3_600 >= ms / 1_000


def bill_of(source: Source, day: dt.date, now: dt.datetime, world: World = WORLD) -> pa.Table:
    for export in EXPORTS:
        if source is export.load:
            return azure_bill(world, export, day, now)
        if source is export.lookup:
            return azure_lookup(world, export, now)
    return gcp_bill(world, day, now)


@pytest.mark.parametrize("source", BILLING, ids=lambda source: source.name)
def test_rows_have_the_schema_of_their_source_and_are_valid(source: Source) -> None:
    for day in (DAYS[0], LATER.date() + dt.timedelta(days=30)):
        table = bill_of(source, day, LATER)
        assert table.schema.equals(arrow_schema(source), check_metadata=True)
        table.validate(full=True)
        if source.partition_column:
            assert (table.num_rows > 0) == (day == DAYS[0])
            column = table.column(source.partition_column)
            assert set(column.cast(pa.date32(), safe=False).to_pylist()) <= {day}


@pytest.mark.parametrize("source", BILLING, ids=lambda source: source.name)
def test_a_bill_is_a_function_of_world_day_and_moment(source: Source) -> None:
    now = after(DAYS[1], 2, 7)
    one = bill_of(source, DAYS[1], now, World(1, 100))
    bill_of(source, DAYS[5], now, World(1, 100))

    assert bill_of(source, DAYS[1], now, World(1, 100)).equals(one)
    assert not bill_of(source, DAYS[1], now, World(2, 100)).equals(one)
    assert not bill_of(source, DAYS[1], now, World(1, 101)).equals(one)


def test_nothing_in_a_bill_is_real() -> None:
    for source in (GCP, AZURE_FXCI, AZURE_TASKCLUSTER):
        table = bill_of(source, DAYS[0], LATER)
        found = set(texts(table.slice(0, 800).to_pylist()))
        users = {word for text in found for word in re.findall(r"[\w.+-]+@[\w.-]+", text)}
        assert users <= {f"user{n}@example.com" for n in range(100)}
        assert not any("mozilla" in text.lower() for text in found)
    accounts = gcp_bill(WORLD, DAYS[0], LATER).column("billing_account_id").unique()
    assert accounts.to_pylist() == ["000000-000000-000000"]


class Filled:
    """A warehouse that remembers what it was filled with, and in which order."""

    def __init__(self) -> None:
        self.order: list[tuple[str, dt.date | None]] = []
        self.tables: dict[tuple[str, dt.date | None], pa.Table] = {}

    def fill(self, source: Source, day: dt.date | None, rows: Iterable[pa.RecordBatch]) -> None:
        self.order.append((source.name, day))
        self.tables[source.name, day] = pa.Table.from_batches(rows, arrow_schema(source))


def test_a_refresh_fills_all_sources_and_no_lookup_before_what_it_names() -> None:
    warehouse, day, now = Filled(), DAYS[3], after(DAYS[3], 1, 18)

    SimulatedBilling(WORLD, warehouse.fill, lambda: now).refresh(day)

    order = warehouse.order
    assert len(order) == len(BILLING)
    for load, lookup in (
        (AZURE_FXCI, AZURE_FXCI_LOOKUP),
        (AZURE_TASKCLUSTER, AZURE_TASKCLUSTER_LOOKUP),
    ):
        assert order.index((load.name, day)) < order.index((lookup.name, None))
    for source in BILLING:
        filled = warehouse.tables[source.name, day if source.partition_column else None]
        assert filled.num_rows > 0
        assert filled.equals(bill_of(source, day, now))


def test_refreshes_of_different_days_do_not_undo_each_other() -> None:
    warehouse, now = Filled(), after(DAYS[-1], 1, 18)
    billing = SimulatedBilling(World(1, 100), warehouse.fill, lambda: now)

    for day in (DAYS[2], DAYS[5], DAYS[0]):
        billing.refresh(day)

    ids = set(warehouse.tables["azure_fxci_lookup", None].column("sourceDataId").to_pylist())
    for day in (DAYS[2], DAYS[5], DAYS[0]):
        of_day = warehouse.tables["azure_fxci", day].column("sourceDataId").to_pylist()
        assert len(ids & set(of_day)) == 1


# --- the sources' columns -------------------------------------------------------------------------


def as_documented(column: Column) -> dict[str, Any]:
    documented: dict[str, Any] = {"name": column.name, "type": column.type}
    documented["mode"] = column.mode.value
    if column.fields:
        documented["fields"] = [as_documented(field) for field in column.fields]
    return documented


def test_gcps_columns_are_those_of_the_export() -> None:
    data = os.environ.get("FXCI_SAMPLE_DATA")
    if not data:
        pytest.skip("FXCI_SAMPLE_DATA does not name the folder of sample data")
    file = Path(data) / "billing" / "gcp_billing_export_resource_v1.bq_schema.json"

    assert [as_documented(column) for column in GCP.columns] == json.loads(file.read_text())[
        "schema"
    ]


def test_both_exports_of_azure_have_the_same_columns_each_name_once() -> None:
    assert AZURE_FXCI.columns == AZURE_TASKCLUSTER.columns
    assert AZURE_FXCI_LOOKUP.columns == AZURE_TASKCLUSTER_LOOKUP.columns
    names = [column.name for column in AZURE_FXCI.columns]
    # BigQuery's names are the same in any case.
    assert len({name.lower() for name in names}) == len(names)
    assert {"date", "ResourceId", "costInBillingCurrency", "sourceDataId"} <= set(names)


def test_every_source_is_described_and_takes_what_the_clouds_may_leave_out() -> None:
    assert [source.name for source in BILLING] == [
        "gcp",
        "azure_fxci",
        "azure_fxci_lookup",
        "azure_taskcluster",
        "azure_taskcluster_lookup",
    ]
    for source in BILLING:
        assert source.title
        assert source.description
        columns = [*source.columns, *(f for column in source.columns for f in column.fields)]
        assert all(column.description.strip() for column in columns)
        assert not any(column.mode is Mode.REQUIRED for column in columns)
        if source.partition_column:
            assert source.partition_column in [column.name for column in source.columns]
