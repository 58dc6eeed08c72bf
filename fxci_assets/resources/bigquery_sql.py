"""What is said to BigQuery in SQL: parameters, a partition's rows and their hash; and the answer.

Here belong SQL that is assembled from a spec, and types. What a table's query says is a file in
`fxci_assets/sql`; how a query is run, `bigquery_jobs`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from google.cloud import bigquery

from fxci_assets.resources.warehouse import WarehouseError
from fxci_assets.tables import Column, Table

if TYPE_CHECKING:
    from fxci_assets.dialect import Value

_FITS_INTO = {
    "FLOAT": frozenset(["INTEGER", "NUMERIC", "BIGNUMERIC"]),
    "NUMERIC": frozenset(["INTEGER"]),
}
"""Which other types of a query's column become a column of a type, as they do in BigQuery's own
coercions (https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules)."""


def query_parameters(
    parameters: Mapping[str, Value],
) -> list[bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter]:
    """Raises TypeError for a value of which BigQuery's type is not certain."""
    return [
        _array(name, value) if isinstance(value, list | tuple) else _scalar(name, value)
        for name, value in parameters.items()
    ]


def _array(name: str, values: Sequence[object]) -> bigquery.ArrayQueryParameter:
    elements = [_scalar(name, value) for value in values]
    types = {element.type_ for element in elements} or {"STRING"}
    if len(types) > 1:
        raise TypeError(f"the parameter @{name} has elements of several types")
    return bigquery.ArrayQueryParameter(name, types.pop(), [element.value for element in elements])


def _scalar(name: str, value: object) -> bigquery.ScalarQueryParameter:
    match value:
        case bool():
            return bigquery.ScalarQueryParameter(name, "BOOL", value)
        case int():
            return bigquery.ScalarQueryParameter(name, "INT64", value)
        case float():
            return bigquery.ScalarQueryParameter(name, "FLOAT64", value)
        case str():
            return bigquery.ScalarQueryParameter(name, "STRING", value)
        case dt.datetime() if value.tzinfo is not None:
            return bigquery.ScalarQueryParameter(name, "TIMESTAMP", value)
        case dt.date() if not isinstance(value, dt.datetime):
            return bigquery.ScalarQueryParameter(name, "DATE", value)
    raise TypeError(f"the parameter @{name} is of no type that BigQuery has: {value!r}")


def as_rows_of(table: Table, sql: str, columns: Mapping[str, str]) -> str:
    """The query with the table's columns in the table's order, and of its types.

    Raises WarehouseError where the columns are not the table's.
    """
    names = [column.name for column in table.columns]
    if sorted(columns) != sorted(names):
        raise WarehouseError(
            f"{table.name}: its query gives the columns {', '.join(columns)}, "
            f"and the table has {', '.join(names)}"
        )
    selected = ", ".join(
        _as_column(table, column, columns[column.name]) for column in table.columns
    )
    # The query may end in a comment.
    return f"SELECT {selected} FROM (\n{sql}\n)"


def _as_column(table: Table, column: Column, type_: str) -> str:
    if type_ == column.type:
        return f"`{column.name}`"
    if type_ not in _FITS_INTO.get(column.type, ()):
        raise WarehouseError(
            f"{table.name}: its query gives other types: {column.name} is {type_}, and the table "
            f"has {column.type}"
        )
    return f"CAST(`{column.name}` AS {column.sql_type}) AS `{column.name}`"


def hash_of(table: Table, name: str) -> str:
    """A query for the number of a day's rows, and a hash that is the same for the same rows.

    BigQuery fixes neither the order of rows nor that in which SUM adds floats up, so that the last
    digits of a sum differ from run to run. The hashes of the rows are therefore added, which is the
    same in any order (and, unlike an exclusive or, does not lose a row that is there twice), and a
    float counts with ten digits and nine places, the zero without its sign. What is rounded to the
    other side all the same makes a day look changed that is not: it is built again where it is
    read, to no harm.
    """
    values = ", ".join(
        f"FORMAT('%.9e', ROUND(`{column.name}`, 9) + 0) AS `{column.name}`"
        if column.type == "FLOAT"
        else f"`{column.name}`"
        for column in table.columns
    )
    return (
        "SELECT COUNT(*) AS number, SUM(CAST(FARM_FINGERPRINT(row_text) AS NUMERIC)) AS total "
        f"FROM (SELECT TO_JSON_STRING(STRUCT({values})) AS row_text FROM `{name}` "
        f"WHERE `{table.partition_column}` = @day)"
    )


def as_returned(rows: pa.Table) -> pa.Table:
    """The rows in the types that every warehouse returns."""
    types = pa.schema([(field.name, _plain_type(field.type)) for field in rows.schema])
    return rows.cast(types)


def _plain_type(type_: pa.DataType) -> pa.DataType:
    """Without what the client adds: decimals, and which parts of a record are never NULL."""
    if pa.types.is_decimal(type_):
        return pa.float64()
    if pa.types.is_list(type_):
        return pa.list_(_plain_type(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _plain_type(field.type)) for field in type_])
    return type_
