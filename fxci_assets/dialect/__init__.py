"""BigQuery's SQL for DuckDB: people write one dialect, wherever their query runs.

A query goes through an allow-list of functions and constructs. What is on it gives BigQuery's
answer, which a test pins; what is not is refused by name, never answered wrongly. Here belong the
dialect and BigQuery's rule about partition filters. Where the tables are, and how a query is run,
is `fxci_assets.resources.warehouse`.

`functions` and `constructs` list what may be written, `rewrite` turns it into DuckDB's, `names` and
`scopes` know what a name means and which scans are filtered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import TokenType

from fxci_assets.dialect.errors import (
    DialectError,
    PartitionFilterError,
    QueryError,
    unsupported,
)
from fxci_assets.dialect.functions import (
    MACROS,
    SUPPORTED_FUNCTIONS,
    SYNTAX_BEFORE_PARENTHESIS,
)
from fxci_assets.dialect.rewrite import Rewriter, Value
from fxci_assets.dialect.scopes import Catalog, CatalogTable, Scopes

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
    "transpile",
]


@dataclass(frozen=True, slots=True)
class DuckQuery:
    """A query for a connection on which MACROS were run and whose time zone is UTC."""

    sql: str
    parameters: Mapping[str, Value]
    tables: frozenset[str]


def transpile(
    sql: str, catalog: Catalog, parameters: Mapping[str, Value] | None = None
) -> DuckQuery:
    """The query in DuckDB's dialect, with those of the parameters that it uses."""
    _check_words(sql)
    statement = _parse(sql)
    scopes = Scopes(catalog)
    scopes.check(statement)
    rewriter = Rewriter(catalog, scopes, dict(parameters or {}))
    query = rewriter(statement)
    text = query.sql(dialect="duckdb", identify=True, comments=False, normalize_functions=False)
    return DuckQuery(text, rewriter.parameters, frozenset(rewriter.tables))


_NO_NAMES = (TokenType.STRING, TokenType.RAW_STRING, TokenType.NUMBER)


def _check_words(sql: str) -> None:
    """Refuses what the parser would accept, though BigQuery does not, or would rename."""
    try:
        tokens = BigQuery().tokenize(sql)
    except TokenError as error:
        raise DialectError(f"The query cannot be read: {str(error).splitlines()[0]}") from error
    for i, token in enumerate(tokens):
        if token.token_type in (TokenType.DCOLON, TokenType.PIPE_GT):
            raise unsupported(token.text)
        if token.token_type is TokenType.HINT:
            raise unsupported("A hint")
        if token.token_type is TokenType.STRING:
            _check_escapes(sql[token.start : token.end + 1])
        is_word = re.fullmatch(r"\w+", token.text) and token.token_type not in _NO_NAMES
        if not is_word or i + 1 == len(tokens) or tokens[i + 1].token_type is not TokenType.L_PAREN:
            continue
        name = token.text.upper()
        if i > 1 and tokens[i - 1].token_type is TokenType.DOT:
            raise unsupported(f"{tokens[i - 2].text.upper()}.{name}")
        if name not in SUPPORTED_FUNCTIONS and name not in SYNTAX_BEFORE_PARENTHESIS:
            raise unsupported(name)


def _check_escapes(literal: str) -> None:
    """Refuses an unknown escape, an error in BigQuery: the parser drops the backslash."""
    for escaped in re.findall(r"\\(.)", literal, re.DOTALL):
        if escaped not in "abfnrtv\\?\"'`xXuU01234567\n":
            raise DialectError(f"Illegal escape sequence: \\{escaped}; write r'…' for a pattern")


def _parse(sql: str) -> exp.Expr:
    try:
        statements = [s for s in sqlglot.parse(sql, read="bigquery") if s is not None]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        where = f" (line {first['line']}, column {first['col']})" if first.get("line") else ""
        raise DialectError(f"{first.get('description') or 'Cannot be parsed'}{where}") from error
    if len(statements) != 1:
        raise DialectError(f"A query is one SELECT statement, not {len(statements)}")
    statement = statements[0]
    if not isinstance(statement, exp.Query):
        raise DialectError("Only SELECT is supported: a query changes nothing")
    _check_set_operations(statement)
    return statement


def _check_set_operations(statement: exp.Expr) -> None:
    """BigQuery wants parentheses where set operations are mixed; the engines differ without."""
    for operation in statement.find_all(exp.SetOperation):
        for side in (operation.left, operation.right):
            if isinstance(side, exp.SetOperation) and (
                type(side) is not type(operation)
                or bool(side.args.get("distinct")) != bool(operation.args.get("distinct"))
            ):
                raise DialectError("Different set operations need parentheses")
    for with_ in statement.find_all(exp.With):
        if with_.args.get("recursive"):
            raise unsupported("WITH RECURSIVE")
