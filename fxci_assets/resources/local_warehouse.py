"""The warehouse as a folder of Parquet files, with DuckDB as the engine.

Here belong which files a query reads, and what it returns. How a file is written is
`partition_files`; what SQL may say, `fxci_assets.dialect`. DuckDB and sqlglot are imported by the
first query, so that who only writes does without them.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from fxci_assets.resources import partition_files
from fxci_assets.resources.warehouse import PartitionWrite, WarehouseError, at_once
from fxci_assets.tables import (
    TABLES,
    Column,
    Mode,
    Relation,
    Source,
    Table,
    arrow_schema,
)
from fxci_assets.texts import one_line

if TYPE_CHECKING:
    import duckdb

    from fxci_assets.dialect import Catalog, DuckQuery, Value


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
        *,
        tables: Sequence[Table] = TABLES,
        names: Mapping[str, str] | None = None,
        sources: Mapping[str, Source] | None = None,
        views: Mapping[str, str] | None = None,
    ) -> None:
        """`names` are what tables are called, as `project.dataset.table`, where that is not what
        their specs call them; `sources` are tables of others by such names; `views` are queries by
        `dataset.view`."""
        self._root = root.absolute()
        self._project = project
        self._dataset = dataset
        self._names = dict(names or {})
        self._relations: dict[str, Relation] = {self._local_name(t): t for t in tables}
        self._sources: dict[str, str] = {}
        for name, source in (sources or {}).items():
            _, _, self._sources[source.name] = name.partition(".")
            self._relations[self._sources[source.name]] = source
        self._views = dict(views or {})

    @property
    def target(self) -> str:
        return f"{self._project}.{self._dataset}"

    def name(self, table: Table) -> str:
        return self._names.get(table.name, f"{self.target}.{table.name}")

    def _local_name(self, table: Table) -> str:
        return self.name(table).partition(".")[2]

    def write_partition(
        self,
        table: Table,
        day: dt.date,
        rows: Iterable[pa.RecordBatch],
        *,
        labels: Mapping[str, str] | None = None,
        before_commit: Callable[[], None] = at_once,
    ) -> PartitionWrite:
        folder = self._folder(self._local_name(table)) / _partition(table, day)
        return partition_files.replace(folder, table, day, rows, labels or {}, before_commit)

    def write_query(
        self,
        table: Table,
        day: dt.date,
        sql: str,
        parameters: Mapping[str, Value],
        *,
        labels: Mapping[str, str] | None = None,
        before_commit: Callable[[], None] = at_once,
    ) -> PartitionWrite:
        # One thread adds floats up in one order: the same inputs give the same rows.
        rows = _as_rows_of(table, self._query(sql, parameters, threads=1))
        batches = rows.to_batches()
        return self.write_partition(table, day, batches, labels=labels, before_commit=before_commit)

    def fill(self, source: Source, day: dt.date | None, rows: Iterable[pa.RecordBatch]) -> None:
        """Makes these rows a source's: those of a day, or all where it has no partitions."""
        folder = self._folder(self._sources[source.name]) / _partition(source, day)
        partition_files.replace(folder, source, day, rows, {}, at_once)

    def is_filled(self, source: Source, day: dt.date | None = None) -> bool:
        """Whether a source, or a day of it, was ever filled, be it with no rows."""
        if day is None:
            return bool(self._current_files(self._sources[source.name]))
        folder = self._folder(self._sources[source.name]) / _partition(source, day)
        return partition_files.current(folder) is not None

    def partitions(self, table: Table) -> Sequence[dt.date]:
        return [
            dt.date.fromisoformat(path.parent.name.partition("=")[2])
            for path in self._current_files(self._local_name(table))
        ]

    def exists(self, table: Table) -> bool:
        return True

    def has_unsettled_rows(self, table: Table) -> bool:
        return False

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Value] | None = None,
        *,
        maximum_bytes_billed: int | None = None,
    ) -> pa.Table:
        return self._query(sql, parameters)

    def stream(self, sql: str, parameters: Mapping[str, Value]) -> Iterator[pa.Table]:
        for batch in self.query(sql, parameters).to_batches(max_chunksize=10_000):
            yield pa.Table.from_batches([batch])

    def dry_run(self, sql: str, parameters: Mapping[str, Value] | None = None) -> int:
        """The size of all files of the tables in the query: which of them a filter leaves out is
        the engine's business."""
        from fxci_assets.dialect import transpile

        query = transpile(sql, self._catalog(), parameters, self._views)
        files = (path for name in query.tables for path in self._current_files(name))
        return sum(path.stat().st_size for path in files)

    def ensure_tables(self, tables: Sequence[Table]) -> None:
        """Nothing has to be done: a table is what its spec says, with whatever files there are."""

    def ensure_views(self, views: Mapping[str, str]) -> None:
        """Nothing has to be done: a query's views are what this was made with."""

    def _query(
        self, sql: str, parameters: Mapping[str, Value] | None, threads: int | None = None
    ) -> pa.Table:
        import duckdb

        from fxci_assets.dialect import QueryError, transpile

        query = transpile(sql, self._catalog(), parameters, self._views)
        try:
            with duckdb.connect() as connection:
                self._prepare(connection, query, threads)
                relation = connection.sql(query.sql, params=dict(query.parameters))
                result = relation.to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(_said(error)) from error
        return _as_bigquery_returns(result)

    def _folder(self, name: str) -> Path:
        dataset, table = name.split(".")
        return self._root / dataset / table

    def _current_files(self, name: str) -> Sequence[Path]:
        """The newest file of each partition, ascending by day."""
        folder = self._folder(name)
        prefix = _partition(self._relations[name], None)
        partitions = sorted(
            entry for entry in partition_files.entries(folder) if entry.startswith(prefix)
        )
        files = (partition_files.current(folder / partition) for partition in partitions)
        return [path for path in files if path is not None]

    def _catalog(self) -> Catalog:
        from fxci_assets.dialect import CatalogTable

        return {
            name: CatalogTable(
                tuple(column.name for column in relation.columns), relation.partition_column
            )
            for name, relation in self._relations.items()
        }

    def _prepare(
        self, connection: duckdb.DuckDBPyConnection, query: DuckQuery, threads: int | None
    ) -> None:
        """The macros and a view for each table in the query; then only the root can be read."""
        root = _quoted(str(self._root))
        connection.execute("SET TimeZone = 'UTC'")
        if threads is not None:
            connection.execute(f"SET threads = {threads}")
        connection.execute(f"SET temp_directory = {_quoted(str(self._root / '.duckdb'))}")
        connection.execute(f"SET allowed_directories = [{root}]")
        connection.execute(query.macros)
        for name in query.tables:
            rows = _rows_of(self._relations[name], self._current_files(name))
            schema, table = (f'"{part}"' for part in name.split("."))
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            connection.execute(f"CREATE VIEW {schema}.{table} AS {rows}")
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")


def _partition(table: Relation, day: dt.date | None) -> str:
    """The folder of a day, or what the folders of all days begin with."""
    if table.partition_column is None:
        return "all"
    return f"{table.partition_column}={day.isoformat() if day else ''}"


def _as_rows_of(table: Table, result: pa.Table) -> pa.Table:
    """The result of a query as rows of a table, sorted by its key.

    Raises WarehouseError where the columns are not the table's.
    """
    schema = arrow_schema(table)
    if sorted(result.column_names) != sorted(schema.names):
        raise WarehouseError(
            f"{table.name}: its query gives the columns {', '.join(result.column_names)}, "
            f"and the table has {', '.join(schema.names)}"
        )
    try:
        rows = result.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, ValueError) as error:
        raise WarehouseError(f"{table.name}: its query gives other types: {error}") from error
    return rows.sort_by([(name, "ascending") for name in table.key])


_DUCKDB_TYPES = {
    "STRING": "VARCHAR",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "NUMERIC": "DECIMAL(38, 9)",
    "BOOLEAN": "BOOLEAN",
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


def _rows_of(table: Relation, files: Sequence[Path]) -> str:
    """The rows in the files, with the columns of the spec also where a file is from before one was
    added, or there is no file.

    To unite schemas DuckDB opens every file, of 900 in half a second; files of one schema it opens
    only if the filter on the partition column leaves them in. It knows so by the folder's name
    where that is the column's value, a date.
    """
    typed = ", ".join(f'CAST(NULL AS {_duckdb_type(c)}) AS "{c.name}"' for c in table.columns)
    empty = f"SELECT {typed} WHERE false"
    parts = [empty]
    partition = next((c for c in table.columns if c.name == table.partition_column), None)
    hive = "hive_partitioning = false"
    if partition is not None and partition.type == "DATE":
        hive = f"hive_partitioning = true, hive_types = {{'{partition.name}': DATE}}"
    for is_current in (True, False):
        listed = ", ".join(
            _quoted(str(path))
            for path in files
            if partition_files.has_current_schema(path, table) is is_current
        )
        if listed:
            parts.append(
                f"SELECT * FROM read_parquet([{listed}], union_by_name = {not is_current}, {hive})"
            )
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    return f"SELECT {names} FROM ({' UNION ALL BY NAME '.join(parts)})"


def _said(error: Exception) -> str:
    from fxci_assets.dialect import raised

    ours = raised(str(error))
    if ours is not None:
        return one_line(ours)
    line = one_line(str(error).partition("\n")[0])
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
