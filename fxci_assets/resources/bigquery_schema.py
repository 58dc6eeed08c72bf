"""What a spec makes of a table in BigQuery, and how a table that is there differs from it.

Here belong BigQuery's schemas and partitioning, and what may be changed of a table. The requests
that make the changes are `bigquery_warehouse`'s; the same spec in Arrow's types is
`fxci_assets.tables.arrow_schema`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.cloud import bigquery
from google.cloud.bigquery import SchemaField, TimePartitioning, TimePartitioningType

from fxci_assets.tables import Column, Mode, Relation, Table, type_name

_DAY_MS = 86_400_000


def bigquery_schema(table: Relation) -> list[SchemaField]:
    """The columns as BigQuery's API has them."""
    return [_field(column) for column in table.columns]


def _field(column: Column) -> SchemaField:
    return SchemaField(
        column.name,
        column.type,
        mode=column.mode.value,
        description=column.description,
        fields=[_field(field) for field in column.fields],
    )


def new_table(table: Table, reference: bigquery.TableReference) -> bigquery.Table:
    """What is asked for when a table is created."""
    new = bigquery.Table(reference, bigquery_schema(table))
    new.time_partitioning = TimePartitioning(TimePartitioningType.DAY, table.partition_column)
    update(table, new, new.schema)
    return new


def update(table: Table, found: bigquery.Table, schema: Sequence[SchemaField]) -> list[str]:
    """Sets what can be changed of a table at any time; returns the properties that changed."""
    wanted = {
        "schema": list(schema),
        "description": table.description,
        # Empty is not the same as absent to the API.
        "clustering_fields": list(table.clustering) or None,
        "require_partition_filter": True,
    }
    changed = [name for name, value in wanted.items() if getattr(found, name) != value]
    for name in changed:
        setattr(found, name, wanted[name])
    return changed


@dataclass(frozen=True, slots=True)
class Comparison:
    """What there is between a spec and a table that is there."""

    differences: tuple[str, ...]
    """What only a person can settle, a clause each."""
    additions: tuple[str, ...]
    """Columns that the table lacks and that can be added, a clause each."""
    schema: tuple[SchemaField, ...]
    """The table's columns with the spec's descriptions, and its modes where they are laxer; and
    the additions after them."""


def compare(table: Table, found: bigquery.Table) -> Comparison:
    """A table is as the spec has it although it is laxer: NULLABLE where the spec is REQUIRED, a
    change that BigQuery allows and does not take back. Descriptions, clustering and the filter that
    queries need do not count: they can be set right at any time."""
    if found.table_type not in ("TABLE", None):
        return Comparison((f"it is a {found.table_type}, not a table",), (), ())
    merged = _merged(table.columns, found.schema, "")
    differences = (*merged.differences, *_partitioning_differences(table, found))
    return Comparison(differences, merged.additions, merged.schema)


def _merged(columns: Sequence[Column], found: Sequence[SchemaField], within: str) -> Comparison:
    wanted = {column.name: column for column in columns}
    there = {field.name for field in found}
    differences: list[str] = []
    additions: list[str] = []
    schema: list[SchemaField] = []
    for field in found:
        if field.name not in wanted:
            differences.append(f"{within}{field.name} {field.field_type} is not in the spec")
            continue
        column = wanted[field.name]
        differences += _column_differences(column, field, within)
        inner = _merged(column.fields, field.fields, f"{within}{column.name}.")
        differences += inner.differences
        additions += inner.additions
        resource = {**field.to_api_repr(), "description": column.description}
        if inner.schema:
            resource["fields"] = [inner_field.to_api_repr() for inner_field in inner.schema]
        schema.append(SchemaField.from_api_repr(resource))
    for column in columns:
        if column.name in there:
            continue
        missing = f"{within}{column.name} {column.type} {column.mode.value} is missing"
        if column.mode is Mode.REQUIRED:
            differences.append(f"{missing}, and what is required cannot be added")
        else:
            additions.append(missing)
            schema.append(_field(column))
    return Comparison(tuple(differences), tuple(additions), tuple(schema))


def _column_differences(column: Column, field: SchemaField, within: str) -> Iterator[str]:
    name = f"{within}{column.name}"
    # The API answers with its own name, whichever a table was made with; not every server that
    # stands in for it does.
    if type_name(field.field_type) != column.type:
        yield f"{name} is {field.field_type} and the spec has {column.type}"
    mode = field.mode or Mode.NULLABLE.value
    laxer = column.mode is Mode.REQUIRED and mode == Mode.NULLABLE.value
    if mode != column.mode.value and not laxer:
        yield f"{name} is {mode} and the spec has {column.mode.value}"


def _partitioning_differences(table: Table, found: bigquery.Table) -> Iterator[str]:
    wanted = (TimePartitioningType.DAY, table.partition_column)
    partitioning = found.time_partitioning
    if partitioning is None:
        yield f"it is not partitioned and the spec has {' of '.join(wanted)}"
        return
    if (partitioning.type_, partitioning.field) != wanted:
        by = f"{partitioning.type_} of {partitioning.field or 'the time of loading'}"
        yield f"it is partitioned by {by} and the spec has {' of '.join(wanted)}"
    if partitioning.expiration_ms:
        # A dataset can have a default, which no request to create a table can turn off.
        yield (
            f"its partitions expire after {partitioning.expiration_ms / _DAY_MS:g} days, and they "
            "are to be kept"
        )
    if found.expires is not None:
        yield f"it expires on {found.expires:%Y-%m-%d}, and it is to be kept"
