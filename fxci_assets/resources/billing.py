"""The clouds' billing exports: tables of the warehouse that others fill.

Here belong what has to be so before they are read, and how they are loaded where they do not arrive
on their own. How they are read is SQL; what columns they have is `fxci_assets.tables.billing`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fxci_assets.tables import BILLING, Source, arrow_schema


class BillingError(Exception):
    """A file is not an export that can be loaded. One line."""


class BillingExports:
    """Exports that arrive on their own."""

    def refusal(self, day: dt.date) -> str | None:
        """Why the bills of a day cannot be read now, or None."""
        return None

    def refresh(self, day: dt.date) -> None:
        """Brings the exports of a day up to date, as far as that is ours to do."""


class LoadedExports(BillingExports):
    """Exports that somebody has to load into the local warehouse."""

    def __init__(self, is_filled: Callable[[Source, dt.date | None], bool]) -> None:
        self._is_filled = is_filled

    def refusal(self, day: dt.date) -> str | None:
        missing = [source.name for source in BILLING if not self._is_filled(source, None)]
        if missing:
            return (
                f"the local warehouse has no billing exports ({', '.join(missing)}): the tables "
                "of costs need them; see fxci-etl billing load --help"
            )
        # One of the clouds may have billed nothing.
        if not any(self._is_filled(source, day) for source in BILLING if source.partition_column):
            return f"no bill of {day} was loaded; see fxci-etl billing load --help"
        return None


_NO_DAY = dt.date(1970, 1, 1)
"""The day of an export that has no rows: it was loaded all the same."""


def load(
    fill: Callable[[Source, dt.date | None, Iterable[pa.RecordBatch]], object],
    source: Source,
    files: Sequence[Path],
) -> list[dt.date]:
    """Makes the rows of Parquet files, as BigQuery exports them, those of the days that they are
    about, or of the whole source where it has no partitions. Columns of which there is no mention
    in the spec are left out, those that the files lack are NULL. Returns the days.

    Raises BillingError for a file that is none, or has a column of another type, and has then
    loaded nothing.
    """
    rows = pa.concat_tables([_read(source, file) for file in files])
    if source.partition_column is None:
        fill(source, None, rows.to_batches())
        return []
    day_of = pc.cast(rows[source.partition_column], pa.date32(), safe=False)
    if day_of.null_count:
        raise BillingError(
            f"{source.name}: {day_of.null_count:,} rows have no {source.partition_column}"
        )
    days: list[dt.date] = sorted(pc.unique(day_of).to_pylist())
    for day in days:
        fill(source, day, rows.filter(pc.equal(day_of, pa.scalar(day))).to_batches())
    if not days:
        fill(source, _NO_DAY, [])
    return days


def _read(source: Source, file: Path) -> pa.Table:
    try:
        # Not read_table, which takes a folder called date=2026-04-13 for a column.
        found = pq.ParquetFile(file).read()
    except (pa.ArrowException, OSError) as error:
        raise BillingError(f"{file} cannot be read as Parquet: {error}") from error
    columns = {
        name.lower(): column.combine_chunks()
        for name, column in zip(found.column_names, found.columns, strict=True)
    }
    schema = arrow_schema(source)
    expected = [source.partition_column] if source.partition_column else schema.names
    if not any(name.lower() in columns for name in expected):
        raise BillingError(f"{file} has no column {' or '.join(expected)}: is it another table?")
    try:
        return pa.table([_conform(columns, field, len(found)) for field in schema], schema)
    except pa.ArrowException as error:
        raise BillingError(f"{file} does not have the columns of {source.name}: {error}") from error


def _conform(
    columns: Mapping[str, pa.Array], field: pa.Field, rows: int, within: str = ""
) -> pa.Array:
    """The column of that name as the spec has it."""
    values = columns.get(field.name.lower())
    if values is None or pa.types.is_null(values.type):
        return _without_values(field.type, rows)
    return _as_type(values, field.type, f"{within}{field.name}")


def _without_values(type_: pa.DataType, rows: int) -> pa.Array:
    """NULL, in which arrays are empty all the same: they are never NULL."""
    if pa.types.is_list(type_):
        offsets = pa.array([0] * (rows + 1), pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.array([], type_.value_type), type=type_)
    if pa.types.is_struct(type_):
        children = [_without_values(inner.type, rows) for inner in type_]
        return pa.StructArray.from_arrays(
            children, fields=list(type_), mask=pa.array([True] * rows, pa.bool_())
        )
    return pa.nulls(rows, type_)


def _as_type(values: pa.Array, type_: pa.DataType, name: str) -> pa.Array:
    if pa.types.is_list(type_):
        return _as_list(values, type_, name)
    if pa.types.is_struct(type_):
        if not pa.types.is_struct(values.type):
            raise _other_type(values, type_, name)
        inside = {
            values.type.field(n).name.lower(): child for n, child in enumerate(values.flatten())
        }
        children = [_conform(inside, inner, len(values), f"{name}.") for inner in type_]
        return pa.StructArray.from_arrays(children, fields=list(type_), mask=values.is_null())
    if not any(is_kind(values.type) and is_kind(type_) for is_kind in _KINDS):
        raise _other_type(values, type_, name)
    try:
        return values.cast(type_)
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(f"{name}: {error}") from error


def _as_list(values: pa.Array, type_: pa.DataType, name: str) -> pa.Array:
    """BigQuery wraps an array in a record `list`, and its elements in records `element` or `item`.
    How much of that is seen depends on who reads it."""
    if pa.types.is_struct(values.type) and values.type.num_fields == 1:
        [values] = values.flatten()
    if not pa.types.is_list(values.type):
        raise _other_type(values, type_, name)
    elements, inner = values.flatten(), type_.value_type
    if pa.types.is_struct(elements.type) and elements.type.num_fields == 1:
        wrapped = elements.type.field(0).name
        if not (pa.types.is_struct(inner) and inner.get_field_index(wrapped) >= 0):
            [elements] = elements.flatten()
    ends = pc.cumulative_sum(pc.fill_null(pc.list_value_length(values), 0))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, _as_type(elements, inner, name), type=type_)


def _is_number(type_: pa.DataType) -> bool:
    number: bool = (
        pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    )
    return number


# Within one of these a value stays what it is. A text is no number, though it can be read as one.
_KINDS: tuple[Callable[[pa.DataType], bool], ...] = (
    _is_number,
    pa.types.is_string,
    pa.types.is_boolean,
    pa.types.is_date,
    pa.types.is_timestamp,
)


def _other_type(values: pa.Array, type_: pa.DataType, name: str) -> pa.ArrowTypeError:
    found, expected = (
        "an array" if pa.types.is_list(t) else "a record" if pa.types.is_struct(t) else str(t)
        for t in (values.type, type_)
    )
    return pa.ArrowTypeError(f"{name} is {found}, and {expected} is expected")
