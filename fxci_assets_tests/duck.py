"""A DuckDB connection that answers transpiled queries, as the local warehouse's do."""

from __future__ import annotations

from typing import Any

import duckdb

from fxci_assets.dialect import MACROS, DuckQuery


def connect(setup: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(MACROS)
    connection.execute(setup)
    return connection


def rows(connection: duckdb.DuckDBPyConnection, query: DuckQuery) -> list[Any]:
    """The rows; of a single column, its values."""
    found = connection.execute(query.sql, dict(query.parameters)).fetchall()
    return [row[0] if len(row) == 1 else row for row in found]
