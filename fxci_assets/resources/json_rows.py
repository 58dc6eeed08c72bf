"""Rows of a day as compressed lines of JSON, which BigQuery loads where a column is JSON: that it
does not load from Parquet (https://cloud.google.com/bigquery/docs/json-data, limitations).

Here belongs how a value is written so that BigQuery reads the same value. Which rows are refused is
`parquet_rows`.
"""

from __future__ import annotations

import datetime as dt
import gzip
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from fxci_assets.resources import parquet_rows
from fxci_assets.tables import Column, Mode, Relation

_LEVEL = 3
"""Of compression: the usual one, 6, takes four times as long for a tenth less."""


def has_json(columns: Sequence[Column]) -> bool:
    """Whether some column is JSON, be it within a record."""
    return any(column.type == "JSON" or has_json(column.fields) for column in columns)


def write(path: Path, table: Relation, day: dt.date, rows: Iterable[pa.RecordBatch]) -> None:
    """Writes a day's rows, one on each line.

    BigQuery sees by itself that the file is compressed
    (https://cloud.google.com/bigquery/docs/batch-loading-data). Its client keeps what it uploads in
    memory, up to 100 MB of it, which is more than a day of definitions then has.

    Raises WarehouseError for rows of another schema or another day.
    """
    encoder = msgspec.json.Encoder()
    with gzip.open(path, "wb", compresslevel=_LEVEL) as file:
        for batch in parquet_rows.checked(table, day, rows):
            records = (_record(table.columns, row) for row in batch.to_pylist())
            file.write(encoder.encode_lines(list(records)))


def _record(columns: Sequence[Column], row: dict[str, Any]) -> dict[str, object]:
    return {column.name: _value(column, row[column.name]) for column in columns}


def _value(column: Column, value: Any) -> object:  # noqa: ANN401
    if column.mode is Mode.REPEATED:
        return [_element(column, element) for element in value]
    return None if value is None else _element(column, value)


def _element(column: Column, value: Any) -> object:  # noqa: ANN401
    match column.type:
        case "JSON":
            # As it is: in JSON a line break stands between tokens only, never in a text.
            return msgspec.Raw(value.replace("\r", " ").replace("\n", " "))
        case "RECORD":
            return _record(column.fields, value)
        case "INTEGER" | "NUMERIC":
            # A number in JSON is a float: above 2^53 BigQuery wants the text
            # (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json).
            return str(value)
        case "FLOAT" if not math.isfinite(value):
            return str(value)
        case "DATE" | "TIMESTAMP":
            return value.isoformat()
        case _:
            return value
