"""Small tables, and rows of them, for the tests of warehouses.

Here belong what several of them write. What comes of it belongs in the tests.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from fxci_assets.tables import Column, Mode, Table, arrow_schema

DAY = dt.date(2026, 4, 13)
NEXT_DAY = dt.date(2026, 4, 14)

EVENTS = Table(
    name="events_v1",
    view="events",
    title="Events",
    description="A table with each type of column that Parquet has, in each mode.",
    columns=(
        Column("id", "STRING", Mode.REQUIRED, "A name."),
        Column("at", "TIMESTAMP", Mode.REQUIRED, "When."),
        Column("day", "DATE", Mode.REQUIRED, "The UTC day; the partition."),
        Column("number", "INTEGER", Mode.NULLABLE, "A number."),
        Column("seconds", "FLOAT", Mode.NULLABLE, "How long."),
        Column("dollars", "NUMERIC", Mode.NULLABLE, "How much."),
        Column("good", "BOOLEAN", Mode.NULLABLE, "Whether."),
        Column("routes", "STRING", Mode.REPEATED, "Some names."),
        Column(
            "tags",
            "RECORD",
            Mode.REQUIRED,
            "What it is.",
            fields=(Column("project", "STRING", Mode.NULLABLE, "The tree."),),
        ),
    ),
    key=("id",),
    partition_column="day",
    clustering=("id", "number"),
    group="test",
    kinds=frozenset(),
)

TALLIES = Table(
    name="tallies_v1",
    view="tallies",
    title="Tallies",
    description="A table that is a query.",
    columns=(
        Column("name", "STRING", Mode.NULLABLE, "What is counted."),
        Column("number", "INTEGER", Mode.NULLABLE, "How many."),
        Column("share", "FLOAT", Mode.NULLABLE, "Of all."),
        Column("day", "DATE", Mode.NULLABLE, "The UTC day; the partition."),
    ),
    key=("name",),
    partition_column="day",
    clustering=("name",),
    group="test",
    kinds=frozenset(),
)


def event(day: dt.date = DAY, **values: Any) -> dict[str, Any]:  # noqa: ANN401
    row: dict[str, Any] = {
        "id": "A",
        "at": dt.datetime.combine(day, dt.time(10, 0, 0, 123_456), dt.UTC),
        "day": day,
        "number": 1,
        "seconds": 0.1,
        "dollars": None,
        "good": True,
        "routes": [],
        "tags": {"project": "try"},
    }
    return row | values


def tally(name: str = "A", number: int = 1, day: dt.date = DAY, **values: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"name": name, "number": number, "share": 0.5, "day": day} | values


def batch(table: Table, *rows: Mapping[str, object]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=arrow_schema(table))
