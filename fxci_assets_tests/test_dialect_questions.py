"""Questions as people ask them, of six runs of four tasks, with answers worked out by hand."""

# ruff: noqa: E501  (one line for each line of a query)

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest

from fxci_assets.dialect import CatalogTable, transpile
from fxci_assets_tests import duck

CATALOG = {
    "derived.runs": CatalogTable(
        ("task_id", "run_id", "queue", "state", "scheduled", "started", "resolved", "day"), "day"
    ),
    "derived.costs": CatalogTable(("task_id", "run_id", "cost", "tags", "day"), "day"),
}
VIEWS = {
    "fxci.runs": "SELECT * FROM `project.derived.runs`",
    "fxci.costs": "SELECT * FROM `project.derived.costs`",
}

# Waits in seconds: 60, 180, 120.9, never started, 30, 40.
SETUP = """
CREATE SCHEMA derived;
CREATE TABLE derived.runs (task_id VARCHAR, run_id BIGINT, queue VARCHAR, state VARCHAR,
  scheduled TIMESTAMPTZ, started TIMESTAMPTZ, resolved TIMESTAMPTZ, day DATE);
INSERT INTO derived.runs VALUES
  ('A', 0, 'gecko-t/linux', 'failed',    '2026-04-13 10:00:00+00', '2026-04-13 10:01:00+00',   '2026-04-13 10:11:00+00', '2026-04-13'),
  ('A', 1, 'gecko-t/linux', 'completed', '2026-04-13 10:12:00+00', '2026-04-13 10:15:00+00',   '2026-04-13 10:25:00+00', '2026-04-13'),
  ('B', 0, 'gecko-t/linux', 'completed', '2026-04-13 11:00:00+00', '2026-04-13 11:02:00.9+00', '2026-04-13 11:07:00+00', '2026-04-13'),
  ('C', 0, 'gecko-b/win',   'exception', '2026-04-14 11:00:00+00', NULL,                       '2026-04-14 11:30:00+00', '2026-04-14'),
  ('D', 0, 'gecko-b/win',   'failed',    '2026-05-01 00:00:00+00', '2026-05-01 00:00:30+00',   '2026-05-01 00:10:00+00', '2026-05-01'),
  ('D', 1, 'gecko-b/win',   'completed', '2026-05-01 00:10:00+00', '2026-05-01 00:10:40+00',   '2026-05-01 00:20:40+00', '2026-05-01');
CREATE TABLE derived.costs (task_id VARCHAR, run_id BIGINT, cost DOUBLE,
  tags STRUCT(project VARCHAR, created_for_user VARCHAR), day DATE);
INSERT INTO derived.costs VALUES
  ('A', 0, 1.5,  {'project': 'try', 'created_for_user': 'user1@example.com'}, '2026-04-13'),
  ('A', 1, 2.5,  {'project': 'try', 'created_for_user': 'user1@example.com'}, '2026-04-13'),
  ('B', 0, 0.25, {'project': 'autoland', 'created_for_user': NULL}, '2026-04-13'),
  ('C', 0, NULL, {'project': 'try', 'created_for_user': 'user2@example.com'}, '2026-04-14'),
  ('D', 0, 4.0,  {'project': 'autoland', 'created_for_user': NULL}, '2026-05-01');
"""

ALL = "day >= '2026-04-01'"
APRIL, MAY = dt.date(2026, 4, 1), dt.date(2026, 5, 1)
D13, D14 = dt.date(2026, 4, 13), dt.date(2026, 4, 14)

QUESTIONS: list[tuple[str, str, list[Any]]] = [
    (
        "how long do tasks wait in each queue",
        f"""SELECT queue, APPROX_QUANTILES(TIMESTAMP_DIFF(started, scheduled, SECOND), 100)[OFFSET(50)] AS median, COUNT(started) AS n
        FROM fxci.runs WHERE {ALL} GROUP BY queue ORDER BY median DESC""",
        [("gecko-t/linux", 120, 3), ("gecko-b/win", 30, 2)],
    ),
    (
        "the same, with half of both in the middle",
        f"""SELECT DISTINCT queue, PERCENTILE_CONT(TIMESTAMP_DIFF(started, scheduled, SECOND), 0.5) OVER (PARTITION BY queue) AS median
        FROM fxci.runs WHERE {ALL} ORDER BY queue""",
        [("gecko-b/win", 35.0), ("gecko-t/linux", 120.0)],
    ),
    (
        "how many runs and tasks a day",
        f"SELECT day, COUNT(*), COUNT(DISTINCT task_id) FROM fxci.runs WHERE {ALL} GROUP BY day ORDER BY day",
        [(D13, 3, 2), (D14, 1, 1), (MAY, 2, 1)],
    ),
    (
        "which share are retries, by month",
        f"""SELECT DATE_TRUNC(day, MONTH) AS month, COUNTIF(run_id > 0) / COUNT(*) AS retried, ROUND(100 * SAFE_DIVIDE(COUNTIF(run_id > 0), COUNTIF(started IS NOT NULL)), 1) AS percent
        FROM fxci.runs WHERE {ALL} GROUP BY ALL ORDER BY month""",
        [(APRIL, 0.25, 33.3), (MAY, 0.5, 50.0)],
    ),
    (
        "how do runs end",
        f"""SELECT SPLIT(queue, '/')[OFFSET(0)] AS provisioner, COUNTIF(state = 'completed') AS completed, COUNTIF(state = 'failed') AS failed, COUNTIF(state = 'exception') AS exception
        FROM fxci.runs WHERE {ALL} GROUP BY provisioner ORDER BY provisioner""",
        [("gecko-b", 1, 1, 1), ("gecko-t", 2, 1, 0)],
    ),
    (
        "how did each task end at last",
        f"""SELECT task_id, MAX_BY(state, run_id), ARRAY_AGG(STRUCT(state, resolved) ORDER BY run_id DESC LIMIT 1)[OFFSET(0)].state, STRING_AGG(state, ' > ' ORDER BY run_id)
        FROM fxci.runs WHERE {ALL} GROUP BY task_id ORDER BY task_id""",
        [
            ("A", "completed", "completed", "failed > completed"),
            ("B", "completed", "completed", "completed"),
            ("C", "exception", "exception", "exception"),
            ("D", "completed", "completed", "failed > completed"),
        ],
    ),
    (
        "the longest wait of each month",
        f"""SELECT task_id, run_id FROM fxci.runs WHERE {ALL} AND started IS NOT NULL
        QUALIFY ROW_NUMBER() OVER (PARTITION BY DATE_TRUNC(day, MONTH) ORDER BY TIMESTAMP_DIFF(started, scheduled, MILLISECOND) DESC) = 1 ORDER BY day""",
        [("A", 1), ("D", 1)],
    ),
    (
        "which queue fails most",
        f"""SELECT queue, COUNTIF(state != 'completed') / COUNT(*) AS share FROM fxci.runs WHERE {ALL} GROUP BY queue
        QUALIFY RANK() OVER (ORDER BY COUNTIF(state != 'completed') / COUNT(*) DESC) = 1""",
        [("gecko-b/win", 2 / 3)],
    ),
    (
        "what does a project cost, and which share of all is that",
        f"""SELECT tags.project, SUM(cost) AS dollars, ROUND(SUM(cost) / SUM(SUM(cost)) OVER (), 3) AS share
        FROM fxci.costs WHERE {ALL} GROUP BY tags.project ORDER BY dollars DESC""",
        [("autoland", 4.25, 0.515), ("try", 4.0, 0.485)],
    ),
    (
        "what does a person cost",
        f"""SELECT IFNULL(tags.created_for_user, 'nobody') AS person, SUM(cost), COUNT(*) FROM fxci.costs WHERE {ALL} GROUP BY person ORDER BY person""",
        [("nobody", 4.25, 2), ("user1@example.com", 4.0, 2), ("user2@example.com", None, 1)],
    ),
    (
        "what do retries cost, and which runs have no cost",
        f"""WITH priced AS (
          SELECT r.task_id, r.run_id, c.cost FROM fxci.runs AS r
          LEFT JOIN fxci.costs AS c ON c.task_id = r.task_id AND c.run_id = r.run_id AND c.{ALL}
          WHERE r.{ALL}
        ), totals AS (SELECT run_id > 0 AS is_retry, SUM(cost) AS dollars, COUNTIF(cost IS NULL) AS without FROM priced GROUP BY is_retry)
        SELECT * FROM totals ORDER BY is_retry""",
        [(False, 5.75, 1), (True, 2.5, 1)],
    ),
    (
        "how do costs add up",
        f"""SELECT day, SUM(SUM(cost)) OVER (ORDER BY day ROWS UNBOUNDED PRECEDING) AS so_far, LAG(SUM(cost)) OVER (ORDER BY day) AS before
        FROM fxci.costs WHERE {ALL} GROUP BY day ORDER BY day""",
        [(D13, 4.25, None), (D14, 4.25, 4.25), (MAY, 8.25, None)],
    ),
    (
        "when are runs scheduled",
        f"SELECT EXTRACT(HOUR FROM scheduled) AS hour, EXTRACT(DAYOFWEEK FROM scheduled) AS weekday, COUNT(*) FROM fxci.runs WHERE {ALL} GROUP BY hour, weekday ORDER BY 2, 1",
        # 2026-04-13 was a Monday, 2026-05-01 a Friday.
        [(10, 2, 2), (11, 2, 1), (11, 3, 1), (0, 6, 2)],
    ),
    (
        "which days are there without a run",
        f"""SELECT d FROM UNNEST(GENERATE_DATE_ARRAY(DATE '2026-04-12', DATE '2026-04-15')) AS d
        WHERE d NOT IN (SELECT day FROM fxci.runs WHERE {ALL}) ORDER BY d""",
        [dt.date(2026, 4, 12), dt.date(2026, 4, 15)],
    ),
    (
        "which tasks of a push were retried, and how soon",
        f"""SELECT b.task_id, TIMESTAMP_DIFF(b.scheduled, a.resolved, SECOND) AS after FROM fxci.runs AS a
        JOIN fxci.runs AS b ON b.task_id = a.task_id AND b.run_id = a.run_id + 1
        WHERE a.{ALL} AND b.{ALL} ORDER BY b.task_id""",
        [("A", 60), ("D", 0)],
    ),
    (
        "how are queues spelled",
        f"SELECT DISTINCT REGEXP_EXTRACT(queue, r'^([^/]+)/') AS a, UPPER(REGEXP_REPLACE(queue, '.*/', '')) AS b FROM fxci.runs WHERE {ALL} AND queue LIKE 'gecko-_/%' ORDER BY a",
        [("gecko-b", "WIN"), ("gecko-t", "LINUX")],
    ),
    (
        "by week",
        f"SELECT FORMAT_DATE('%G-W%V', day) AS week, DATE_TRUNC(day, ISOWEEK) AS monday, COUNT(*) FROM fxci.runs WHERE {ALL} GROUP BY week, monday ORDER BY week",
        [("2026-W16", D13, 4), ("2026-W18", dt.date(2026, 4, 27), 2)],
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return duck.connect(SETUP)


@pytest.mark.parametrize(
    ("sql", "expected"), [q[1:] for q in QUESTIONS], ids=[q[0] for q in QUESTIONS]
)
def test_a_question_has_the_answer_worked_out_by_hand(
    connection: duckdb.DuckDBPyConnection, sql: str, expected: list[Any]
) -> None:
    assert duck.rows(connection, transpile(sql, CATALOG, views=VIEWS)) == expected
