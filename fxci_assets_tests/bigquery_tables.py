"""What BigQuery does with tables and jobs, as far as the tests ask it, over tables in DuckDB.

Here belongs what is stored, and what BigQuery refuses to store or to answer. What is not known to
be BigQuery's way is refused by name (`unknown`), as is each part of a request that nothing here
heeds. That requests come over HTTP, and go wrong, is `bigquery_server`.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlglot

from fxci_assets.dialect import (
    MACROS,
    CatalogTable,
    PartitionFilterError,
    QueryError,
    transpile,
)

Resource = dict[str, Any]
"""An object of the API: https://cloud.google.com/bigquery/docs/reference/rest."""

SMALLEST_BILL = 10 * 1024 * 1024
"""What a query over a table is billed for at least."""


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class JobFailed(Exception):
    """A job that is made, and ends with an error."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def unknown(what: str) -> Refused:
    return Refused(501, "notImplemented", f"the tests' server does not know {what}")


def only(what: str, given: Mapping[str, object], *known: str) -> None:
    """Refuses what nobody would look at."""
    others = sorted(given.keys() - set(known))
    if others:
        raise unknown(f"{', '.join(others)} of {what}")


def not_found(what: str) -> Refused:
    return Refused(404, "notFound", f"Not found: {what}")


@dataclass(frozen=True)
class Answer:
    """What came of a query."""

    fields: list[Resource]
    rows: list[Resource]
    bytes: int
    billed: int


# --- types ----------------------------------------------------------------------------------------

_DUCKDB = {
    "STRING": "VARCHAR",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "NUMERIC": "DECIMAL(38, 9)",
    "BOOLEAN": "BOOLEAN",
    "TIMESTAMP": "TIMESTAMPTZ",
    "DATE": "DATE",
    "JSON": "VARCHAR",
}

_ARROW = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "DATE": pa.date32(),
    "JSON": pa.string(),
}


def _mode(field: Resource) -> str:
    return str(field.get("mode", "NULLABLE"))


def _duckdb_type(field: Resource) -> str:
    if field["type"] == "RECORD":
        inner = ", ".join(f'"{f["name"]}" {_duckdb_type(f)}' for f in field["fields"])
        type_ = f"STRUCT({inner})"
    elif field["type"] in _DUCKDB:
        type_ = _DUCKDB[field["type"]]
    else:
        raise unknown(f"the type {field['type']}")
    return f"{type_}[]" if _mode(field) == "REPEATED" else type_


def _arrow_type(field: Resource) -> pa.DataType:
    if field["type"] == "RECORD":
        type_ = pa.struct([(f["name"], _arrow_type(f)) for f in field["fields"]])
    else:
        type_ = _ARROW[field["type"]]
    return pa.list_(type_) if _mode(field) == "REPEATED" else type_


def _field(name: str, type_: pa.DataType) -> Resource:
    """The column of a query's result, which is NULLABLE unless it is an array."""
    if pa.types.is_list(type_):
        return {**_field(name, type_.value_type), "mode": "REPEATED"}
    field: Resource = {"name": name, "mode": "NULLABLE"}
    if pa.types.is_struct(type_):
        inner = [_field(f.name, f.type) for f in type_]
        return {**field, "type": "RECORD", "fields": inner}
    if pa.types.is_decimal(type_):
        # DuckDB's sum of integers.
        return {**field, "type": "NUMERIC" if type_.scale else "INTEGER"}
    for test, name_ in (
        (pa.types.is_boolean, "BOOLEAN"),
        (pa.types.is_integer, "INTEGER"),
        (pa.types.is_null, "INTEGER"),
        (pa.types.is_floating, "FLOAT"),
        (pa.types.is_timestamp, "TIMESTAMP"),
        (pa.types.is_date, "DATE"),
        (pa.types.is_string, "STRING"),
    ):
        if test(type_):
            return {**field, "type": name_}
    raise unknown(f"a result of type {type_}")


def _cell(field: Resource, value: Any) -> object:  # noqa: ANN401
    if _mode(field) == "REPEATED":
        one = {**field, "mode": "NULLABLE"}
        return [{"v": _cell(one, element)} for element in value or ()]
    if value is None:
        return None
    match field["type"]:
        case "RECORD":
            return {"f": [{"v": _cell(f, value[f["name"]])} for f in field["fields"]]}
        case "BOOLEAN":
            return "true" if value else "false"
        case "TIMESTAMP":
            return str(
                (value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
            )
        case "DATE":
            return value.isoformat()
        case "FLOAT":
            return repr(value)
        case "INTEGER":
            return str(int(value))
        case _:
            return str(value)


_SCALARS: dict[str, Callable[[str], Any]] = {
    "STRING": str,
    "INT64": int,
    "FLOAT64": float,
    "BOOL": {"true": True, "false": False}.__getitem__,
    "DATE": dt.date.fromisoformat,
    "TIMESTAMP": dt.datetime.fromisoformat,
}


def _parameter(given: Resource) -> Any:  # noqa: ANN401
    type_, value = given["parameterType"], given["parameterValue"]
    if type_["type"] == "ARRAY":
        read = _SCALARS[type_["arrayType"]["type"]]
        return [read(element["value"]) for element in value["arrayValues"]]
    return _SCALARS[type_["type"]](value["value"])


# --- tables ---------------------------------------------------------------------------------------


class Tables:
    """The datasets of a project."""

    def __init__(self, project: str) -> None:
        self.project = project
        self._locations: dict[str, str] = {}
        self._tables: dict[tuple[str, str], Resource] = {}
        self.streamed: set[tuple[str, str]] = set()
        """The tables that have rows in a buffer, by dataset and name."""
        self._duckdb = duckdb.connect()
        self._duckdb.execute("SET TimeZone = 'UTC'")
        self._duckdb.execute(MACROS)
        # Not FarmHash, but as good as any other hash of a text.
        self._duckdb.execute("CREATE MACRO farm_fingerprint(x) AS CAST(hash(x) // 2 AS BIGINT)")

    def close(self) -> None:
        self._duckdb.close()

    # --- datasets

    def create_dataset(self, resource: Resource) -> Resource:
        only("a dataset", resource, "datasetReference", "labels", "location")
        name = resource["datasetReference"]["datasetId"]
        if name in self._locations:
            raise Refused(409, "duplicate", f"Already Exists: Dataset {self.project}:{name}")
        self._locations[name] = resource.get("location", "US")
        self._duckdb.execute(f'CREATE SCHEMA "{name}"')
        return self.dataset(name)

    def dataset(self, name: str) -> Resource:
        reference = {"projectId": self.project, "datasetId": name}
        return {"datasetReference": reference, "location": self.location(name)}

    def location(self, dataset: str) -> str:
        if dataset not in self._locations:
            raise not_found(f"Dataset {self.project}:{dataset}")
        return self._locations[dataset]

    def delete_dataset(self, name: str) -> None:
        self.location(name)
        del self._locations[name]
        for key in [key for key in self._tables if key[0] == name]:
            del self._tables[key]
        self._duckdb.execute(f'DROP SCHEMA "{name}" CASCADE')

    # --- tables and views

    def create_table(self, dataset: str, given: Resource) -> Resource:
        only(
            "a table", given, "tableReference", "labels", "schema", "timePartitioning",
            "clustering", "description", "requirePartitionFilter", "view", "expirationTime",
        )  # fmt: skip
        location = self.location(dataset)
        name = given["tableReference"]["tableId"]
        if (dataset, name) in self._tables:
            raise Refused(409, "duplicate", f"Already Exists: Table {self._shown(dataset, name)}")
        resource = {k: v for k, v in given.items() if v is not None}
        resource |= {"type": "VIEW" if "view" in given else "TABLE", "location": location}
        if resource["type"] == "TABLE":
            fields = resource["schema"]["fields"]
            columns = ", ".join(f'"{f["name"]}" {_duckdb_type(f)}' for f in fields)
            self._duckdb.execute(f'CREATE TABLE "{dataset}"."{name}" ({columns})')
        else:
            self._check_view(resource["view"])
        self._tables[dataset, name] = resource
        return self.table(dataset, name)

    def table(self, dataset: str, name: str) -> Resource:
        summary = name.partition("$")
        if summary[2] == "__PARTITIONS_SUMMARY__":
            resource = self.table(dataset, summary[0])
            reference = {**resource["tableReference"], "tableId": name}
            fields = [{"name": n, "type": "STRING"} for n in ("project_id", "partition_id")]
            return {**resource, "tableReference": reference, "schema": {"fields": fields}}
        self.location(dataset)
        if (dataset, name) not in self._tables:
            raise not_found(f"Table {self._shown(dataset, name)}")
        resource = self._tables[dataset, name]
        etag = hashlib.sha256(json.dumps(resource).encode()).hexdigest()
        buffer = {"streamingBuffer": {"estimatedRows": "3", "oldestEntryTime": "1776147600000"}}
        streamed = buffer if (dataset, name) in self.streamed else {}
        return {**resource, **streamed, "etag": etag}

    def patch_table(
        self, dataset: str, name: str, patch: Resource, if_match: str | None
    ) -> Resource:
        only(
            "a patch", patch, "schema", "description", "clustering", "requirePartitionFilter",
            "view",
        )  # fmt: skip
        found = self.table(dataset, name)
        if if_match is not None and if_match != found["etag"]:
            raise Refused(412, "conditionNotMet", "Precondition check failed.")
        resource = self._tables[dataset, name]
        if "schema" in patch:
            self._extend(dataset, name, patch["schema"]["fields"])
        if "view" in patch:
            self._check_view(patch["view"])
        self._tables[dataset, name] = resource | patch
        return self.table(dataset, name)

    def delete_table(self, dataset: str, name: str) -> None:
        resource = self.table(dataset, name)
        del self._tables[dataset, name]
        if resource["type"] == "TABLE":
            self._duckdb.execute(f'DROP TABLE "{dataset}"."{name}"')

    def partitions(self, dataset: str, name: str) -> list[str]:
        """The ids of the partitions that have rows."""
        column = self.table(dataset, name)["timePartitioning"]["field"]
        rows = self._duckdb.execute(
            f'SELECT DISTINCT strftime("{column}", \'%Y%m%d\') FROM "{dataset}"."{name}" ORDER BY 1'
        )
        return [id for (id,) in rows.fetchall()]

    def _check_view(self, view: Resource) -> None:
        only("a view", view, "query", "useLegacySql")
        if view["useLegacySql"]:
            raise unknown("legacy SQL")
        # BigQuery looks whether a view can be queried, and does not miss a filter in it.
        try:
            transpile(view["query"], self._catalog(filters=False), {}, self._views())
        except QueryError as error:
            raise Refused(400, "invalidQuery", str(error)) from error

    def _extend(self, dataset: str, name: str, fields: list[Resource]) -> None:
        """Adds the columns that a new schema has and the table lacks."""
        shown = self._shown(dataset, name)
        old = self._tables[dataset, name]["schema"]["fields"]
        for before, after in _changes(old, fields, f"Provided Schema does not match Table {shown}"):
            if before is None and _mode(after) == "REQUIRED":
                raise Refused(
                    400,
                    "invalid",
                    f"Cannot add required fields to an existing schema. (field: {after['name']})",
                )
        for position, field in enumerate(fields):
            if position >= len(old):
                column = f'"{field["name"]}" {_duckdb_type(field)}'
                self._duckdb.execute(f'ALTER TABLE "{dataset}"."{name}" ADD COLUMN {column}')
            elif _duckdb_type(old[position]) != _duckdb_type(field):
                raise unknown("an addition to a record")

    def _shown(self, dataset: str, name: str) -> str:
        return f"{self.project}:{dataset}.{name}"

    # --- partitions

    def load(self, config: Resource, data: bytes) -> Resource:
        """The statistics of a load job. Raises JobFailed."""
        only(
            "a load", config, "destinationTable", "writeDisposition", "createDisposition",
            "sourceFormat", "schema", "parquetOptions",
        )  # fmt: skip
        key, day = self._destination(config)
        fields = config["schema"]["fields"]
        self._check_fits(key, day, fields)
        if config["sourceFormat"] == "PARQUET":
            options = config.get("parquetOptions", {})
            only("parquetOptions", options, "enableListInference")
            rows = _from_parquet(data, fields, options.get("enableListInference", False))
        elif config["sourceFormat"] == "NEWLINE_DELIMITED_JSON":
            rows = _from_lines(data, fields)
        else:
            raise unknown(f"the format {config['sourceFormat']}")
        self._replace(key, day, rows)
        # It replaces the schema, descriptions included.
        self._tables[key]["schema"] = {"fields": fields}
        return {"inputFileBytes": str(len(data)), "outputRows": str(len(rows))}

    def _destination(self, config: Resource) -> tuple[tuple[str, str], dt.date]:
        if config["writeDisposition"] != "WRITE_TRUNCATE":
            raise unknown(f"{config['writeDisposition']}")
        if config["createDisposition"] != "CREATE_NEVER":
            raise unknown(f"{config['createDisposition']}")
        reference = config["destinationTable"]
        if reference["projectId"] != self.project:
            raise unknown(f"the project {reference['projectId']}")
        name, _, decorator = reference["tableId"].partition("$")
        key = (reference["datasetId"], name)
        if key not in self._tables:
            raise JobFailed("notFound", f"Not found: Table {self._shown(*key)}")
        if not re.fullmatch(r"\d{8}", decorator):
            raise unknown("a write to a whole table")
        if self._tables[key].get("timePartitioning", {}).get("type") != "DAY":
            raise JobFailed("invalid", f"{self._shown(*key)} is not partitioned by day")
        return key, dt.date.fromisoformat(decorator)

    def _check_fits(self, key: tuple[str, str], day: dt.date, fields: list[Resource]) -> None:
        """Refuses rows whose columns are not the table's, in names, types or modes."""
        shown = f"{self._shown(*key)}${day:%Y%m%d}"
        old = self._tables[key]["schema"]["fields"]
        where = f"Provided Schema does not match Table {shown}"
        try:
            for before, after in _changes(old, fields, where):
                if before is None:
                    raise JobFailed(
                        "invalid", f"{where}. Cannot add fields (field: {after['name']})"
                    )
                if _mode(before) != _mode(after):
                    raise JobFailed(
                        "invalid",
                        f"{where}. Field {after['name']} has changed mode from {_mode(before)} to "
                        f"{_mode(after)}",
                    )
        except Refused as error:
            raise JobFailed(error.reason, error.message) from error

    def _replace(self, key: tuple[str, str], day: dt.date, rows: pa.Table) -> None:
        column = self._tables[key]["timePartitioning"]["field"]
        of_day = pc.fill_null(pc.equal(rows[column], pa.scalar(day, pa.date32())), False)
        if len(rows) and not pc.all(of_day).as_py():
            raise JobFailed(
                "invalid",
                "Some rows belong to different partitions rather than destination partition "
                f"{self._shown(*key)}${day:%Y%m%d}",
            )
        table = f'"{key[0]}"."{key[1]}"'
        self._duckdb.register("incoming", rows)
        self._duckdb.execute("BEGIN")
        self._duckdb.execute(f'DELETE FROM {table} WHERE "{column}" = $day', {"day": day})
        self._duckdb.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
        self._duckdb.execute("COMMIT")
        self._duckdb.unregister("incoming")

    # --- queries

    def query(self, config: Resource, *, dry_run: bool) -> Answer:
        """Raises JobFailed. A dry run has no rows, and writes none."""
        only(
            "a query", config, "query", "useLegacySql", "parameterMode", "queryParameters",
            "destinationTable", "writeDisposition", "createDisposition", "maximumBytesBilled",
            "useQueryCache",
        )  # fmt: skip
        if config["useLegacySql"]:
            raise unknown("legacy SQL")
        parameters = {p["name"]: _parameter(p) for p in config.get("queryParameters", ())}
        result, read = self._run(config["query"], parameters, dry_run=dry_run)
        fields = [_field(field.name, field.type) for field in result.schema]
        names = [field["name"].lower() for field in fields]
        for name in names:
            if names.count(name) > 1:
                raise JobFailed("invalidQuery", f"Duplicate column names in the result: {name}")
        # As if there were no partitions, and each value had eight bytes.
        sizes = [self._size(key) for key in read]
        billed = sum(max(size, SMALLEST_BILL) for size in sizes)
        limit = config.get("maximumBytesBilled")
        if limit is not None and billed > int(limit) and not dry_run:
            raise JobFailed(
                "bytesBilledLimitExceeded",
                f"Query exceeded limit for bytes billed: {limit}. {billed} or higher required.",
            )
        if dry_run:
            return Answer(fields, [], sum(sizes), 0)
        if "destinationTable" in config:
            key, day = self._destination(config)
            self._check_fits(key, day, fields)
            self._replace(
                key, day, result.cast(pa.schema([(f["name"], _arrow_type(f)) for f in fields]))
            )
            # The worst that can be: the result's schema in place of the table's.
            self._tables[key]["schema"] = {"fields": fields}
        columns = [column.to_pylist() for column in result.columns]
        rows = [
            {"f": [{"v": _cell(f, v)} for f, v in zip(fields, row, strict=True)]}
            for row in zip(*columns, strict=True)
        ]
        return Answer(fields, rows, sum(sizes), billed)

    def _run(
        self, sql: str, parameters: Mapping[str, Any], *, dry_run: bool
    ) -> tuple[pa.Table, Iterable[tuple[str, str]]]:
        try:
            if "FARM_FINGERPRINT(" in sql:
                text, read = self._hash_in_duckdb(sql)
                used: Mapping[str, Any] = parameters
            else:
                query = transpile(sql, self._catalog(), parameters, self._views())
                text, used = query.sql, query.parameters
                read = [_key(name) for name in query.tables]
            text = f"SELECT * FROM ({text}) LIMIT 0" if dry_run else text
            return self._duckdb.sql(text, params=dict(used)).to_arrow_table(), read
        except (QueryError, duckdb.Error) as error:
            raise JobFailed("invalidQuery", str(error).splitlines()[0]) from error

    def _hash_in_duckdb(self, sql: str) -> tuple[str, list[tuple[str, str]]]:
        """The one query that the dialect does not know: the hash of a partition."""
        [(dataset, name)] = re.findall(rf"FROM `{self.project}\.(\w+)\.(\w+)`", sql)
        column = self.table(dataset, name)["timePartitioning"]["field"]
        if f"WHERE `{column}` = @day" not in sql:
            raise PartitionFilterError(f"{dataset}.{name}", column)
        [text] = sqlglot.transpile(sql, read="bigquery", write="duckdb", identify=True)
        text = text.replace("FORMAT('%", "PRINTF('%").replace("AS DECIMAL)", "AS DECIMAL(38, 0))")
        return text.replace(f'"{self.project}".', ""), [(dataset, name)]

    def _size(self, key: tuple[str, str]) -> int:
        [(rows,)] = self._duckdb.execute(f'SELECT COUNT(*) FROM "{key[0]}"."{key[1]}"').fetchall()
        return 8 * int(rows) * len(self._tables[key]["schema"]["fields"])

    def _catalog(self, *, filters: bool = True) -> dict[str, CatalogTable]:
        return {
            f"{dataset}.{name}": CatalogTable(
                tuple(field["name"] for field in table["schema"]["fields"]),
                table["timePartitioning"]["field"]
                if filters and table.get("requirePartitionFilter")
                else None,
            )
            for (dataset, name), table in self._tables.items()
            if table["type"] == "TABLE"
        }

    def _views(self) -> dict[str, str]:
        return {
            f"{dataset}.{name}": table["view"]["query"]
            for (dataset, name), table in self._tables.items()
            if table["type"] == "VIEW"
        }


def _key(name: str) -> tuple[str, str]:
    dataset, _, table = name.partition(".")
    return dataset, table


def _changes(
    old: Sequence[Resource], new: Sequence[Resource], where: str
) -> Iterable[tuple[Resource | None, Resource]]:
    """Each field of a new schema with the old one, if there was one. Raises Refused for what no
    change of a schema may do."""
    by_name = {field["name"]: field for field in old}
    missing = by_name.keys() - {field["name"] for field in new}
    if missing:
        raise Refused(400, "invalid", f"{where}. Field {min(missing)} is missing in new schema")
    for field in new:
        before = by_name.get(field["name"])
        if before is not None:
            if before["type"] != field["type"]:
                raise Refused(
                    400,
                    "invalid",
                    f"{where}. Field {field['name']} has changed type from {before['type']} to "
                    f"{field['type']}",
                )
            if _mode(before) != _mode(field) and (_mode(before), _mode(field)) not in (
                ("REQUIRED", "NULLABLE"),
                ("NULLABLE", "REQUIRED"),
            ):
                raise Refused(400, "invalid", f"{where}. Field {field['name']} has changed mode")
            yield from _changes(before.get("fields", ()), field.get("fields", ()), where)
        yield before, field


def _from_parquet(data: bytes, fields: list[Resource], list_inference: bool) -> pa.Table:
    rows = pq.read_table(io.BytesIO(data))
    if rows.column_names != [field["name"] for field in fields]:
        raise JobFailed("invalid", f"The file has the columns {', '.join(rows.column_names)}")
    for field in fields:
        found = rows.schema.field(field["name"]).type
        if field["type"] == "JSON":
            raise JobFailed("invalid", f"Unsupported field type: JSON ({field['name']})")
        if pa.types.is_list(found) and not list_inference:
            raise JobFailed(
                "invalid", f"Field {field['name']} has changed type from {field['type']} to RECORD"
            )
        if _field(field["name"], found)["type"] != field["type"]:
            raise JobFailed(
                "invalid", f"Parquet column '{field['name']}' has type {found} which does not match"
            )
        _check_required(field, rows[field["name"]].combine_chunks())
    return rows.cast(pa.schema([(field["name"], _arrow_type(field)) for field in fields]))


def _check_required(field: Resource, values: pa.Array) -> None:
    if _mode(field) == "REQUIRED" and values.null_count:
        raise JobFailed("invalid", f"Required field {field['name']} cannot be null")
    if field["type"] == "RECORD" and pa.types.is_struct(values.type):
        for inner in field["fields"]:
            _check_required(inner, values.field(inner["name"]))


def _from_lines(data: bytes, fields: list[Resource]) -> pa.Table:
    text = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    rows = [_from_json(fields, json.loads(line)) for line in text.splitlines()]
    table = pa.Table.from_pylist(rows, pa.schema([(f["name"], _arrow_type(f)) for f in fields]))
    for field in fields:
        _check_required(field, table[field["name"]].combine_chunks())
    return table


def _from_json(fields: list[Resource], row: Resource) -> Resource:
    others = sorted(row.keys() - {field["name"] for field in fields})
    if others:
        raise JobFailed("invalid", f"No such field: {others[0]}.")
    return {field["name"]: _value(field, row.get(field["name"])) for field in fields}


_FROM_JSON: dict[str, Callable[[Any], Any]] = {
    "INTEGER": int,
    "NUMERIC": Decimal,
    "FLOAT": float,
    "DATE": dt.date.fromisoformat,
    "TIMESTAMP": dt.datetime.fromisoformat,
    # As compact as BigQuery shows it.
    "JSON": lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
}


def _value(field: Resource, value: Any) -> Any:  # noqa: ANN401
    if _mode(field) == "REPEATED":
        return [_value({**field, "mode": "NULLABLE"}, element) for element in value or ()]
    if value is None:
        return None
    if field["type"] == "RECORD":
        return _from_json(field["fields"], value)
    read = _FROM_JSON.get(field["type"])
    return value if read is None else read(value)
