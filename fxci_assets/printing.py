"""How the rows of a query are printed: for people, for spreadsheets, for programs."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pyarrow as pa


def show(rows: pa.Table, format: str) -> None:
    """Print rows as `table`, `csv` or `json`."""
    {"table": _table, "csv": _csv, "json": _json}[format](rows)


def plain(value: object) -> object:
    """A value as JSON has it: numbers, booleans and null as such, times as ISO 8601."""
    match value:
        case dt.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case dt.date() | dt.time():
            return value.isoformat()
        case decimal.Decimal():
            return float(value)
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case float() if value != value or value in (float("inf"), float("-inf")):
            return str(value)  # JSON has no such numbers
        case _:
            return value


def text(value: object, null: str) -> str:
    """A value as one cell."""
    value = plain(value)
    match value:
        case None:
            return null
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.10g}"
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            # A control character in a tag must not move the reader's cursor.
            return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def _table(rows: pa.Table) -> None:
    numeric = [str(type_).startswith(("int", "double", "float")) for type_ in rows.schema.types]
    cells = [[text(v, "NULL") for v in row.values()] for row in rows.to_pylist()]
    names = rows.schema.names
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]

    def line(values: list[str]) -> str:
        padded = (
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    click.echo(line(names))
    click.echo("  ".join("-" * width for width in widths))
    for row in cells:
        click.echo(line(row))


def _csv(rows: pa.Table) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows.schema.names)
    for row in rows.to_pylist():
        values = (plain(value) for value in row.values())
        writer.writerow(
            json.dumps(value, ensure_ascii=False)
            if isinstance(value, dict | list | bool)
            else value
            for value in values
        )


def _json(rows: pa.Table) -> None:
    content = [plain(row) for row in rows.to_pylist()]
    click.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
