"""Bills that somebody loads: what becomes of the rows of a Parquet file, column by column."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fxci_assets.resources.billing import BillingError, LoadedExports, load
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.warehouse import WarehouseError
from fxci_assets.sandbox.billing.azure import EXPORTS, azure_bill, azure_lookup
from fxci_assets.sandbox.billing.gcp import gcp_bill
from fxci_assets.sandbox.firefox_ci import World
from fxci_assets.tables import (
    AZURE_FXCI,
    AZURE_FXCI_LOOKUP,
    AZURE_TASKCLUSTER,
    BILLING,
    GCP,
    Source,
    arrow_schema,
)

DAY = dt.date(2026, 4, 13)
NEXT_DAY = dt.date(2026, 4, 14)
AT = dt.datetime(2026, 4, 13, 10, tzinfo=dt.UTC)
UTC = pa.timestamp("us", "UTC")

Row = dict[str, Any]


class Filled:
    """What a source was filled with, by day."""

    def __init__(self) -> None:
        self.days: dict[dt.date | None, pa.Table] = {}

    def __call__(self, source: Source, day: dt.date | None, rows: Iterable[pa.RecordBatch]) -> None:
        assert day not in self.days
        self.days[day] = pa.Table.from_batches(list(rows), arrow_schema(source))

    def rows(self) -> list[Row]:
        return [row for table in self.days.values() for row in table.to_pylist()]


def write(folder: Path, table: pa.Table, **options: int) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    pq.write_table(table, path, **options)
    return path


def loaded(folder: Path, columns: dict[str, Any], source: Source = GCP) -> Row:
    """The one row that comes of a file with one row."""
    filled = Filled()
    day = {} if source is not GCP else {"usage_start_time": pa.array([AT], UTC)}
    load(filled, source, [write(folder, pa.table(day | columns))])
    [row] = filled.rows()
    return row


def refused(folder: Path, columns: dict[str, Any], source: Source = GCP) -> str:
    with pytest.raises(BillingError) as raised:
        loaded(folder, columns, source)
    text = str(raised.value)
    assert "\n" not in text
    return text.partition(f"does not have the columns of {source.name}: ")[2]


# --- days -----------------------------------------------------------------------------------------


def test_the_day_of_a_time_is_that_of_utc(tmp_path: Path) -> None:
    new_york = pa.timestamp("us", "America/New_York")
    times = [
        dt.datetime(2026, 4, 13, tzinfo=dt.UTC),
        dt.datetime(2026, 4, 13, 23, 59, 59, 999_999, dt.UTC),
        dt.datetime(2026, 4, 14, tzinfo=dt.UTC),
        dt.datetime(1969, 12, 31, 23, 59, tzinfo=dt.UTC),
    ]
    for type_ in (UTC, new_york, pa.timestamp("ms", "UTC"), pa.timestamp("us")):
        filled = Filled()
        column = pa.array([t.replace(microsecond=0) for t in times], UTC).cast(type_)
        files = [write(tmp_path, pa.table({"usage_start_time": column}))]
        days = [dt.date(1969, 12, 31), DAY, NEXT_DAY]
        assert load(filled, GCP, files) == list(filled.days) == days
        assert [len(table) for table in filled.days.values()] == [1, 2, 1]


def test_files_of_one_load_are_one_export(tmp_path: Path) -> None:
    """A day may be in several of them; some may lack columns that others have."""
    filled = Filled()
    files = [
        write(tmp_path, pa.table({"date": [NEXT_DAY, DAY], "quantity": [2.0, 1.0]})),
        write(tmp_path, pa.table({"DATE": [DAY], "unitOfMeasure": ["1 Hour"]})),
    ]
    assert load(filled, AZURE_FXCI, files) == [DAY, NEXT_DAY]
    assert [(row["date"], row["quantity"], row["unitOfMeasure"]) for row in filled.rows()] == [
        (DAY, 1.0, None),
        (DAY, None, "1 Hour"),
        (NEXT_DAY, 2.0, None),
    ]


def test_of_files_that_are_not_all_good_nothing_is_loaded(tmp_path: Path) -> None:
    filled = Filled()
    good = write(tmp_path, pa.table({"date": [DAY]}))
    for dates in (["2026-04-13"], pa.array([None], pa.date32())):
        bad = write(tmp_path, pa.table({"date": dates}))
        with pytest.raises(BillingError):
            load(filled, AZURE_FXCI, [good, bad])
    assert filled.days == {}


@pytest.mark.parametrize("source", BILLING)
def test_an_export_without_rows_is_there_all_the_same(tmp_path: Path, source: Source) -> None:
    warehouse = local(tmp_path / "warehouse")
    assert not warehouse.is_filled(source)
    empty = arrow_schema(source).empty_table()
    (tmp_path / "files").mkdir()
    assert load(warehouse.fill, source, [write(tmp_path / "files", empty)]) == []
    assert warehouse.is_filled(source)
    column = source.partition_column
    where = f"WHERE {column} >= '1900-01-01'" if column else ""
    assert warehouse.query(f"SELECT * FROM bills.{source.name} {where}").num_rows == 0


def local(root: Path) -> LocalWarehouse:
    sources = {f"project.bills.{source.name}": source for source in BILLING}
    return LocalWarehouse(root, "project", "dataset", sources=sources)


# --- columns --------------------------------------------------------------------------------------


def test_what_is_missing_is_null_and_what_is_unknown_is_left_out(tmp_path: Path) -> None:
    """Arrays are empty, never NULL, also within a record that is not there."""
    row = loaded(tmp_path, {"COST": [1.5], "colour": ["red"]})
    assert list(row) == arrow_schema(GCP).names
    given = {"usage_start_time": AT, "cost": 1.5, "labels": [], "system_labels": [], "credits": []}
    assert row == dict.fromkeys(row) | given | {"tags": []}

    warehouse = local(tmp_path / "warehouse")
    table = pa.table({"usage_start_time": pa.array([AT], UTC)})
    assert load(warehouse.fill, GCP, [write(tmp_path, table)]) == [DAY]


def test_fields_of_a_record_are_matched_like_columns(tmp_path: Path) -> None:
    row = loaded(tmp_path, {"project": [{"NUMBER": "1", "colour": "red", "Id": "p"}]})
    absent = {"name": None, "ancestry_numbers": None}
    assert row["project"] == {"id": "p", "number": "1", "labels": [], "ancestors": []} | absent
    none = pa.array([None], pa.struct([("id", pa.string())]))
    assert loaded(tmp_path, {"project": none})["project"] is None
    assert loaded(tmp_path, {"project": pa.nulls(1)})["project"] is None


@pytest.mark.parametrize(
    ("values", "cost"),
    [
        (pa.array([2], pa.int64()), 2.0),
        (pa.array([0.5], pa.float32()), 0.5),
        (pa.array([decimal.Decimal("-1.25")], pa.decimal128(38, 9)), -1.25),
        (pa.array([None], pa.float64()), None),
        (pa.nulls(1), None),
    ],
)
def test_a_number_stays_that_number(tmp_path: Path, values: pa.Array, cost: float | None) -> None:
    assert loaded(tmp_path, {"cost": values})["cost"] == cost


def test_prices_have_nine_places(tmp_path: Path) -> None:
    price = decimal.Decimal("0.031611000")
    given = pa.array([{"list_price": price}], pa.struct([("list_price", pa.decimal128(38, 9))]))
    assert loaded(tmp_path, {"price": given})["price"]["list_price"] == price


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"cost": ["1.5"]}, "cost is string, and double is expected"),
        ({"cost": [True]}, "cost is bool, and double is expected"),
        ({"currency": [840]}, "currency is int64, and string is expected"),
        ({"cost": [{"amount": 1.5}]}, "cost is a record, and double is expected"),
        ({"cost": [[1.5]]}, "cost is an array, and double is expected"),
        ({"export_time": [DAY]}, "export_time is date32[day], and timestamp[us, tz=UTC] is "
         "expected"),
        ({"project": ["p"]}, "project is string, and a record is expected"),
        ({"project": [["p"]]}, "project is an array, and a record is expected"),
        ({"project": [{"id": 1}]}, "project.id is int64, and string is expected"),
        ({"credits": [1.5]}, "credits is double, and an array is expected"),
        ({"credits": [{"amount": 1.5}]}, "credits is double, and an array is expected"),
        ({"credits": [{"a": 1.5, "b": 1.5}]}, "credits is a record, and an array is expected"),
        ({"credits": [[1.5]]}, "credits is double, and a record is expected"),
        ({"credits": [[{"amount": "x"}]]}, "credits.amount is string, and double is expected"),
        ({"project": [{"labels": [{"key": 1, "value": "x"}]}]},
         "project.labels.key is int64, and string is expected"),
    ],
)  # fmt: skip
def test_a_column_of_another_type_is_named(tmp_path: Path, columns: Row, error: str) -> None:
    assert refused(tmp_path, columns) == error


def test_a_time_that_would_lose_digits_is_refused(tmp_path: Path) -> None:
    times = pa.array([1], pa.timestamp("ns", "UTC"))
    assert refused(tmp_path, {"export_time": times}).startswith("export_time: ")
    assert loaded(tmp_path, {"export_time": pa.array([1_000], pa.timestamp("ns", "UTC"))})


# --- arrays ---------------------------------------------------------------------------------------

Wrap = Callable[[Sequence[object]], object]

WRAPPERS: dict[str, Wrap] = {
    "as they are": list,
    "element": lambda values: [{"element": value} for value in values],
    "item": lambda values: [{"item": value} for value in values],
    "list of element": lambda values: {"list": [{"element": value} for value in values]},
    "list of item": lambda values: {"list": [{"item": value} for value in values]},
    "list": lambda values: {"list": list(values)},
}

AMOUNTS = st.none() | st.lists(st.none() | st.floats(-1e9, 1e9), max_size=4)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@given(rows=st.lists(AMOUNTS, min_size=1, max_size=8), group=st.integers(1, 4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrays_come_out_of_their_wrappers(
    tmp_path: Path, wrap: Wrap, rows: list[list[float | None] | None], group: int
) -> None:
    """Whichever rows have none, and wherever the file is cut."""
    plain = pa.list_(pa.struct([("amount", pa.float64()), ("name", pa.string())]))
    given = [
        None if row is None else wrap([{"amount": amount, "name": "x"} for amount in row])
        for row in rows
    ]
    sample = pa.array([wrap([{"amount": 1.0, "name": "x"}])])
    type_ = plain if wrap is list else sample.type
    table = pa.table(
        {"usage_start_time": pa.array([AT] * len(rows), UTC), "credits": pa.array(given, type_)}
    )
    filled = Filled()
    load(filled, GCP, [write(tmp_path, table, row_group_size=group)])
    found = [[credit["amount"] for credit in row["credits"]] for row in filled.rows()]
    assert found == [row or [] for row in rows]
    names = {credit["name"] for row in filled.rows() for credit in row["credits"]}
    assert names <= {"x"}


def test_a_record_with_one_field_is_not_taken_for_a_wrapper(tmp_path: Path) -> None:
    row = loaded(tmp_path, {"labels": [[{"key": "a"}, {"key": "b"}]]})
    assert row["labels"] == [{"key": "a", "value": None}, {"key": "b", "value": None}]


def test_arrays_within_records(tmp_path: Path) -> None:
    wrapped = {"list": [{"element": {"key": "a", "value": "b"}}]}
    row = loaded(tmp_path, {"project": [{"id": "p", "labels": wrapped}]})
    assert row["project"]["labels"] == [{"key": "a", "value": "b"}]


def test_an_element_that_is_null_is_refused_by_the_warehouse(tmp_path: Path) -> None:
    """BigQuery has no such arrays."""
    credits = pa.array([[None]], pa.list_(pa.struct([("amount", pa.float64())])))
    table = pa.table({"usage_start_time": pa.array([AT], UTC), "credits": credits})
    with pytest.raises(WarehouseError, match="a row has no credits element"):
        load(local(tmp_path / "warehouse").fill, GCP, [write(tmp_path, table)])


# --- whole exports --------------------------------------------------------------------------------

NOW = dt.datetime(2026, 4, 15, 12, tzinfo=dt.UTC)
WORLD = World(seed=1, tasks_per_day=60)


def bills() -> dict[str, tuple[Source, pa.Table]]:
    found = {"gcp": (GCP, gcp_bill(WORLD, DAY, NOW))}
    for export in EXPORTS:
        found[export.load.name] = (export.load, azure_bill(WORLD, export, DAY, NOW))
        found[export.lookup.name] = (export.lookup, azure_lookup(WORLD, export, NOW))
    return found


def test_a_whole_export_comes_back_as_it_was(tmp_path: Path) -> None:
    for name, (source, table) in bills().items():
        filled = Filled()
        reversed_columns = table.select(table.column_names[::-1])
        load(filled, source, [write(tmp_path, reversed_columns)])
        [found] = filled.days.values()
        assert len(found) > 0, name
        assert found.equals(table), name


# --- readiness ------------------------------------------------------------------------------------


def test_bills_that_were_loaded_are_there() -> None:
    assert LoadedExports(lambda source, day: True).refusal(DAY) is None


def test_bills_that_are_missing_are_named() -> None:
    there = {GCP, AZURE_FXCI, AZURE_FXCI_LOOKUP, AZURE_TASKCLUSTER}
    assert LoadedExports(lambda source, day: source in there).refusal(DAY) == (
        "the local warehouse has no billing exports (azure_taskcluster_lookup): the tables of "
        "costs need them; see fxci-etl billing load --help"
    )


def test_a_day_needs_a_bill_of_one_of_the_clouds() -> None:
    billed = LoadedExports(lambda source, day: day is None or source == AZURE_FXCI)
    assert billed.refusal(DAY) is None
    not_billed = LoadedExports(lambda source, day: day is None)
    assert not_billed.refusal(DAY) == (
        "no bill of 2026-04-13 was loaded; see fxci-etl billing load --help"
    )
