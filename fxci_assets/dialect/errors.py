"""What can be wrong with a query, told to the person who wrote it; not how it is noticed."""

from __future__ import annotations

import re


class QueryError(Exception):
    """A query that cannot be run; the message is one line."""


class DialectError(QueryError):
    """The query uses something that is not known to mean the same here as in BigQuery."""


class PartitionFilterError(QueryError):
    """A partitioned table is read without a filter on its partition column."""

    def __init__(self, table: str, column: str, view: str | None = None) -> None:
        by_way = f", which the view {view} reads," if view else ""
        super().__init__(
            f"Cannot query over table {table}{by_way} without a filter over column {column} that "
            "can be used for partition elimination"
        )


def unsupported(what: str, instead: str = "") -> DialectError:
    advice = f"; {instead}" if instead else ""
    return DialectError(f"{what} is not supported by the local warehouse{advice}")


def raised(message: str) -> str | None:
    """What a macro of ours refuses with, if that is what DuckDB's message is about."""
    found = re.search(r"Could not convert string '(.*)' to UINT8$", message, re.MULTILINE)
    return found[1] if found else None
