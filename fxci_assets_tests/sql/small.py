"""A warehouse with so few rows that what comes of them can be worked out by eye.

Here belong how a test puts rows in and looks at what was built, and rows that several tests put in.
What a rule is, and the numbers it gives, belongs in the test.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fxci_assets import deployments
from fxci_assets.builders import all_builders
from fxci_assets.freshness import Built, Tallied
from fxci_assets.pipeline import Pipeline, Rebuilt
from fxci_assets.resources.billing import BillingExports
from fxci_assets.settings import Settings
from fxci_assets.tables import (
    AZURE_FXCI,
    AZURE_FXCI_LOOKUP,
    AZURE_TASKCLUSTER,
    AZURE_TASKCLUSTER_LOOKUP,
    Column,
    Mode,
    Relation,
    Source,
    Table,
    arrow_schema,
)
from fxci_assets_tests.events import task_id

Row = dict[str, Any]

DAY = dt.date(2026, 4, 13)
LEVEL_1 = "fxci-production-level1-workers"
LEVEL_3 = "fxci-production-level3-workers"
ZONE = "us-central1-b"
LOCATION = "westus2"
SUBSCRIPTION = "FXCI Azure"
LOOKUPS = {AZURE_FXCI: AZURE_FXCI_LOOKUP, AZURE_TASKCLUSTER: AZURE_TASKCLUSTER_LOOKUP}


def days_after(days: int, day: dt.date = DAY) -> dt.date:
    return day + dt.timedelta(days=days)


def at(time: str, day: dt.date = DAY) -> dt.datetime:
    """A time of the day, such as 09:00 or 23:59:59.999."""
    return dt.datetime.combine(day, dt.time.fromisoformat(time), dt.UTC)


class Small:
    """A pipeline over a folder of its own, at a time at which every day of the tests is over."""

    def __init__(
        self,
        root: Path,
        settings: Settings | None = None,
        billing: BillingExports | None = None,
    ) -> None:
        settings = settings or Settings(sandbox_dir=root, start_date=dt.date(2026, 1, 1))
        self.warehouse = deployments.local_warehouse(settings)
        self.pipeline = Pipeline.of(
            settings,
            deployments.archive(settings),
            self.warehouse,
            all_builders(settings, billing or BillingExports()),
            lambda: dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC),
        )

    def put(self, table: Table, *rows: Mapping[str, object], day: dt.date = DAY) -> None:
        """Makes these the rows of a day: with the day, and NULL for what is not given."""
        of_day = [{table.partition_column: day, **row} for row in rows]
        self.warehouse.write_partition(table, day, [_batch(table, of_day)])

    def bill(self, source: Source, *rows: Mapping[str, object], day: dt.date = DAY) -> None:
        """Makes these what an export has of a day, or all it has where it has no days."""
        of_day = None if source.partition_column is None else day
        self.warehouse.fill(source, of_day, [_batch(source, rows)])

    def bill_azure(
        self,
        *rows: Mapping[str, object],
        export: Source = AZURE_FXCI,
        current: Sequence[str | None] = ("current",),
    ) -> None:
        """Makes these what an export of Azure has of DAY, with the snapshots that are current."""
        self.bill(export, *rows)
        self.bill(LOOKUPS[export], *({"sourceDataId": snapshot} for snapshot in current))

    def recorded(self, table: Table, day: dt.date = DAY, *, rows: str = "none") -> None:
        """It is recorded that a day was built, and no partition is there: in BigQuery an empty
        day looks so. `rows` stands for the version of the rows."""
        built = Built("inputs", rows, 0, self.pipeline.clock())
        self.pipeline.archive.builds.record(table.name, day, built)

    def rebuild(self, table: Table, day: dt.date = DAY) -> Rebuilt:
        [rebuilt] = self.pipeline.rebuild([table], day)
        return rebuilt

    def build(self, table: Table, day: dt.date = DAY) -> list[Row]:
        """The rows of a day, now that it is built, by the table's key."""
        return rows_of(self.rebuild(table, day))

    def counts(self, table: Table, day: dt.date = DAY) -> dict[str, Tallied]:
        """What the build of a day counted."""
        built = self.pipeline.archive.builds.built(table.name, day)
        assert built is not None
        return built.counts


def rows_of(rebuilt: Rebuilt) -> list[Row]:
    """The rows that a rebuild has written, from their file: a query takes five times as long."""
    rows: list[Row] = pq.read_table(rebuilt.uri, partitioning=None).to_pylist()
    return rows


def columns(rows: Iterable[Row], *names: str) -> list[tuple[object, ...]]:
    """Some columns of the rows, for a test that is about these."""
    return [tuple(row[name] for name in names) for row in rows]


# --- rows -----------------------------------------------------------------------------------------


def instance_hour(
    instance: str = "1234",
    cost: float | None = 1.0,
    credits: Sequence[float | None] = (),
    *,
    project: str = LEVEL_1,
    zone: str = ZONE,
    start: dt.datetime | None = None,
    **fields: object,
) -> Row:
    """An hour of a GCP instance, as the bill has it."""
    path = f"//compute.googleapis.com/projects/4711/zones/{zone}/instances/{instance}"
    return {
        "usage_start_time": start or at("10:00"),
        "project": {"id": project},
        "resource": {"name": f"worker-{instance}", "global_name": path},
        "cost": cost,
        "credits": [{"amount": amount} for amount in credits],
        **fields,
    }


def machine_day(
    machine: str = "vm-a",
    cost: float | None = 1.0,
    *,
    snapshot: str | None = "current",
    day: dt.date = DAY,
    **fields: object,
) -> Row:
    """A day of an Azure machine, as the bill has it: twelve hours of the machine itself."""
    group = "/subscriptions/0000/resourceGroups/rg-workers/providers/Microsoft.Compute"
    return {
        "date": day,
        "sourceDataId": snapshot,
        "subscriptionName": SUBSCRIPTION,
        "resourceLocation": LOCATION,
        "ResourceId": f"{group}/virtualMachines/{machine}",
        "chargeType": "Usage",
        "meterCategory": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "quantity": 12.0,
        "costInBillingCurrency": cost,
        **fields,
    }


def metric(
    instance: str = "1234",
    uptime: float | None = 3600.0,
    *,
    project: str = LEVEL_1,
    zone: str = ZONE,
    day: dt.date = DAY,
) -> Row:
    """The uptime of a GCP instance, as Cloud Monitoring tells it."""
    return {
        "project": project,
        "zone": zone,
        "instance_id": instance,
        "uptime": uptime,
        "interval_start_time": at("00:00:00", day),
        "interval_end_time": at("23:59:59", day),
    }


def cost(instance: str | None = "1234", dollars: float | None = 1.0, **fields: object) -> Row:
    """A row of `worker_costs_v1`: a GCP instance, where nothing else is said."""
    return {
        "cloud_provider": "gcp",
        "project": LEVEL_1,
        "zone": ZONE,
        "instance_id": instance,
        "name": f"worker-{instance}",
        "total_cost": dollars,
        **fields,
    }


def usage(instance: str | None = "1234", uptime: float | None = 3600.0, **fields: object) -> Row:
    """A row of `worker_usage_v1`: a GCP instance, where nothing else is said."""
    return {
        "cloud_provider": "gcp",
        "project": LEVEL_1,
        "zone": ZONE,
        "instance_id": instance,
        "uptime": uptime,
        "attribution_method": "gcp_monitoring_instance_uptime",
        **fields,
    }


def task_run(
    number: int,
    started: dt.datetime | None,
    resolved: dt.datetime,
    *,
    instance: str | None = "1234",
    zone: str | None = ZONE,
    run_id: int = 0,
) -> Row:
    """A run of a task on a worker: a GCP instance, where nothing else is said."""
    return {
        "task_id": task_id(number),
        "run_id": run_id,
        "state": "completed",
        "scheduled": resolved - dt.timedelta(hours=1),
        "started": started,
        "resolved": resolved,
        "worker_group": zone,
        "worker_id": instance,
    }


def _batch(relation: Relation, rows: Iterable[Mapping[str, object]]) -> pa.RecordBatch:
    whole = [_whole(relation.columns, row) for row in rows]
    return pa.RecordBatch.from_pylist(whole, arrow_schema(relation))


def _whole(columns: Sequence[Column], row: Mapping[str, object]) -> Row:
    unknown = row.keys() - {column.name for column in columns}
    assert not unknown, f"no such columns: {unknown}"
    return {column.name: _value(column, row.get(column.name)) for column in columns}


def _value(column: Column, value: object) -> object:
    if column.mode is Mode.REPEATED:
        assert value is None or isinstance(value, list)
        return [_element(column, element) for element in value or ()]
    return _element(column, value)


def _element(column: Column, value: object) -> object:
    return _whole(column.fields, value) if isinstance(value, Mapping) else value
