"""The constructs of BigQuery's SQL that are supported, as data.

Here belong which parts of each may be used, and the parts of dates, codes and types that are known.
What is rewritten otherwise than by a table is in `fxci_assets.dialect.rewrite`.
"""

from __future__ import annotations

import re

from sqlglot import exp

QUERY = {"with_", "order", "limit", "offset"}
_BINARY = {"this", "expression"}

SAME: dict[type[exp.Expr], set[str]] = {
    exp.From: {"this"},
    exp.Where: {"this"},
    exp.Having: {"this"},
    exp.Qualify: {"this"},
    exp.Order: {"this", "expressions"},
    exp.With: {"expressions"},
    exp.CTE: {"this", "alias"},
    exp.TableAlias: {"this"},
    exp.Alias: {"this", "alias"},
    exp.Identifier: {"this", "quoted"},
    exp.Subquery: {"this", "alias", *QUERY},
    exp.Union: {*_BINARY, "distinct", *QUERY},
    exp.Except: {*_BINARY, "distinct", *QUERY},
    exp.Intersect: {*_BINARY, "distinct", *QUERY},
    exp.Distinct: {"expressions"},
    exp.Star: {"except_", "replace"},
    exp.Paren: {"this"},
    exp.Null: set(),
    exp.Boolean: {"this"},
    exp.And: _BINARY,
    exp.Or: _BINARY,
    exp.Not: {"this"},
    exp.Is: _BINARY,
    exp.Exists: {"this"},
    exp.Mul: _BINARY,
    exp.Neg: {"this"},
    exp.Case: {"this", "ifs", "default"},
    exp.Coalesce: {"this", "expressions"},
    exp.Nullif: _BINARY,
    exp.Abs: {"this"},
    exp.Ceil: {"this"},
    exp.Floor: {"this"},
    exp.ArraySize: {"this"},
    exp.CurrentDate: set(),
    exp.CurrentTimestamp: set(),
    exp.Min: {"this"},
    exp.Max: {"this"},
    exp.LogicalAnd: {"this"},
    exp.LogicalOr: {"this"},
    exp.RowNumber: set(),
    exp.Rank: set(),
    exp.DenseRank: set(),
    exp.FirstValue: {"this"},
    exp.LastValue: {"this"},
    exp.PropertyEQ: _BINARY,
    exp.Array: {"expressions", "value_constructor", "struct_name_inheritance"},
}

COMPARISONS: dict[type[exp.Expr], set[str]] = {
    exp.EQ: _BINARY,
    exp.NEQ: _BINARY,
    exp.LT: _BINARY,
    exp.LTE: _BINARY,
    exp.GT: _BINARY,
    exp.GTE: _BINARY,
    exp.NullSafeEQ: _BINARY,
    exp.NullSafeNEQ: _BINARY,
    exp.Between: {"this", "low", "high"},
    exp.In: {"this", "expressions", "query", "unnest"},
}

# Functions whose macro takes the same arguments, by the names that the syntax tree gives them.
MACROS_OF: dict[type[exp.Expr], tuple[str, tuple[str, ...]]] = {
    exp.Div: ("bq_divide", ("this", "expression")),
    exp.SafeDivide: ("bq_safe_divide", ("this", "expression")),
    exp.IntDiv: ("bq_div", ("this", "expression")),
    exp.Mod: ("bq_mod", ("this", "expression")),
    exp.Pow: ("bq_pow", ("this", "expression")),
    exp.Sqrt: ("bq_sqrt", ("this",)),
    exp.Round: ("bq_round", ("this", "decimals")),
    exp.CountIf: ("bq_countif", ("this",)),
    exp.Date: ("bq_date", ("this",)),
    exp.Timestamp: ("bq_to_timestamp", ("this",)),
    exp.Length: ("bq_length", ("this",)),
    exp.Lower: ("bq_lower", ("this",)),
    exp.Upper: ("bq_upper", ("this",)),
    exp.Substring: ("bq_substr", ("this", "start", "length")),
    exp.Replace: ("bq_replace", ("this", "expression", "replacement")),
    exp.StrPosition: ("bq_strpos", ("this", "substr")),
    exp.StartsWith: ("bq_starts_with", ("this", "expression")),
    exp.EndsWith: ("bq_ends_with", ("this", "expression")),
    exp.RegexpLike: ("bq_regexp_contains", ("this", "expression")),
    exp.RegexpReplace: ("bq_regexp_replace", ("this", "expression", "replacement")),
    exp.Split: ("bq_split", ("this", "expression")),
    exp.DateFromParts: ("make_date", ("year", "month", "day")),
    exp.ArgMax: ("bq_max_by", ("this", "expression")),
    exp.ArgMin: ("bq_min_by", ("this", "expression")),
}
# What the parser adds of its own accord, and which says nothing about the query.
PARSERS_OWN: dict[type[exp.Expr], set[str]] = {
    exp.Div: {"typed", "safe"},
    exp.Timestamp: {"with_tz"},
    exp.Length: {"binary"},
    exp.Unnest: {"explode_array"},
    exp.RegexpExtract: {"null_if_pos_overflow", "null_if_no_match", "empty_if_group_missing"},
    exp.Cast: {"_type"},
    exp.Concat: {"safe", "coalesce"},
    exp.DPipe: {"safe"},
    exp.DateDiff: {"date_part_boundary"},
    exp.TryCast: {"safe"},
    exp.Greatest: {"ignore_nulls"},
    exp.Least: {"ignore_nulls"},
}

MICROSECONDS = {
    "MICROSECOND": 1,
    "MILLISECOND": 1_000,
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
}
DAYS = {"DAY": 1, "WEEK": 7}
MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
DATE_PARTS = ("DAY", "MONTH", "QUARTER", "YEAR")
WEEKDAYS = ("MONDAY", "SUNDAY", "SATURDAY", "FRIDAY", "THURSDAY", "WEDNESDAY", "TUESDAY")
EXTRACT_TIMES = {
    "MICROSECOND": 1_000_000,
    "MILLISECOND": 1_000,
    "SECOND": 60,
    "MINUTE": 60,
    "HOUR": 24,
}
EXTRACT_DATES = {
    "DAY": "day",
    "DAYOFYEAR": "dayofyear",
    "ISOWEEK": "week",
    "MONTH": "month",
    "QUARTER": "quarter",
    "YEAR": "year",
    "ISOYEAR": "isoyear",
}
DATE_CODES = frozenset("YmdyjaAbBUuwVG")
TIME_CODES = frozenset("HMSIp")
TYPES = {
    "TEXT": "string",
    "BIGINT": "int64",
    "INT": "int64",
    "SMALLINT": "int64",
    "TINYINT": "int64",
    "DOUBLE": "float64",
    "BOOLEAN": "bool",
    "DATE": "date",
    "TIMESTAMPTZ": "timestamp",
}
# What DuckDB takes for a function, or a column of every table, where there is no such column.
NO_COLUMNS = frozenset(
    [
        "current_catalog",
        "current_database",
        "current_role",
        "current_schema",
        "localtime",
        "localtimestamp",
        "rowid",
        "session_user",
        "user",
    ]
)
TIMESTAMP_LITERAL = re.compile(
    r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00(:00)?| ?UTC)?)?"
)
