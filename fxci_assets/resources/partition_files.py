"""A partition in a local folder: a file for each write, of which the newest is current.

Here belong how rows become a durable Parquet file, which rows are refused, how the files are
named and when superseded ones go. How they are read is `local_warehouse`. This needs no more than
pyarrow, as the drain has a memory budget.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fxci_assets import durable
from fxci_assets.resources.warehouse import PartitionWrite, WarehouseError
from fxci_assets.rows_hash import RowsHash
from fxci_assets.tables import Relation, arrow_schema

GRACE_SECONDS = 3_600
"""How long a superseded file is kept for the queries that may still read it."""


def replace(
    folder: Path,
    table: Relation,
    day: dt.date | None,
    rows: Iterable[pa.RecordBatch],
    labels: Mapping[str, str],
    before_commit: Callable[[], None],
) -> PartitionWrite:
    """Makes these rows the folder's current ones. `day` is None for what has no partitions.

    Raises WarehouseError for rows of another schema or another day.
    """
    durable.make_folder(folder)
    temporary = folder / f"{durable.TEMPORARY}{uuid.uuid4().hex}"
    try:
        hashed = RowsHash()
        _write_file(temporary, table, day, hashed.over(rows), labels)
        before_commit()
        path = folder / _next_name(folder, table)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    durable.sync(folder)
    _remove_superseded(folder)
    return PartitionWrite(path.as_uri(), path.stat().st_size, hashed.rows, hashed.hexdigest())


def current(folder: Path) -> Path | None:
    """The newest file, if there is any."""
    names = _names(folder)
    return folder / names[-1] if names else None


def has_current_schema(path: Path, table: Relation) -> bool:
    """Whether a file was written with the columns that the table has now."""
    return path.name.endswith(f"-{_schema_mark(table)}.parquet")


def entries(folder: Path) -> list[str]:
    """The names of what is in a folder; none if it is not there."""
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _write_file(
    path: Path,
    table: Relation,
    day: dt.date | None,
    rows: Iterable[pa.RecordBatch],
    labels: Mapping[str, str],
) -> None:
    schema = arrow_schema(table)
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in rows:
            _check_batch(table, day, batch, schema)
            writer.write_batch(batch)
        if labels:
            writer.add_key_value_metadata(dict(labels))
    durable.sync(path)


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


def _names(folder: Path) -> list[str]:
    """The names of a day's files, oldest first."""
    names = entries(folder)
    return sorted(n for n in names if n.endswith(".parquet") and not n.startswith("."))


def _next_name(folder: Path, table: Relation) -> str:
    """A name that sorts behind all others, also when the clock was set back."""
    names = _names(folder)
    newest = int(names[-1].split("-", 1)[0]) if names else 0
    moment = max(time.time_ns(), newest + 1)
    return f"{moment:020d}-{uuid.uuid4().hex}-{_schema_mark(table)}.parquet"


def _schema_mark(table: Relation) -> str:
    """Ends the name of a file, so that a query need not open it to know its columns."""
    return hashlib.sha256(str(arrow_schema(table)).encode()).hexdigest()[:8]


def _remove_superseded(folder: Path) -> None:
    """Removes what no query can be reading any more: files that were superseded, and writes that
    were broken off, longer ago than the grace."""
    limit = time.time() - GRACE_SECONDS
    names = _names(folder)
    # A file was superseded when its successor was written.
    stale = [
        folder / name
        for name, successor in itertools.pairwise(names)
        if _modified(folder / successor) < limit
    ]
    stale += [
        folder / name
        for name in entries(folder)
        if name.startswith(durable.TEMPORARY) and _modified(folder / name) < limit
    ]
    for path in stale:
        path.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    """When a file was last written; one that another writer has just removed counts as new."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
