"""The warehouse: partitions are written and replaced, tables are queried in BigQuery's dialect.

Here belong the interface and the local implementation, a folder of Parquet files. What SQL may say
is `fxci_assets.dialect`; what a table is, `fxci_assets.tables`; when a partition is rebuilt,
`fxci_assets.freshness`. Writing must need no more than pyarrow, as the drain has a memory budget:
DuckDB and sqlglot are imported by the first query.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fxci_assets import durable
from fxci_assets.tables import TABLES, VIEW_DATASET, Column, Mode, Table, arrow_schema

if TYPE_CHECKING:
    import duckdb

    from fxci_assets.dialect import Catalog, DuckQuery, Value

GRACE_SECONDS = 3_600
"""How long a superseded file is kept for the queries that may still read it."""


@dataclass(frozen=True, slots=True)
class PartitionWrite:
    """What a write left behind."""

    uri: str
    bytes: int
    rows: int


class WarehouseError(Exception):
    """Rows that must not be stored; the message is one line."""


class Warehouse(Protocol):
    """Where the tables are."""

    @property
    def target(self) -> str:
        """`project.dataset` of the tables."""

    def write_partition(
        self,
        table: Table,
        day: dt.date,
        rows: Iterable[pa.RecordBatch],
        labels: Mapping[str, str] | None = None,
    ) -> PartitionWrite:
        """Replaces the day's rows: a reader sees the old ones or the new ones, whole. An error
        leaves the old ones. The batches have the table's Arrow schema; `labels` tell people who
        wrote."""

    def query(self, sql: str, parameters: Mapping[str, Value] | None = None) -> pa.Table:
        """The result of a SELECT in BigQuery's dialect, of one moment across all its tables."""

    def partitions(self, table: Table) -> Sequence[dt.date]:
        """The days that have a partition, be it empty, ascending."""


class LocalWarehouse:
    """A folder of Parquet files: `<dataset>/<table>/<partition column>=<day>/<unique>.parquet`.

    Each write is a new file, the newest is current. Replacing a file under a reader's feet made
    busy reads fail and let one query see two versions; so a query resolves the current files once,
    and what it resolved is not removed for an hour after it was superseded.
    """

    def __init__(
        self,
        root: Path,
        project: str,
        dataset: str,
        view_dataset: str = VIEW_DATASET,
        tables: Sequence[Table] = TABLES,
    ) -> None:
        self._root = root.absolute()
        self._project = project
        self._dataset = dataset
        self._view_dataset = view_dataset
        self._tables = tuple(tables)

    @property
    def target(self) -> str:
        return f"{self._project}.{self._dataset}"

    def write_partition(
        self,
        table: Table,
        day: dt.date,
        rows: Iterable[pa.RecordBatch],
        labels: Mapping[str, str] | None = None,
    ) -> PartitionWrite:
        folder = self._table_folder(table) / f"{table.partition_column}={day.isoformat()}"
        durable.make_folder(folder)
        temporary = folder / f"{durable.TEMPORARY}{uuid.uuid4().hex}"
        try:
            written = _write_file(temporary, table, day, rows, labels or {})
            path = folder / _next_name(folder, table)
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        durable.sync(folder)
        _remove_superseded(folder)
        return PartitionWrite(uri=path.as_uri(), bytes=path.stat().st_size, rows=written)

    def partitions(self, table: Table) -> Sequence[dt.date]:
        return [day for day, _ in self._current_files(table)]

    def query(self, sql: str, parameters: Mapping[str, Value] | None = None) -> pa.Table:
        from fxci_assets.dialect import transpile

        return self._run(transpile(sql, self._catalog(), parameters))

    def _run(self, query: DuckQuery) -> pa.Table:
        import duckdb

        from fxci_assets.dialect import QueryError

        try:
            with duckdb.connect() as connection:
                self._prepare(connection, query.tables)
                relation = connection.sql(query.sql, params=dict(query.parameters))
                result = relation.to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(_in_one_line(error)) from error
        return _as_bigquery_returns(result)

    def _table_folder(self, table: Table) -> Path:
        return self._root / self._dataset / table.name

    def _current_files(self, table: Table) -> Sequence[tuple[dt.date, Path]]:
        """The newest file of each day, ascending by day."""
        prefix = f"{table.partition_column}="
        current: list[tuple[dt.date, Path]] = []
        for folder in _entries(self._table_folder(table)):
            if folder.startswith(prefix):
                path = self._table_folder(table) / folder
                names = _partition_files(path)
                if names:
                    day = dt.date.fromisoformat(folder.removeprefix(prefix))
                    current.append((day, path / names[-1]))
        return sorted(current)

    def _names(self) -> Iterator[tuple[str, Table]]:
        for table in self._tables:
            yield f"{self._dataset}.{table.name}", table
            yield f"{self._view_dataset}.{table.view}", table

    def _catalog(self) -> Catalog:
        from fxci_assets.dialect import CatalogTable

        return {
            name: CatalogTable(
                tuple(column.name for column in table.columns), table.partition_column
            )
            for name, table in self._names()
        }

    def _prepare(self, connection: duckdb.DuckDBPyConnection, names: frozenset[str]) -> None:
        """The macros and a view for each name in the query; then only the root can be read."""
        from fxci_assets.dialect import MACROS

        root = _quoted(str(self._root))
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET temp_directory = {_quoted(str(self._root / '.duckdb'))}")
        connection.execute(f"SET allowed_directories = [{root}]")
        connection.execute(MACROS)
        # Resolved once for both names of a table, so that they are the same version.
        used = {table.name: table for name, table in self._names() if name in names}
        files = {name: [p for _, p in self._current_files(t)] for name, t in used.items()}
        for name, table in self._names():
            if name in names:
                schema, view = (f'"{part}"' for part in name.split("."))
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
                connection.execute(
                    f"CREATE VIEW {schema}.{view} AS {_rows_of(table, files[table.name])}"
                )
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")


# --- writing --------------------------------------------------------------------------------------


def _write_file(
    path: Path,
    table: Table,
    day: dt.date,
    rows: Iterable[pa.RecordBatch],
    labels: Mapping[str, str],
) -> int:
    schema, written = arrow_schema(table), 0
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in rows:
            _check_batch(table, day, batch, schema)
            writer.write_batch(batch)
            written += batch.num_rows
        if labels:
            writer.add_key_value_metadata(dict(labels))
    durable.sync(path)
    return written


def _check_batch(table: Table, day: dt.date, batch: pa.RecordBatch, schema: pa.Schema) -> None:
    if not batch.schema.equals(schema):
        raise WarehouseError(
            f"{table.name} of {day}: the rows do not have the table's schema; "
            f"{_difference(batch.schema, schema)}"
        )
    for field, column in zip(schema, batch.columns, strict=True):
        null = _null_where_required(field, column)
        if null is not None:
            raise WarehouseError(f"{table.name} of {day}: a row has no {null}, which is required")
    days = batch.column(table.partition_column)
    others = days.filter(pc.fill_null(pc.not_equal(days, pa.scalar(day, pa.date32())), True))
    if len(others):
        raise WarehouseError(
            f"{table.name} of {day}: a row's {table.partition_column} is {others[0].as_py()}"
        )


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


def _entries(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _partition_files(folder: Path) -> list[str]:
    """The names of a day's files, oldest first."""
    names = _entries(folder)
    return sorted(n for n in names if n.endswith(".parquet") and not n.startswith("."))


def _next_name(folder: Path, table: Table) -> str:
    """A name that sorts behind all others, also when the clock was set back."""
    names = _partition_files(folder)
    newest = int(names[-1].split("-", 1)[0]) if names else 0
    moment = max(time.time_ns(), newest + 1)
    return f"{moment:020d}-{uuid.uuid4().hex}-{_schema_mark(table)}.parquet"


def _schema_mark(table: Table) -> str:
    """Ends the name of a file, so that a query need not open it to know its columns."""
    return hashlib.sha256(str(arrow_schema(table)).encode()).hexdigest()[:8]


def _remove_superseded(folder: Path) -> None:
    """Removes what no query can be reading any more: files that were superseded, and writes that
    were broken off, longer ago than the grace."""
    limit = time.time() - GRACE_SECONDS
    names = _partition_files(folder)
    # A file was superseded when its successor was written.
    stale = [
        folder / name
        for name, successor in itertools.pairwise(names)
        if _modified(folder / successor) < limit
    ]
    stale += [
        folder / name
        for name in _entries(folder)
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


# --- reading --------------------------------------------------------------------------------------

_DUCKDB_TYPES = {
    "STRING": "VARCHAR",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "TIMESTAMP": "TIMESTAMPTZ",
    "DATE": "DATE",
    "JSON": "VARCHAR",
}


def _duckdb_type(column: Column) -> str:
    if column.type == "RECORD":
        fields = ", ".join(f'"{field.name}" {_duckdb_type(field)}' for field in column.fields)
        type_ = f"STRUCT({fields})"
    else:
        type_ = _DUCKDB_TYPES[column.type]
    return f"{type_}[]" if column.mode is Mode.REPEATED else type_


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _rows_of(table: Table, files: Sequence[Path]) -> str:
    """The rows in the files, with the columns of the spec also where a file is from before one was
    added, or there is no file.

    To unite schemas DuckDB opens every file, of 900 in half a second; files of one schema it opens
    only if the filter on the partition column leaves them in.
    """
    typed = ", ".join(f'CAST(NULL AS {_duckdb_type(c)}) AS "{c.name}"' for c in table.columns)
    empty = f"SELECT {typed} WHERE false"
    parts = [empty]
    mark = f"-{_schema_mark(table)}.parquet"
    for is_current in (True, False):
        listed = ", ".join(
            _quoted(str(path)) for path in files if path.name.endswith(mark) is is_current
        )
        if listed:
            parts.append(
                f"SELECT * FROM read_parquet([{listed}], union_by_name = {not is_current}, "
                "hive_partitioning = true, "
                f"hive_types = {{'{table.partition_column}': DATE}})"
            )
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    return f"SELECT {names} FROM ({' UNION ALL BY NAME '.join(parts)})"


def _in_one_line(error: Exception) -> str:
    line = str(error).splitlines()[0]
    line = re.sub(r"^(\w+ )*Error: ", "", line)
    if line == "unordered_map::at":
        # DuckDB's own fault: a macro with types in an UNNEST that refers to another table.
        return (
            "A function inside this UNNEST is not supported by the local warehouse; "
            "compute its argument in a subquery"
        )
    macro = re.match(r"Macro bq_(\w+?)\(\) does not support the supplied arguments", line)
    if macro:
        return f"{macro[1].upper()} does not take arguments of these types"
    return line


def _bigquery_type(type_: pa.DataType, name: str) -> pa.DataType:
    """The type that BigQuery's client returns for what DuckDB returned."""
    from fxci_assets.dialect import DialectError

    if pa.types.is_timestamp(type_):
        return pa.timestamp("us", tz="UTC")
    if pa.types.is_date(type_):
        return pa.date32()
    if pa.types.is_decimal(type_):
        # The sum of integers is a HUGEINT, which arrives as a decimal without places.
        return pa.int64() if type_.scale == 0 else pa.float64()
    if pa.types.is_integer(type_) or pa.types.is_null(type_):
        return pa.int64()
    if pa.types.is_floating(type_):
        return pa.float64()
    if pa.types.is_boolean(type_) or pa.types.is_string(type_):
        return type_
    if pa.types.is_list(type_):
        return pa.list_(_bigquery_type(type_.value_type, name))
    if pa.types.is_struct(type_):
        return pa.struct([(f.name, _bigquery_type(f.type, f.name)) for f in type_])
    raise DialectError(f"A result of type {type_} ({name}) is not supported by the local warehouse")


def _as_bigquery_returns(result: pa.Table) -> pa.Table:
    from fxci_assets.dialect import QueryError

    names = [name.lower() for name in result.column_names]
    for name in names:
        if names.count(name) > 1:
            raise QueryError(f"Duplicate column names in the result: {name}")
    columns = []
    for name, column in zip(result.column_names, result.columns, strict=True):
        type_ = _bigquery_type(column.type, name)
        try:
            values = column.combine_chunks().cast(type_)
        except pa.ArrowInvalid as error:
            raise QueryError(f"A value of {name} does not fit an INT64") from error
        if pa.types.is_list(type_):
            if values.flatten().null_count:
                raise QueryError(f"Array cannot have a null element; error in writing field {name}")
            # BigQuery stores no NULL array.
            values = pc.fill_null(values, pa.scalar([], type_)) if values.null_count else values
        columns.append(values)
    return pa.table(columns, names=result.column_names)
