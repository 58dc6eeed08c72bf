"""From the text of a query to its syntax tree, and what must be refused on that way.

Here belongs what the parser would accept though BigQuery does not, or would rename or lose, so that
it can be seen no longer in the tree. What a construct in the tree means is
`fxci_assets.dialect.rewrite`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import sqlglot
from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from fxci_assets.dialect.constructs import TYPES
from fxci_assets.dialect.errors import DialectError, unsupported
from fxci_assets.dialect.functions import SUPPORTED_FUNCTIONS, SYNTAX_BEFORE_PARENTHESIS

_NO_NAMES = (TokenType.STRING, TokenType.RAW_STRING, TokenType.NUMBER)
_OF_OTHER_DIALECTS = (
    TokenType.DCOLON,
    TokenType.L_BRACE,
    TokenType.MOD,
    TokenType.NOTNULL,
    TokenType.NULLSAFE_EQ,
    TokenType.PIPE_GT,
    TokenType.RLIKE,
)
_SPELLED_OTHERWISE = ((TokenType.EQ, "=="), (TokenType.NOT, "!"))

_RESERVED = frozenset(BigQuery.generator_class.RESERVED_KEYWORDS)
"""In lower case, from
https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords."""


def parse(sql: str) -> exp.Query:
    """The syntax tree of one SELECT statement in BigQuery's dialect."""
    _check_words(sql)
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
    _check_names(statement)
    _check_set_operations(statement)
    for offset in statement.find_all(exp.Offset):
        if offset.parent is not None and not offset.parent.args.get("limit"):
            raise DialectError("OFFSET needs LIMIT before it")
    return statement


def _check_words(sql: str) -> None:
    try:
        tokens = BigQuery().tokenize(sql)
    except TokenError as error:
        raise DialectError(f"The query cannot be read: {str(error).splitlines()[0]}") from error
    for i, token in enumerate(tokens):
        _check_spelling(tokens, i)
        if token.token_type is TokenType.STRING:
            _check_escapes(sql[token.start : token.end + 1])
        if i + 1 < len(tokens) and tokens[i + 1].token_type is TokenType.L_PAREN:
            _check_call(tokens, i)


def _check_spelling(tokens: Sequence[Token], i: int) -> None:
    kind, text = tokens[i].token_type, tokens[i].text
    following = [token.token_type for token in tokens[i : i + 3]]
    if kind in _OF_OTHER_DIALECTS or (kind, text) in _SPELLED_OTHERWISE:
        raise unsupported(text)
    if kind is TokenType.HINT:
        raise unsupported("A hint")
    if following[:2] == [TokenType.STRING, TokenType.STRING]:
        raise unsupported("A text that goes on in the next", "write it as one")
    if following == [TokenType.LIMIT, TokenType.NUMBER, TokenType.COMMA]:
        raise unsupported("LIMIT with two numbers", "write LIMIT n OFFSET m")
    if kind is TokenType.FROM and (i == 0 or tokens[i - 1].token_type is TokenType.L_PAREN):
        raise unsupported("A query that begins with FROM")


def _check_call(tokens: Sequence[Token], i: int) -> None:
    """Refuses what stands before a parenthesis and is neither a known function nor syntax."""
    name = tokens[i].text.upper()
    if not re.fullmatch(r"\w+", name) or tokens[i].token_type in _NO_NAMES:
        return
    if i > 1 and tokens[i - 1].token_type is TokenType.DOT:
        raise unsupported(f"{tokens[i - 2].text.upper()}.{name}")
    if name not in SUPPORTED_FUNCTIONS and name not in SYNTAX_BEFORE_PARENTHESIS:
        raise unsupported(name)


def _check_escapes(literal: str) -> None:
    """Refuses an unknown escape, an error in BigQuery: the parser drops the backslash."""
    for escaped in re.findall(r"\\(.)", literal, re.DOTALL):
        if escaped not in "abfnrtv\\?\"'`xXuU01234567\n":
            raise DialectError(f"Illegal escape sequence: \\{escaped}; write r'…' for a pattern")


def _check_names(statement: exp.Expr) -> None:
    """Refuses a reserved word as a name, unless it is quoted. After the dot of a path BigQuery
    takes each word for a name
    (https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#path_expressions)."""
    for name in statement.find_all(exp.Identifier):
        if name.name.lower() in _RESERVED and not name.quoted and not _follows_a_dot(name):
            raise DialectError(
                f"`{name.name}` is a reserved word in BigQuery: write it in backquotes or choose "
                "another"
            )


def _follows_a_dot(name: exp.Identifier) -> bool:
    path = name.parent
    if isinstance(path, exp.Dot):
        return name.arg_key == "expression"
    return isinstance(path, exp.Column | exp.Table) and path.parts[0] is not name


def _check_set_operations(statement: exp.Expr) -> None:
    """BigQuery wants parentheses where set operations are mixed; the engines differ without."""
    for operation in statement.find_all(exp.SetOperation):
        for side in (operation.left, operation.right):
            if isinstance(side, exp.SetOperation) and (
                type(side) is not type(operation)
                or bool(side.args.get("distinct")) != bool(operation.args.get("distinct"))
            ):
                raise DialectError("Different set operations need parentheses")
        if isinstance(operation, exp.Except | exp.Intersect) and not operation.args.get("distinct"):
            raise unsupported(f"{operation.key.upper()} ALL", "write DISTINCT")
        if not isinstance(operation.parent, exp.SetOperation):
            _types(operation)
    for with_ in statement.find_all(exp.With):
        if with_.args.get("recursive"):
            raise unsupported("WITH RECURSIVE")


def _types(query: exp.Expr) -> list[str | None]:
    """The types of a query's columns, as far as they can be read off the text. DuckDB would turn
    columns of a set operation that have nothing in common into texts."""
    if isinstance(query, exp.Subquery):
        return _types(query.this)
    if isinstance(query, exp.Select) and not query.is_star:
        return [_type(item.unalias()) for item in query.expressions]
    if not isinstance(query, exp.SetOperation):
        return []
    types = []
    pairs = zip(_types(query.left), _types(query.right), strict=False)
    for position, (one, other) in enumerate(pairs, 1):
        if one and other and one != other and {one, other} != {"INT64", "FLOAT64"}:
            raise DialectError(
                f"Column {position} in {query.key.upper()} has incompatible types: {one}, {other}"
            )
        types.append(one or other)
    return types


def _type(node: exp.Expr) -> str | None:
    match node:
        case exp.Paren() | exp.Neg():
            return _type(node.this)
        case exp.RawString() | exp.Literal(is_string=True):
            return "STRING"
        case exp.Literal():
            return "INT64" if node.name.isdigit() else "FLOAT64"
        case exp.Boolean():
            return "BOOL"
        case exp.Cast() if isinstance(node.to.this, exp.DType):
            return TYPES.get(node.to.this.name, "").upper() or None
    return None
