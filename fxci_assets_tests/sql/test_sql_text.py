"""The text and the parameters that a job of BigQuery is given: names, parameters, filters."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from fxci_assets import deployments, sql, takeover
from fxci_assets.builders import DayQuery, all_builders
from fxci_assets.builders.derived import DERIVED, Derived
from fxci_assets.dialect import Catalog, CatalogTable, transpile
from fxci_assets.freshness import Inputs
from fxci_assets.resources.billing import BillingExports
from fxci_assets.settings import (
    BigQuery,
    BigQueryTables,
    Billing,
    Monitoring,
    Settings,
    SettingsError,
)
from fxci_assets.tables import BILLING, TABLES, WORKER_COSTS, WORKER_USAGE, Relation, Table
from fxci_assets_tests.sql.small import DAY

DEFAULT = Settings()
SHORT = Settings(
    bigquery=BigQuery(project="mine", dataset="derived"),
    billing=Billing(
        gcp="bills.google.gcp",
        azure_fxci="bills.azure.fxci",
        azure_fxci_lookup="bills.azure.fxci_lookup",
        azure_taskcluster="bills.azure.taskcluster",
        azure_taskcluster_lookup="bills.azure.taskcluster_lookup",
    ),
)
"""Other names for all that is read."""
PROJECT = "moz-fx-data-shared-prod"


def day_query(table: Table, settings: Settings = DEFAULT) -> DayQuery:
    """What the builder of a table has the warehouse run for a day."""
    [builder] = (b for b in all_builders(settings, BillingExports()) if table in b.tables)
    query = builder.build(deployments.archive(settings), DAY, Inputs("version", None), [table])
    assert isinstance(query, DayQuery)
    return query


ROWS = {derived.table.name: day_query(derived.table).sql for derived in DERIVED}
COUNTS = {
    f"{derived.table.name}.counts": query.counts
    for derived in DERIVED
    if (query := day_query(derived.table)).counts is not None
}
QUERIES = ROWS | COUNTS
RELATIONS: dict[str, Relation] = {
    **{f"{PROJECT}.fxci_derived.{table.name}": table for table in TABLES},
    **{getattr(DEFAULT.billing, source.name): source for source in BILLING},
}
"""What the queries may read, by its full name."""


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (BigQuery(tables=BigQueryTables(tasks="task_runs_v1")), "tasks_v2 and task_runs_v1"),
        (
            BigQuery(tables=BigQueryTables(runs="worker_costs_v1")),
            "task_runs_v1 and worker_costs_v1",
        ),
        (
            BigQuery(
                dataset="azure_billing_syndicate",
                tables=BigQueryTables(metrics="fxci_daily_actual_load"),
            ),
            "worker_metrics_v1 and billing.azure_fxci",
        ),
    ],
)
def test_two_tables_of_one_name_are_refused(settings: BigQuery, names: str) -> None:
    with pytest.raises(SettingsError) as raised:
        deployments.pipeline(Settings(bigquery=settings))
    assert str(raised.value) == f"{names} have one name by the settings: each needs its own"


each_query = pytest.mark.parametrize("text", QUERIES.values(), ids=QUERIES)


def parse(text: str) -> exp.Query:
    [statement] = sqlglot.parse(text, read="bigquery")
    assert isinstance(statement, exp.Query)
    return statement


def scans(text: str) -> Iterator[exp.Table]:
    """What stands in a FROM clause and is no query of a WITH clause."""
    statement = parse(text)
    named_here = {cte.alias for cte in statement.find_all(exp.CTE)}
    return (t for t in statement.find_all(exp.Table) if t.db or t.name not in named_here)


def full_name(table: exp.Table) -> str:
    return ".".join(part.name for part in table.parts)


def test_the_whole_text_and_the_parameters_of_one_query() -> None:
    query = day_query(WORKER_USAGE, SHORT)
    assert query.sql == WORKER_USAGE_TEXT
    assert query.counts is None
    assert query.parameters == {
        "day": dt.date(2026, 4, 13),
        "projects": ["fxci-production-level1-workers", "fxci-production-level3-workers"],
    }


@pytest.mark.parametrize("derived", DERIVED, ids=lambda derived: derived.table.name)
def test_the_parameters_are_a_day_and_the_projects(derived: Derived) -> None:
    query = day_query(
        derived.table, Settings(monitoring=Monitoring(projects=("ours", "and-theirs")))
    )
    assert query.parameters == {"day": DAY, "projects": ["ours", "and-theirs"]}
    # To BigQuery's client a tuple is no array, and a time no date.
    assert type(query.parameters["projects"]) is list
    assert type(query.parameters["day"]) is dt.date


@each_query
def test_no_other_parameter_is_asked_for(text: str) -> None:
    asked_for = {parameter.name for parameter in parse(text).find_all(exp.Parameter)}
    assert {"day"} <= asked_for <= {"day", "projects"}
    assert list(parse(text).find_all(exp.Placeholder)) == []


@each_query
def test_tables_are_named_in_full_and_known(text: str) -> None:
    assert "${" not in text
    names = {full_name(table) for table in scans(text)}
    assert names
    assert names <= RELATIONS.keys()


def read_by(text: str) -> set[str]:
    return {RELATIONS[full_name(table)].name for table in scans(text)}


@pytest.mark.parametrize("derived", DERIVED, ids=lambda derived: derived.table.name)
def test_a_query_reads_what_it_is_said_to_read(derived: Derived) -> None:
    for_rows = {r.table.name for r in derived.reads} | {bill.name for bill in derived.bills}
    for_counts = {reads.table.name for reads in derived.counts_read}
    assert read_by(ROWS[derived.table.name]) == for_rows
    counts = COUNTS.get(f"{derived.table.name}.counts")
    also_read = read_by(counts) - for_rows - {derived.table.name} if counts else set()
    assert also_read == for_counts


@each_query
def test_each_scan_of_a_partitioned_table_is_of_the_day_or_near_it(text: str) -> None:
    for table in scans(text):
        column = RELATIONS[full_name(table)].partition_column
        if column is None:
            continue
        select = table.find_ancestor(exp.Select)
        assert select is not None
        condition = select.args["where"].this
        terms = condition.flatten() if isinstance(condition, exp.And) else [condition]
        filters = [
            type(term)
            for term in terms
            if isinstance(term.this, exp.Column)
            and term.this.name == column
            and {parameter.name for parameter in term.find_all(exp.Parameter)} == {"day"}
        ]
        # Of a time the day is what lies between two; of a date it is one, or some in a row.
        assert filters in ([exp.EQ], [exp.Between], [exp.GTE, exp.LT]), full_name(table)


@each_query
def test_the_local_warehouse_takes_it_with_its_filters(text: str) -> None:
    catalog: Catalog = {
        name.partition(".")[2]: CatalogTable(
            tuple(column.name for column in relation.columns), relation.partition_column
        )
        for name, relation in RELATIONS.items()
    }
    query = transpile(text, catalog, {"day": DAY, "projects": ["ours"]})
    assert query.tables == {full_name(t).partition(".")[2] for t in scans(text)}


@pytest.mark.parametrize("derived", DERIVED, ids=lambda derived: derived.table.name)
def test_the_columns_are_those_of_the_table(derived: Derived) -> None:
    query = parse(ROWS[derived.table.name])
    assert sorted(query.named_selects) == sorted(c.name for c in derived.table.columns)


@pytest.mark.parametrize("text", COUNTS.values(), ids=COUNTS)
def test_the_columns_of_what_is_counted(text: str) -> None:
    assert parse(text).named_selects == ["name", "number", "examples"]


@each_query
def test_the_sides_of_a_union_have_the_same_columns_in_the_same_order(text: str) -> None:
    """A UNION goes by position: two columns of a type would be exchanged in silence."""
    for union in parse(text).find_all(exp.Union):
        left, right = union.left, union.right
        assert isinstance(left, exp.Query)
        assert isinstance(right, exp.Query)
        assert left.named_selects == right.named_selects


@pytest.mark.parametrize("derived", DERIVED, ids=lambda derived: derived.table.name)
def test_all_that_a_table_says_is_counted_is_counted(derived: Derived) -> None:
    text = COUNTS.get(f"{derived.table.name}.counts", "")
    for counted in derived.table.counted:
        assert f"'{counted.name}' AS name" in text


def test_names_are_settings() -> None:
    query = day_query(WORKER_COSTS, SHORT)
    assert query.counts is not None
    assert {full_name(table) for table in scans(query.sql)} == {
        "bills.google.gcp",
        "bills.azure.fxci",
        "bills.azure.fxci_lookup",
        "bills.azure.taskcluster",
        "bills.azure.taskcluster_lookup",
    }
    assert "mine.derived.worker_metrics_v1" in map(full_name, scans(query.counts))
    for text in (query.sql, query.counts, *sql.views(sql.names(SHORT)).values()):
        assert PROJECT not in text
    assert sql.views(sql.names(SHORT))["fxci.task_runs"] == (
        "SELECT * FROM `mine.derived.task_runs_v1`\n"
    )


def test_each_view_is_all_of_its_table() -> None:
    views = sql.views(sql.names(DEFAULT))
    assert views == {
        f"fxci.{table.view}": f"SELECT * FROM `{PROJECT}.fxci_derived.{table.name}`\n"
        for table in TABLES
    }


def test_each_file_is_read_by_something() -> None:
    folder = resources.files(sql)
    assert isinstance(folder, Path)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.sql")}
    assert found == {f"{name}.sql" for name in QUERIES} | {
        f"views/{table.view}.sql" for table in TABLES
    } | {f"takeover/{table.name}.sql" for table in takeover.TABLES}


def test_a_placeholder_that_stands_for_nothing_is_an_error() -> None:
    names = dict(sql.names(DEFAULT))
    del names["worker_metrics_v1"]
    with pytest.raises(KeyError, match="worker_metrics_v1"):
        sql.text("worker_usage_v1.sql", names)


WORKER_USAGE_TEXT = """\
-- How long each cloud worker was up on @day: on GCP by Cloud Monitoring, on Azure by the bill,
-- where a virtual machine's quantity is hours.
WITH
azure AS (
  SELECT
    subscriptionName, ResourceId, resourceLocation, chargeType, meterCategory, unitOfMeasure,
    quantity
  FROM `bills.azure.fxci`
  WHERE date = @day
    AND sourceDataId IN (SELECT sourceDataId FROM `bills.azure.fxci_lookup`)
  UNION ALL
  SELECT
    subscriptionName, ResourceId, resourceLocation, chargeType, meterCategory, unitOfMeasure,
    quantity
  FROM `bills.azure.taskcluster`
  WHERE date = @day
    AND sourceDataId IN (SELECT sourceDataId FROM `bills.azure.taskcluster_lookup`)
),
azure_workers AS (
  SELECT
    subscriptionName AS project,
    REGEXP_EXTRACT(ResourceId, r'(?i)^.*?/virtualmachines/([^/]+)$') AS instance_id,
    resourceLocation AS zone,
    quantity
  FROM azure
  WHERE REGEXP_CONTAINS(ResourceId, r'(?i)/virtualmachines/vm-')
    AND chargeType = 'Usage'
    AND meterCategory = 'Virtual Machines'
    AND unitOfMeasure = '1 Hour'
)
SELECT
  'gcp' AS cloud_provider,
  project,
  zone,
  instance_id,
  @day AS usage_start_date,
  SUM(uptime) AS uptime,
  'gcp_monitoring_instance_uptime' AS attribution_method
FROM `mine.derived.worker_metrics_v1`
WHERE submission_date = @day
GROUP BY project, zone, instance_id
UNION ALL
SELECT
  'azure' AS cloud_provider,
  project,
  zone,
  instance_id,
  @day AS usage_start_date,
  SUM(quantity * 3600) AS uptime,
  'azure_billing_vm_quantity' AS attribution_method
FROM azure_workers
GROUP BY project, zone, instance_id
"""
