"""A view means its rows, and its tables' rules hold."""

# ruff: noqa: E501  (one line for each case)

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest

from fxci_assets.dialect import (
    CatalogTable,
    DialectError,
    DuckQuery,
    PartitionFilterError,
    transpile,
)
from fxci_assets_tests import duck

CATALOG = {
    "derived.runs_v1": CatalogTable(("task_id", "run_id", "state", "day"), "day"),
    "derived.costs_v1": CatalogTable(("task_id", "cost", "day"), "day"),
    "derived.names": CatalogTable(("name", "record")),
}

VIEWS = {
    "fxci.runs": "SELECT * FROM `some-project.derived.runs_v1`",
    "fxci.costs": "SELECT * EXCEPT (cost), cost * 100 AS cents FROM derived.costs_v1",
    # views over views, with another name for the partition column
    "fxci.failed": "SELECT task_id, day AS submission_date FROM fxci.runs AS r WHERE r.state = 'failed'",
    "fxci.priced": (
        "WITH runs AS (SELECT * FROM fxci.runs), names AS (SELECT task_id, cents, day FROM fxci.costs) "
        "SELECT runs.task_id, names.cents, runs.day, names.day AS billed FROM runs "
        "JOIN names ON names.task_id = runs.task_id"
    ),
    "fxci.both": "SELECT task_id, day FROM derived.runs_v1 UNION ALL SELECT task_id, day FROM derived.costs_v1",
    "fxci.daily": "SELECT day, COUNT(*) AS n FROM derived.runs_v1 GROUP BY day",
    "fxci.some": "SELECT * FROM derived.runs_v1 LIMIT 5",
    "fxci.names": "SELECT name, record.kind AS kind FROM derived.names",
    "fxci.april": "SELECT * FROM derived.runs_v1 WHERE day >= '2026-04-01'",
    # wrong ones
    "fxci.itself": "SELECT * FROM fxci.itself",
    "fxci.chicken": "SELECT * FROM fxci.egg",
    "fxci.egg": "SELECT 1 AS x FROM derived.names WHERE name IN (SELECT name FROM fxci.chicken)",
    "fxci.outside": "SELECT * FROM cte",
    "fxci.asking": "SELECT * FROM derived.runs_v1 WHERE day = @day",
    "fxci.host": "SELECT NET.HOST(name) AS host FROM derived.names",
    "fxci.writing": "DELETE FROM derived.names WHERE TRUE",
}

SETUP = """
CREATE SCHEMA derived;
CREATE TABLE derived.runs_v1 (task_id VARCHAR, run_id BIGINT, state VARCHAR, day DATE);
INSERT INTO derived.runs_v1 VALUES
  ('A', 0, 'failed', '2026-04-13'), ('A', 1, 'completed', '2026-04-14'), ('B', 0, 'completed', '2026-04-13');
CREATE TABLE derived.costs_v1 (task_id VARCHAR, cost DOUBLE, day DATE);
INSERT INTO derived.costs_v1 VALUES ('A', 0.5, '2026-04-13'), ('B', 0.25, '2026-04-13');
CREATE TABLE derived.names (name VARCHAR, record STRUCT(kind VARCHAR));
INSERT INTO derived.names VALUES ('x', {'kind': 'k'});
"""

D = "day = '2026-04-13'"


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return duck.connect(SETUP)


def query(sql: str) -> DuckQuery:
    return transpile(sql, CATALOG, {"day": dt.date(2026, 4, 13)}, VIEWS)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        # its names
        (f"SELECT run_id FROM fxci.runs WHERE task_id = 'A' AND {D}", [0]),
        (f"SELECT runs.run_id FROM fxci.runs WHERE runs.task_id = 'A' AND runs.{D}", [0]),
        (f"SELECT r.state FROM fxci.runs AS r WHERE r.task_id = 'A' AND r.{D}", ["failed"]),
        (f"SELECT COUNT(*) FROM `fxci.runs` WHERE {D}", [2]),
        (f"SELECT runs.state FROM `some-project.fxci.runs` WHERE {D} AND task_id = 'A'", ["failed"]),
        (f"SELECT COUNT(*) FROM other.fxci.runs WHERE {D}", [2]),
        (f"SELECT runs.* EXCEPT (state, day) FROM fxci.runs WHERE {D} ORDER BY task_id", [("A", 0), ("B", 0)]),
        ("SELECT name, kind FROM fxci.names", [("x", "k")]),
        # joined
        (
            "SELECT a.run_id, b.run_id FROM fxci.runs AS a JOIN fxci.runs AS b ON b.task_id = a.task_id "
            f"WHERE a.{D} AND b.day > a.day AND b.day = '2026-04-14'",
            [(0, 1)],
        ),
        (
            f"SELECT task_id, cents FROM fxci.runs JOIN fxci.costs USING (task_id) WHERE runs.{D} AND costs.{D} ORDER BY 1",
            [("A", 50.0), ("B", 25.0)],
        ),
        (f"SELECT runs.task_id FROM fxci.runs JOIN derived.runs_v1 ON runs_v1.task_id = runs.task_id AND runs_v1.{D} WHERE runs.{D} AND runs.state = 'failed'", ["A"]),
        (f"SELECT runs.task_id FROM fxci.runs, fxci.names WHERE {D} ORDER BY 1", ["A", "B"]),
        # within
        (f"SELECT name FROM derived.names WHERE EXISTS (SELECT 1 FROM fxci.runs WHERE {D})", ["x"]),
        (f"SELECT (SELECT MAX(run_id) FROM fxci.runs WHERE {D}) FROM fxci.names", [0]),
        (f"SELECT n FROM (SELECT COUNT(*) AS n FROM fxci.runs WHERE {D})", [2]),
        (f"SELECT task_id FROM fxci.runs WHERE {D} UNION DISTINCT SELECT task_id FROM fxci.costs WHERE {D} ORDER BY 1", ["A", "B"]),
        # a CTE comes before a table of the same name, and a view has its own
        (f"WITH runs AS (SELECT state FROM fxci.runs WHERE {D}) SELECT state FROM runs ORDER BY 1", ["completed", "failed"]),
        ("WITH Runs AS (SELECT 7 AS x) SELECT x FROM runs", [7]),
        (
            f"WITH runs AS (SELECT 'C' AS task_id) SELECT r.task_id FROM runs AS r CROSS JOIN fxci.priced WHERE priced.{D} AND billed = '2026-04-13' AND priced.task_id = 'A'",
            ["C"],
        ),
        ("WITH names AS (SELECT 'y' AS name) SELECT v.name, names.name FROM fxci.names AS v CROSS JOIN names", [("x", "y")]),
        # its queries
        ("SELECT * FROM fxci.failed WHERE submission_date = '2026-04-13'", [("A", dt.date(2026, 4, 13))]),
        (f"SELECT task_id, cents FROM fxci.priced WHERE {D} AND billed = '2026-04-13' ORDER BY 1", [("A", 50.0), ("B", 25.0)]),
        (f"SELECT COUNT(*) FROM fxci.both WHERE {D}", [4]),
        (f"SELECT n FROM fxci.daily WHERE {D}", [2]),
        ("SELECT COUNT(*) FROM fxci.april", [3]),
        ("WITH r AS (SELECT * FROM fxci.failed) SELECT task_id FROM r WHERE submission_date = @day", ["A"]),
    ],
)  # fmt: skip
def test_a_view_means_its_rows(
    connection: duckdb.DuckDBPyConnection, sql: str, expected: list[Any]
) -> None:
    assert duck.rows(connection, query(sql)) == expected


def test_what_is_read_are_the_tables_behind_it() -> None:
    sql = f"SELECT 1 AS x FROM fxci.priced, fxci.names WHERE {D} AND billed = '2026-04-13'"
    assert query(sql).tables == {"derived.runs_v1", "derived.costs_v1", "derived.names"}
    assert query("SELECT 1").tables == frozenset()


@pytest.mark.parametrize(
    ("sql", "table", "view"),
    [
        ("SELECT * FROM fxci.runs", "derived.runs_v1", "fxci.runs"),
        ("SELECT * FROM fxci.runs WHERE run_id = 0", "derived.runs_v1", "fxci.runs"),
        # the view that the query names, whichever of its views it is
        ("SELECT * FROM fxci.failed", "derived.runs_v1", "fxci.failed"),
        (f"SELECT * FROM fxci.priced WHERE {D}", "derived.costs_v1", "fxci.priced"),
        (f"SELECT * FROM fxci.some WHERE {D}", "derived.runs_v1", "fxci.some"),
        ("SELECT * FROM fxci.both WHERE task_id = 'A'", "derived.runs_v1", "fxci.both"),
        (f"SELECT * FROM fxci.runs AS a JOIN fxci.runs AS b USING (task_id) WHERE a.{D}", "derived.runs_v1", "fxci.runs"),
        ("SELECT name FROM derived.names WHERE name IN (SELECT task_id FROM fxci.costs)", "derived.costs_v1", "fxci.costs"),
    ],
)  # fmt: skip
def test_the_tables_behind_it_need_their_filter(sql: str, table: str, view: str) -> None:
    with pytest.raises(
        PartitionFilterError,
        match=f"^Cannot query over table {table}, which the view {view} reads, without a filter over column day ",
    ):
        query(sql)


KNOWN = r"; the known ones are derived\.costs_v1, derived\.names, derived\.runs_v1, fxci\.april, "


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM fxci.nothing", f"^Unknown table fxci.nothing{KNOWN}"),
        ("SELECT * FROM runs", f"^Unknown table runs{KNOWN}"),
        ("SELECT * FROM FXCI.runs", f"^Unknown table FXCI.runs{KNOWN}"),
        ("WITH cte AS (SELECT 1 AS x) SELECT * FROM fxci.outside", f"^Unknown table cte in the view fxci.outside{KNOWN}"),
        ("SELECT * FROM fxci.itself", "^The view fxci.itself refers to itself$"),
        ("SELECT * FROM fxci.chicken", "^The view fxci.chicken refers to itself$"),
        ("SELECT * FROM fxci.asking", "^The view fxci.asking has a parameter, which BigQuery does not allow$"),
        ("SELECT * FROM fxci.host", "^The view fxci.host: NET.HOST is not supported"),
        ("SELECT * FROM fxci.writing", "^The view fxci.writing: Only SELECT is supported"),
        (f"SELECT * FROM fxci.runs AS a JOIN fxci.runs AS a USING (task_id) WHERE a.{D}", "have the same name"),
        (f"SELECT * FROM (fxci.runs) WHERE {D}", r"\(fxci.runs\) in parentheses is not supported"),
        (f"SELECT * FROM fxci.runs FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP() WHERE {D}", "with VERSION is not supported"),
        (f"SELECT * FROM fxci.runs TABLESAMPLE SYSTEM (10 PERCENT) WHERE {D}", "not supported"),
    ],
)  # fmt: skip
def test_what_a_view_cannot_be_is_refused(sql: str, message: str) -> None:
    with pytest.raises(DialectError, match=message):
        query(sql)


def test_the_dataset_of_a_view_is_no_name_for_its_columns(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    with pytest.raises(duckdb.Error, match="fxci"):
        duck.rows(connection, query(f"SELECT fxci.runs.state FROM fxci.runs WHERE {D}"))


def test_a_view_that_is_not_named_may_be_wrong() -> None:
    assert query(f"SELECT 1 AS x FROM fxci.runs WHERE {D}").tables == {"derived.runs_v1"}
