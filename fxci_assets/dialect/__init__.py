"""BigQuery's SQL for DuckDB: people write one dialect, wherever their query runs.

A query goes through an allow-list of functions and constructs. What is on it gives BigQuery's
answer, which a test pins; what is not is refused by name, never answered wrongly. Here belong the
dialect and BigQuery's rule about partition filters. Where the tables are, and how a query is run,
is `fxci_assets.resources.warehouse`.

`functions` and `constructs` list what may be written. A query goes through `parse`; `views`, which
replaces views by what they are; `scopes`, which knows the columns and whether scans are filtered;
and `rewrite`, which turns it into DuckDB's, with the help of `names`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fxci_assets.dialect.errors import DialectError, PartitionFilterError, QueryError, raised
from fxci_assets.dialect.functions import MACROS, SUPPORTED_FUNCTIONS, macros_of
from fxci_assets.dialect.parse import parse
from fxci_assets.dialect.rewrite import Rewriter, Value
from fxci_assets.dialect.scopes import Catalog, CatalogTable, Scopes
from fxci_assets.dialect.views import Views

__all__ = [
    "MACROS",
    "SUPPORTED_FUNCTIONS",
    "Catalog",
    "CatalogTable",
    "DialectError",
    "DuckQuery",
    "PartitionFilterError",
    "QueryError",
    "Value",
    "raised",
    "transpile",
]


@dataclass(frozen=True, slots=True)
class DuckQuery:
    """A query for a connection on which its macros were run and whose time zone is UTC."""

    sql: str
    macros: str
    parameters: Mapping[str, Value]
    tables: frozenset[str]
    """The tables that it reads, those behind views among them."""


def transpile(
    sql: str,
    catalog: Catalog,
    parameters: Mapping[str, Value] | None = None,
    views: Mapping[str, str] | None = None,
) -> DuckQuery:
    """The query in DuckDB's dialect, with those of the parameters that it uses.

    `views` are queries in BigQuery's dialect by `dataset.view`.
    """
    statement = parse(sql)
    Views(views or {}, catalog).expand(statement)
    scopes = Scopes(catalog)
    scopes.check(statement)
    rewriter = Rewriter(scopes, dict(parameters or {}))
    query = rewriter(statement)
    text = query.sql(dialect="duckdb", identify=True, comments=False, normalize_functions=False)
    return DuckQuery(text, macros_of(text), rewriter.parameters, frozenset(rewriter.tables))
