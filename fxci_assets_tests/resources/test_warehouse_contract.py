"""What every warehouse does: each test is run against the local one and against BigQuery."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pytest

from fxci_assets.dialect import QueryError
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.warehouse import Warehouse, WarehouseError
from fxci_assets.tables import Column, Mode, Table, arrow_schema
from fxci_assets_tests.warehouse_rows import (
    DAY,
    EVENTS,
    NEXT_DAY,
    TALLIES,
    batch,
    event,
)


class Place(Protocol):
    """Where a test has its tables."""

    def table(self, table: Table) -> Table:
        """The table under a name that is the test's own."""

    def warehouse(self, *tables: Table) -> Warehouse: ...


@dataclass
class _Folder:
    root: Path

    def table(self, table: Table) -> Table:
        return table

    def warehouse(self, *tables: Table) -> Warehouse:
        return LocalWarehouse(self.root, "project", "fxci_derived", tables=tables)


@pytest.fixture(params=["local", "bigquery"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return _Folder(tmp_path)
    found: Place = request.getfixturevalue("bigquery")
    return found


@dataclass
class Tables:
    """The warehouse, with a table that is written and one that is a query over it."""

    warehouse: Warehouse
    events: Table
    tallies: Table

    def named(self, sql: str) -> str:
        """The query with the tables' names in it."""
        target = self.warehouse.target
        return sql.format(
            events=f"`{target}.{self.events.name}`", tallies=f"`{target}.{self.tallies.name}`"
        )

    def write(self, *rows: Mapping[str, object], day: dt.date = DAY) -> str:
        """Makes these the events of the day; returns the data_version."""
        batches = [batch(self.events, row) for row in rows]
        return self.warehouse.write_partition(self.events, day, batches).data_version

    def tally(self, sql: str, **parameters: Any) -> str:  # noqa: ANN401
        """Makes the result the tallies of the day; returns the data_version."""
        given = {"day": DAY, **parameters}
        written = self.warehouse.write_query(self.tallies, DAY, self.named(sql), given)
        return written.data_version

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        found: list[dict[str, Any]] = self.warehouse.query(
            self.named(sql), {"day": DAY, "next_day": NEXT_DAY, **parameters}
        ).to_pylist()
        return found

    def ids(self) -> list[str]:
        """Of the events of both days."""
        rows = self.rows("SELECT id FROM {events} WHERE day IN (@day, @next_day) ORDER BY id")
        return [row["id"] for row in rows]

    def tallied(self) -> list[tuple[object, ...]]:
        rows = self.rows("SELECT name, number FROM {tallies} WHERE day = @day ORDER BY name")
        return [tuple(row.values()) for row in rows]


@pytest.fixture
def tables(place: Place) -> Tables:
    events, tallies = place.table(EVENTS), place.table(TALLIES)
    return Tables(place.warehouse(events, tallies), events, tallies)


class TestAPartition:
    def test_comes_back_as_it_was_written(self, tables: Tables) -> None:
        first = event(
            number=2**63 - 1,
            seconds=0.1 + 0.2,
            dollars=Decimal("12345678901234567890.123456789"),
            routes=["b", "", "a"],
            tags={"project": "tr\u00ff\n"},
        )
        second = event(id="B", number=None, seconds=None, good=None, tags={"project": None})

        tables.write(first, second)

        found = tables.rows("SELECT * FROM {events} WHERE day = @day ORDER BY id")
        # A NUMERIC comes back as a float.
        assert found == [first | {"dollars": 12345678901234567890.123456789}, second]

    def test_tells_what_it_is(self, tables: Tables) -> None:
        rows = [batch(tables.events, event(), event(id="B"))]
        written = tables.warehouse.write_partition(tables.events, DAY, rows, labels={"run": "42"})
        assert written.rows == 2
        assert written.bytes > 0
        assert tables.events.name in written.uri

    def test_replaces_its_day_and_no_other(self, tables: Tables) -> None:
        tables.write(event(id="old"), event(id="older"))
        tables.write(event(NEXT_DAY, id="next"), day=NEXT_DAY)
        tables.write(event(id="new"))
        assert tables.ids() == ["new", "next"]

    def test_may_be_made_empty(self, tables: Tables) -> None:
        tables.write(event())
        written = tables.warehouse.write_partition(tables.events, DAY, [])
        assert written.rows == 0
        assert tables.ids() == []

    def test_has_a_version_that_is_its_rows(self, tables: Tables) -> None:
        both = event(id="A"), event(id="B")
        version = tables.write(*both)
        assert tables.write(*both) == version
        assert tables.write(event(id="A"), event(id="B", seconds=0.2)) != version
        assert tables.write(event(id="A")) != version

    def test_is_listed_once_it_has_rows(self, tables: Tables) -> None:
        assert list(tables.warehouse.partitions(tables.events)) == []
        tables.write(event(NEXT_DAY), day=NEXT_DAY)
        tables.write(event())
        assert list(tables.warehouse.partitions(tables.events)) == [DAY, NEXT_DAY]

    def test_without_a_column_that_was_added_later_has_null_there(
        self, place: Place, tables: Tables
    ) -> None:
        tables.write(event())
        added = Column("note", "STRING", Mode.NULLABLE, "A note.")
        wider = replace(tables.events, columns=(*tables.events.columns, added))
        later = Tables(place.warehouse(wider, tables.tallies), wider, tables.tallies)

        later.write(event(NEXT_DAY, note="new"), day=NEXT_DAY)

        notes = later.rows("SELECT note FROM {events} WHERE day IN (@day, @next_day) ORDER BY note")
        assert [row["note"] for row in notes] == [None, "new"]


class TestRowsAreRefused:
    """The day keeps its old rows."""

    def refused(self, tables: Tables, *rows: pa.RecordBatch) -> str:
        tables.write(event(id="old"))
        with pytest.raises(WarehouseError) as refused:
            tables.warehouse.write_partition(tables.events, DAY, rows)
        assert tables.ids() == ["old"]
        return str(refused.value)

    def test_of_another_day(self, tables: Tables) -> None:
        rows = batch(tables.events, event(), event(NEXT_DAY))
        assert self.refused(tables, rows) == (
            f"{tables.events.name} of 2026-04-13: a row's day is 2026-04-14"
        )

    @pytest.mark.parametrize(
        ("values", "what"),
        [({"id": None}, "id"), ({"tags": None}, "tags"), ({"routes": [None]}, "routes element")],
    )
    def test_without_what_is_required(
        self, tables: Tables, values: dict[str, Any], what: str
    ) -> None:
        rows = batch(tables.events, event(**values))
        assert self.refused(tables, rows) == (
            f"{tables.events.name} of 2026-04-13: a row has no {what}, which is required"
        )

    def test_of_another_schema(self, tables: Tables) -> None:
        schema = arrow_schema(tables.events)
        schema = schema.set(3, pa.field("number", pa.int32()))
        rows = pa.RecordBatch.from_pylist([event()], schema=schema)
        assert self.refused(tables, rows) == (
            f"{tables.events.name} of 2026-04-13: the rows do not have the table's schema; "
            "number int32 where number int64 is expected"
        )

    def test_that_break_off(self, tables: Tables) -> None:
        def rows() -> Any:  # noqa: ANN401
            yield batch(tables.events, event())
            raise WarehouseError("lost")

        tables.write(event(id="old"))
        with pytest.raises(WarehouseError, match=r"^lost$"):
            tables.warehouse.write_partition(tables.events, DAY, rows())
        assert tables.ids() == ["old"]


COUNTS = (
    "SELECT day, COUNT(*) AS number, COUNT(*) / 2 AS share, id AS name FROM {events} "
    "WHERE day = @day GROUP BY day, id"
)


class TestAPartitionThatIsAQuery:
    def test_has_the_querys_rows(self, tables: Tables) -> None:
        tables.write(event(id="A"), event(id="A"), event(id="B"))
        written = tables.warehouse.write_query(
            tables.tallies, DAY, tables.named(COUNTS), {"day": DAY}, labels={"run": "42"}
        )
        assert tables.tallied() == [("A", 2), ("B", 1)]
        assert written.rows == 2
        assert tables.tallies.name in written.uri

    def test_may_begin_and_end_in_a_comment(self, tables: Tables) -> None:
        tables.write(event())
        tables.tally(f"-- What is counted.\nWITH counts AS ({COUNTS})\nSELECT * FROM counts -- all")
        assert tables.tallied() == [("A", 1)]

    def test_replaces_the_day(self, tables: Tables) -> None:
        tables.write(event(id="A"))
        tables.tally(COUNTS)
        tables.write(event(id="B"))
        tables.tally(COUNTS)
        assert tables.tallied() == [("B", 1)]

    def test_may_be_empty(self, tables: Tables) -> None:
        tables.write(event())
        tables.tally(COUNTS)
        tables.tally(f"SELECT * FROM ({COUNTS}) WHERE name = 'nothing'")
        assert tables.tallied() == []

    def test_is_given_parameters(self, tables: Tables) -> None:
        tables.write(event(id="A"), event(id="B"), event(id="C"))
        tables.tally(
            "SELECT id AS name, @number AS number, @share AS share, day FROM {events} "
            "WHERE day = @day AND id IN UNNEST(@ids) AND `at` < @until AND good = @good",
            ids=["A", "C"],
            number=7,
            share=0.25,
            until=dt.datetime(2026, 4, 13, 12, tzinfo=dt.UTC),
            good=True,
        )
        assert tables.tallied() == [("A", 7), ("C", 7)]

    def test_takes_whole_numbers_where_floats_are_to_be(self, tables: Tables) -> None:
        tables.write(event())
        tables.tally(
            "SELECT id AS name, 1 AS number, 3 AS share, day FROM {events} WHERE day = @day"
        )
        assert tables.rows("SELECT share FROM {tallies} WHERE day = @day") == [{"share": 3.0}]

    def test_has_a_version_that_is_its_rows_in_any_order(self, tables: Tables) -> None:
        tables.write(event(id="A"), event(id="B"))
        version = tables.tally(COUNTS)
        assert tables.tally(f"{COUNTS} ORDER BY id DESC") == version
        assert tables.tally(f"{COUNTS} ORDER BY id LIMIT 1") != version
        assert tables.tally(COUNTS.replace("/ 2", "/ 3")) != version

    @pytest.mark.parametrize(
        ("sql", "message"),
        [
            (
                "SELECT id AS name, day FROM {events} WHERE day = @day",
                "its query gives the columns name, day, and the table has name, number, share, day",
            ),
            (
                f"SELECT *, 1 AS extra FROM ({COUNTS})",
                "its query gives the columns day, number, share, name, extra",
            ),
            (
                COUNTS.replace("COUNT(*) AS number", "'x' AS number"),
                "its query gives other types",
            ),
        ],
    )
    def test_needs_the_tables_columns(self, tables: Tables, sql: str, message: str) -> None:
        tables.write(event())
        tables.tally(COUNTS)
        with pytest.raises(WarehouseError, match=f"{tables.tallies.name}: {message}"):
            tables.tally(sql)
        assert tables.tallied() == [("A", 1)]

    def test_needs_the_days_rows(self, tables: Tables) -> None:
        tables.write(event())
        tables.tally(COUNTS)
        with pytest.raises(WarehouseError, match=f"{tables.tallies.name} of 2026-04-13: "):
            tables.tally(
                COUNTS.replace("SELECT day", "SELECT DATE_ADD(day, INTERVAL 1 DAY) AS day")
            )
        assert tables.tallied() == [("A", 1)]

    def test_stays_as_it_was_if_the_query_fails(self, tables: Tables) -> None:
        tables.write(event())
        tables.tally(COUNTS)
        with pytest.raises((QueryError, WarehouseError)):
            tables.tally(COUNTS.replace("/ 2", "/ (COUNT(*) - 1)"))
        assert tables.tallied() == [("A", 1)]


def test_what_is_said_before_a_commit_can_prevent_it(tables: Tables) -> None:
    tables.write(event(id="old"))
    tables.tally(COUNTS)

    def too_late() -> None:
        assert tables.ids() == ["old"]
        assert tables.tallied() == [("old", 1)]
        raise TimeoutError

    with pytest.raises(TimeoutError):
        tables.warehouse.write_partition(tables.events, DAY, [], before_commit=too_late)
    with pytest.raises(TimeoutError):
        tables.warehouse.write_query(
            tables.tallies,
            DAY,
            tables.named(f"{COUNTS} LIMIT 0"),
            {"day": DAY},
            before_commit=too_late,
        )
    assert tables.ids() == ["old"]
    assert tables.tallied() == [("old", 1)]


class TestAQuery:
    def test_has_a_result_of_the_same_types_everywhere(self, tables: Tables) -> None:
        tables.write(event(dollars=Decimal("1.5"), routes=["a"]))
        result = tables.warehouse.query(
            tables.named(
                "SELECT id, `at`, day, number, seconds, dollars, good, routes, tags, "
                "COUNT(*) OVER () AS n, NULL AS nothing, [1, 2] AS numbers, "
                "STRUCT(1 AS a, 'b' AS b) AS record FROM {events} WHERE day = @day"
            ),
            {"day": DAY},
        )
        assert {field.name: str(field.type) for field in result.schema} == {
            "id": "string",
            "at": "timestamp[us, tz=UTC]",
            "day": "date32[day]",
            "number": "int64",
            "seconds": "double",
            "dollars": "double",
            "good": "bool",
            "routes": "list<item: string>",
            "tags": "struct<project: string>",
            "n": "int64",
            "nothing": "int64",
            "numbers": "list<item: int64>",
            "record": "struct<a: int64, b: string>",
        }
        assert all(field.nullable for field in result.schema)

    def test_may_come_in_parts(self, tables: Tables) -> None:
        numbers = range(2_500)  # more than a page of the tests' server
        tables.write(*(event(id=f"{number:04d}", number=number) for number in numbers))
        sql = tables.named("SELECT number, routes FROM {events} WHERE day = @day")
        parts = list(tables.warehouse.stream(sql, {"day": DAY}))
        assert sorted(n for part in parts for n in part["number"].to_pylist()) == list(numbers)
        assert {str(part.schema.field("routes").type) for part in parts} == {"list<item: string>"}

    def test_without_rows_has_its_types_all_the_same(self, tables: Tables) -> None:
        tables.write(event())
        result = tables.warehouse.query(
            tables.named("SELECT number, routes FROM {events} WHERE day = @day"), {"day": NEXT_DAY}
        )
        assert len(result) == 0
        assert [str(type_) for type_ in result.schema.types] == ["int64", "list<item: string>"]

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT nothing FROM {events} WHERE day = @day",
            "SELECT COUNT(*) / 0 AS x FROM {events} WHERE day = @day",
            "SELECT id, number AS id FROM {events} WHERE day = @day",
            "SELECT * FROM {events}",
            "SELECT id FROM",
        ],
    )
    def test_that_is_wrong_is_told_so_in_one_line(self, tables: Tables, sql: str) -> None:
        tables.write(event())
        with pytest.raises(QueryError) as error:
            tables.rows(sql)
        assert "\n" not in str(error.value)

    def test_needs_a_filter_on_the_partition(self, tables: Tables) -> None:
        tables.write(event())
        with pytest.raises(QueryError, match=rf"{tables.events.name}.* filter .*\bday\b"):
            tables.rows("SELECT id FROM {events} WHERE number = 1")
