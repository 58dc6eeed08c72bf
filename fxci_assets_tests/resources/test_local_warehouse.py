"""The local warehouse: partitions are replaced whole, and queried as in BigQuery."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fxci_assets.dialect import PartitionFilterError, QueryError
from fxci_assets.durable import TEMPORARY
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.warehouse import WarehouseError
from fxci_assets.tables import (
    TASK_RUNS,
    TASKS,
    Column,
    Mode,
    Relation,
    Source,
    Table,
    arrow_schema,
)

DAY = dt.date(2026, 4, 13)
NEXT_DAY = dt.date(2026, 4, 14)
IN_APRIL = "submission_date BETWEEN '2026-04-01' AND '2026-04-30'"

LISTS = Table(
    name="lists_v1",
    view="lists",
    title="Lists",
    description="A table with a list.",
    columns=(
        Column("day", "DATE", Mode.REQUIRED, "The day."),
        Column("routes", "STRING", Mode.REPEATED, "Some names."),
    ),
    key=(),
    partition_column="day",
    clustering=(),
    group="test",
    kinds=frozenset(),
)

BILL = Source(
    name="bill",
    title="A bill",
    description="A table of others, partitioned by a time.",
    columns=(
        Column("usage_start", "TIMESTAMP", Mode.NULLABLE, "When."),
        Column("price", "NUMERIC", Mode.NULLABLE, "Dollars."),
        Column(
            "credits",
            "RECORD",
            Mode.REPEATED,
            "What comes off.",
            fields=(Column("amount", "FLOAT", Mode.NULLABLE, "Dollars."),),
        ),
    ),
    partition_column="usage_start",
)
LOOKUP = Source(
    name="lookup",
    title="A lookup",
    description="A table of others, without partitions.",
    columns=(Column("id", "STRING", Mode.NULLABLE, "An id."),),
    partition_column=None,
)


def made(root: Path, *tables: Table) -> LocalWarehouse:
    return LocalWarehouse(
        root,
        "project",
        "fxci_derived",
        tables=tables,
        sources={"other.billing.bill_of_others": BILL, "other.billing.lookup": LOOKUP},
        views={f"fxci.{t.view}": f"SELECT * FROM `project.fxci_derived.{t.name}`" for t in tables},
    )


@pytest.fixture
def warehouse(tmp_path: Path) -> LocalWarehouse:
    return made(tmp_path, TASKS, TASK_RUNS, LISTS)


def run(day: dt.date = DAY, **values: object) -> dict[str, Any]:
    at = dt.datetime.combine(day, dt.time(10), dt.UTC)
    row: dict[str, Any] = {
        "task_id": "A",
        "run_id": 0,
        "reason_created": "scheduled",
        "reason_resolved": "completed",
        "resolved": at,
        "scheduled": at,
        "started": at,
        "state": "completed",
        "submission_date": day,
        "worker_group": None,
        "worker_id": None,
    }
    return row | values


def task(day: dt.date = DAY, **values: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "scheduler_id": "gecko-level-3",
        "submission_date": day,
        "task_group_id": "G",
        "task_id": "A",
        "task_queue_id": "gecko-t/linux",
        "tags": {"project": "try"},
    }
    return row | values


def batch(table: Relation, *rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=arrow_schema(table))


def test_what_is_written_can_be_queried(warehouse: LocalWarehouse) -> None:
    written = warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run(), run(run_id=1))])
    assert written.rows == 2
    result = warehouse.query(
        "SELECT task_id, run_id, resolved FROM fxci.task_runs "
        "WHERE submission_date = @day ORDER BY run_id DESC LIMIT 1",
        {"day": DAY},
    )
    at = dt.datetime(2026, 4, 13, 10, tzinfo=dt.UTC)
    assert result.to_pylist() == [{"task_id": "A", "run_id": 1, "resolved": at}]


def test_a_file_is_where_it_is_said_to_be(warehouse: LocalWarehouse, tmp_path: Path) -> None:
    written = warehouse.write_partition(TASKS, DAY, [batch(TASKS, task())], labels={"run": "42"})
    [path] = tmp_path.rglob("*.parquet")
    assert path.parent == tmp_path / "fxci_derived/tasks_v2/submission_date=2026-04-13"
    assert written.uri == path.as_uri()
    assert written.bytes == path.stat().st_size
    file = pq.ParquetFile(path)
    assert file.schema_arrow.equals(arrow_schema(TASKS))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.metadata.metadata[b"run"] == b"42"


def test_target(warehouse: LocalWarehouse) -> None:
    assert warehouse.target == "project.fxci_derived"


def test_a_write_replaces_the_day_and_no_other(warehouse: LocalWarehouse) -> None:
    warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run(), run(run_id=1))])
    warehouse.write_partition(TASK_RUNS, NEXT_DAY, [batch(TASK_RUNS, run(NEXT_DAY))])
    warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run(run_id=7))])
    result = warehouse.query(
        f"SELECT submission_date, run_id FROM fxci.task_runs WHERE {IN_APRIL} ORDER BY 1"
    )
    assert [tuple(row.values()) for row in result.to_pylist()] == [(DAY, 7), (NEXT_DAY, 0)]


def test_a_newer_file_is_current_though_the_clock_was_set_back(
    warehouse: LocalWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run(run_id=1))])
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run(run_id=2))])
    result = warehouse.query(f"SELECT run_id FROM fxci.task_runs WHERE {IN_APRIL}")
    assert result.column("run_id").to_pylist() == [2]


def test_the_days_that_have_a_partition(warehouse: LocalWarehouse) -> None:
    assert warehouse.partitions(TASKS) == []
    warehouse.write_partition(TASKS, NEXT_DAY, [batch(TASKS, task(NEXT_DAY))])
    warehouse.write_partition(TASKS, DAY, [])
    assert warehouse.partitions(TASKS) == [DAY, NEXT_DAY]


def test_a_table_without_files_and_an_empty_day_are_empty(warehouse: LocalWarehouse) -> None:
    count = f"SELECT COUNT(*) AS n, MAX(tags.project) AS p FROM fxci.tasks WHERE {IN_APRIL}"
    assert warehouse.query(count).to_pylist() == [{"n": 0, "p": None}]
    warehouse.write_partition(TASKS, DAY, [])
    assert warehouse.query(count).to_pylist() == [{"n": 0, "p": None}]


def test_a_column_that_was_added_later_is_null_in_older_files(
    warehouse: LocalWarehouse, tmp_path: Path
) -> None:
    warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run())])
    wider = replace(
        TASK_RUNS, columns=(*TASK_RUNS.columns, Column("note", "STRING", Mode.NULLABLE, "A note."))
    )
    newer = made(tmp_path, wider)
    newer.write_partition(wider, NEXT_DAY, [batch(wider, run(NEXT_DAY, note="new"))])
    result = newer.query(f"SELECT note FROM fxci.task_runs WHERE {IN_APRIL} ORDER BY note")
    assert result.column("note").to_pylist() == [None, "new"]
    # And what is no longer in the spec is not shown.
    assert (
        "note" not in warehouse.query(f"SELECT * FROM fxci.task_runs WHERE {IN_APRIL}").column_names
    )


# --- partitions that are queries ------------------------------------------------------------------


def ids(warehouse: LocalWarehouse) -> list[tuple[str, int]]:
    rows = warehouse.query(f"SELECT task_id, run_id FROM fxci.task_runs WHERE {IN_APRIL}")
    return [(row["task_id"], row["run_id"]) for row in rows.to_pylist()]


COPY = "SELECT * EXCEPT (run_id), run_id + 10 AS run_id FROM fxci.task_runs WHERE {}"


def test_a_query_becomes_a_partition_sorted_by_the_key(warehouse: LocalWarehouse) -> None:
    warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run(run_id=2), run(run_id=1))])
    sql = COPY.format("submission_date = @day AND state IN UNNEST(@states)")
    written = warehouse.write_query(TASK_RUNS, DAY, sql, {"day": DAY, "states": ["completed"]})
    assert ids(warehouse) == [("A", 11), ("A", 12)]
    assert written.rows == 2


def test_the_data_version_is_that_of_the_rows(warehouse: LocalWarehouse) -> None:
    rows = [batch(TASK_RUNS, run(run_id=1)), batch(TASK_RUNS, run(run_id=2))]
    one = warehouse.write_partition(TASK_RUNS, DAY, rows)
    same = "SELECT * FROM fxci.task_runs WHERE submission_date = @day ORDER BY run_id DESC"
    again = warehouse.write_query(TASK_RUNS, DAY, same, {"day": DAY})
    other = warehouse.write_query(TASK_RUNS, DAY, f"{same} LIMIT 1", {"day": DAY})
    assert one.data_version == again.data_version != other.data_version
    assert one.uri != again.uri


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 'A' AS task_id", "its query gives the columns task_id, and the table has"),
        (
            "SELECT * EXCEPT (run_id), 'x' AS run_id FROM fxci.task_runs "
            "WHERE submission_date = @day",
            "task_runs_v1: its query gives other types",
        ),
        (
            "SELECT * EXCEPT (submission_date), DATE '2026-04-14' AS submission_date "
            "FROM fxci.task_runs WHERE submission_date = @day",
            "task_runs_v1 of 2026-04-13: a row's submission_date is 2026-04-14",
        ),
        (
            "SELECT * EXCEPT (state), NULLIF(state, state) AS state "
            "FROM fxci.task_runs WHERE submission_date = @day",
            "state",
        ),
    ],
)
def test_a_query_that_does_not_fit_leaves_the_old_rows(
    warehouse: LocalWarehouse, sql: str, message: str
) -> None:
    warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run(run_id=1))])
    with pytest.raises(WarehouseError, match=message):
        warehouse.write_query(TASK_RUNS, DAY, sql, {"day": DAY})
    assert ids(warehouse) == [("A", 1)]


def test_what_is_said_before_a_commit_can_prevent_it(warehouse: LocalWarehouse) -> None:
    warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run(run_id=1))])

    def too_late() -> None:
        assert ids(warehouse) == [("A", 1)]
        raise TimeoutError

    with pytest.raises(TimeoutError):
        warehouse.write_partition(TASK_RUNS, DAY, [], before_commit=too_late)
    with pytest.raises(TimeoutError):
        sql = COPY.format("submission_date = @day")
        warehouse.write_query(TASK_RUNS, DAY, sql, {"day": DAY}, before_commit=too_late)
    assert ids(warehouse) == [("A", 1)]


# --- tables of others -----------------------------------------------------------------------------


def bill(*rows: tuple[dt.datetime, str, list[float]]) -> list[pa.RecordBatch]:
    return [
        pa.RecordBatch.from_pylist(
            [
                {
                    "usage_start": at,
                    "price": Decimal(price),
                    "credits": [{"amount": a} for a in amounts],
                }
                for at, price, amounts in rows
            ],
            arrow_schema(BILL),
        )
    ]


def test_a_source_is_queried_by_the_name_that_it_was_given(warehouse: LocalWarehouse) -> None:
    last = dt.datetime(2026, 4, 13, 23, 59, 59, 999_999, dt.UTC)
    midnight = dt.datetime(2026, 4, 14, tzinfo=dt.UTC)
    assert not warehouse.is_filled(BILL)
    warehouse.fill(BILL, DAY, bill((last, "1.25", [-0.25, -0.5])))
    warehouse.fill(BILL, NEXT_DAY, bill((midnight, "9", [])))
    warehouse.fill(LOOKUP, None, [batch(LOOKUP, {"id": "old"})])
    warehouse.fill(LOOKUP, None, [batch(LOOKUP, {"id": "new"}, {"id": "new"})])
    assert warehouse.is_filled(BILL)
    rows = warehouse.query(
        "SELECT price, (SELECT SUM(credit.amount) FROM UNNEST(credits) AS credit) AS credit, "
        "(SELECT COUNT(*) FROM `other.billing.lookup` WHERE id = 'new') AS n "
        "FROM `other.billing.bill_of_others` "
        "WHERE usage_start >= TIMESTAMP(@day) "
        "AND usage_start < TIMESTAMP(DATE_ADD(@day, INTERVAL 1 DAY))",
        {"day": DAY},
    )
    assert rows.to_pylist() == [{"price": 1.25, "credit": -0.75, "n": 2}]


def test_a_source_refuses_rows_of_another_day(warehouse: LocalWarehouse) -> None:
    midnight = dt.datetime(2026, 4, 14, tzinfo=dt.UTC)
    with pytest.raises(
        WarehouseError, match="bill of 2026-04-13: a row's usage_start is 2026-04-14"
    ):
        warehouse.fill(BILL, DAY, bill((midnight, "9", [])))


# --- rows that are refused ------------------------------------------------------------------------


def refused(
    warehouse: LocalWarehouse, table: Table, rows: Callable[[], Iterator[pa.RecordBatch]]
) -> str:
    """The error's message, after checking that the old partition is as it was."""
    old = task() if table is TASKS else run()
    warehouse.write_partition(table, DAY, [batch(table, old)])
    before = sorted(os.walk(warehouse._root))
    with pytest.raises(WarehouseError) as error:
        warehouse.write_partition(table, DAY, rows())
    assert sorted(os.walk(warehouse._root)) == before
    return str(error.value)


def test_a_row_of_another_day_is_refused(warehouse: LocalWarehouse) -> None:
    message = refused(
        warehouse,
        TASK_RUNS,
        lambda: iter([batch(TASK_RUNS, run()), batch(TASK_RUNS, run(), run(NEXT_DAY))]),
    )
    assert message == "task_runs_v1 of 2026-04-13: a row's submission_date is 2026-04-14"


def test_a_row_without_a_required_value_is_refused(warehouse: LocalWarehouse) -> None:
    message = refused(warehouse, TASK_RUNS, lambda: iter([batch(TASK_RUNS, run(state=None))]))
    assert message == "task_runs_v1 of 2026-04-13: a row has no state, which is required"


def test_a_required_record_is_required_too(warehouse: LocalWarehouse) -> None:
    message = refused(warehouse, TASKS, lambda: iter([batch(TASKS, task(tags=None))]))
    assert message == "tasks_v2 of 2026-04-13: a row has no tags, which is required"


def test_a_list_is_empty_never_null(warehouse: LocalWarehouse) -> None:
    with pytest.raises(WarehouseError, match="has no routes, which is required"):
        warehouse.write_partition(LISTS, DAY, [batch(LISTS, {"day": DAY, "routes": None})])
    with pytest.raises(WarehouseError, match="has no routes element, which is required"):
        warehouse.write_partition(LISTS, DAY, [batch(LISTS, {"day": DAY, "routes": [None]})])
    warehouse.write_partition(LISTS, DAY, [batch(LISTS, {"day": DAY, "routes": []})])
    result = warehouse.query("SELECT routes FROM fxci.lists WHERE day = '2026-04-13'")
    assert result.column("routes").to_pylist() == [[]]


def test_rows_of_another_schema_are_refused(warehouse: LocalWarehouse) -> None:
    other = arrow_schema(TASK_RUNS).set(1, pa.field("run_id", pa.int32(), nullable=False))
    rows = pa.RecordBatch.from_pylist([run()], schema=other)
    message = refused(warehouse, TASK_RUNS, lambda: iter([rows]))
    assert message == (
        "task_runs_v1 of 2026-04-13: the rows do not have the table's schema; "
        "run_id int32 not null where run_id int64 not null is expected"
    )


def test_a_source_that_fails_half_way_leaves_the_old_partition(warehouse: LocalWarehouse) -> None:
    def rows() -> Iterator[pa.RecordBatch]:
        yield batch(TASK_RUNS, run())
        raise WarehouseError("lost")

    assert refused(warehouse, TASK_RUNS, rows) == "lost"


def test_superseded_files_go_an_hour_after_they_were_superseded(
    warehouse: LocalWarehouse, tmp_path: Path
) -> None:
    folder = tmp_path / "fxci_derived/task_runs_v1/submission_date=2026-04-13"

    def write() -> Path:
        known = set(folder.glob("*.parquet"))
        warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run())])
        [new] = set(folder.glob("*.parquet")) - known
        return new

    long_ago = time.time() - 3_700
    first, second = write(), write()
    os.utime(first, (long_ago - 9_000, long_ago - 9_000))
    third = write()
    # However old the first is: it was superseded by the second a moment ago.
    assert set(folder.iterdir()) == {first, second, third}
    os.utime(second, (long_ago, long_ago))
    left, fresh = folder / f"{TEMPORARY}left", folder / f"{TEMPORARY}fresh"
    left.touch()
    fresh.touch()
    os.utime(left, (long_ago, long_ago))
    fourth = write()
    assert set(folder.iterdir()) == {second, third, fourth, fresh}


def test_a_files_folders_are_durable_too(
    warehouse: LocalWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(tmp_path):
            synced.append(str(path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    warehouse.write_partition(TASKS, DAY, [batch(TASKS, task())])
    table = tmp_path / "fxci_derived/tasks_v2"
    assert synced[:3] == [str(tmp_path), str(tmp_path / "fxci_derived"), str(table)]
    assert Path(synced[3]).name.startswith(TEMPORARY)
    assert synced[4:] == [str(table / "submission_date=2026-04-13")]


def test_a_reader_sees_whole_versions_and_one_version(warehouse: LocalWarehouse) -> None:
    """Every version has as many rows as its number says, all with that number."""
    stop = threading.Event()

    def write() -> None:
        version = 0
        while not stop.is_set():
            version = version % 50 + 1
            rows = [run(run_id=version, task_id=str(i)) for i in range(version)]
            warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, row) for row in rows])

    warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run(run_id=1))])
    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = set()
        until = time.monotonic() + 2
        while time.monotonic() < until:
            [row] = warehouse.query(
                "WITH a AS (SELECT * FROM fxci.task_runs WHERE submission_date = @day), "
                "b AS (SELECT * FROM fxci_derived.task_runs_v1 WHERE submission_date = @day) "
                "SELECT COUNT(*) AS n, MIN(a.run_id) AS low, MAX(b.run_id) AS high "
                "FROM a FULL JOIN b ON a.task_id = b.task_id",
                {"day": DAY},
            ).to_pylist()
            assert row["n"] == row["low"] == row["high"]
            seen.add(row["n"])
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 3


def test_a_filter_on_the_day_reads_one_file_of_sixty(
    warehouse: LocalWarehouse, tmp_path: Path
) -> None:
    days = [DAY + dt.timedelta(days=i) for i in range(60)]
    for day in days:
        warehouse.write_partition(TASK_RUNS, day, [batch(TASK_RUNS, run(day))])
    # A file that is not read may as well be broken.
    for path in tmp_path.rglob("*.parquet"):
        if "2026-04-13" not in str(path) and "2026-05-01" not in str(path):
            path.write_bytes(b"")
    for condition in (
        "submission_date = '2026-05-01'",
        "submission_date = DATE '2026-05-01'",
        "submission_date = DATE_ADD(@day, INTERVAL 18 DAY)",
        "submission_date BETWEEN '2026-05-01' AND DATE '2026-05-02' - 1",
    ):
        result = warehouse.query(
            f"SELECT COUNT(*) AS n FROM fxci.task_runs WHERE {condition}", {"day": DAY}
        )
        assert result.column("n").to_pylist() == [1]


def test_results_have_bigquerys_types(warehouse: LocalWarehouse) -> None:
    result = warehouse.query(
        "SELECT SUM(x) AS total, SUM(SUM(x)) OVER () AS all_of_it, COUNT(*) AS n, AVG(x) AS mean, "
        "DATE '2026-04-13' AS day, TIMESTAMP '2026-04-13 10:00:00' AS moment, NULL AS nothing, "
        "STRUCT(1 AS a, 'b' AS b) AS record, [1, 2] AS numbers, TRUE AS yes, 1.5 AS f, 'x' AS s "
        "FROM UNNEST([1, 2]) AS x"
    )
    assert {field.name: str(field.type) for field in result.schema} == {
        "total": "int64",
        "all_of_it": "int64",
        "n": "int64",
        "mean": "double",
        "day": "date32[day]",
        "moment": "timestamp[us, tz=UTC]",
        "nothing": "int64",
        "record": "struct<a: int64, b: string>",
        "numbers": "list<item: int64>",
        "yes": "bool",
        "f": "double",
        "s": "string",
    }
    assert result.to_pylist()[0]["all_of_it"] == 3


def test_a_null_array_comes_back_empty(warehouse: LocalWarehouse) -> None:
    result = warehouse.query("SELECT ARRAY_AGG(x) AS xs FROM UNNEST([1]) AS x WHERE x > 1")
    assert result.column("xs").to_pylist() == [[]]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT ARRAY_AGG(NULLIF(x, 1)) AS xs FROM UNNEST([1]) AS x", "Array cannot have a null"),
        ("SELECT 1 AS a, 2 AS a", "Duplicate column names in the result: a"),
        ("SELECT 1 / 0", "^division by zero$"),
        ("SELECT nothing FROM fxci.lists WHERE day = '2026-04-13'", '"nothing" not found'),
        ("SELECT SUM(day) FROM fxci.lists WHERE day = '2026-04-13'", "^SUM does not take"),
        ("SELECT * FROM fxci.nothing", "known ones are .*, fxci.lists, .*, fxci_derived.tasks_v2"),
        ("SELECT SUM(x) FROM UNNEST([9223372036854775807, 1]) AS x", "."),
        (
            "SELECT x FROM fxci.task_runs AS r, UNNEST(SPLIT(SUBSTR(r.state, 1))) AS x "
            "WHERE submission_date = '2026-04-13'",
            "inside this UNNEST is not supported",
        ),
    ],
)
def test_an_error_is_one_line(warehouse: LocalWarehouse, sql: str, message: str) -> None:
    warehouse.write_partition(TASK_RUNS, DAY, [batch(TASK_RUNS, run())])
    with pytest.raises(QueryError, match=message) as error:
        warehouse.query(sql)
    assert "\n" not in str(error.value)


def test_a_scan_needs_a_filter_on_its_partition(warehouse: LocalWarehouse) -> None:
    with pytest.raises(PartitionFilterError, match=r"fxci_derived\.tasks_v2 .* submission_date"):
        warehouse.query("SELECT * FROM fxci_derived.tasks_v2")


def test_writing_needs_neither_duckdb_nor_sqlglot(tmp_path: Path) -> None:
    program = (
        "import sys, datetime as dt, pathlib\n"
        "from fxci_assets.resources.local_warehouse import LocalWarehouse\n"
        "from fxci_assets.tables import TASKS\n"
        f"warehouse = LocalWarehouse(pathlib.Path({str(tmp_path)!r}), 'p', 'd')\n"
        "warehouse.write_partition(TASKS, dt.date(2026, 4, 13), [])\n"
        "assert not {'duckdb', 'sqlglot', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
