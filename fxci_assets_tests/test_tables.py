"""The table contract, literally: names, types and modes that others read."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest

from fxci_assets.tables import (
    TABLES,
    TASK_DEFINITIONS,
    TASK_RUN_COSTS,
    TASK_RUNS,
    TASKS,
    WORKER_COSTS,
    WORKER_METRICS,
    WORKER_USAGE,
    WORKER_UTILIZATION,
    Column,
    Mode,
    Table,
    arrow_schema,
    type_name,
)

R, N, A = "REQUIRED", "NULLABLE", "REPEATED"


def contract(columns: Sequence[Column]) -> list[tuple[str, str, str]]:
    return [(column.name, column.type, column.mode.value) for column in columns]


def test_the_columns_of_task_runs() -> None:
    assert contract(TASK_RUNS.columns) == [
        ("task_id", "STRING", R),
        ("run_id", "INTEGER", R),
        ("reason_created", "STRING", N),
        ("reason_resolved", "STRING", N),
        ("resolved", "TIMESTAMP", R),
        ("scheduled", "TIMESTAMP", R),
        ("started", "TIMESTAMP", N),
        ("state", "STRING", R),
        ("submission_date", "DATE", R),
        ("worker_group", "STRING", N),
        ("worker_id", "STRING", N),
    ]


def test_the_columns_of_tasks() -> None:
    assert contract(TASKS.columns) == [
        ("scheduler_id", "STRING", R),
        ("submission_date", "DATE", R),
        ("task_group_id", "STRING", R),
        ("task_id", "STRING", R),
        ("task_queue_id", "STRING", R),
        ("tags", "RECORD", R),
    ]
    assert contract(TASKS.column("tags").fields) == [
        ("created_for_user", "STRING", N),
        ("kind", "STRING", N),
        ("label", "STRING", N),
        ("os", "STRING", N),
        ("owned_by", "STRING", N),
        ("project", "STRING", N),
        ("trust_domain", "STRING", N),
        ("worker_implementation", "STRING", N),
        ("test_suite", "STRING", N),
        ("test_platform", "STRING", N),
        ("test_variant", "STRING", N),
    ]


def test_the_columns_of_task_definitions() -> None:
    assert contract(TASK_DEFINITIONS.columns) == [
        ("taskId", "STRING", R),
        ("submission_date", "DATE", R),
        ("created", "TIMESTAMP", R),
        ("deadline", "TIMESTAMP", R),
        ("expires", "TIMESTAMP", R),
        ("dependencies", "STRING", A),
        ("routes", "STRING", A),
        ("scopes", "STRING", A),
        ("extra", "JSON", R),
        ("metadata", "JSON", R),
        ("payload", "JSON", R),
        ("tags", "JSON", R),
        ("priority", "STRING", R),
        ("projectId", "STRING", R),
        ("provisionerId", "STRING", R),
        ("requires", "STRING", R),
        ("schedulerId", "STRING", R),
        ("taskGroupId", "STRING", R),
        ("taskQueueId", "STRING", R),
        ("workerType", "STRING", R),
        ("retries", "INTEGER", R),
    ]


def test_the_columns_of_worker_metrics() -> None:
    assert contract(WORKER_METRICS.columns) == [
        ("project", "STRING", R),
        ("zone", "STRING", R),
        ("instance_id", "STRING", R),
        ("interval_start_time", "TIMESTAMP", R),
        ("interval_end_time", "TIMESTAMP", R),
        ("submission_date", "DATE", R),
        ("uptime", "FLOAT", N),
    ]


def test_the_columns_of_worker_usage() -> None:
    assert contract(WORKER_USAGE.columns) == [
        ("cloud_provider", "STRING", N),
        ("project", "STRING", N),
        ("zone", "STRING", N),
        ("instance_id", "STRING", N),
        ("usage_start_date", "DATE", N),
        ("uptime", "FLOAT", N),
        ("attribution_method", "STRING", N),
    ]


def test_the_columns_of_worker_costs() -> None:
    assert contract(WORKER_COSTS.columns) == [
        ("project", "STRING", N),
        ("name", "STRING", N),
        ("zone", "STRING", N),
        ("instance_id", "STRING", N),
        ("total_cost", "FLOAT", N),
        ("usage_start_date", "DATE", N),
        ("cloud_provider", "STRING", N),
    ]


def test_the_columns_of_task_run_costs() -> None:
    assert contract(TASK_RUN_COSTS.columns) == [
        ("task_id", "STRING", N),
        ("run_id", "INTEGER", N),
        ("submission_date", "DATE", N),
        ("run_cost", "FLOAT", N),
        ("cloud_provider", "STRING", N),
        ("worker_project", "STRING", N),
        ("worker_zone", "STRING", N),
        ("worker_instance_id", "STRING", N),
        ("attribution_worker_cost", "FLOAT", N),
        ("attribution_worker_uptime", "FLOAT", N),
        ("run_duration", "INTEGER", N),
        ("attribution_method", "STRING", N),
    ]


def test_the_columns_of_worker_utilization() -> None:
    assert contract(WORKER_UTILIZATION.columns) == [
        ("usage_date", "DATE", N),
        ("cloud_provider", "STRING", N),
        ("project", "STRING", N),
        ("zone", "STRING", N),
        ("instance_id", "STRING", N),
        ("billed_cost", "FLOAT", N),
        ("uptime", "FLOAT", N),
        ("busy_seconds", "FLOAT", N),
        ("runs", "INTEGER", N),
        ("busy_cost", "FLOAT", N),
        ("idle_cost", "FLOAT", N),
        ("status", "STRING", N),
    ]


def test_keys_partitions_and_names() -> None:
    assert [
        (table.name, table.view, table.key, table.partition_column, table.clustering)
        for table in TABLES
    ] == [
        ("tasks_v2", "tasks", ("task_id",), "submission_date", ("task_id",)),
        (
            "task_runs_v1",
            "task_runs",
            ("task_id", "run_id"),
            "submission_date",
            ("task_id", "run_id"),
        ),
        (
            "task_definitions_v1",
            "task_definitions",
            ("taskId",),
            "submission_date",
            ("taskId",),
        ),
        (
            "worker_metrics_v1",
            "worker_metrics",
            ("project", "zone", "instance_id", "submission_date"),
            "submission_date",
            ("project", "zone", "instance_id"),
        ),
        (
            "worker_usage_v1",
            "worker_usage",
            ("cloud_provider", "project", "zone", "instance_id", "usage_start_date"),
            "usage_start_date",
            ("cloud_provider", "project", "zone", "instance_id"),
        ),
        (
            "worker_costs_v1",
            "worker_costs",
            ("cloud_provider", "project", "zone", "instance_id", "name", "usage_start_date"),
            "usage_start_date",
            ("project", "zone", "instance_id"),
        ),
        (
            "task_run_costs_v1",
            "task_run_costs",
            ("task_id", "run_id"),
            "submission_date",
            ("task_id", "run_id"),
        ),
        (
            "worker_utilization_v1",
            "worker_utilization",
            ("cloud_provider", "project", "zone", "instance_id", "usage_date"),
            "usage_date",
            ("cloud_provider", "project", "zone", "instance_id"),
        ),
    ]


def test_the_arrow_schema_of_task_runs() -> None:
    required = {"task_id", "run_id", "resolved", "scheduled", "state", "submission_date"}
    types = {
        "task_id": pa.string(),
        "run_id": pa.int64(),
        "reason_created": pa.string(),
        "reason_resolved": pa.string(),
        "resolved": pa.timestamp("us", tz="UTC"),
        "scheduled": pa.timestamp("us", tz="UTC"),
        "started": pa.timestamp("us", tz="UTC"),
        "state": pa.string(),
        "submission_date": pa.date32(),
        "worker_group": pa.string(),
        "worker_id": pa.string(),
    }
    assert arrow_schema(TASK_RUNS) == pa.schema(
        [pa.field(name, type, nullable=name not in required) for name, type in types.items()]
    )


def test_the_arrow_schema_of_tasks() -> None:
    tags = pa.struct(
        [
            pa.field("created_for_user", pa.string()),
            pa.field("kind", pa.string()),
            pa.field("label", pa.string()),
            pa.field("os", pa.string()),
            pa.field("owned_by", pa.string()),
            pa.field("project", pa.string()),
            pa.field("trust_domain", pa.string()),
            pa.field("worker_implementation", pa.string()),
            pa.field("test_suite", pa.string()),
            pa.field("test_platform", pa.string()),
            pa.field("test_variant", pa.string()),
        ]
    )
    assert arrow_schema(TASKS) == pa.schema(
        [
            pa.field("scheduler_id", pa.string(), nullable=False),
            pa.field("submission_date", pa.date32(), nullable=False),
            pa.field("task_group_id", pa.string(), nullable=False),
            pa.field("task_id", pa.string(), nullable=False),
            pa.field("task_queue_id", pa.string(), nullable=False),
            pa.field("tags", tags, nullable=False),
        ]
    )


def test_the_arrow_schema_of_types_that_no_table_uses_yet() -> None:
    table = Table(
        name="t",
        view="t",
        title="T",
        description="",
        columns=(
            Column("routes", "STRING", Mode.REPEATED, ""),
            Column("payload", "JSON", Mode.REQUIRED, ""),
            Column("cost", "FLOAT", Mode.NULLABLE, ""),
        ),
        key=(),
        partition_column="day",
        clustering=(),
        group="g",
        kinds=frozenset(),
    )
    element = pa.field("element", pa.string(), nullable=False)
    assert arrow_schema(table) == pa.schema(
        [
            pa.field("routes", pa.list_(element), nullable=False),
            pa.field("payload", pa.string(), nullable=False),
            pa.field("cost", pa.float64(), nullable=True),
        ]
    )


LABELS = Column(
    "labels",
    "RECORD",
    Mode.REPEATED,
    "",
    (Column("key", "STRING", Mode.REQUIRED, ""), Column("counts", "INTEGER", Mode.REPEATED, "")),
)


@pytest.mark.parametrize(
    ("column", "sql"),
    [
        (Column("n", "INTEGER", Mode.REQUIRED, ""), "INT64"),
        (Column("f", "FLOAT", Mode.NULLABLE, ""), "FLOAT64"),
        (Column("b", "BOOLEAN", Mode.REPEATED, ""), "ARRAY<BOOL>"),
        (Column("d", "NUMERIC", Mode.NULLABLE, ""), "NUMERIC"),
        (LABELS, "ARRAY<STRUCT<key STRING, counts ARRAY<INT64>>>"),
    ],
)
def test_a_type_as_sql_spells_it(column: Column, sql: str) -> None:
    assert column.sql_type == sql


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (("INTEGER", "INT64", "int64"), "INTEGER"),
        (("FLOAT", "FLOAT64"), "FLOAT"),
        (("BOOLEAN", "BOOL"), "BOOLEAN"),
        (("RECORD", "STRUCT"), "RECORD"),
        (("NUMERIC", "DECIMAL"), "NUMERIC"),
        (("TIMESTAMP",), "TIMESTAMP"),
        (("GEOGRAPHY",), "GEOGRAPHY"),
    ],
)
def test_a_type_has_one_name_in_a_spec(names: Sequence[str], name: str) -> None:
    assert {type_name(each) for each in names} == {name}


def test_every_table_is_consistent_and_described() -> None:
    assert len({table.name for table in TABLES}) == len(TABLES)
    assert len({table.view for table in TABLES}) == len(TABLES)
    for table in TABLES:
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        used = {*table.key, *table.clustering, table.partition_column}
        assert used <= set(names)
        assert table.column(table.partition_column).type == "DATE"
        columns = [*table.columns, *(f for column in table.columns for f in column.fields)]
        descriptions = [
            table.description,
            *(column.description for column in columns),
            *(rule.description for rule in table.rules),
            *(counted.description for counted in table.counted),
        ]
        assert all(text.strip() for text in descriptions)
