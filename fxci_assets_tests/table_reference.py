"""`make docs`: writes docs/tables.md, every table and column from its spec, and what SQL may use.

Only what the specs say belongs there: what is wrong in it is mended in `fxci_assets.tables`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from fxci_assets.dialect import SUPPORTED_FUNCTIONS
from fxci_assets.tables import TABLES, Column, Table

FILE = Path(__file__).parents[1] / "docs" / "tables.md"

_HEAD = """\
# Tables

Made by `make docs` from the tables' specs; change those, not this file. Every table is partitioned
by UTC day, and each query needs a filter on its partition column. People read the views.
"""


def _rows(columns: tuple[Column, ...], prefix: str = "") -> Iterator[str]:
    for column in columns:
        allowed = f" One of {', '.join(column.allowed)}." if column.allowed else ""
        yield (
            f"| {prefix}{column.name} | {column.type} | {column.mode.value} | "
            f"{column.description}{allowed} |"
        )
        yield from _rows(column.fields, f"{prefix}{column.name}.")


def _page(table: Table) -> str:
    return "\n".join(
        [
            f"## {table.name}",
            "",
            textwrap.fill(table.description, 100),
            "",
            f"View `fxci.{table.view}`; key {', '.join(table.key)}; partitioned on "
            f"{table.partition_column}; clustered by {', '.join(table.clustering)}.",
            "",
            "| column | type | mode | what it is |",
            "| --- | --- | --- | --- |",
            *_rows(table.columns),
            "",
        ]
    )


def reference() -> str:
    functions = textwrap.fill(", ".join(sorted(SUPPORTED_FUNCTIONS)), 100)
    sql = (
        "## SQL over local files\n\n`fxci-etl query` takes BigQuery's SQL. In the deployments that "
        f"store locally these functions are known, and others are refused by name:\n\n{functions}\n"
    )
    return "\n".join([_HEAD, *(_page(table) for table in TABLES), sql])


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(reference())
