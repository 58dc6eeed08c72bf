"""What the local warehouse answers, pinned to BigQuery's answers, worked out by hand."""

# ruff: noqa: E501  (one line for each case)

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxci_assets.dialect import (
    SUPPORTED_FUNCTIONS,
    CatalogTable,
    DialectError,
    PartitionFilterError,
    QueryError,
    Value,
    raised,
    transpile,
)
from fxci_assets_tests import duck

CATALOG = {
    "d.t": CatalogTable(("i", "f", "s", "day", "ts", "tags", "names")),
    "d.bills": CatalogTable(("id", "project", "credits", "usage_start_time"), "usage_start_time"),
    "fxci.tasks": CatalogTable(("task_id", "submission_date", "tags"), "submission_date"),
    "fxci.task_runs": CatalogTable(
        ("task_id", "run_id", "submission_date", "state"), "submission_date"
    ),
}

SETUP = """
CREATE SCHEMA d;
CREATE TABLE d.t (i BIGINT, f DOUBLE, s VARCHAR, day DATE, ts TIMESTAMPTZ,
  tags STRUCT(project VARCHAR, kind VARCHAR), names VARCHAR[]);
INSERT INTO d.t VALUES
  (1, 1.5, 'a', '2026-04-13', '2026-04-13 10:00:00+00', {'project': 'try', 'kind': 'build'}, ['x', 'y']),
  (2, 2.5, 'b', '2026-04-14', '2026-04-14 23:59:59.999+00', {'project': 'try', 'kind': 'test'}, []),
  (3, -2.5, NULL, '2026-05-01', '2026-05-01 00:00:00+00', {'project': 'autoland', 'kind': NULL}, NULL),
  (NULL, NULL, 'a', NULL, NULL, NULL, ['z']);
CREATE TABLE d.bills (id BIGINT, project STRUCT(id VARCHAR, parent STRUCT(labels STRUCT(team VARCHAR))),
  credits STRUCT(amount DOUBLE, type VARCHAR)[], usage_start_time TIMESTAMPTZ);
INSERT INTO d.bills VALUES
  (1, {'id': 'p', 'parent': {'labels': {'team': 'ci'}}},
    [{'amount': -1.5, 'type': 'a'}, {'amount': -0.5, 'type': 'b'}], '2026-04-13 00:00:00+00'),
  (2, {'id': 'q', 'parent': {'labels': {'team': NULL}}}, [{'amount': NULL, 'type': 'a'}], '2026-04-13 23:59:59+00'),
  (3, {'id': 'q', 'parent': {'labels': NULL}}, [], '2026-04-14 00:00:00+00'),
  (4, NULL, NULL, '2026-04-12 23:59:59+00');
CREATE SCHEMA fxci;
CREATE TABLE fxci.tasks (task_id VARCHAR, submission_date DATE, tags STRUCT(project VARCHAR));
CREATE TABLE fxci.task_runs (task_id VARCHAR, run_id BIGINT, submission_date DATE, state VARCHAR);
"""


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return duck.connect(SETUP)


def run(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Value] | None = None
) -> list[Any]:
    """The rows; of a single column, its values."""
    return duck.rows(connection, transpile(sql, CATALOG, parameters))


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


B = "usage_start_time >= '2026-04-01'"
APRIL = "TIMESTAMP '2026-04-13 10:00:00'"

EXPRESSIONS: list[tuple[str, Any]] = [
    # numbers
    ("7", 7),
    ("2147483647 + 1", 2147483648),
    ("0.1 + 0.2", 0.30000000000000004),
    ("1e3", 1000.0),
    ("-3 * 2", -6),
    ("7 / 2", 3.5),
    ("NULL / 0", None),
    ("SAFE_DIVIDE(1, 0)", None),
    ("SAFE_DIVIDE(1, 4)", 0.25),
    ("-7 / 2", -3.5),
    ("6 / 3", 2.0),
    ("0 / 5", 0.0),
    ("SAFE_DIVIDE(0, 0)", None),
    ("SAFE_DIVIDE(1, NULL)", None),
    ("DIV(7, 2)", 3),
    ("DIV(-7, 2)", -3),
    ("DIV(7, -2)", -3),
    ("DIV(NULL, 0)", None),
    ("MOD(-7, 3)", -1),
    ("MOD(7, -3)", 1),
    ("ROUND(2.5)", 3.0),
    ("ROUND(-2.5)", -3.0),
    ("ROUND(1234.567, 1)", 1234.6),
    ("ROUND(1234.567, -2)", 1200.0),
    ("ROUND(5)", 5.0),
    # The floats nearest to 2.675 and 1.115 are smaller; 0.125 is one, and half way.
    ("ROUND(2.675, 2)", 2.67),
    ("ROUND(-1.115, 2)", -1.11),
    ("ROUND(0.125, 2)", 0.13),
    ("ROUND(-0.125, 2)", -0.13),
    ("ROUND(1e17, 2)", 1e17),
    ("ROUND(NULL, 2)", None),
    ("ABS(-4)", 4),
    ("CEIL(1.2)", 2.0),
    ("CEILING(-1.2)", -1.0),
    ("FLOOR(-1.2)", -2.0),
    ("POW(2, 10)", 1024.0),
    ("POWER(2, -1)", 0.5),
    ("SQRT(9)", 3.0),
    ("GREATEST(1, 3, 2)", 3),
    ("GREATEST(1, NULL)", None),
    ("LEAST('b', 'a')", "a"),
    ("LEAST(1, NULL)", None),
    ("GREATEST(1, 2.5)", 2.5),
    ("GREATEST(TIMESTAMP '2026-04-13', TIMESTAMP '2026-04-14')", utc("2026-04-14")),
    ("LEAST(TIMESTAMP '2026-04-13 00:00:00.001', TIMESTAMP '2026-04-13')", utc("2026-04-13")),
    ("GREATEST(TIMESTAMP '2026-04-13', NULL)", None),
    # conditions
    ("IF(1 > 2, 'yes', 'no')", "no"),
    ("IF(NULL, 1, 2)", 2),
    ("IF(TRUE, 1, 2.5)", 1.0),
    ("IFNULL(NULL, 5)", 5),
    ("COALESCE(NULL, NULL, 3)", 3),
    ("NULLIF(1, 1)", None),
    ("CASE WHEN FALSE THEN 1 WHEN TRUE THEN 2 ELSE 3 END", 2),
    ("CASE 'a' WHEN 'b' THEN 1 END", None),
    ("CASE NULL WHEN NULL THEN 1 ELSE 2 END", 2),
    ("NULL = NULL", None),
    ("NULL IS NOT DISTINCT FROM NULL", True),
    ("1 IS DISTINCT FROM NULL", True),
    ("1 IN (2, NULL)", None),
    ("1 IN (1, NULL)", True),
    ("1 NOT IN (2, 3)", True),
    ("1 NOT IN (2, NULL)", None),
    ("NULL IN UNNEST([1])", None),
    ("NULL IN UNNEST([])", False),
    ("2 IN UNNEST([1, 2])", True),
    ("3 IN UNNEST([1, NULL])", None),
    ("2 BETWEEN 1 AND 3", True),
    ("2 BETWEEN NULL AND 1", False),
    ("NOT (TRUE AND NULL)", None),
    ("FALSE AND NULL", False),
    ("TRUE OR NULL", True),
    ("NULL IS NULL", True),
    ("FALSE IS TRUE", False),
    ("1 != 2", True),
    ("EXISTS (SELECT 1)", True),
    ("(SELECT 5)", 5),
    # text
    (r"'it\'s'", "it's"),
    (r"'back\\slash'", "back\\slash"),
    (r"'\x41\u00e9\n'", "Aé\n"),
    (r"r'\d'", "\\d"),
    ("CONCAT('a', 'b', 'c')", "abc"),
    ("CONCAT('a', 1, TRUE)", "a1true"),
    ("CONCAT('a', NULL)", None),
    ("'a' || 'b'", "ab"),
    ("'a' || NULL", None),
    ("LOWER('ÀB')", "àb"),
    ("UPPER('ab')", "AB"),
    ("LENGTH('naïve')", 5),
    (r"TRIM(' \t x \n')", "x"),
    ("TRIM('xxaxx', 'x')", "a"),
    ("LTRIM('  a ')", "a "),
    ("RTRIM(' a  ')", " a"),
    ("SUBSTR('apple', 2)", "pple"),
    ("SUBSTR('apple', 2, 2)", "pp"),
    ("SUBSTR('apple', -2)", "le"),
    ("SUBSTR('apple', 0)", "apple"),
    ("SUBSTR('apple', -9, 2)", "ap"),
    ("SUBSTR('apple', 123)", ""),
    ("SUBSTRING('apple', 1, 3)", "app"),
    ("REPLACE('a-b-c', '-', '_')", "a_b_c"),
    ("REPLACE('abc', '', 'x')", "abc"),
    ("STRPOS('foo@example.com', '@')", 4),
    ("STRPOS('abc', 'x')", 0),
    ("STRPOS('abc', NULL)", None),
    ("STARTS_WITH('foobar', 'foo')", True),
    ("STARTS_WITH('foobar', 'Foo')", False),
    ("STARTS_WITH('foobar', '')", True),
    ("STARTS_WITH('foobar', NULL)", None),
    ("ENDS_WITH('foobar', 'foo')", False),
    ("'abc' LIKE 'a%'", True),
    ("'abc' LIKE 'A%'", False),
    ("'abc' LIKE '_b_'", True),
    (r"'axc' LIKE 'a\\_c'", False),
    (r"'a_c' LIKE 'a\\_c'", True),
    ("'abc' NOT LIKE 'a%'", False),
    (r"'a\nb' LIKE 'a%b'", True),
    ("'' LIKE '%'", True),
    ("NULL LIKE '%'", None),
    ("SPLIT('a,b,c')", ["a", "b", "c"]),
    ("SPLIT('', ',')", [""]),
    ("SPLIT('a,,b,', ',')", ["a", "", "b", ""]),
    ("SPLIT('a', CAST(NULL AS STRING))", None),
    ("SPLIT('gecko-t/linux/x', '/')[OFFSET(2)]", "x"),
    ("SPLIT(NULL, '/')[OFFSET(0)]", None),
    ("SPLIT('a/b', '/')[OFFSET(1)]", "b"),
    ("SPLIT('a/b', '/')[ORDINAL(1)]", "a"),
    ("SPLIT('a/b', '/')[SAFE_OFFSET(2)]", None),
    ("SPLIT('a/b', '/')[SAFE_OFFSET(-1)]", None),
    ("SPLIT('a/b', '/')[SAFE_ORDINAL(2)]", "b"),
    (r"REGEXP_CONTAINS('try-1', r'-\d$')", True),
    ("REGEXP_CONTAINS('TRY', '(?i)try')", True),
    (r"REGEXP_CONTAINS('a\nb', 'a.b')", False),
    (r"REGEXP_CONTAINS('a\nb', '(?s)a.b')", True),
    (r"REGEXP_CONTAINS('a\nb', '^b$')", False),
    (r"REGEXP_CONTAINS('a\nb', '(?m)^b$')", True),
    ("REGEXP_CONTAINS('aBc', 'a(?i:b)c')", True),
    ("REGEXP_CONTAINS('abC', 'a(?i:b)c')", False),
    ("REGEXP_CONTAINS(NULL, 'a')", None),
    ("REGEXP_CONTAINS('a', CAST(NULL AS STRING))", None),
    ("REGEXP_EXTRACT(NULL, 'a')", None),
    ("REGEXP_EXTRACT('xab', 'a*')", ""),
    ("REGEXP_EXTRACT('aaab', '(?U)a+')", "a"),
    (r"REGEXP_EXTRACT('gecko-t/linux', r'^([^/]+)/')", "gecko-t"),
    (r"REGEXP_EXTRACT('run 12 of 30', r'\d+')", "12"),
    (r"REGEXP_EXTRACT('run 12', r'run (\d+)')", "12"),
    (r"REGEXP_EXTRACT('run', r'run (\d+)')", None),
    (r"REGEXP_EXTRACT('RUN 7', r'(?i)run (\d)')", "7"),
    ("REGEXP_EXTRACT('abc', 'a(?:b|x)c')", "abc"),
    (r"REGEXP_REPLACE('a1b22', r'\d+', '#')", "a#b#"),
    ("REGEXP_REPLACE('aBb', '(?i)b', 'x')", "axx"),
    ("REGEXP_REPLACE('abc', 'x*', '-')", "-a-b-c-"),
    ("REGEXP_REPLACE('abc', 'b', NULL)", None),
    (r"REGEXP_REPLACE('key=value', r'(\w+)=(\w+)', r'\2=\1')", "value=key"),
    # conversions
    ("CAST(1.0 AS STRING)", "1"),
    ("CAST(0.1 AS STRING)", "0.1"),
    ("CAST(0.1 + 0.2 AS STRING)", "0.30000000000000004"),
    ("CAST(1e20 AS STRING)", "1e+20"),
    ("CAST(-0.0 AS STRING)", "0"),
    ("CAST(123456.5 AS STRING)", "123456.5"),
    ("CAST(100000.0 AS STRING)", "100000"),
    # Fifteen digits, or seventeen where these are needed to read the same number again.
    ("CAST(1 / 3 AS STRING)", "0.33333333333333331"),
    ("CAST(0.00001 AS STRING)", "1e-05"),
    ("CAST(0.0001 AS STRING)", "0.0001"),
    ("CAST(12 AS STRING)", "12"),
    ("CAST(TRUE AS STRING)", "true"),
    ("CAST(DATE '2026-04-13' AS STRING)", "2026-04-13"),
    ("CAST(TIMESTAMP '2026-04-13' AS STRING)", "2026-04-13 00:00:00+00"),
    ("CAST(TIMESTAMP '2026-04-13 01:02:03.12' AS STRING)", "2026-04-13 01:02:03.120+00"),
    ("CAST(TIMESTAMP '2026-04-13 01:02:03.000004' AS STRING)", "2026-04-13 01:02:03.000004+00"),
    ("CAST(NULL AS STRING)", None),
    ("CAST(2.5 AS INT64)", 3),
    ("CAST(-2.5 AS INT64)", -3),
    ("CAST(0.5 AS INT64)", 1),
    ("CAST('12' AS INT64)", 12),
    ("CAST('0x1A' AS INT64)", 26),
    ("CAST('7' AS INT)", 7),
    ("CAST('7' AS INTEGER)", 7),
    ("CAST(TRUE AS INT64)", 1),
    ("CAST('1.5e3' AS FLOAT64)", 1500.0),
    ("CAST(3 AS FLOAT64)", 3.0),
    ("CAST('TRUE' AS BOOL)", True),
    ("CAST(0 AS BOOL)", False),
    ("CAST('2026-4-3' AS DATE)", day("2026-04-03")),
    ("CAST(TIMESTAMP '2026-04-13 23:59:59' AS DATE)", day("2026-04-13")),
    ("CAST('2026-04-13 10:00:00+02' AS TIMESTAMP)", utc("2026-04-13 08:00:00")),
    ("CAST(DATE '2026-04-13' AS TIMESTAMP)", utc("2026-04-13")),
    ("SAFE_CAST('x' AS INT64)", None),
    ("SAFE_CAST('1.5' AS INT64)", None),
    ("SAFE_CAST('x' AS FLOAT64)", None),
    ("SAFE_CAST('yes' AS BOOL)", None),
    ("SAFE_CAST('2026-02-30' AS DATE)", None),
    ("SAFE_CAST('yesterday' AS TIMESTAMP)", None),
    # dates
    ("DATE '2026-04-13' - 1", day("2026-04-12")),
    ("DATE '2026-04-30' + 1", day("2026-05-01")),
    ("DATE '2026-01-01' - 1", day("2025-12-31")),
    ("1 + DATE '2026-04-30'", day("2026-05-01")),
    ("DATE '2026-04-13' < DATE '2026-04-14'", True),
    ("DATE '2026-04-13' = '2026-04-13'", True),
    ("DATE(2026, 4, 13)", day("2026-04-13")),
    ("DATE(TIMESTAMP '2026-04-13 23:59:59.999')", day("2026-04-13")),
    ("DATE_ADD(DATE '2026-01-31', INTERVAL 1 MONTH)", day("2026-02-28")),
    ("DATE_ADD(DATE '2024-02-29', INTERVAL 1 YEAR)", day("2025-02-28")),
    ("DATE_ADD(DATE '2026-04-13', INTERVAL 2 WEEK)", day("2026-04-27")),
    ("DATE_ADD(DATE '2026-04-13', INTERVAL 1 QUARTER)", day("2026-07-13")),
    ("DATE_SUB(DATE '2026-03-31', INTERVAL 1 MONTH)", day("2026-02-28")),
    ("DATE_SUB(DATE '2026-04-13', INTERVAL 3 + 4 DAY)", day("2026-04-06")),
    ("DATE_SUB(DATE '2026-04-13', INTERVAL -1 DAY)", day("2026-04-14")),
    ("DATE_DIFF(DATE '2026-04-13', DATE '2026-04-01', DAY)", 12),
    # 2026-04-12 is a Sunday, on which a WEEK starts; an ISOWEEK starts on Monday.
    ("DATE_DIFF(DATE '2026-04-12', DATE '2026-04-11', WEEK)", 1),
    ("DATE_DIFF(DATE '2026-04-18', DATE '2026-04-12', WEEK)", 0),
    ("DATE_DIFF(DATE '2026-04-11', DATE '2026-04-12', WEEK)", -1),
    ("DATE_DIFF(DATE '2026-04-13', DATE '2026-04-12', ISOWEEK)", 1),
    ("DATE_DIFF(DATE '2026-04-14', DATE '2026-04-13', WEEK(TUESDAY))", 1),
    ("DATE_DIFF(DATE '2026-05-01', DATE '2026-04-30', MONTH)", 1),
    ("DATE_DIFF(DATE '2026-04-30', DATE '2026-04-01', MONTH)", 0),
    ("DATE_DIFF(DATE '2026-04-01', DATE '2026-03-31', QUARTER)", 1),
    ("DATE_DIFF(DATE '2026-01-01', DATE '2025-12-31', YEAR)", 1),
    ("DATE_DIFF(DATE '2026-04-01', DATE '2026-04-13', DAY)", -12),
    ("DATE_TRUNC(DATE '2026-04-13', MONTH)", day("2026-04-01")),
    ("DATE_TRUNC(DATE '1969-12-31', WEEK)", day("1969-12-28")),
    ("DATE_TRUNC(DATE '2026-04-13', WEEK)", day("2026-04-12")),
    ("DATE_TRUNC(DATE '2026-04-12', WEEK)", day("2026-04-12")),
    ("DATE_TRUNC(DATE '2026-04-15', ISOWEEK)", day("2026-04-13")),
    ("DATE_TRUNC(DATE '2026-04-13', WEEK(TUESDAY))", day("2026-04-07")),
    ("DATE_TRUNC(DATE '2026-05-13', QUARTER)", day("2026-04-01")),
    ("DATE_TRUNC(DATE '2026-05-13', YEAR)", day("2026-01-01")),
    ("EXTRACT(DAYOFWEEK FROM DATE '2026-04-12')", 1),
    ("EXTRACT(DAYOFWEEK FROM DATE '2026-04-18')", 7),
    ("EXTRACT(DAYOFWEEK FROM TIMESTAMP '2026-04-13 23:59:59')", 2),
    ("EXTRACT(WEEK FROM DATE '2026-01-03')", 0),
    ("EXTRACT(WEEK FROM DATE '2026-01-04')", 1),
    ("EXTRACT(ISOWEEK FROM DATE '2026-01-04')", 1),
    ("EXTRACT(ISOYEAR FROM DATE '2027-01-01')", 2026),
    ("EXTRACT(DAY FROM DATE '2026-04-13')", 13),
    ("EXTRACT(DAYOFYEAR FROM DATE '2026-02-01')", 32),
    ("EXTRACT(MONTH FROM DATE '2026-04-13')", 4),
    ("EXTRACT(QUARTER FROM DATE '2026-04-13')", 2),
    ("EXTRACT(YEAR FROM DATE '2026-04-13')", 2026),
    ("FORMAT_DATE('%Y-%m-%d', DATE '2026-04-03')", "2026-04-03"),
    ("FORMAT_DATE('%F', DATE '2026-04-03')", "2026-04-03"),
    ("FORMAT_DATE('%Y-%m', DATE '2026-04-03')", "2026-04"),
    ("FORMAT_DATE('%F', CAST(NULL AS DATE))", None),
    ("FORMAT_DATE('%a %A %b %B %y %j', DATE '2026-04-03')", "Fri Friday Apr April 26 093"),
    ("FORMAT_DATE('%G-W%V-%u', DATE '2027-01-01')", "2026-W53-5"),
    ("FORMAT_DATE('%U %w', DATE '2026-01-04')", "01 0"),
    (
        "GENERATE_DATE_ARRAY(DATE '2026-04-30', DATE '2026-05-01')",
        [day("2026-04-30"), day("2026-05-01")],
    ),
    ("GENERATE_DATE_ARRAY(DATE '2026-05-02', DATE '2026-05-01')", []),
    # timestamps
    (f"TIMESTAMP_DIFF({APRIL}, TIMESTAMP '2026-04-13 09:59:00.5', SECOND)", 59),
    (f"TIMESTAMP_DIFF(TIMESTAMP '2026-04-13 09:59:00.5', {APRIL}, SECOND)", -59),
    (f"TIMESTAMP_DIFF(TIMESTAMP '2026-04-14 09:59:59', {APRIL}, DAY)", 0),
    (f"TIMESTAMP_DIFF(TIMESTAMP '2026-04-14 10:00:00', {APRIL}, DAY)", 1),
    (f"TIMESTAMP_DIFF(TIMESTAMP '2026-04-13 11:59:59', {APRIL}, HOUR)", 1),
    (f"TIMESTAMP_DIFF(TIMESTAMP '2026-04-13 10:01:59', {APRIL}, MINUTE)", 1),
    (f"TIMESTAMP_DIFF(TIMESTAMP '2026-04-13 10:00:00.0019', {APRIL}, MILLISECOND)", 1),
    (f"TIMESTAMP_DIFF(TIMESTAMP '2026-04-13 10:00:00.000001', {APRIL}, MICROSECOND)", 1),
    # -0.999 seconds, which is 0 whole ones; a difference of boundaries would be -1.
    (f"TIMESTAMP_DIFF(TIMESTAMP '2026-04-13 09:59:59.001', {APRIL}, SECOND)", 0),
    (f"TIMESTAMP_DIFF(TIMESTAMP '2026-04-12 09:59:59', {APRIL}, DAY)", -1),
    (f"TIMESTAMP_DIFF(NULL, {APRIL}, SECOND)", None),
    (f"TIMESTAMP_ADD({APRIL}, INTERVAL 1 DAY)", utc("2026-04-14 10:00:00")),
    (f"TIMESTAMP_ADD({APRIL}, INTERVAL 1500 MILLISECOND)", utc("2026-04-13 10:00:01.5")),
    (f"TIMESTAMP_SUB({APRIL}, INTERVAL 90 MINUTE)", utc("2026-04-13 08:30:00")),
    (f"TIMESTAMP_TRUNC({APRIL}, DAY)", utc("2026-04-13")),
    (f"TIMESTAMP_TRUNC({APRIL}, HOUR)", utc("2026-04-13 10:00:00")),
    (f"TIMESTAMP_TRUNC({APRIL}, WEEK)", utc("2026-04-12")),
    (f"TIMESTAMP_TRUNC({APRIL}, MONTH)", utc("2026-04-01")),
    (f"TIMESTAMP_TRUNC({APRIL}, YEAR)", utc("2026-01-01")),
    ("TIMESTAMP_TRUNC(TIMESTAMP '2026-04-13 10:11:12.345678', MINUTE)", utc("2026-04-13 10:11:00")),
    ("TIMESTAMP_TRUNC(TIMESTAMP '1969-12-31 23:59:59.5', SECOND)", utc("1969-12-31 23:59:59")),
    ("TIMESTAMP('2026-04-13 10:00:00')", utc("2026-04-13 10:00:00")),
    ("TIMESTAMP_SECONDS(86400)", utc("1970-01-02")),
    ("TIMESTAMP_MILLIS(1500)", utc("1970-01-01 00:00:01.5")),
    ("TIMESTAMP_MICROS(-1)", utc("1969-12-31 23:59:59.999999")),
    ("TIMESTAMP_SECONDS(NULL)", None),
    ("TIMESTAMP(DATE '2026-04-13')", utc("2026-04-13")),
    ("TIMESTAMP '2026-04-13T10:00:00Z'", utc("2026-04-13 10:00:00")),
    ("TIMESTAMP '2026-04-13 10:00:00 UTC'", utc("2026-04-13 10:00:00")),
    (f"{APRIL} > '2026-04-13'", True),
    (f"EXTRACT(DATE FROM {APRIL})", day("2026-04-13")),
    (f"EXTRACT(HOUR FROM {APRIL})", 10),
    ("EXTRACT(MINUTE FROM TIMESTAMP '2026-04-13 10:11:12.345678')", 11),
    ("EXTRACT(SECOND FROM TIMESTAMP '2026-04-13 10:11:12.345678')", 12),
    ("EXTRACT(MILLISECOND FROM TIMESTAMP '2026-04-13 10:11:12.345678')", 345),
    ("EXTRACT(MICROSECOND FROM TIMESTAMP '2026-04-13 10:11:12.345678')", 345678),
    (f"FORMAT_TIMESTAMP('%FT%T', {APRIL})", "2026-04-13T10:00:00"),
    (f"FORMAT_TIMESTAMP('%I:%M %p', {APRIL})", "10:00 AM"),
    ("UNIX_SECONDS(TIMESTAMP '1970-01-02')", 86400),
    ("UNIX_SECONDS(TIMESTAMP '1969-12-31 23:59:59.5')", -1),
    ("UNIX_MILLIS(TIMESTAMP '1970-01-01 00:00:01.5')", 1500),
    ("UNIX_MICROS(TIMESTAMP '1970-01-01 00:00:01')", 1_000_000),
    # arrays and structs
    ("[1, 2]", [1, 2]),
    ("ARRAY_LENGTH([1, 2, 3])", 3),
    ("ARRAY_LENGTH([])", 0),
    ("ARRAY_LENGTH(SPLIT(NULL, ','))", None),
    ("ARRAY_TO_STRING(['a', NULL, 'b'], '-')", "a-b"),
    ("ARRAY_TO_STRING([], '-')", ""),
    ("ARRAY_TO_STRING(SPLIT(NULL, ','), '-')", None),
    ("STRUCT(1 AS a, 'x' AS b)", {"a": 1, "b": "x"}),
    ("STRUCT(1 AS a, 'x' AS b).b", "x"),
    ("STRUCT(STRUCT(STRUCT(7 AS c) AS b) AS a).a.b.c", 7),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS, ids=[e for e, _ in EXPRESSIONS])
def test_an_expression_has_bigquerys_value(
    connection: duckdb.DuckDBPyConnection, expression: str, expected: object
) -> None:
    [value] = run(connection, f"SELECT {expression}")
    assert value == expected
    assert type(value) is type(expected)


QUERIES: list[tuple[str, list[Any]]] = [
    # aggregates
    ("SELECT COUNT(*), COUNT(i), COUNT(DISTINCT s), APPROX_COUNT_DISTINCT(s) FROM d.t", [(4, 3, 2, 2)]),
    ("SELECT SUM(i), SUM(f), AVG(i), MIN(s), MAX(day) FROM d.t", [(6, 1.5, 2.0, "a", day("2026-05-01"))]),
    ("SELECT SUM(DISTINCT i), COUNTIF(i > 1), COUNTIF(NULL) FROM d.t", [(6, 2, 0)]),
    ("SELECT SUM(i), COUNT(i), COUNTIF(TRUE), MAX(i) FROM d.t WHERE FALSE", [(None, 0, 0, None)]),
    ("SELECT LOGICAL_AND(i > 1), LOGICAL_OR(i > 1) FROM d.t", [(False, True)]),
    ("SELECT LOGICAL_AND(i > 0), LOGICAL_OR(i > 9), LOGICAL_AND(i IS NULL) FROM d.t WHERE f > 0", [(True, False, False)]),
    ("SELECT LOGICAL_AND(i > 0), LOGICAL_OR(i > 0) FROM d.t WHERE i IS NULL", [(None, None)]),
    ("SELECT SUM(f), AVG(f), COUNT(f), MIN(s) FROM d.t WHERE f IS NULL", [(None, None, 0, "a")]),
    ("SELECT s, SUM(f) FROM d.t GROUP BY s ORDER BY s", [(None, -2.5), ("a", 1.5), ("b", 2.5)]),
    ("SELECT SUM(f) FROM d.t WHERE FALSE GROUP BY s", []),
    # By code points: upper before lower case before accents.
    ("SELECT MIN(x), MAX(x) FROM UNNEST(['b', 'Z', 'é', NULL]) AS x", [("Z", "é")]),
    ("SELECT COUNTIF(i > 1) / COUNT(*), COUNTIF(i IS NULL) FROM d.t", [(0.5, 1)]),
    ("SELECT COUNT(DISTINCT IF(i > 1, s, NULL)), SUM(IF(i > 1, f, 0)) FROM d.t", [(1, 0.0)]),
    ("SELECT ROUND(100 * COUNTIF(i > 1) / COUNT(i), 2), ROUND(SUM(f) / 4, 1) FROM d.t", [(66.67, 0.4)]),
    ("SELECT MAX_BY(s, f), MIN_BY(i, day), ANY_VALUE(i HAVING MAX s), ANY_VALUE(i HAVING MIN f) FROM d.t", [("b", 1, 2, 3)]),
    # The row decides, be its value NULL; a NULL is no greatest and no least one.
    ("SELECT MAX_BY(s, i), MIN_BY(s, f), MAX_BY(s, NULLIF(i, 3)) FROM d.t", [(None, None, "b")]),
    ("SELECT MAX_BY(s, i) FROM d.t WHERE i IS NULL", [None]),
    ("SELECT tags.project, MAX_BY(s, i) FROM d.t GROUP BY 1 ORDER BY 1", [(None, None), ("autoland", None), ("try", "b")]),
    ("SELECT ANY_VALUE(tags.project) FROM d.t WHERE i = 3", ["autoland"]),
    ("SELECT SUM(i) / COUNT(*) + 1, ROUND(SUM(f), 1) FROM d.t", [(2.5, 1.5)]),
    ("SELECT MAX(day) - 1, DATE_TRUNC(MAX(day), MONTH) FROM d.t", [(day("2026-04-30"), day("2026-05-01"))]),
    ("SELECT MAX(i) - MIN(i), CAST(SUM(i) AS STRING) FROM d.t", [(2, "6")]),
    ("SELECT ARRAY_AGG(i IGNORE NULLS ORDER BY i DESC) FROM d.t", [[3, 2, 1]]),
    ("SELECT ARRAY_AGG(s ORDER BY i DESC LIMIT 2) FROM d.t", [[None, "b"]]),
    ("SELECT ARRAY_AGG(DISTINCT s IGNORE NULLS ORDER BY s) FROM d.t", [["a", "b"]]),
    ("SELECT ARRAY_AGG(STRUCT(i, s) ORDER BY f DESC LIMIT 1)[OFFSET(0)].s FROM d.t", ["b"]),
    ("SELECT ARRAY_AGG(i) FROM d.t WHERE FALSE", [None]),
    ("SELECT ARRAY_AGG(i IGNORE NULLS) FROM d.t WHERE i IS NULL", [None]),
    ("SELECT ARRAY_AGG(i ORDER BY i), ARRAY_AGG(i ORDER BY i DESC) FROM d.t", [([None, 1, 2, 3], [3, 2, 1, None])]),
    ("SELECT ARRAY_AGG(i ORDER BY s DESC, i LIMIT 3) FROM d.t", [[2, None, 1]]),
    ("SELECT ARRAY_AGG(DISTINCT s ORDER BY s), ARRAY_AGG(DISTINCT s IGNORE NULLS ORDER BY s DESC LIMIT 1) FROM d.t", [([None, "a", "b"], ["b"])]),
    ("SELECT ARRAY_AGG(s IGNORE NULLS ORDER BY i DESC LIMIT 1)[OFFSET(0)] FROM d.t", ["b"]),
    ("SELECT ARRAY_AGG(STRUCT(i AS n, tags.kind AS kind) ORDER BY i DESC LIMIT 1)[OFFSET(0)].kind FROM d.t", [None]),
    ("SELECT STRING_AGG(s ORDER BY s DESC) FROM d.t", ["b,a,a"]),
    ("SELECT STRING_AGG(DISTINCT s, '+' ORDER BY s) FROM d.t", ["a+b"]),
    ("SELECT STRING_AGG(s, '-' ORDER BY s LIMIT 2) FROM d.t", ["a-a"]),
    ("SELECT STRING_AGG(s) FROM d.t WHERE FALSE", [None]),
    ("SELECT STRING_AGG(s) FROM d.t WHERE s IS NULL", [None]),
    ("SELECT STRING_AGG(s, ', ' ORDER BY i DESC) FROM d.t", ["b, a, a"]),
    ("SELECT STRING_AGG(DISTINCT s, ',' ORDER BY s DESC LIMIT 1) FROM d.t", ["b"]),
    ("SELECT STRING_AGG(DISTINCT UPPER(s), ',' ORDER BY UPPER(s)) FROM d.t", ["A,B"]),
    ("SELECT STRING_AGG(s, '' ORDER BY s) FROM d.t", ["aab"]),
    # The documentation's own example, and with NULLs.
    ("SELECT APPROX_QUANTILES(x, 2) FROM UNNEST([1, 1, 1, 4, 5, 6, 7, 8, 9, 10]) AS x", [[1, 5, 10]]),
    ("SELECT APPROX_QUANTILES(i, 4) FROM d.t", [[1, 1, 2, 3, 3]]),
    ("SELECT APPROX_QUANTILES(x, 10)[OFFSET(9)], APPROX_QUANTILES(x, 4)[OFFSET(1)] FROM UNNEST([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) AS x", [(9, 3)]),
    ("SELECT APPROX_QUANTILES(day, 2)[OFFSET(1)], APPROX_QUANTILES(s, 1)[OFFSET(1)] FROM d.t", [(day("2026-04-14"), "b")]),
    ("SELECT APPROX_QUANTILES(i, 100)[OFFSET(50)] FROM d.t", [2]),
    ("SELECT APPROX_QUANTILES(i, 2)[SAFE_OFFSET(9)] FROM d.t", [None]),
    ("SELECT APPROX_QUANTILES(f, 2)[OFFSET(1)] / 2, APPROX_QUANTILES(i, 2)[ORDINAL(3)] FROM d.t", [(0.75, 3)]),
    ("SELECT APPROX_QUANTILES(i, 2), APPROX_QUANTILES(i, 2)[OFFSET(0)] FROM d.t WHERE FALSE", [(None, None)]),
    ("SELECT AVG(DISTINCT i) FROM d.t", [2.0]),
    # GROUP BY, HAVING, ORDER BY
    ("SELECT s, COUNT(*) AS n FROM d.t GROUP BY s ORDER BY s", [(None, 1), ("a", 2), ("b", 1)]),
    ("SELECT s, COUNT(*) FROM d.t GROUP BY 1 HAVING COUNT(*) > 1", [("a", 2)]),
    ("SELECT 'x', i FROM d.t WHERE i > 0 ORDER BY 2 DESC LIMIT 1", [("x", 3)]),
    ("SELECT s, COUNT(*) AS n FROM d.t GROUP BY s HAVING n > 1", [("a", 2)]),
    ("SELECT s, SUM(f) / COUNT(*) AS mean FROM d.t GROUP BY s HAVING mean > 2", [("b", 2.5)]),
    ("SELECT s, COUNT(*) AS n FROM d.t GROUP BY ALL ORDER BY s", [(None, 1), ("a", 2), ("b", 1)]),
    ("SELECT UPPER(s) AS s, 'x' AS x, COUNT(*) AS n, SUM(COUNT(*)) OVER () AS total FROM d.t GROUP BY ALL ORDER BY s", [(None, "x", 1, 4), ("A", "x", 2, 4), ("B", "x", 1, 4)]),
    ("SELECT m FROM (SELECT tags.project, MAX(i) + 1 AS m FROM d.t GROUP BY ALL) ORDER BY m", [None, 3, 4]),
    # A name that is an alias and a column is the alias.
    ("SELECT COALESCE(s, 'a') AS s, COUNT(*) AS n FROM d.t GROUP BY s ORDER BY s", [("a", 3), ("b", 1)]),
    ("SELECT -i AS i FROM d.t WHERE i > 0 ORDER BY i", [-3, -2, -1]),
    ("SELECT -i AS i FROM d.t WHERE i > 0 ORDER BY i + 0", [-3, -2, -1]),
    ("SELECT tags.project, COUNT(*) FROM d.t GROUP BY project ORDER BY project", [(None, 1), ("autoland", 1), ("try", 2)]),
    ("SELECT i FROM d.t ORDER BY i", [None, 1, 2, 3]),
    ("SELECT i FROM d.t ORDER BY i DESC", [3, 2, 1, None]),
    ("SELECT i FROM d.t ORDER BY i NULLS LAST LIMIT 2 OFFSET 1", [2, 3]),
    ("SELECT DISTINCT s FROM d.t ORDER BY s", [None, "a", "b"]),
    # windows
    ("SELECT i, ROW_NUMBER() OVER (ORDER BY i DESC) FROM d.t WHERE i < 3 ORDER BY i", [(1, 2), (2, 1)]),
    ("SELECT RANK() OVER (ORDER BY s), DENSE_RANK() OVER (ORDER BY s) FROM d.t ORDER BY 1", [(1, 1), (2, 2), (2, 2), (4, 3)]),
    ("SELECT LAG(i) OVER (ORDER BY i), LEAD(i, 1, 0) OVER (ORDER BY i) FROM d.t WHERE i > 0 ORDER BY i", [(None, 2), (1, 3), (2, 0)]),
    ("SELECT FIRST_VALUE(i) OVER w, LAST_VALUE(i) OVER w FROM d.t WHERE i > 0 WINDOW w AS (ORDER BY i) ORDER BY 2", [(1, 1), (1, 2), (1, 3)]),
    ("SELECT FIRST_VALUE(s IGNORE NULLS) OVER (ORDER BY i DESC ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM d.t WHERE i = 3 OR i = 2 ORDER BY i", ["b", "b"]),
    ("SELECT SUM(i) OVER (ORDER BY i), COUNT(*) OVER () FROM d.t WHERE i > 0 ORDER BY i", [(1, 3), (3, 3), (6, 3)]),
    ("SELECT MAX(i) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) FROM d.t WHERE i > 0 ORDER BY i", [None, 1, 2]),
    ("SELECT i, COUNTIF(i > 1) OVER (PARTITION BY tags.project) FROM d.t WHERE i > 0 ORDER BY i", [(1, 1), (2, 1), (3, 1)]),
    ("SELECT SUM(i) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM d.t WHERE i > 0 ORDER BY i", [1, 3, 5]),
    ("SELECT COUNT(*) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) FROM d.t WHERE i > 0 ORDER BY i", [0, 1, 2]),
    ("SELECT MIN(i) OVER (ORDER BY i DESC ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) FROM d.t WHERE i > 0 ORDER BY i", [1, 1, 1]),
    # Peers share a frame without ROWS, and do not with it.
    ("SELECT SUM(x) OVER (ORDER BY x), SUM(x) OVER (ORDER BY x ROWS UNBOUNDED PRECEDING) FROM UNNEST([1, 1, 2]) AS x ORDER BY 2", [(2, 1), (2, 2), (4, 4)]),
    ("SELECT LAG(i, 2) OVER (ORDER BY i DESC) FROM d.t WHERE i > 0 ORDER BY i", [3, None, None]),
    ("SELECT DISTINCT PERCENTILE_CONT(x, 0.5) OVER (), PERCENTILE_DISC(x, 0.5) OVER () FROM UNNEST([10, 1, NULL, 4, 2]) AS x", [(3.0, 2)]),
    ("SELECT i, PERCENTILE_CONT(f, 0.5) OVER (PARTITION BY tags.project) FROM d.t ORDER BY i", [(None, None), (1, 2.0), (2, 2.0), (3, -2.5)]),
    ("SELECT DISTINCT PERCENTILE_DISC(x, 0.5) OVER () FROM UNNEST(['c', NULL, 'b', 'a']) AS x", ["b"]),
    ("SELECT SUM(SUM(i)) OVER () FROM d.t GROUP BY s ORDER BY 1 LIMIT 1", [6]),
    ("SELECT i FROM d.t WHERE i > 0 QUALIFY ROW_NUMBER() OVER (PARTITION BY tags.project ORDER BY i DESC) = 1 ORDER BY i", [2, 3]),
    ("SELECT s, COUNT(*) AS n FROM d.t GROUP BY s QUALIFY RANK() OVER (ORDER BY n DESC) = 1", [("a", 2)]),
    ("SELECT i, RANK() OVER (ORDER BY i DESC) AS place FROM d.t WHERE i > 0 QUALIFY place <= 2 ORDER BY place", [(3, 1), (2, 2)]),
    ("SELECT i FROM d.t QUALIFY COUNT(*) OVER (PARTITION BY s) > 1 ORDER BY i", [None, 1]),
    # by what is computed
    ("SELECT i, ROW_NUMBER() OVER (PARTITION BY DATE_TRUNC(day, MONTH) ORDER BY i / 2 DESC) FROM d.t WHERE i > 0 ORDER BY i", [(1, 2), (2, 1), (3, 1)]),
    ("SELECT i, COUNT(*) OVER (PARTITION BY LOWER(s)), RANK() OVER (ORDER BY ROUND(f) DESC) FROM d.t WHERE i > 0 ORDER BY i", [(1, 1, 2), (2, 1, 1), (3, 1, 3)]),
    ("SELECT tags.project AS p FROM d.t GROUP BY p QUALIFY ROW_NUMBER() OVER (ORDER BY COUNTIF(i > 1) / COUNT(*) DESC) = 1", ["autoland"]),
    # queries in queries
    ("WITH a AS (SELECT i, f FROM d.t WHERE i > 1), b AS (SELECT SUM(f) AS f FROM a), c AS (SELECT a.i, b.f FROM a CROSS JOIN b) SELECT i, f FROM c ORDER BY i", [(2, 0.0), (3, 0.0)]),
    ("WITH a AS (SELECT 1 AS x), b AS (WITH a AS (SELECT 2 AS x) SELECT x FROM a) SELECT a.x, b.x FROM a CROSS JOIN b", [(1, 2)]),
    # With a NULL on the right, nothing is known not to be in it.
    ("SELECT 1 IN (SELECT i FROM d.t), 9 IN (SELECT i FROM d.t), 9 NOT IN (SELECT i FROM d.t)", [(True, None, None)]),
    ("SELECT NULL IN (SELECT i FROM d.t), NULL IN (SELECT i FROM d.t WHERE FALSE), 9 NOT IN (SELECT i FROM d.t WHERE FALSE)", [(None, False, True)]),
    ("SELECT i FROM d.t WHERE i IN (SELECT i FROM d.t WHERE i > 1 OR i IS NULL) ORDER BY i", [2, 3]),
    ("SELECT i FROM d.t WHERE i NOT IN (SELECT i FROM d.t WHERE i = 1 OR i IS NULL)", []),
    # A row is one row however often it is found.
    ("SELECT i FROM d.t WHERE s IN (SELECT x FROM UNNEST(['a', 'a']) AS x) ORDER BY i", [None, 1]),
    ("SELECT i FROM d.t AS o WHERE NOT EXISTS (SELECT 1 FROM d.t AS n WHERE n.i > o.i) ORDER BY i", [None, 3]),
    ("WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS x FROM a) SELECT x FROM b", [2]),
    ("SELECT x FROM (SELECT i * 2 AS x FROM d.t) WHERE x > 2 ORDER BY x", [4, 6]),
    ("SELECT '(' FROM d.t WHERE s != '!' AND s != '==' AND i = 1", ["("]),
    ("SELECT user FROM (SELECT s AS user FROM d.t WHERE i = 1) ORDER BY user", ["a"]),
    ("SELECT i FROM d.t WHERE i = (SELECT MAX(i) FROM d.t)", [3]),
    ("SELECT i FROM d.t AS o WHERE EXISTS (SELECT 1 FROM d.t AS n WHERE n.i = o.i + 1) ORDER BY i", [1, 2]),
    ("SELECT i FROM d.t WHERE i NOT IN (SELECT i FROM d.t WHERE i > 1)", [1]),
    ("SELECT 1 AS x UNION ALL SELECT 1 ORDER BY x", [1, 1]),
    ("SELECT 1 AS x UNION ALL SELECT 2.5 UNION ALL SELECT NULL ORDER BY x", [None, 1.0, 2.5]),
    # By position; the first names the columns.
    ("SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2 AS b, 'y' AS a ORDER BY a DESC", [(2, "y"), (1, "x")]),
    ("SELECT 1 AS x UNION DISTINCT SELECT 1", [1]),
    ("SELECT i FROM d.t EXCEPT DISTINCT SELECT 1 ORDER BY i", [None, 2, 3]),
    ("SELECT i FROM d.t INTERSECT DISTINCT SELECT 2", [2]),
    # joins
    ("SELECT a.i, b.i FROM d.t AS a JOIN d.t AS b ON a.i = b.i + 1 ORDER BY 1", [(2, 1), (3, 2)]),
    ("SELECT a.i, b.i FROM d.t AS a LEFT JOIN d.t AS b ON b.i = a.i AND b.i > 2 WHERE a.i > 1 ORDER BY 1", [(2, None), (3, 3)]),
    ("SELECT a.x, b.x FROM (SELECT 1 AS x) AS a RIGHT JOIN (SELECT 2 AS x) AS b ON a.x = b.x", [(None, 2)]),
    ("SELECT x, a, b FROM (SELECT 1 AS x, 'l' AS a) FULL JOIN (SELECT 2 AS x, 'r' AS b) USING (x) ORDER BY x", [(1, "l", None), (2, None, "r")]),
    ("SELECT * FROM (SELECT 'l' AS a, 1 AS x) JOIN (SELECT 'r' AS b, 1 AS x) USING (x)", [(1, "l", "r")]),
    ("SELECT a.i + b.i FROM d.t AS a CROSS JOIN d.t AS b WHERE a.i = 1 AND b.i = 2", [3]),
    ("SELECT a.i FROM d.t AS a, d.t AS b WHERE a.i = b.i AND b.i = 2", [2]),
    ("SELECT i, x FROM d.t LEFT JOIN (SELECT 1 AS i, 'o' AS x) USING (i) ORDER BY i", [(None, None), (1, "o"), (2, None), (3, None)]),
    ("SELECT i FROM d.t JOIN d.t AS u USING (i, s) ORDER BY i", [1, 2]),
    (
        "SELECT COALESCE(a.k, b.k) AS k, a.v, b.v FROM (SELECT 1 AS k, 2 AS j, 'l' AS v UNION ALL SELECT 1, NULL, 'm') AS a "
        "FULL OUTER JOIN (SELECT 1 AS k, 2 AS j, 'r' AS v UNION ALL SELECT 3, NULL, 's') AS b ON a.k = b.k AND a.j = b.j ORDER BY k, a.v",
        [(1, "l", "r"), (1, "m", None), (3, None, "s")],
    ),
    (
        "SELECT a.v, b.v FROM (SELECT CAST(NULL AS STRING) AS k, 2 AS j, 'l' AS v) AS a "
        "FULL OUTER JOIN (SELECT CAST(NULL AS STRING) AS k, 2 AS j, 'r' AS v) AS b ON a.k IS NOT DISTINCT FROM b.k AND a.j = b.j",
        [("l", "r")],
    ),
    (
        "SELECT a.v, b.v FROM (SELECT CAST(NULL AS STRING) AS k, 'l' AS v) AS a "
        "FULL JOIN (SELECT CAST(NULL AS STRING) AS k, 'r' AS v) AS b ON COALESCE(a.k, '') = COALESCE(b.k, '')",
        [("l", "r")],
    ),
    ("SELECT a.v, b.v FROM (SELECT NULL AS k, 'l' AS v) AS a FULL JOIN (SELECT NULL AS k, 'r' AS v) AS b ON a.k = b.k ORDER BY 1", [(None, "r"), ("l", None)]),
    # arrays as tables
    ("SELECT i, name FROM d.t CROSS JOIN UNNEST(names) AS name ORDER BY i, name", [(None, "z"), (1, "x"), (1, "y")]),
    ("SELECT i, name FROM d.t, UNNEST(t.names) AS name WHERE i = 1 ORDER BY name DESC", [(1, "y"), (1, "x")]),
    ("SELECT i, name FROM d.t LEFT JOIN UNNEST(names) AS name WHERE i > 1 ORDER BY i", [(2, None), (3, None)]),
    ("SELECT x.a FROM UNNEST([STRUCT(1 AS a), STRUCT(2 AS a)]) AS x ORDER BY x.a", [1, 2]),
    ("SELECT part FROM d.t, UNNEST(SPLIT(s, ',')) AS part WHERE i = 2", ["b"]),
    ("SELECT day, d FROM d.t, UNNEST(GENERATE_DATE_ARRAY(day, day)) AS d WHERE i = 1", [(day("2026-04-13"), day("2026-04-13"))]),
    ("SELECT i, (SELECT COUNT(*) FROM UNNEST(names) AS n) FROM d.t ORDER BY i", [(None, 1), (1, 2), (2, 0), (3, 0)]),
    ("SELECT (SELECT n FROM UNNEST(names) AS n ORDER BY n DESC LIMIT 1) FROM d.t ORDER BY i", ["z", "y", None, None]),
    ("SELECT i FROM d.t WHERE EXISTS (SELECT 1 FROM UNNEST(names) AS n WHERE n IN ('x', 'z')) ORDER BY i", [None, 1]),
    ("SELECT i FROM d.t WHERE 'x' IN UNNEST(names)", [1]),
    ("SELECT i, ARRAY_LENGTH(names), names[SAFE_OFFSET(0)] FROM d.t ORDER BY i", [(None, 1, "z"), (1, 2, "x"), (2, 0, None), (3, None, None)]),
    # credits: two, one without an amount, none, NULL
    (f"SELECT id, (SELECT SUM(credit.amount) FROM UNNEST(credits) AS credit) FROM d.bills WHERE {B} ORDER BY id", [(1, -2.0), (2, None), (3, None), (4, None)]),
    (f"SELECT id, (SELECT SUM(credit.amount) FROM UNNEST(bills.credits) AS credit WHERE credit.type = 'b') FROM d.bills WHERE {B} AND id < 3 ORDER BY id", [(1, -0.5), (2, None)]),
    (f"SELECT SUM(IFNULL((SELECT SUM(c.amount) FROM UNNEST(credits) AS c), 0)) FROM d.bills WHERE {B}", [-2.0]),
    (f"SELECT id, credit.type, credit.amount FROM d.bills CROSS JOIN UNNEST(credits) AS credit WHERE {B} ORDER BY 1, 2", [(1, "a", -1.5), (1, "b", -0.5), (2, "a", None)]),
    (f"SELECT id, credit.amount FROM d.bills AS b LEFT JOIN UNNEST(b.credits) AS credit WHERE {B} AND id > 1 ORDER BY id", [(2, None), (3, None), (4, None)]),
    # stars and structs
    (f"SELECT id, project.parent.labels.team FROM d.bills WHERE {B} ORDER BY id", [(1, "ci"), (2, None), (3, None), (4, None)]),
    (f"SELECT bills.project.parent.labels.team AS team, COUNT(*) FROM d.bills WHERE {B} GROUP BY team ORDER BY 2", [("ci", 1), (None, 3)]),
    (f"SELECT x.project.parent.labels.team FROM (SELECT b.project FROM d.bills AS b WHERE {B}) AS x WHERE x.project.parent.labels.team = 'ci'", ["ci"]),
    ("SELECT * EXCEPT (f, s, day, ts, tags, names) FROM d.t WHERE i = 1", [1]),
    ("SELECT * EXCEPT (f, s, day, ts, tags, names) REPLACE (i + 1 AS i) FROM d.t WHERE i = 1", [2]),
    ("SELECT t.* EXCEPT (f, s, day, ts, tags, names) FROM d.t WHERE i = 1", [1]),
    ("SELECT tags.project, t.tags.kind FROM d.t WHERE t.tags.kind = 'build'", [("try", "build")]),
    # reserved words: quoted, and after a dot
    ("SELECT `new`.`end` AS `all` FROM (SELECT i AS `end` FROM d.t) AS `new` WHERE `end` = 1", [1]),
    ("SELECT x.all, x.group.by FROM (SELECT 1 AS `all`, STRUCT(2 AS `by`) AS `group`) AS x", [(1, 2)]),
    ("SELECT CONCAT(s, i) FROM d.t WHERE i = 1", ["a1"]),
    ("SELECT day + i, DATE_SUB(day, INTERVAL i DAY) FROM d.t WHERE i = 1", [(day("2026-04-14"), day("2026-04-12"))]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), QUERIES, ids=[q for q, _ in QUERIES])
def test_a_query_has_bigquerys_answer(
    connection: duckdb.DuckDBPyConnection, sql: str, expected: list[Any]
) -> None:
    assert run(connection, sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT d FROM d.t",
        "SELECT SPLIT('a', ',')[OFFSET(1)]",
        "SELECT SPLIT('a', ',')[ORDINAL(0)]",
        "SELECT APPROX_QUANTILES(i, 2)[OFFSET(3)] FROM d.t",
        "SELECT 1 / 0",
        "SELECT f / 0 FROM d.t",
        "SELECT DIV(1, 0)",
        "SELECT MOD(1, 0)",
        "SELECT DIV(SUM(f), 2) FROM d.t",
        "SELECT SQRT(-1)",
        "SELECT POW(0, -1)",
        "SELECT 9223372036854775807 + 1",
        "SELECT CAST('1.5' AS INT64)",
        "SELECT CAST('t' AS BOOL)",
        "SELECT DATE '2026-02-30'",
        "SELECT TIMESTAMP '2026-04-13 25:00:00'",
        "SELECT CAST(TRUE AS FLOAT64)",
        "SELECT SUBSTR('a', 1, -1)",
        "SELECT LENGTH(i) FROM d.t",
        "SELECT MAX(day) - MIN(day) FROM d.t",
        "SELECT ts - ts FROM d.t",
        "SELECT s + 1 FROM d.t",
        "SELECT SUM(s) FROM d.t",
        "SELECT DATE_TRUNC(ts, MONTH) FROM d.t",
        "SELECT DATE_TRUNC(MAX(ts), MONTH) FROM d.t",
        "SELECT DATE_DIFF(day, MAX(ts), DAY) FROM d.t GROUP BY day",
        "SELECT EXTRACT(HOUR FROM day) FROM d.t",
        "SELECT (SELECT i FROM d.t)",
        "SELECT d.t.i FROM d.t",
        "SELECT STRING_AGG(i) FROM d.t",
        "SELECT ARRAY_TO_STRING([1], ',')",
        "SELECT ARRAY_AGG(DISTINCT i ORDER BY f) FROM d.t",
        "SELECT RANK() OVER (PARTITION BY s) FROM d.t",
        "SELECT LAG(i) OVER () FROM d.t",
        "SELECT LEAD(i, -1) OVER (ORDER BY i) FROM d.t",
        "SELECT MAX_BY(s, i) OVER () FROM d.t",
        "SELECT PERCENTILE_CONT(i, 0.5) FROM d.t",
        "SELECT PERCENTILE_CONT(s, 0.5) OVER () FROM d.t",
        "SELECT PERCENTILE_CONT(i, 0.5) OVER (ORDER BY i) FROM d.t",
        "SELECT TIMESTAMP_SECONDS(1.5)",
        "SELECT TIMESTAMP_SECONDS(253402300800)",
        "SELECT 1 UNION ALL SELECT 'a'",
        "SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT TRUE",
        "SELECT DATE '2026-04-13' EXCEPT DISTINCT SELECT TIMESTAMP '2026-04-13'",
        "SELECT DATE '2026-04-13' - DATE '2026-04-12'",
        "SELECT DATE(2026, 13, 1)",
        r"SELECT REGEXP_REPLACE('abc', 'b', r'\1')",
        "SELECT 'abc' LIKE 'a\\\\'",
    ],
)
def test_what_fails_in_bigquery_fails(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises((duckdb.Error, QueryError)):
        run(connection, sql)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT APPROX_TOP_COUNT(s, 1) FROM d.t", "APPROX_TOP_COUNT is not supported by"),
        ("SELECT NET.HOST(s) FROM d.t", "NET.HOST is not supported"),
        ("SELECT SAFE.SUBSTR(s, 1) FROM d.t", "SAFE.SUBSTR is not supported"),
        ("SELECT my_function(1)", "MY_FUNCTION is not supported"),
        ("SELECT * FROM read_parquet('/etc/passwd')", "READ_PARQUET is not supported"),
        (
            "SELECT * FROM `/etc/passwd`",
            "Unknown table /etc/passwd; the known ones are d.bills, d.t, fxci",
        ),
        (
            "SELECT * FROM fxci.nothing",
            "Unknown table fxci.nothing; the known ones are d.bills, d.t, fxci",
        ),
        ("SELECT * FROM tasks", "Unknown table tasks; the known ones are"),
        ("SELECT 1; SELECT 2", "one SELECT statement, not 2"),
        ("", "one SELECT statement, not 0"),
        ("DELETE FROM d.t WHERE TRUE", "Only SELECT is supported"),
        ("CREATE TABLE x AS SELECT 1", "Only SELECT is supported"),
        ("COPY d.t TO '/tmp/x'", "Only SELECT is supported|read"),
        ("INSTALL httpfs", "Only SELECT is supported|read"),
        ("SELECT FROM WHERE", "line 1"),
        ("SELECT 'open", "cannot be read"),
        (r"SELECT REGEXP_CONTAINS(s, '\d') FROM d.t", "Illegal escape sequence"),
        ("SELECT a.s, b.s FROM d.t AS a JOIN d.t AS b ON TRUE ORDER BY s", "`s` is ambiguous"),
        ("SELECT MAX(i) AS i FROM d.t GROUP BY s ORDER BY MAX(i)", "The alias `i` in this"),
        ("SELECT UPPER(s) AS s FROM d.t GROUP BY s, LENGTH(s)", "The alias `s` in this"),
        ("SELECT i::STRING FROM d.t", ":: is not supported"),
        ("FROM d.t |> SELECT i", "not supported"),
        ("SELECT COUNT(i) FILTER (WHERE i > 1) FROM d.t", "FILTER is not supported"),
        ("SELECT COUNT(DISTINCT i, s) FROM d.t", "DISTINCT"),
        ("SELECT MIN(i, f) FROM d.t", "MIN with EXPRESSIONS"),
        ("SELECT i & 1 FROM d.t", "BITWISEAND is not supported"),
        ("SELECT day + INTERVAL 1 DAY FROM d.t", "INTERVAL is not supported"),
        ("SELECT (i, s) FROM d.t", "TUPLE is not supported"),
        ("SELECT CAST(i AS NUMERIC) FROM d.t", "CAST AS NUMERIC is not supported"),
        ("SELECT CAST(s AS BYTES) FROM d.t", "CAST AS BYTES is not supported"),
        ("SELECT TIMESTAMP_ADD(ts, INTERVAL 1 MONTH) FROM d.t", "with MONTH"),
        ("SELECT TIMESTAMP_TRUNC(ts, DAY, 'Europe/Berlin') FROM d.t", "with ZONE"),
        ("SELECT DATE(ts, 'Europe/Berlin') FROM d.t", "DATE with ZONE"),
        ("SELECT CURRENT_DATE('Europe/Berlin')", "with THIS"),
        ("SELECT EXTRACT(NANOSECOND FROM ts) FROM d.t", "EXTRACT"),
        ("SELECT FORMAT_DATE('%e', day) FROM d.t", "in FORMAT_DATE is not supported"),
        ("SELECT FORMAT_DATE('%H', day) FROM d.t", "The code %H in FORMAT_DATE"),
        ("SELECT FORMAT_TIMESTAMP('%Z', ts) FROM d.t", "The code %Z"),
        ("SELECT ROUND(f, 1, 'ROUND_HALF_EVEN') FROM d.t", "ROUND with"),
        ("SELECT REGEXP_EXTRACT(s, '(a)(b)') FROM d.t", "more than one capturing group"),
        ("SELECT REGEXP_EXTRACT(s, 'a(b)?') FROM d.t", "need not take part"),
        ("SELECT REGEXP_EXTRACT(s, 'a|(b)') FROM d.t", "need not take part"),
        ("SELECT REGEXP_EXTRACT(s, s) FROM d.t", "no literal"),
        ("SELECT REGEXP_EXTRACT(s, 'a', 2) FROM d.t", "with POSITION"),
        ("SELECT names[0] FROM d.t", "write \\[OFFSET"),
        ("SELECT x FROM UNNEST([1]) AS x WITH OFFSET", "UNNEST with OFFSET"),
        ("SELECT STRUCT(1, 2)", "without a name"),
        ("SELECT s FROM d.t GROUP BY ROLLUP(s)", "ROLLUP is not supported"),
        ("SELECT *, COUNT(*) FROM d.t GROUP BY ALL", "GROUP BY ALL with \\* or a subquery"),
        ("SELECT i, (SELECT 1) AS x FROM d.t GROUP BY ALL", "GROUP BY ALL with"),
        ("SELECT COUNT(*) FROM d.t GROUP BY ALL", "GROUP BY ALL here is not supported"),
        ("SELECT (SELECT t.i FROM UNNEST(names) AS n GROUP BY ALL) FROM d.t", "GROUP BY ALL here"),
        ("SELECT STRUCT(i AS a) = STRUCT(i AS a) FROM d.t", "Comparing a STRUCT"),
        (
            "SELECT STRUCT(i AS a) IN (SELECT STRUCT(i AS a) FROM d.t) FROM d.t",
            "Comparing a STRUCT",
        ),
        ("SELECT STRING_AGG(s, s) FROM d.t", "A delimiter that is neither"),
        ("SELECT STRING_AGG(s, NULL) FROM d.t", "A delimiter that is neither"),
        ("SELECT ARRAY_TO_STRING(names, s) FROM d.t", "A delimiter that is neither"),
        ("SELECT ARRAY_TO_STRING(names, ',', 'x') FROM d.t", "ARRAY_TO_STRING with NULL"),
        ("SELECT PERCENTILE_CONT(i, 0.9) OVER () FROM d.t", "PERCENTILE_CONT other than of 0.5"),
        ("SELECT PERCENTILE_DISC(i, 0.5 RESPECT NULLS) OVER () FROM d.t", "RESPECTNULLS"),
        ("SELECT DATE_ADD('2026-04-13', INTERVAL 1 DAY)", "write DATE '2026-04-13'"),
        ("SELECT FORMAT('%d', i) FROM d.t", "FORMAT is not supported"),
        ("SELECT CAST(i AS FLOAT) FROM d.t", "CAST AS FLOAT is not supported"),
        ("SELECT CAST(i AS VARCHAR) FROM d.t", "CAST AS VARCHAR is not supported"),
        # what is a name or an operator elsewhere
        ("SELECT i FROM d.t WHERE user = 'a'", "Unrecognized name: user"),
        ("SELECT LOCALTIME", "Unrecognized name: LOCALTIME"),
        ("SELECT rowid FROM d.t", "Unrecognized name: rowid"),
        ("SELECT 7 % 2", "% is not supported"),
        ("SELECT 1 == 1", "== is not supported"),
        ("SELECT 1 <=> 1", "<=> is not supported"),
        ("SELECT !TRUE", "! is not supported"),
        ("SELECT s RLIKE 'a' FROM d.t", "RLIKE is not supported"),
        ("SELECT s NOTNULL FROM d.t", "NOTNULL is not supported"),
        ("SELECT {'a': 1}", "{ is not supported"),
        ("SELECT 'a' 'b'", "A text that goes on"),
        ("FROM d.t SELECT i", "A query that begins with FROM"),
        ("SELECT i FROM d.t LIMIT 1, 2", "LIMIT with two numbers"),
        ("SELECT i FROM d.t OFFSET 1", "OFFSET needs LIMIT"),
        ("SELECT i FROM d.t EXCEPT ALL SELECT 1", "EXCEPT ALL is not supported"),
        ("SELECT IF(TRUE, 1)", "IF needs a third argument"),
        ("SELECT COUNT() FROM d.t", "COUNT needs an argument"),
        ("SELECT AS STRUCT i FROM d.t", "SELECT with KIND"),
        ("SELECT ARRAY(SELECT i FROM d.t)", "ARRAY is not supported"),
        ("SELECT i FROM d.t TABLESAMPLE SYSTEM (10 PERCENT)", "not supported"),
        ("WITH RECURSIVE a AS (SELECT 1 AS x) SELECT x FROM a", "WITH RECURSIVE"),
        ("SELECT * FROM d.t AS a JOIN d.t AS b", "needs ON or USING"),
        ("SELECT 1 UNION ALL SELECT 2 EXCEPT DISTINCT SELECT 3", "need parentheses"),
        ("SELECT ARRAY_AGG(i) OVER () FROM d.t", "with OVER"),
        ("SELECT @missing", "a parameter @missing, for which there is no value"),
        ("SELECT @@time_zone", "A system variable"),
        ("SELECT ?", "PLACEHOLDER is not supported"),
        ("SELECT i + 1 AS x FROM d.t WHERE x > 1", "`x` is an alias of the same SELECT"),
        ("SELECT i AS x, x + 1 AS y FROM d.t", "`x` is an alias of the same SELECT"),
        (
            "SELECT MAX(f) AS f FROM d.t HAVING f > 1",
            "`f` in HAVING is an alias and may be a column",
        ),
    ],
)
def test_what_is_not_on_the_list_is_refused_by_name(sql: str, message: str) -> None:
    with pytest.raises(DialectError, match=message) as refused:
        transpile(sql, CATALOG)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("SELECT new.i FROM d.t AS new", "new"),
        ("SELECT NEW.* FROM d.t", "NEW"),
        ("SELECT 1 FROM d.t new", "new"),
        ("SELECT 1 AS all", "all"),
        ("SELECT 1 all", "all"),
        ("SELECT default FROM d.t", "default"),
        ("SELECT groups.i.s FROM d.t", "groups"),
        ("SELECT i FROM d.t ORDER BY Rows", "Rows"),
        ("SELECT i FROM hash.t", "hash"),
        ("SELECT * EXCEPT (no) FROM d.t", "no"),
        ("SELECT * REPLACE (i AS lookup) FROM d.t", "lookup"),
        ("SELECT STRUCT(i AS proto) FROM d.t", "proto"),
        ("SELECT a.i FROM d.t AS a JOIN d.t AS b USING (current)", "current"),
        ("SELECT i FROM UNNEST([1]) AS to", "to"),
        ("SELECT i FROM UNNEST([1]) AS i WITH OFFSET AS of", "of"),
        ("WITH range AS (SELECT 1) SELECT 2", "range"),
        ("SELECT SUM(i) OVER within FROM d.t WINDOW within AS (PARTITION BY s)", "within"),
        ("SELECT i FROM fxci.quoted", "end"),
    ],
)
def test_a_reserved_word_is_a_name_only_in_backquotes(sql: str, word: str) -> None:
    with pytest.raises(QueryError) as refused:
        transpile(sql, CATALOG, views={"fxci.quoted": "SELECT i AS end FROM d.t"})
    assert str(refused.value).removeprefix("The view fxci.quoted: ") == (
        f"`{word}` is a reserved word in BigQuery: write it in backquotes or choose another"
    )


RESERVED = """
    ALL AND ANY ARRAY AS ASC ASSERT_ROWS_MODIFIED AT BETWEEN BY CASE CAST COLLATE CONTAINS CREATE
    CROSS CUBE CURRENT DEFAULT DEFINE DESC DISTINCT ELSE END ENUM ESCAPE EXCEPT EXCLUDE EXISTS
    EXTRACT FALSE FETCH FOLLOWING FOR FROM FULL GROUP GROUPING GROUPS HASH HAVING IF IGNORE IN
    INNER INTERSECT INTERVAL INTO IS JOIN LATERAL LEFT LIKE LIMIT LOOKUP MERGE NATURAL NEW NO NOT
    NULL NULLS OF ON OR ORDER OUTER OVER PARTITION PRECEDING PROTO QUALIFY RANGE RECURSIVE RESPECT
    RIGHT ROLLUP ROWS SELECT SET SOME STRUCT TABLESAMPLE THEN TO TREAT TRUE UNBOUNDED UNION UNNEST
    USING WHEN WHERE WINDOW WITH WITHIN
"""
"""As in BigQuery's documentation."""


@pytest.mark.parametrize("word", RESERVED.split())
def test_no_reserved_word_is_an_alias(word: str) -> None:
    with pytest.raises(QueryError):
        transpile(f"SELECT 1 AS {word}", CATALOG)
    transpile(f"SELECT 1 AS `{word}`", CATALOG)


def test_what_only_looks_reserved_is_a_name() -> None:
    """DuckDB's keywords, BigQuery's that are not reserved, and the name of a parameter."""
    transpile("SELECT @all", CATALOG, {"all": 1})
    transpile(
        "SELECT i AS table, 1 AS date, 2 AS day, 3 AS column, 4 AS user, 5 AS first, 6 AS key, "
        "7 AS offset, 8 AS row, 9 AS check FROM d.t",
        CATALOG,
    )


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "SELECT UPPER(x) FROM UNNEST(['straße']) AS x",
            "UPPER of one of these letters .*: straße$",
        ),
        ("SELECT LOWER('ΟΔΟΣ')", "LOWER of one of these letters"),
        ("SELECT SAFE_CAST('NaN' AS FLOAT64)", "NaN is not supported"),
        ("SELECT ROUND(f, 9) FROM d.t", "ROUND to more than 8 places is not supported"),
        ("SELECT SAFE_CAST('2026-04-13 10:00' AS DATE)", "not a supported form: 2026-04-13 10:00$"),
        ("SELECT i / 0 FROM d.t", "^division by zero$"),
        (r"SELECT CAST('a\nb' AS INT64)", "^Cannot convert to INT64: a b$"),
    ],
)
def test_a_value_is_refused_with_a_reason(
    connection: duckdb.DuckDBPyConnection, sql: str, message: str
) -> None:
    with pytest.raises(duckdb.Error) as refused:
        run(connection, sql)
    assert re.search(message, raised(str(refused.value)) or "")


def test_other_errors_are_no_reasons_of_ours(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error) as failed:
        run(connection, "SELECT 9223372036854775807 + 1")
    assert raised(str(failed.value)) is None


def test_a_value_that_is_not_reached_is_not_refused(connection: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT IF(i = 1, NULL, 1 / (i - 1)) FROM d.t WHERE i > 0 AND 1 / i > 0 ORDER BY i"
    assert run(connection, sql) == [None, 1.0, 0.5]
    assert run(connection, "SELECT IF(FALSE, 1 / 0, 2)") == [2.0]


def test_every_function_that_is_listed_is_tested() -> None:
    tested = " ".join([e for e, _ in EXPRESSIONS] + [q for q, _ in QUERIES])
    elsewhere = {"CURRENT_DATE", "CURRENT_TIMESTAMP"}
    assert [f for f in SUPPORTED_FUNCTIONS if f"{f}(" not in tested and f not in elsewhere] == []


def test_the_current_date_is_utc(connection: duckdb.DuckDBPyConnection) -> None:
    before = dt.datetime.now(dt.UTC)
    [(today, now)] = run(connection, "SELECT CURRENT_DATE(), CURRENT_TIMESTAMP()")
    after = dt.datetime.now(dt.UTC)
    assert before.date() <= today <= after.date()
    assert before <= now <= after


@pytest.mark.parametrize(
    "value",
    [
        1,
        1.5,
        "it's",
        True,
        dt.date(2026, 4, 13),
        dt.datetime(2026, 4, 13, 10, tzinfo=dt.UTC),
        ["a", "b"],
        [1, 2],
        [dt.date(2026, 4, 13)],
        [],
    ],
)
def test_a_parameter_keeps_its_value(connection: duckdb.DuckDBPyConnection, value: Value) -> None:
    assert run(connection, "SELECT @value", {"value": value, "unused": 1}) == [value]


def test_parameters_are_used_where_values_are(connection: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT i + @n FROM d.t WHERE day >= DATE_SUB(@day, INTERVAL @n DAY) AND i IN UNNEST(@is) LIMIT @n"
    assert run(connection, sql, {"n": 1, "day": day("2026-04-14"), "is": [1, 9]}) == [2]


def test_nothing_is_in_an_empty_list(connection: duckdb.DuckDBPyConnection) -> None:
    assert run(connection, "SELECT COUNT(*) FROM d.t WHERE i IN UNNEST(@is)", {"is": []}) == [0]


def test_a_time_without_a_zone_is_refused() -> None:
    naive = dt.datetime(2026, 4, 13)  # noqa: DTZ001
    with pytest.raises(DialectError, match="@at is a time without a time zone"):
        transpile("SELECT @at", CATALOG, {"at": naive})


def test_a_parameter_that_is_no_number_is_refused() -> None:
    with pytest.raises(DialectError, match="NaN, which is the parameter @x, is not supported"):
        transpile("SELECT @x", CATALOG, {"x": float("nan")})


def test_nameless_columns_are_named_as_in_bigquery(connection: duckdb.DuckDBPyConnection) -> None:
    query = transpile("SELECT 1, i AS x, tags.kind, COUNT(*) OVER () FROM d.t", CATALOG)
    described = connection.execute(query.sql).description
    assert described is not None
    assert [column[0] for column in described] == ["f0_", "x", "kind", "f1_"]


@pytest.mark.parametrize(
    "name",
    [
        "fxci.tasks",
        "`fxci.tasks`",
        "`fxci`.`tasks`",
        "some-project.fxci.tasks",
        "`some-project`.fxci.tasks",
        "`some-project.fxci.tasks`",
    ],
)
def test_a_table_may_be_named_in_each_of_bigquerys_ways(name: str) -> None:
    query = transpile(f"SELECT task_id FROM {name} WHERE submission_date = '2026-04-13'", CATALOG)
    assert query.tables == {"fxci.tasks"}


D = "submission_date = '2026-04-13'"


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT * FROM fxci.tasks WHERE {D}",
        "SELECT * FROM fxci.tasks WHERE (submission_date) > CURRENT_DATE() - 7",
        "SELECT * FROM fxci.tasks WHERE DATE '2026-04-13' <= submission_date",
        "SELECT * FROM fxci.tasks WHERE submission_date BETWEEN '2026-04-13' AND '2026-04-14'",
        "SELECT * FROM fxci.tasks WHERE submission_date IN ('2026-04-13', '2026-04-14')",
        "SELECT * FROM fxci.tasks WHERE submission_date IN UNNEST([DATE '2026-04-13'])",
        f"SELECT * FROM fxci.tasks AS t WHERE (t.task_id = 'a' AND t.{D})",
        f"SELECT * FROM fxci.tasks WHERE {D} AND (task_id = 'a' OR task_id = 'b')",
        f"SELECT * FROM (SELECT * FROM fxci.tasks) WHERE {D}",
        "SELECT * FROM (SELECT submission_date AS d FROM fxci.tasks) WHERE d = '2026-04-13'",
        f"WITH t AS (SELECT task_id, submission_date FROM fxci.tasks) SELECT * FROM t WHERE {D}",
        f"WITH t AS (SELECT * FROM fxci.tasks), u AS (SELECT * FROM t) SELECT * FROM u WHERE {D}",
        f"SELECT * FROM (SELECT submission_date, COUNT(*) AS n FROM fxci.tasks GROUP BY 1) WHERE {D}",
        f"SELECT * FROM (SELECT submission_date, COUNT(*) AS n FROM fxci.tasks GROUP BY ALL) WHERE {D}",
        f"SELECT * FROM (SELECT * FROM fxci.tasks UNION ALL SELECT * FROM fxci.tasks) WHERE {D}",
        f"SELECT * FROM fxci.tasks AS t JOIN fxci.task_runs AS r ON t.task_id = r.task_id AND r.{D} WHERE t.{D}",
        f"SELECT * FROM fxci.tasks AS t JOIN fxci.task_runs AS r ON t.{D} AND r.{D}",
        f"SELECT * FROM fxci.tasks AS t LEFT JOIN fxci.task_runs AS r ON r.{D} WHERE t.{D}",
        f"SELECT run_id FROM d.t JOIN fxci.task_runs ON {D}",
        f"SELECT i FROM d.t WHERE EXISTS (SELECT 1 FROM fxci.tasks WHERE {D})",
        # of a TIMESTAMP
        "SELECT id FROM d.bills WHERE usage_start_time >= TIMESTAMP '2026-04-13'",
        "SELECT id FROM d.bills WHERE usage_start_time < TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL -1 DAY)",
        "SELECT id FROM d.bills WHERE DATE(usage_start_time) = '2026-04-13'",
        "SELECT id FROM d.bills AS b WHERE DATE(b.usage_start_time) BETWEEN '2026-04-13' AND '2026-04-14'",
        "SELECT id FROM d.bills WHERE DATE(usage_start_time) IN ('2026-04-13')",
        "SELECT id FROM d.bills WHERE TIMESTAMP '2026-04-13' = TIMESTAMP_TRUNC(usage_start_time, DAY)",
        "WITH b AS (SELECT id, usage_start_time AS moment FROM d.bills) SELECT id FROM b WHERE DATE(moment) = '2026-04-13'",
    ],
)  # fmt: skip
def test_a_filter_on_the_partition_column_lets_a_query_pass(
    connection: duckdb.DuckDBPyConnection, sql: str
) -> None:
    assert isinstance(run(connection, sql), list)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM fxci.tasks",
        "SELECT * FROM fxci.tasks WHERE task_id = 'a'",
        f"SELECT * FROM fxci.tasks WHERE {D} OR task_id = 'a'",
        f"SELECT * FROM fxci.tasks WHERE NOT {D}",
        "SELECT * FROM fxci.tasks WHERE submission_date != '2026-04-13'",
        "SELECT * FROM fxci.tasks WHERE submission_date IS NOT NULL",
        "SELECT * FROM fxci.tasks WHERE submission_date = submission_date",
        "SELECT * FROM fxci.tasks WHERE submission_date + 1 = '2026-04-13'",
        "SELECT * FROM fxci.tasks WHERE submission_date = (SELECT MAX(day) FROM d.t)",
        "SELECT * FROM fxci.tasks WHERE submission_date NOT IN ('2026-04-13')",
        f"SELECT * FROM (SELECT * FROM fxci.tasks LIMIT 5) WHERE {D}",
        f"SELECT * FROM (SELECT submission_date + 1 AS submission_date FROM fxci.tasks) WHERE {D}",
        f"SELECT * FROM (SELECT * REPLACE (CURRENT_DATE() AS submission_date) FROM fxci.tasks) WHERE {D}",
        f"SELECT * FROM (SELECT MAX(submission_date) AS submission_date FROM fxci.tasks) WHERE {D}",
        f"SELECT * FROM (SELECT task_id, MAX(submission_date) AS submission_date FROM fxci.tasks GROUP BY ALL) WHERE {D}",
        f"SELECT * FROM (SELECT submission_date, ROW_NUMBER() OVER () AS n FROM fxci.tasks) WHERE {D}",
        f"SELECT * FROM (SELECT * FROM fxci.tasks UNION ALL SELECT task_id, CURRENT_DATE(), tags FROM fxci.tasks) WHERE {D}",
        f"WITH t AS (SELECT * FROM fxci.tasks) SELECT * FROM t AS a JOIN t AS b ON a.task_id = b.task_id WHERE a.{D}",
        "WITH t AS (SELECT * FROM fxci.tasks) SELECT 1",
        f"SELECT * FROM fxci.tasks AS t JOIN fxci.task_runs AS r ON t.task_id = r.task_id WHERE t.{D}",
        f"SELECT * FROM fxci.tasks AS t LEFT JOIN fxci.task_runs AS r ON r.{D} AND t.{D}",
        f"SELECT * FROM fxci.tasks AS t LEFT JOIN fxci.task_runs AS r ON t.task_id = r.task_id WHERE t.{D} AND r.{D}",
        f"SELECT * FROM fxci.tasks AS t FULL JOIN fxci.task_runs AS r ON t.{D} AND r.{D} WHERE t.{D} AND r.{D}",
        "SELECT i FROM d.t WHERE EXISTS (SELECT 1 FROM fxci.tasks) AND day = '2026-04-13'",
        "SELECT id FROM d.bills",
        "SELECT id FROM d.bills WHERE id = 1",
        "SELECT id FROM d.bills WHERE DATE(usage_start_time) = DATE(usage_start_time)",
        "SELECT id FROM d.bills WHERE DATE(usage_start_time) != '2026-04-13'",
        "SELECT id FROM d.bills WHERE DATE(usage_start_time) + 1 = '2026-04-13'",
        "SELECT id FROM d.bills WHERE DATE(usage_start_time, 'Europe/Berlin') = '2026-04-13'",
        "SELECT id FROM d.bills WHERE TIMESTAMP_TRUNC(usage_start_time, HOUR) = TIMESTAMP '2026-04-13'",
        "SELECT id FROM d.bills WHERE TIMESTAMP_ADD(usage_start_time, INTERVAL 1 DAY) > TIMESTAMP '2026-04-13'",
        "SELECT id FROM d.bills WHERE EXTRACT(YEAR FROM usage_start_time) = 2026",
        "SELECT id FROM (SELECT id, DATE(usage_start_time) AS day FROM d.bills) WHERE day = '2026-04-13'",
    ],
)  # fmt: skip
def test_without_such_a_filter_it_is_refused(sql: str) -> None:
    with pytest.raises(PartitionFilterError):
        transpile(sql, CATALOG)


def test_the_refusal_says_what_bigquery_says() -> None:
    with pytest.raises(
        PartitionFilterError,
        match=r"^Cannot query over table fxci.tasks without a filter over column submission_date "
        r"that can be used for partition elimination$",
    ):
        transpile("SELECT * FROM fxci.tasks", CATALOG)


@pytest.mark.parametrize(
    "condition",
    [
        "usage_start_time >= TIMESTAMP(@day) AND usage_start_time < TIMESTAMP(DATE_ADD(@day, INTERVAL 1 DAY))",
        "DATE(usage_start_time) = @day",
        "TIMESTAMP_TRUNC(usage_start_time, DAY) = TIMESTAMP(@day)",
    ],
)  # fmt: skip
def test_a_day_of_timestamps_is_whole(
    connection: duckdb.DuckDBPyConnection, condition: str
) -> None:
    sql = f"SELECT id FROM d.bills WHERE {condition} ORDER BY id"
    assert run(connection, sql, {"day": day("2026-04-13")}) == [1, 2]


MOMENTS = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001
DAYS = st.dates(dt.date(1970, 1, 1), dt.date(2100, 1, 1))
MICROSECONDS = {"MICROSECOND": 1, "MILLISECOND": 1000, "SECOND": 10**6, "MINUTE": 60 * 10**6}
MICROSECONDS |= {"HOUR": 3600 * 10**6, "DAY": 86400 * 10**6}


@settings(max_examples=50, deadline=None)
@given(MOMENTS, MOMENTS, st.sampled_from(sorted(MICROSECONDS)))
def test_a_difference_of_timestamps_is_truncated_towards_zero(
    connection: duckdb.DuckDBPyConnection, a: dt.datetime, b: dt.datetime, part: str
) -> None:
    micros = (a - b) // dt.timedelta(microseconds=1)
    expected = abs(micros) // MICROSECONDS[part] * (1 if micros >= 0 else -1)
    assert run(connection, f"SELECT TIMESTAMP_DIFF(@a, @b, {part})", {"a": a, "b": b}) == [expected]


@settings(max_examples=50, deadline=None)
@given(DAYS, DAYS)
def test_a_difference_of_dates_counts_boundaries(
    connection: duckdb.DuckDBPyConnection, a: dt.date, b: dt.date
) -> None:
    def sundays(d: dt.date) -> int:
        return d.toordinal() // 7  # day 0 of the proleptic calendar was a Sunday

    sql = ", ".join(f"DATE_DIFF(@a, @b, {p})" for p in ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR"))
    months = (a.year - b.year) * 12 + a.month - b.month
    quarters = (a.year - b.year) * 4 + (a.month - 1) // 3 - (b.month - 1) // 3
    expected = ((a - b).days, sundays(a) - sundays(b), months, quarters, a.year - b.year)
    assert run(connection, f"SELECT {sql}", {"a": a, "b": b}) == [expected]


@settings(max_examples=300, deadline=None)
@given(
    st.decimals(-(10**6), 10**6, places=5).map(float) | st.floats(-(10**6), 10**6),
    st.integers(1, 4),
)
def test_a_float_is_rounded_by_all_of_its_digits(
    connection: duckdb.DuckDBPyConnection, number: float, places: int
) -> None:
    unit = Decimal(1).scaleb(-places)
    expected = float(Decimal(number).quantize(unit, rounding=ROUND_HALF_UP))
    assert run(connection, f"SELECT ROUND(@x, {places})", {"x": number}) == [expected]
