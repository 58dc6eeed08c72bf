"""Rows of a day as the Parquet bytes that every warehouse stores, checked as they are written.

Here belong which rows are refused, and what a Parquet file of ours looks like. Where the file is
put, and under which name, is the warehouse's. This needs no more than pyarrow, as the drain has a
memory budget.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fxci_assets.resources.warehouse import WarehouseError
from fxci_assets.tables import Relation, arrow_schema


def write(
    path: Path,
    table: Relation,
    day: dt.date | None,
    rows: Iterable[pa.RecordBatch],
    labels: Mapping[str, str],
) -> None:
    """Writes a day's rows as a Parquet file, or all rows where `day` is None.

    Raises WarehouseError for rows of another schema or another day.
    """
    schema = arrow_schema(table)
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in checked(table, day, rows):
            writer.write_batch(batch)
        if labels:
            writer.add_key_value_metadata(dict(labels))


def checked(
    table: Relation, day: dt.date | None, rows: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The batches as they pass by. Raises WarehouseError at one that must not be stored."""
    schema = arrow_schema(table)
    for batch in rows:
        _check_batch(table, day, batch, schema)
        yield batch


def _check_batch(
    table: Relation, day: dt.date | None, batch: pa.RecordBatch, schema: pa.Schema
) -> None:
    of_day = table.name if day is None else f"{table.name} of {day}"
    if not batch.schema.equals(schema):
        raise WarehouseError(
            f"{of_day}: the rows do not have the table's schema; "
            f"{_difference(batch.schema, schema)}"
        )
    for field, column in zip(schema, batch.columns, strict=True):
        null = _null_where_required(field, column)
        if null is not None:
            raise WarehouseError(f"{of_day}: a row has no {null}, which is required")
    if day is None or table.partition_column is None:
        return
    days = pc.cast(batch.column(table.partition_column), pa.date32(), safe=False)
    others = days.filter(pc.fill_null(pc.not_equal(days, pa.scalar(day, pa.date32())), True))
    if len(others):
        raise WarehouseError(f"{of_day}: a row's {table.partition_column} is {others[0].as_py()}")


def _difference(found: pa.Schema, expected: pa.Schema) -> str:
    for field in expected:
        index = found.get_field_index(field.name)
        if index < 0:
            return f"{field.name} is missing"
        if not found.field(index).equals(field):
            return f"{_described(found.field(index))} where {_described(field)} is expected"
    extra = [name for name in found.names if name not in expected.names]
    return f"{extra[0]} is unknown" if extra else "the columns are in another order"


def _described(field: pa.Field) -> str:
    return f"{field.name} {field.type}{'' if field.nullable else ' not null'}"


def _null_where_required(field: pa.Field, values: pa.Array) -> str | None:
    """The dotted name of a required field that is NULL in some row."""
    if not field.nullable and values.null_count:
        return str(field.name)
    if pa.types.is_struct(field.type):
        for index in range(field.type.num_fields):
            inner = _null_where_required(field.type.field(index), values.field(index))
            if inner is not None:
                return f"{field.name}.{inner}"
    if pa.types.is_list(field.type) and values.flatten().null_count:
        return f"{field.name} element"
    return None
