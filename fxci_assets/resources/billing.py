"""The clouds' billing exports: tables of the warehouse that others fill.

The interface, and what it is where somebody loads the exports. How they are read is SQL; what
columns they have is `fxci_assets.tables.billing`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fxci_assets.tables import BILLING, Source, arrow_schema


class BillingError(Exception):
    """There are no bills to read, or not such as can be read. One line."""


class BillingExports(Protocol):
    """What has to be done before the bills of a day are read."""

    def refresh(self, day: dt.date) -> None:
        """Brings the exports of a day up to date, as far as that is ours to do."""


class LoadedExports:
    """Exports that somebody has to load into the local warehouse."""

    def __init__(self, is_filled: Callable[[Source], bool]) -> None:
        self._is_filled = is_filled

    def refresh(self, day: dt.date) -> None:
        """Raises BillingError where nothing was loaded."""
        missing = [source.name for source in BILLING if not self._is_filled(source)]
        if missing:
            raise BillingError(
                f"the local warehouse has no billing exports ({', '.join(missing)}): the tables of "
                "costs need them; see fxci-etl billing load --help"
            )


def load(
    fill: Callable[[Source, dt.date | None, Iterable[pa.RecordBatch]], object],
    source: Source,
    files: Sequence[Path],
) -> list[dt.date]:
    """Makes the rows of Parquet files, as BigQuery exports them, those of the days that they are
    about, or of the whole source where it has no partitions. Columns of which there is no mention
    in the spec are left out, those that the files lack are NULL. Returns the days.

    Raises BillingError for a file that is none, or has a column of another type.
    """
    rows = pa.concat_tables([_read(source, file) for file in files])
    if source.partition_column is None:
        fill(source, None, rows.to_batches())
        return []
    day_of = pc.cast(rows[source.partition_column], pa.date32(), safe=False)
    days: list[dt.date] = sorted(day for day in pc.unique(day_of).to_pylist() if day)
    for day in days:
        fill(source, day, rows.filter(pc.equal(day_of, pa.scalar(day))).to_batches())
    if day_of.null_count:
        raise BillingError(
            f"{source.name}: {day_of.null_count:,} rows have no {source.partition_column}"
        )
    return days


def _read(source: Source, file: Path) -> pa.Table:
    try:
        found = pq.read_table(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise BillingError(f"{file} cannot be read as Parquet: {error}") from error
    by_name = {name.lower(): found[name].combine_chunks() for name in found.column_names}
    schema = arrow_schema(source)
    if source.partition_column and source.partition_column.lower() not in by_name:
        raise BillingError(f"{file} has no column {source.partition_column}: is it another table?")
    try:
        return pa.table([_conform(by_name, field, len(found)) for field in schema], schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BillingError(f"{file} does not have the columns of {source.name}: {error}") from error


def _conform(columns: dict[str, pa.Array], field: pa.Field, rows: int) -> pa.Array:
    """The column of that name as the spec has it."""
    values = columns.get(field.name.lower())
    if values is None:
        empty: list[object] | None = [] if pa.types.is_list(field.type) else None
        return pa.array([empty] * rows, field.type)
    return _as_type(values, field.type)


def _as_type(values: pa.Array, type_: pa.DataType) -> pa.Array:
    if pa.types.is_list(type_):
        # BigQuery wraps the elements of an array in records of their own.
        whole = pc.fill_null(values, []) if values.null_count else values
        elements = whole.flatten()
        if pa.types.is_struct(elements.type) and elements.type.num_fields == 1:
            wrapped = elements.type.field(0).name
            inner = type_.value_type
            if not (pa.types.is_struct(inner) and inner.get_field_index(wrapped) >= 0):
                elements = elements.field(0)
        lengths = pc.list_value_length(whole)
        offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
        return pa.ListArray.from_arrays(
            offsets.cast(pa.int32()), _as_type(elements, type_.value_type), type=type_
        )
    if pa.types.is_struct(type_):
        inside = {
            values.type.field(n).name.lower(): child for n, child in enumerate(values.flatten())
        }
        children = [_conform(inside, inner, len(values)) for inner in type_]
        return pa.StructArray.from_arrays(children, fields=list(type_), mask=values.is_null())
    return values.cast(type_)
