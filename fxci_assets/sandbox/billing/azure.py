"""The simulated bill of Azure: snapshots of each day, and which of them are current.

Here belong the rows of Microsoft's actual-cost export and the two tables in which they arrive.
Prices are `prices`; who was up when is `fleet`.

A day is exported five times, each time as a snapshot of all that is known by then: a part on the
day itself and on the next morning, all but a few machines on the next afternoon, all after three
days, and with a few prices corrected after 10 to 20 days. A snapshot's rows stay when a newer one
comes, and its id leaves the lookup. It is loaded an hour before the lookup names it: who has read a
day's load table within the hour has the rows of whichever snapshot is named.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import pyarrow as pa

from fxci_assets.sandbox.billing.prices import (
    AZURE_DISK_MONTH,
    AZURE_EGRESS_GIGABYTE,
    AZURE_EXTENSION_HOUR,
    AZURE_IMAGE,
    AZURE_MACHINES,
)
from fxci_assets.sandbox.billing.templates import Templates
from fxci_assets.sandbox.catalogue import DEVTEST_SUBSCRIPTION, TRUSTED_SUBSCRIPTION
from fxci_assets.sandbox.firefox_ci import Instant, World, instant, midnight, moment
from fxci_assets.sandbox.fleet import Presence, draw, presences
from fxci_assets.tables.billing import (
    AZURE_FXCI,
    AZURE_FXCI_LOOKUP,
    AZURE_TASKCLUSTER,
    AZURE_TASKCLUSTER_LOOKUP,
)
from fxci_assets.tables.spec import Source, arrow_schema

LOOKUP_DAYS = 400
"""The lookup names the snapshots of so many days before today; of older days nothing is current."""


@dataclass(frozen=True, slots=True)
class Export:
    """One of the two exports: the subscription that it bills, and its tables."""

    subscription: str
    load: Source
    lookup: Source


EXPORTS: tuple[Export, ...] = (
    Export(DEVTEST_SUBSCRIPTION, AZURE_FXCI, AZURE_FXCI_LOOKUP),
    Export(TRUSTED_SUBSCRIPTION, AZURE_TASKCLUSTER, AZURE_TASKCLUSTER_LOOKUP),
)

# Machines that are in no bill, and days of a machine that come late, or are corrected.
_UNBILLED = 0.003
_LATE = 0.004
_RESTATED = 0.005
_CORRECTED_PRICE = 0.85

# Days of a machine.
_WITH_EGRESS = 0.25
_WITH_EXTENSION = 0.02
_WITH_IMAGE = 0.01

# Rows: how they spell what was used, and where.
_LOWER_CASE = 0.3
_UPPER_CASE = 0.2
_MIXED_CASE_LOCATION = 0.25

_HOUR = 3_600_000
_DAY = 24 * _HOUR
_HOURS_A_MONTH = 730

_SCHEMA = arrow_schema(AZURE_FXCI)
_LOOKUP_SCHEMA = arrow_schema(AZURE_FXCI_LOOKUP)

_LOCATIONS = {
    "centralus": ("CentralUS", "US Central"),
    "northcentralus": ("NorthCentralUS", "US North Central"),
    "southcentralus": ("SouthCentralUS", "US South Central"),
    "westus3": ("WestUS3", "US West 3"),
    "centralindia": ("CentralIndia", "IN Central"),
}
"""How resources and meters spell a worker's zone."""


# --- snapshots ------------------------------------------------------------------------------------

# Hours after the day began: from when it is loaded, within how many hours, and until when it covers
# the day. The fourth has the late machines, the fifth the corrected prices.
_SNAPSHOTS = (
    (14, 1, 7),
    (29, 1, 20),
    (40, 1, 24),
    (77, 24, 24),
    (24 * 11, 24 * 10, 24),
)
_WITH_LATE, _CORRECTED = 3, 4
_LISTED_AFTER = _HOUR


class _Snapshot(NamedTuple):
    """A day as it was exported at some time: its usage until `covers`."""

    number: int
    id: str
    loaded: Instant
    covers: Instant

    @property
    def listed(self) -> Instant:
        return self.loaded + _LISTED_AFTER


def _snapshots(world: World, export: Export, day: dt.date) -> Iterator[_Snapshot]:
    """All snapshots that there will ever be of a day, the oldest first."""
    begin = midnight(day)
    for number, (after, within, covers) in enumerate(_SNAPSHOTS):
        which = f"{world.seed}/{world.tasks_per_day}/{export.load.name}/{day}/{number}"
        loaded = begin + after * _HOUR + int(within * _HOUR * draw("loaded", which))
        yield _Snapshot(number, _guid(which), loaded, begin + covers * _HOUR)


def azure_lookup(world: World, export: Export, now: dt.datetime) -> pa.Table:
    """The snapshots that are current at `now`, each once for each of its files."""
    ids: list[str] = []
    listed: list[dt.datetime] = []
    for ago in range(LOOKUP_DAYS, -1, -1):
        current = None
        for snapshot in _snapshots(world, export, now.date() - dt.timedelta(days=ago)):
            if snapshot.listed <= instant(now):
                current = snapshot
        if current is not None:
            files = 1 + int(3 * draw("files", current.id))
            ids += [current.id] * files
            listed += [moment(current.listed)] * files
    return pa.table([ids, listed], schema=_LOOKUP_SCHEMA)


# --- meters ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meter:
    family: str
    service: str
    category: str
    sub_category: str = ""
    name: str
    unit: str
    retail_price: float
    discount: float = 0.0
    charge_type: str = "Usage"

    @property
    def price(self) -> float:
        return self.retail_price * (1 - self.discount)


_DISK = _Meter(
    family="Storage",
    service="Microsoft.Compute",
    category="Storage",
    sub_category="Premium SSD Managed Disks",
    name="P10 LRS Disk",
    unit="1/Month",
    retail_price=AZURE_DISK_MONTH,
)
_EGRESS = _Meter(
    family="Networking",
    service="Microsoft.Compute",
    category="Bandwidth",
    sub_category="Rtn Preference: MGN",
    name="Standard Data Transfer Out",
    unit="1 GB",
    retail_price=AZURE_EGRESS_GIGABYTE,
)
_EXTENSION = _Meter(
    family="Security",
    service="Microsoft.Security",
    category="Microsoft Defender for Cloud",
    sub_category="Servers",
    name="Standard Node",
    unit="1 Hour",
    retail_price=AZURE_EXTENSION_HOUR,
)
_IMAGE = _Meter(
    family="Compute",
    service="Microsoft.Compute",
    category="Virtual Machines",
    sub_category="Marketplace",
    name="Image",
    unit="1 Hour",
    retail_price=AZURE_IMAGE,
    charge_type="Purchase",
)
_ROUNDING = _Meter(
    family="Other",
    service="",
    category="",
    name="Rounding",
    unit="",
    retail_price=0.01,
    charge_type="RoundingAdjustment",
)
_LOGS_STORED = _Meter(
    family="Storage",
    service="Microsoft.Storage",
    category="Storage",
    sub_category="Tiered Block Blob",
    name="Hot LRS Data Stored",
    unit="1 GB/Month",
    retail_price=0.0184,
)
_GATEWAY = _Meter(
    family="Networking",
    service="Microsoft.Network",
    category="Virtual Network",
    sub_category="IP Addresses",
    name="Standard IPv4 Static Public IP",
    unit="1 Hour",
    retail_price=0.005,
)
_OTHERS = (
    # What was used, its meter, and how much on a whole day.
    ("Microsoft.Storage/storageAccounts/simulatedlogs", _LOGS_STORED, 40.0),
    ("Microsoft.Network/publicIPAddresses/simulated-gateway", _GATEWAY, 24.0),
    ("", _ROUNDING, 1.0),
)


@cache
def _compute(machine_type: str, spot: bool) -> _Meter:
    machine = AZURE_MACHINES[machine_type]
    return _Meter(
        family="Compute",
        service="Microsoft.Compute",
        category="Virtual Machines",
        sub_category=machine.series,
        name=f"{machine.meter} Spot" if spot else machine.meter,
        unit="1 Hour",
        retail_price=machine.hour,
        discount=machine.spot_discount if spot else 0.0,
    )


# --- rows -----------------------------------------------------------------------------------------


class _Where(NamedTuple):
    group: str
    zone: str
    pool: str
    machine_type: str


class _Row(NamedTuple):
    snapshot: str
    template: int
    resource: str
    quantity: float
    retail_price: float
    price: float


def azure_bill(world: World, export: Export, day: dt.date, now: dt.datetime) -> pa.Table:
    """The rows of all snapshots of a day that had been loaded by `now`, the oldest first: so what
    was there earlier is the beginning of what is there later."""
    bill = _Bill(export, day)
    machines = [
        presence
        for presence in presences(world, day, midnight(day) + _DAY)
        if presence.worker.project == export.subscription
        and draw("unbilled", presence.worker.instance_id) >= _UNBILLED
    ]
    for snapshot in _snapshots(world, export, day):
        if snapshot.loaded <= instant(now):
            for presence in machines:
                bill.add_machine(snapshot, presence)
            bill.add_others(snapshot)
    return bill.table()


class _Bill:
    """A day's rows in the making."""

    def __init__(self, export: Export, day: dt.date) -> None:
        self._export = export
        self._day = day
        self._templates = Templates(_SCHEMA)
        self._rows: list[_Row] = []

    def add_machine(self, snapshot: _Snapshot, presence: Presence) -> None:
        worker = presence.worker
        of_day = (worker.instance_id, self._day)
        end = min(presence.end, snapshot.covers)
        if end <= presence.start:
            return
        if snapshot.number < _WITH_LATE and draw("late", *of_day) < _LATE:
            return
        hours = _hours(end - presence.start)
        meter = _compute(worker.machine_type, worker.spot)
        price = meter.price
        if snapshot.number >= _CORRECTED and draw("restated", *of_day) < _RESTATED:
            price *= _CORRECTED_PRICE
        where = _Where(
            f"rg-{worker.zone}-{worker.pool.partition('/')[0]}",
            worker.zone,
            worker.pool,
            worker.machine_type,
        )
        machine = f"Microsoft.Compute/virtualMachines/{worker.instance_id}"
        disk = f"Microsoft.Compute/disks/{worker.instance_id}_OsDisk"
        self._add(snapshot, where, machine, meter, hours, price)
        self._add(snapshot, where, disk, _DISK, hours / _HOURS_A_MONTH)
        sends = draw("egress", *of_day)
        if sends < _WITH_EGRESS:
            self._add(snapshot, where, machine, _EGRESS, hours * sends / _WITH_EGRESS)
        if draw("extension", *of_day) < _WITH_EXTENSION:
            self._add(snapshot, where, f"{machine}/extensions/monitor", _EXTENSION, hours)
        if draw("image", *of_day) < _WITH_IMAGE:
            self._add(snapshot, where, machine, _IMAGE, 1.0)

    def add_others(self, snapshot: _Snapshot) -> None:
        """What is no machine."""
        share = (snapshot.covers - midnight(self._day)) / _DAY
        where = _Where("rg-simulated-shared", "centralus", "", "")
        for resource, meter, a_day in _OTHERS:
            self._add(snapshot, where, resource, meter, a_day * share)

    def _add(
        self,
        snapshot: _Snapshot,
        where: _Where,
        resource: str,
        meter: _Meter,
        quantity: float,
        price: float | None = None,
    ) -> None:
        # Meters spell differently, and each does so in all snapshots of a day.
        spelling = draw("location", resource, meter.name, self._day) < _MIXED_CASE_LOCATION
        location = _LOCATIONS[where.zone][0] if spelling else where.zone
        template = self._templates.number(
            (where, meter, location),
            partial(_template, self._export, self._day, where, meter, location),
        )
        path = resource and _spelt(
            f"/subscriptions/{_guid(self._export.subscription)}/resourceGroups/{where.group}"
            f"/providers/{resource}",
            draw("case", resource, meter.name, self._day),
        )
        self._rows.append(
            _Row(
                snapshot.id,
                template,
                path,
                quantity,
                meter.retail_price,
                meter.price if price is None else price,
            )
        )

    def table(self) -> pa.Table:
        rows = self._rows
        table = self._templates.rows([row.template for row in rows])
        costs = pa.array([row.quantity * row.price for row in rows], pa.float64())
        retail = pa.array([row.quantity * row.retail_price for row in rows], pa.float64())
        prices = pa.array([row.price for row in rows], pa.float64())
        varying = {
            "ResourceId": pa.array([row.resource for row in rows], pa.string()),
            "quantity": pa.array([row.quantity for row in rows], pa.float64()),
            "effectivePrice": prices,
            "unitPrice": prices,
            "costInBillingCurrency": costs,
            "costInPricingCurrency": costs,
            "costInUsd": costs,
            "paygCostInBillingCurrency": retail,
            "paygCostInUsd": retail,
            "sourceDataId": pa.array([row.snapshot for row in rows], pa.string()),
        }
        columns = [varying.get(name, table.column(name)) for name in _SCHEMA.names]
        return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _hours(up: int) -> float:
    """A time in hours, with the six decimals that a bill has; never less than it was."""
    return math.ceil(up / _HOUR * 1e6) / 1e6


def _spelt(path: str, spelling: float) -> str:
    if spelling < _LOWER_CASE:
        return path.lower()
    return path.upper() if spelling < _LOWER_CASE + _UPPER_CASE else path


@cache
def _guid(of: str) -> str:
    digest = hashlib.blake2b(of.encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def _template(
    export: Export, day: dt.date, where: _Where, meter: _Meter, location: str
) -> Mapping[str, object]:
    """What is the same in all rows of a meter, but for its amounts."""
    next_month = (day.replace(day=1) + dt.timedelta(days=31)).replace(day=1)
    of_meter = f"{meter.category}/{meter.sub_category}/{meter.name}"
    template: dict[str, object] = {
        "billingAccountId": _guid("billing account"),
        "billingAccountName": "Simulated",
        "billingProfileId": _guid("billing profile"),
        "billingProfileName": "Simulated",
        "invoiceSectionId": _guid(f"invoice section of {export.subscription}"),
        "invoiceSectionName": export.subscription,
        "billingPeriodStartDate": day.replace(day=1),
        "billingPeriodEndDate": next_month - dt.timedelta(days=1),
        "servicePeriodStartDate": day,
        "servicePeriodEndDate": day,
        "date": day,
        "serviceFamily": meter.family,
        "consumedService": meter.service,
        "meterId": _guid(of_meter),
        "meterName": meter.name,
        "meterCategory": meter.category,
        "meterSubCategory": meter.sub_category,
        "meterRegion": _LOCATIONS[where.zone][1],
        "ProductName": " - ".join(filter(None, (meter.category, meter.sub_category, meter.name))),
        "SubscriptionId": _guid(export.subscription),
        "subscriptionName": export.subscription,
        "publisherType": "Marketplace" if meter.charge_type == "Purchase" else "Azure",
        "publisherName": "Microsoft",
        "resourceGroupName": where.group,
        "resourceLocation": location,
        "location": _LOCATIONS[where.zone][1],
        "unitOfMeasure": meter.unit,
        "chargeType": meter.charge_type,
        "billingCurrency": "USD",
        "pricingCurrency": "USD",
        "exchangeRatePricingToBilling": 1.0,
        "exchangeRateDate": day.replace(day=1),
        "isAzureCreditEligible": meter.charge_type == "Usage",
        "PayGPrice": meter.retail_price,
        "frequency": "UsageBased" if meter.charge_type == "Usage" else "OneTime",
        "pricingModel": "Spot" if meter.discount else "OnDemand",
        "provider": "Microsoft",
    }
    if where.pool:
        template["tags"] = (
            '"created-by": "taskcluster-wm-simulated","managed-by": "taskcluster",'
            f'"worker-pool-id": "{where.pool}","owner": "user7@example.com"'
        )
    if meter.category == "Virtual Machines":
        usage = "ComputeHR_SPOT" if meter.discount else "ComputeHR"
        template["additionalInfo"] = (
            f'{{"UsageType":"{usage}","ImageType":"Windows","ServiceType":"{where.machine_type}"}}'
        )
    return template
