"""What a spec of a table says, and the types in SQL and Arrow that follow from it. Which tables
there are does not belong here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

ColumnType = Literal[
    "STRING",
    "INTEGER",
    "FLOAT",
    "NUMERIC",
    "BOOLEAN",
    "TIMESTAMP",
    "DATE",
    "JSON",
    "RECORD",
]


_SQL_NAMES: dict[ColumnType, str] = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
}
"""The types whose names in SQL are not those of BigQuery's API, which a spec has too."""

_API_NAMES = {sql: api for api, sql in _SQL_NAMES.items()} | {"DECIMAL": "NUMERIC"}


def type_name(name: str) -> str:
    """The name that a spec has for a type, by any of the names that BigQuery has for it."""
    return _API_NAMES.get(name.upper(), name.upper())


class Mode(enum.StrEnum):
    REQUIRED = "REQUIRED"
    NULLABLE = "NULLABLE"
    REPEATED = "REPEATED"


@dataclass(frozen=True, slots=True)
class Column:
    """One column, with the domain of its values where it is narrower than its type."""

    name: str
    type: ColumnType
    mode: Mode
    description: str
    fields: tuple[Column, ...] = ()
    allowed: tuple[str, ...] = ()
    pattern: str | None = None
    minimum: int | None = None

    @property
    def sql_type(self) -> str:
        """The column's type as BigQuery's SQL spells it."""
        name = _SQL_NAMES.get(self.type, self.type)
        if self.fields:
            name += f"<{', '.join(f'{field.name} {field.sql_type}' for field in self.fields)}>"
        return f"ARRAY<{name}>" if self.mode is Mode.REPEATED else name


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on one row. `holds` is a boolean expression in BigQuery's dialect; a row for
    which it is FALSE or NULL breaks the rule."""

    name: str
    holds: str
    description: str


@dataclass(frozen=True, slots=True)
class Counted:
    """Something that a build meets, uses as the contract says, and counts for people to look at."""

    name: str
    description: str
    severe: bool = False
    """Whether it makes the rows wrong, rather than worth a look."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that people read. In its key, NULL equals NULL."""

    name: str
    view: str
    title: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_column: str
    clustering: tuple[str, ...]
    group: str
    kinds: frozenset[str]
    rules: tuple[Rule, ...] = ()
    counted: tuple[Counted, ...] = ()

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True, slots=True)
class Source:
    """A table that others fill and our SQL reads. What it is called there is a setting."""

    name: str
    title: str
    description: str
    columns: tuple[Column, ...]
    partition_column: str | None
    """A DATE, or a TIMESTAMP of which the UTC day is meant; None where there are no partitions."""


Relation = Table | Source


def required(
    name: str,
    type: ColumnType,
    description: str,
    *,
    fields: tuple[Column, ...] = (),
    allowed: tuple[str, ...] = (),
    pattern: str | None = None,
    minimum: int | None = None,
) -> Column:
    return Column(name, type, Mode.REQUIRED, description, fields, allowed, pattern, minimum)


def nullable(
    name: str,
    type: ColumnType,
    description: str,
    *,
    fields: tuple[Column, ...] = (),
    allowed: tuple[str, ...] = (),
    minimum: int | None = None,
) -> Column:
    return Column(name, type, Mode.NULLABLE, description, fields, allowed, minimum=minimum)


def repeated(
    name: str, type: ColumnType, description: str, *, fields: tuple[Column, ...] = ()
) -> Column:
    return Column(name, type, Mode.REPEATED, description, fields)


_ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "DATE": pa.date32(),
    # Arrow has no JSON that Parquet keeps; the text is what both engines store.
    "JSON": pa.string(),
}


def _arrow_field(column: Column) -> pa.Field:
    if column.type == "RECORD":
        type_ = pa.struct([_arrow_field(field) for field in column.fields])
    else:
        type_ = _ARROW_TYPES[column.type]
    if column.mode is Mode.REPEATED:
        type_ = pa.list_(pa.field("element", type_, nullable=False))
    return pa.field(column.name, type_, nullable=column.mode is Mode.NULLABLE)


def arrow_schema(table: Relation) -> pa.Schema:
    """The schema of a partition's rows: REQUIRED columns are not nullable, an absent REPEATED
    value is an empty list."""
    return pa.schema([_arrow_field(column) for column in table.columns])
