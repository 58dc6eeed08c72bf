"""How the rows of a query are printed: for people, for spreadsheets, for programs."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import json
import math
import sys
import unicodedata
from typing import TYPE_CHECKING

import click

from fxci_assets.texts import visible

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
        case float() if not math.isfinite(value):
            # JSON has no such numbers; BigQuery spells them so.
            return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
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
            return _visible_json(json.dumps(value, ensure_ascii=False))
        case _:
            return visible(str(value))


def _visible_json(document: str) -> str:
    """The same document without what json.dumps leaves: DEL, C1 controls, changes of direction."""
    return "".join(
        c if c.isprintable() or c == "\n" else _escaped(c.encode("utf-16-be")) for c in document
    )


def _escaped(units: bytes) -> str:
    return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2))


def _width(cell: str) -> int:
    """The columns that a terminal gives to a text."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in cell
    )


def _table(rows: pa.Table) -> None:
    numeric = [str(t).startswith(("int", "double", "float", "decimal")) for t in rows.schema.types]
    names = [visible(name) for name in rows.schema.names]
    cells = [[text(v, "NULL") for v in row.values()] for row in rows.to_pylist()]
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]

    def line(values: list[str]) -> str:
        padded = (
            f"{' ' * (width - _width(value))}{value}"
            if right
            else f"{value}{' ' * (width - _width(value))}"
            for value, width, right in zip(values, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    click.echo(line(names))
    click.echo("  ".join("-" * width for width in widths))
    for row in cells:
        click.echo(line(row))


class _Lines:
    """Ends lines with LF, as other tools read them. Told to end them so, csv would not quote a
    CR, which its reader takes for the end of a line."""

    def write(self, line: str) -> None:
        sys.stdout.write(line.removesuffix("\r\n") + "\n")


def _csv(rows: pa.Table) -> None:
    """A record or list is JSON in its cell. NULL and an empty text are both an empty cell. A text
    is exact for programs, and harmless on a terminal."""
    shown = visible if sys.stdout.isatty() else str

    def cell(value: object) -> object:
        match value:
            case str():
                return shown(value)
            case dict() | list() | bool():
                return _visible_json(json.dumps(value, ensure_ascii=False))
            case _:
                return value

    writer = csv.writer(_Lines(), lineterminator="\r\n")
    writer.writerow(map(shown, rows.schema.names))
    for row in rows.to_pylist():
        writer.writerow(cell(plain(value)) for value in row.values())
    # Here and not at exit, where a reader that has gone away would be an error nobody catches.
    sys.stdout.flush()


def _json(rows: pa.Table) -> None:
    content = [plain(row) for row in rows.to_pylist()]
    click.echo(_visible_json(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)))
