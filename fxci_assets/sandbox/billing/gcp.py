"""The simulated bill of Google Cloud: hours of the workers, and what else an export has.

Here belong the rows of the resource-level export and when they appear in it. Prices are `prices`;
who was up when is `fleet`.

Rows are only ever added. An hour is exported 7 to 17 hours after it ended, so that a day is whole
by 17:00 UTC of the next, but for a few workers of which it is exported two or three days after it
ended. After 10 to 20 days a few workers have a row more, which corrects what they cost.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, partial
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fxci_assets.sandbox.billing.prices import (
    GCP_COMMITMENTS,
    GCP_COMMITTED_PROJECTS,
    GCP_DISK_GIBIBYTE_MONTH,
    GCP_DISK_GIBIBYTES,
    GCP_EGRESS_GIBIBYTE,
    GCP_MACHINES,
)
from fxci_assets.sandbox.billing.templates import Templates
from fxci_assets.sandbox.catalogue import LEVEL_1_PROJECT, LEVEL_3_PROJECT
from fxci_assets.sandbox.firefox_ci import Instant, Worker, World, instant, midnight
from fxci_assets.sandbox.fleet import Presence, draw, presences, renaming
from fxci_assets.tables.billing import GCP
from fxci_assets.tables.spec import arrow_schema

# Workers that are in no bill, and days of a worker that come late or with a correction.
_UNBILLED = 0.002
_LATE = 0.003
_RESTATED = 0.003
_REFUNDED = 0.003
_OVERSTATED = 0.15  # the share of the cost that a correction takes off

# Hours of a worker.
_WITH_EGRESS = 0.15
_WITH_PATH_IN_NAME = 0.1

_HOUR = 3_600_000
_DAY = 24 * _HOUR
_SOONEST, _SPREAD = 7 * _HOUR, 10 * _HOUR

_GIBIBYTE = float(1 << 30)
_HOURS_A_MONTH = 730

_SITE_PROJECT = "simulated-site"
"""A project of others, on the same bill."""

_PROJECT_NUMBERS = {
    LEVEL_1_PROJECT: "100000000001",
    LEVEL_3_PROJECT: "100000000003",
    _SITE_PROJECT: "100000000009",
}
_ORGANIZATION = "100000000000"
_ACCOUNT = "000000-000000-000000"

_SCHEMA = arrow_schema(GCP)


# Compared by identity, as each is made once: it is part of the key of each row's template.
@dataclass(frozen=True, slots=True, eq=False)
class _Sku:
    service: str
    description: str
    unit: str
    pricing_unit: str
    units: float  # in a pricing unit
    price: float  # of a pricing unit


class _Adjustment(NamedTuple):
    description: str
    mode: str
    type: str


_COMPUTE = "Compute Engine"
_GIBIBYTE_MONTH = _GIBIBYTE * 3600 * _HOURS_A_MONTH

_EGRESS = _Sku(
    _COMPUTE,
    "Network Internet Data Transfer Out from Americas",
    "bytes",
    "gibibyte",
    _GIBIBYTE,
    GCP_EGRESS_GIBIBYTE,
)
_DISK = _Sku(
    _COMPUTE,
    "Balanced PD Capacity",
    "byte-seconds",
    "gibibyte month",
    _GIBIBYTE_MONTH,
    GCP_DISK_GIBIBYTE_MONTH,
)
_STORED = _Sku(
    "Cloud Storage",
    "Standard Storage US Multi-region",
    "byte-seconds",
    "gibibyte month",
    _GIBIBYTE_MONTH,
    0.026,
)
_GATEWAY = _Sku("Networking", "Cloud Nat Gateway Uptime", "seconds", "hour", 3600, 0.0014)
_LOGGED = _Sku("Cloud Logging", "Log Storage cost", "bytes", "gibibyte", _GIBIBYTE, 0.5)
_SERVICES = {_STORED: 8.0, _GATEWAY: 32.0, _LOGGED: 0.6}
"""Services without resources, and how many pricing units a project uses in an hour."""

_REFUND = _Adjustment("Goodwill credit", "MANUAL_ADJUSTMENT", "GOODWILL")
_CORRECTION = _Adjustment("Usage was overstated", "PARTIAL_CORRECTION", "USAGE_CORRECTION")


def _zone(project: str, zone: str) -> str:
    return f"//compute.googleapis.com/projects/{_PROJECT_NUMBERS[project]}/zones/{zone}"


_SITE_ZONE = "us-west1-b"
_SITE_CORE = _Sku(
    _COMPUTE, "N2 Instance Core running in Americas", "seconds", "hour", 3600, 0.031611
)
_SITE_CORES = 2.0
_SITE_INSTANCES = {
    name: f"{_zone(_SITE_PROJECT, _SITE_ZONE)}/instances/{id_}"
    for name, id_ in (("site-1", 10**18 + 1), ("site-2", 10**18 + 2))
}


class _Row(NamedTuple):
    exported: Instant
    template: int
    hour: Instant
    name: str | None
    global_name: str | None
    pricing_units: float
    cost: float


def gcp_bill(world: World, day: dt.date, now: dt.datetime) -> pa.Table:
    """What had been exported of a day by `now`, in the order of its export: so what was there
    earlier is the beginning of what is there later."""
    bill = _Bill(day)
    for presence in presences(world, day, midnight(day) + _DAY):
        if presence.worker.provider == "gcp":
            bill.add_worker(presence)
    bill.add_others(world)
    return bill.exported_by(instant(now))


class _Bill:
    """A day's rows in the making."""

    def __init__(self, day: dt.date) -> None:
        self._day = day
        self._templates = Templates(_SCHEMA)
        self._rows: list[_Row] = []

    def add_worker(self, presence: Presence) -> None:
        worker, of_day = presence.worker, (presence.worker.instance_id, self._day)
        if draw("unbilled", worker.instance_id) < _UNBILLED:
            return
        ended = midnight(self._day) + _DAY
        late = None
        if draw("late", *of_day) < _LATE:
            late = ended + 2 * _DAY + int(draw("late by", *of_day) * _DAY)
        cost = 0.0
        for hour, share in _hours(presence):
            exported = late or _exported(hour, worker.instance_id)
            cost += self._add_hour(worker, hour, share, exported)
        last = presence.end - 1 - (presence.end - 1) % _HOUR
        if draw("refunded", *of_day) < _REFUNDED:
            exported = late or _exported(last, worker.instance_id)
            # Up to twice the cost: it may be for another day.
            refund = cost * (0.2 + 1.8 * draw("refund", *of_day))
            self._add_adjustment(worker, last, exported, _REFUND, -refund)
        if draw("restated", *of_day) < _RESTATED:
            exported = ended + 10 * _DAY + int(draw("restated by", *of_day) * 10 * _DAY)
            self._add_adjustment(worker, last, exported, _CORRECTION, -_OVERSTATED * cost)

    def _add_hour(self, worker: Worker, hour: Instant, share: float, exported: Instant) -> float:
        """An hour of the clock, for a share of which the worker was up. Returns the cost of its
        cores."""
        machine = GCP_MACHINES[worker.machine_type]
        core, memory = _machine_skus(worker.machine_type, worker.spot)
        plain, instance = _name(worker, hour), _instance(worker)
        named = plain
        if draw("path", worker.instance_id, hour) < _WITH_PATH_IN_NAME:
            named = f"projects/{_PROJECT_NUMBERS[worker.project]}/instances/{plain}"
        sends = draw("egress", worker.instance_id, hour)
        used = [
            (core, machine.cores * share, named, instance),
            (memory, machine.gibibytes * share, named, instance),
            (_DISK, GCP_DISK_GIBIBYTES * share / _HOURS_A_MONTH, plain, _disk(worker)),
        ]
        if sends < _WITH_EGRESS:
            used.append((_EGRESS, sends / _WITH_EGRESS * share, named, instance))
        for sku, units, name, global_name in used:
            template = self._of_worker(worker, sku)
            cost = round(units * sku.price, 6)
            self._rows.append(_Row(exported, template, hour, name, global_name, units, cost))
        return machine.cores * share * core.price

    def _add_adjustment(
        self,
        worker: Worker,
        hour: Instant,
        exported: Instant,
        adjustment: _Adjustment,
        cost: float,
    ) -> None:
        core, _ = _machine_skus(worker.machine_type, worker.spot)
        template = self._of_worker(worker, core, adjustment)
        name, global_name = _name(worker, hour), _instance(worker)
        self._rows.append(_Row(exported, template, hour, name, global_name, 0.0, round(cost, 6)))

    def add_others(self, world: World) -> None:
        """What is no worker: services without a resource, and the instances of another project."""
        begin = midnight(self._day)
        for hour in range(begin, begin + _DAY, _HOUR):
            for project in (LEVEL_1_PROJECT, LEVEL_3_PROJECT):
                for sku, usual in _SERVICES.items():
                    of = f"{world.seed}/{world.tasks_per_day}/{project}/{sku.description}"
                    units = usual * (0.5 + draw("used", of, hour))
                    template = self._of_project(project, "us-central1-a", sku)
                    cost = round(units * sku.price, 6)
                    exported = _exported(hour, of)
                    self._rows.append(_Row(exported, template, hour, None, None, units, cost))
            for name, instance in _SITE_INSTANCES.items():
                exported = _exported(hour, f"{world.seed}/{world.tasks_per_day}/{name}")
                template = self._of_project(_SITE_PROJECT, _SITE_ZONE, _SITE_CORE)
                cost = round(_SITE_CORES * _SITE_CORE.price, 6)
                self._rows.append(_Row(exported, template, hour, name, instance, _SITE_CORES, cost))

    def _of_worker(self, worker: Worker, sku: _Sku, adjustment: _Adjustment | None = None) -> int:
        return self._templates.number(
            (worker.zone, worker.pool, sku, adjustment),
            partial(_worker_template, self._day, worker, sku, adjustment),
        )

    def _of_project(self, project: str, zone: str, sku: _Sku) -> int:
        return self._templates.number(
            (project, sku), partial(_template, self._day, project, zone, sku)
        )

    def exported_by(self, now: Instant) -> pa.Table:
        rows = sorted((row for row in self._rows if row.exported <= now), key=_by_export)
        table = self._templates.rows([row.template for row in rows])
        varying = {
            "usage_start_time": _instants([row.hour for row in rows]),
            "usage_end_time": _instants([row.hour + _HOUR for row in rows]),
            "export_time": _instants([row.exported for row in rows]),
            "resource": _resources(rows),
            "usage": _usage(table, pa.array([row.pricing_units for row in rows], pa.float64())),
        }
        costs = pa.array([row.cost for row in rows], pa.float64())
        varying["credits"] = _credits(table, costs)
        for name in _SCHEMA.names:
            if name == "cost" or name.startswith("cost_at_"):
                varying[name] = costs
        columns = [varying.get(name, table.column(name)) for name in _SCHEMA.names]
        return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _by_export(row: _Row) -> Instant:
    return row.exported


def _hours(presence: Presence) -> Iterator[tuple[Instant, float]]:
    """The hours of the clock in which a worker was up, and for what share of each."""
    for hour in range(presence.start - presence.start % _HOUR, presence.end, _HOUR):
        yield hour, (min(presence.end, hour + _HOUR) - max(presence.start, hour)) / _HOUR


def _exported(hour: Instant, of: str) -> Instant:
    return hour + _HOUR + _SOONEST + int(_SPREAD * draw("exported", of, hour))


def _name(worker: Worker, hour: Instant) -> str:
    renamed = renaming(worker)
    return renamed.name if renamed and hour >= renamed.at else worker.name


def _instance(worker: Worker) -> str:
    return f"{_zone(worker.project, worker.zone)}/instances/{worker.instance_id}"


def _disk(worker: Worker) -> str:
    number = 10**18 + int(draw("disk", worker.instance_id) * 8e18)
    return f"{_zone(worker.project, worker.zone)}/disk/{number}"


@cache
def _machine_skus(machine_type: str, spot: bool) -> tuple[_Sku, _Sku]:
    """Its cores and its memory."""
    machine = GCP_MACHINES[machine_type]
    family = f"Spot Preemptible {machine.family}" if spot else machine.family
    core = f"{family} Core running in Americas"
    memory = f"{family} Ram running in Americas"
    return (
        _Sku(_COMPUTE, core, "seconds", "hour", 3600, machine.core_hour),
        _Sku(
            _COMPUTE,
            memory,
            "byte-seconds",
            "gibibyte hour",
            _GIBIBYTE * 3600,
            machine.gibibyte_hour,
        ),
    )


# --- templates ------------------------------------------------------------------------------------


def _template(day: dt.date, project: str, zone: str, sku: _Sku) -> dict[str, object]:
    """What is the same in all rows of a SKU. The usage is that of one pricing unit."""
    number = _PROJECT_NUMBERS[project]
    region = zone.rpartition("-")[0]
    price = Decimal(str(sku.price))
    return {
        "billing_account_id": _ACCOUNT,
        "service": {"id": _code(sku.service), "description": sku.service},
        "sku": {"id": _code(f"{sku.service}/{sku.description}"), "description": sku.description},
        "project": {
            "id": project,
            "number": number,
            "name": project,
            "labels": [{"key": "cost-center", "value": "simulated"}],
            "ancestry_numbers": f"/{_ORGANIZATION}/",
            "ancestors": [
                {"resource_name": f"projects/{number}", "display_name": project},
                {
                    "resource_name": f"organizations/{_ORGANIZATION}",
                    "display_name": "example.com",
                },
            ],
        },
        "location": {"location": region, "country": "US", "region": region},
        "currency": "USD",
        "currency_conversion_rate": 1.0,
        "usage": {"amount": sku.units, "unit": sku.unit, "pricing_unit": sku.pricing_unit},
        "invoice": {"month": f"{day:%Y%m}", "publisher_type": "GOOGLE"},
        "cost_type": "regular",
        "adjustment_info": {},
        "price": {
            "effective_price": price,
            "tier_start_amount": Decimal(0),
            "unit": sku.pricing_unit,
            "pricing_unit_quantity": Decimal(1),
            "list_price": price,
            "effective_price_default": price,
            "list_price_consumption_model": price,
        },
        "subscription": {},
        "transaction_type": "GOOGLE",
        "consumption_model": {"id": _code("Default"), "description": "Default"},
    }


def _worker_template(
    day: dt.date, worker: Worker, sku: _Sku, adjustment: _Adjustment | None
) -> Mapping[str, object]:
    template = _template(day, worker.project, worker.zone, sku)
    machine = GCP_MACHINES[worker.machine_type]
    region = worker.zone.rpartition("-")[0]
    template["location"] = {
        "location": region,
        "country": "US",
        "region": region,
        "zone": worker.zone,
    }
    template["labels"] = _labels(
        {
            "created-by": "taskcluster-wm-simulated",
            "managed-by": "taskcluster",
            "worker-pool-id": worker.pool.replace("/", "_"),
        }
    )
    template["tags"] = [
        {"key": "environment", "value": "ci", "inherited": True, "namespace": _ORGANIZATION}
    ]
    if sku is not _DISK:
        template["system_labels"] = _labels(
            {
                "compute.googleapis.com/cores": str(machine.cores),
                "compute.googleapis.com/is_unused_reservation": "false",
                "compute.googleapis.com/machine_spec": worker.machine_type,
                "compute.googleapis.com/memory": str(1024 * machine.gibibytes),
            }
        )
    if adjustment is not None:
        template["cost_type"] = "adjustment"
        template["adjustment_info"] = {
            "id": _code(f"{adjustment.description}/{day}"),
            **adjustment._asdict(),
        }
    elif sku not in (_EGRESS, _DISK):
        template["credits"] = _discounts(worker)
    return template


def _discounts(worker: Worker) -> list[dict[str, object]]:
    """The credits of a machine's time, for a cost of one dollar."""
    shares: Mapping[str, float] = {}
    if worker.spot:
        shares = {"DISCOUNT": GCP_MACHINES[worker.machine_type].spot_discount}
    elif worker.project in GCP_COMMITTED_PROJECTS:
        shares = GCP_COMMITMENTS
    names = {
        "DISCOUNT": "Spot discount",
        "COMMITTED_USAGE_DISCOUNT": "Committed use discount",
        "COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE": "Committed use discount, by spend",
    }
    return [
        {
            "name": names[type_],
            "amount": -share,
            "full_name": f"{names[type_]}: {worker.machine_type}",
            "id": _code(names[type_]),
            "type": type_,
        }
        for type_, share in shares.items()
    ]


def _labels(labels: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in labels.items()]


def _code(of: str) -> str:
    """An id in the form that Google's have."""
    digits = hashlib.blake2b(of.encode(), digest_size=6).hexdigest().upper()
    return f"{digits[:4]}-{digits[4:8]}-{digits[8:]}"


# --- columns --------------------------------------------------------------------------------------


def _instants(values: list[Instant]) -> pa.Array:
    return pa.array(values, pa.timestamp("ms", tz="UTC")).cast(pa.timestamp("us", tz="UTC"))


def _resources(rows: list[_Row]) -> pa.Array:
    return pa.StructArray.from_arrays(
        [
            pa.array([row.name for row in rows], pa.string()),
            pa.array([row.global_name for row in rows], pa.string()),
        ],
        fields=list(_SCHEMA.field("resource").type),
        mask=pa.array([row.global_name is None for row in rows], pa.bool_()),
    )


def _usage(table: pa.Table, pricing_units: pa.Array) -> pa.Array:
    """The templates' usage, which is that of one pricing unit, for so many of them."""
    of_one = table.column("usage").combine_chunks()
    return pa.StructArray.from_arrays(
        [
            pc.multiply(of_one.field("amount"), pricing_units),
            of_one.field("unit"),
            pricing_units,
            of_one.field("pricing_unit"),
        ],
        fields=list(of_one.type),
    )


def _credits(table: pa.Table, costs: pa.Array) -> pa.Array:
    """The templates' credits, which are those of one dollar, for these costs."""
    of_a_dollar = table.column("credits").combine_chunks()
    credits = of_a_dollar.flatten()
    costs = costs.take(pc.list_parent_indices(of_a_dollar))
    amounts = pc.round(pc.multiply(credits.field("amount"), costs), 6)
    fields = [
        amounts if field.name == "amount" else credits.field(field.name) for field in credits.type
    ]
    return pa.ListArray.from_arrays(
        of_a_dollar.offsets,
        pa.StructArray.from_arrays(fields, fields=list(credits.type)),
        type=of_a_dollar.type,
    )
