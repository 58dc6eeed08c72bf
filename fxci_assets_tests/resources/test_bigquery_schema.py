"""What a spec makes of a table in BigQuery, and how a table that is there differs."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from google.cloud import bigquery

from fxci_assets.resources.bigquery_schema import (
    Comparison,
    bigquery_schema,
    compare,
    new_table,
    update,
)
from fxci_assets.tables import TABLES, TASKS, Column, Mode, Table, arrow_schema
from fxci_assets_tests.warehouse_rows import EVENTS

REFERENCE = bigquery.TableReference.from_string("project.data.events_v1")

Resource = dict[str, Any]


def resource(table: Table = EVENTS) -> Resource:
    """A table as the API has it that was made by the spec."""
    made: Resource = new_table(table, REFERENCE).to_api_repr()
    return made | {"type": "TABLE"}


def field(made: Resource, *path: str) -> Resource:
    """A column of it, or one within a record."""
    found: Resource = made["schema"]
    for name in path:
        found = next(inner for inner in found["fields"] if inner["name"] == name)
    return found


def compared(made: Resource, table: Table = EVENTS) -> Comparison:
    return compare(table, bigquery.Table.from_api_repr(made))


def with_column(*columns: Column, table: Table = EVENTS) -> Table:
    return replace(table, columns=(*table.columns, *columns))


def test_a_table_is_asked_for_as_its_spec_says() -> None:
    assert new_table(EVENTS, REFERENCE).to_api_repr() == {
        "tableReference": {"projectId": "project", "datasetId": "data", "tableId": "events_v1"},
        "description": "A table with each type of column that Parquet has, in each mode.",
        "labels": {},
        "timePartitioning": {"type": "DAY", "field": "day"},
        "requirePartitionFilter": True,
        "clustering": {"fields": ["id", "number"]},
        "schema": {
            "fields": [
                {"name": name, "type": type_, "mode": mode, "description": description, **inner}
                for name, type_, mode, description, inner in (
                    ("id", "STRING", "REQUIRED", "A name.", {}),
                    ("at", "TIMESTAMP", "REQUIRED", "When.", {}),
                    ("day", "DATE", "REQUIRED", "The UTC day; the partition.", {}),
                    ("number", "INTEGER", "NULLABLE", "A number.", {}),
                    ("seconds", "FLOAT", "NULLABLE", "How long.", {}),
                    ("dollars", "NUMERIC", "NULLABLE", "How much.", {}),
                    ("good", "BOOLEAN", "NULLABLE", "Whether.", {}),
                    ("routes", "STRING", "REPEATED", "Some names.", {}),
                    (
                        "tags",
                        "RECORD",
                        "REQUIRED",
                        "What it is.",
                        {
                            "fields": [
                                {
                                    "name": "project",
                                    "type": "STRING",
                                    "mode": "NULLABLE",
                                    "description": "The tree.",
                                }
                            ]
                        },
                    ),
                )
            ]
        },
    }


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_has_the_same_columns_in_both_schemas(table: Table) -> None:
    fields = bigquery_schema(table)
    assert [field.name for field in fields] == arrow_schema(table).names
    for ours, arrow in zip(fields, arrow_schema(table), strict=True):
        assert (ours.mode == "NULLABLE") is arrow.nullable
        # https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
        assert ours.description
        assert len(ours.description) <= 1_024


@pytest.mark.parametrize("table", [EVENTS, *TABLES], ids=lambda table: table.name)
def test_a_table_that_was_made_by_the_spec_does_not_differ(table: Table) -> None:
    made = bigquery.Table.from_api_repr(resource(table))
    comparison = compare(table, made)
    assert comparison == Comparison((), (), tuple(bigquery_schema(table)))
    assert update(table, made, comparison.schema) == []


class TestADifference:
    def differences(self, made: Resource, table: Table = EVENTS) -> tuple[str, ...]:
        return compared(made, table).differences

    def test_of_types(self) -> None:
        made = resource()
        field(made, "number")["type"] = "STRING"
        field(made, "tags", "project")["type"] = "JSON"
        assert self.differences(made) == (
            "number is STRING and the spec has INTEGER",
            "tags.project is JSON and the spec has STRING",
        )

    @pytest.mark.parametrize(
        ("column", "type_"),
        [("number", "INT64"), ("seconds", "FLOAT64"), ("good", "BOOL"), ("tags", "STRUCT")],
    )
    def test_is_not_that_a_type_has_two_names(self, column: str, type_: str) -> None:
        made = resource()
        field(made, column)["type"] = type_
        assert self.differences(made) == ()

    def test_of_modes(self) -> None:
        made = resource()
        field(made, "number")["mode"] = "REQUIRED"
        field(made, "routes")["mode"] = "NULLABLE"
        assert self.differences(made) == (
            "number is REQUIRED and the spec has NULLABLE",
            "routes is NULLABLE and the spec has REPEATED",
        )

    def test_is_not_that_the_table_is_laxer(self) -> None:
        made = resource()
        field(made, "id")["mode"] = "NULLABLE"
        del field(made, "tags")["mode"]
        comparison = compared(made)
        assert comparison.differences == comparison.additions == ()
        # What is loaded has the table's modes: it would be refused otherwise.
        modes = {field.name: field.mode for field in comparison.schema}
        assert (modes["id"], modes["tags"], modes["at"]) == ("NULLABLE", "NULLABLE", "REQUIRED")

    def test_is_not_an_order(self) -> None:
        made = resource()
        made["schema"]["fields"].reverse()
        comparison = compared(made)
        assert comparison.differences == comparison.additions == ()
        assert [field.name for field in comparison.schema][:2] == ["tags", "routes"]

    def test_of_columns_that_are_nowhere_in_the_spec(self) -> None:
        made = resource()
        made["schema"]["fields"].append({"name": "note", "type": "STRING"})
        assert self.differences(made) == ("note STRING is not in the spec",)

    def test_of_required_columns_that_are_missing(self) -> None:
        table = with_column(Column("note", "STRING", Mode.REQUIRED, "A note."))
        comparison = compared(resource(), table)
        assert comparison.differences == (
            "note STRING REQUIRED is missing, and what is required cannot be added",
        )
        assert comparison.additions == ()

    @pytest.mark.parametrize(
        ("partitioning", "difference"),
        [
            (None, "it is not partitioned and the spec has DAY of day"),
            (
                {"type": "MONTH", "field": "day"},
                "it is partitioned by MONTH of day and the spec has DAY of day",
            ),
            (
                {"type": "DAY"},
                "it is partitioned by DAY of the time of loading and the spec has DAY of day",
            ),
            (
                {"type": "DAY", "field": "day", "expirationMs": "5184000000"},
                "its partitions expire after 60 days, and they are to be kept",
            ),
        ],
    )
    def test_of_partitions(self, partitioning: Resource | None, difference: str) -> None:
        made = resource()
        made["timePartitioning"] = partitioning
        if partitioning is None:
            del made["timePartitioning"]
        assert self.differences(made) == (difference,)

    def test_of_a_table_that_expires(self) -> None:
        at = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
        made = resource() | {"expirationTime": str(int(at.timestamp() * 1_000))}
        assert self.differences(made) == ("it expires on 2026-05-01, and it is to be kept",)

    def test_of_what_is_no_table(self) -> None:
        made = resource() | {"type": "VIEW"}
        assert self.differences(made) == ("it is a VIEW, not a table",)


class TestAnAddition:
    def test_goes_behind_what_is_there(self) -> None:
        table = with_column(
            Column("note", "STRING", Mode.NULLABLE, "A note."),
            Column("scopes", "STRING", Mode.REPEATED, "Some names."),
        )
        comparison = compared(resource(), table)
        assert comparison.differences == ()
        assert comparison.additions == (
            "note STRING NULLABLE is missing",
            "scopes STRING REPEATED is missing",
        )
        assert list(comparison.schema) == bigquery_schema(table)

    def test_may_be_in_a_record(self) -> None:
        made = resource(TASKS)
        tags = field(made, "tags")
        tags["fields"] = [inner for inner in tags["fields"] if inner["name"] != "kind"]
        comparison = compared(made, TASKS)
        assert comparison.differences == ()
        assert comparison.additions == ("tags.kind STRING NULLABLE is missing",)
        [merged] = [field for field in comparison.schema if field.name == "tags"]
        assert [inner.name for inner in merged.fields][-1] == "kind"


class TestAnUpdate:
    """What does not make a table another one is set right."""

    def test_of_descriptions(self) -> None:
        made = resource()
        made["description"] = "Of old."
        del field(made, "number")["description"]
        field(made, "tags", "project")["description"] = "Of old."
        found = bigquery.Table.from_api_repr(made)
        comparison = compare(EVENTS, found)
        assert comparison.differences == comparison.additions == ()

        assert update(EVENTS, found, comparison.schema) == ["schema", "description"]

        assert found.schema == bigquery_schema(EVENTS)
        assert found.description == EVENTS.description

    def test_of_clustering_and_filter(self) -> None:
        made = resource()
        del made["clustering"], made["requirePartitionFilter"]
        found = bigquery.Table.from_api_repr(made)

        changed = update(EVENTS, found, compare(EVENTS, found).schema)

        assert changed == ["clustering_fields", "require_partition_filter"]
        assert found.clustering_fields == ["id", "number"]
        assert found.require_partition_filter

    def test_leaves_what_others_have_said_of_a_column(self) -> None:
        made = resource()
        field(made, "id")["policyTags"] = {"names": ["secret"]}
        field(made, "id")["description"] = "Of old."
        found = bigquery.Table.from_api_repr(made)

        update(EVENTS, found, compare(EVENTS, found).schema)

        assert field(found.to_api_repr(), "id") == {
            "name": "id",
            "type": "STRING",
            "mode": "REQUIRED",
            "description": "A name.",
            "policyTags": {"names": ["secret"]},
        }
