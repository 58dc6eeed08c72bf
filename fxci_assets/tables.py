"""The table contract: one spec per table, from which everything else that names columns follows.

Here belong a table's name, columns, key, partitioning, clustering, descriptions and the domain
of its values; and the schemas derived from these. The BigQuery schema, the Arrow schema,
Dagster's column metadata and the generated checks are all functions of a `Table`. How a table is
filled does not belong here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

ColumnType = Literal["STRING", "INTEGER", "FLOAT", "TIMESTAMP", "DATE", "JSON", "RECORD"]

SLUGID_PATTERN = "^[A-Za-z0-9_-]{8}[Q-T][A-Za-z0-9_-][CGKOSWaeimquy26-][A-Za-z0-9_-]{10}[AQgw]$"
"""A Taskcluster identifier: a version 4 UUID in URL-safe base64 (the queue's published schema)."""


class Mode(enum.StrEnum):
    REQUIRED = "REQUIRED"
    NULLABLE = "NULLABLE"
    REPEATED = "REPEATED"


@dataclass(frozen=True, slots=True)
class Column:
    """One column, with the domain of its values where it is narrower than its type."""

    name: str
    type: ColumnType
    mode: Mode
    description: str
    fields: tuple[Column, ...] = ()
    allowed: tuple[str, ...] = ()
    pattern: str | None = None
    minimum: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on one row. `holds` is a boolean expression in BigQuery's dialect; a row for
    which it is FALSE or NULL breaks the rule."""

    name: str
    holds: str
    description: str


@dataclass(frozen=True, slots=True)
class Counted:
    """Something that a build meets, uses as the contract says, and counts for people to look at."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table that people read. In its key, NULL equals NULL."""

    name: str
    view: str
    title: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_column: str
    clustering: tuple[str, ...]
    group: str
    kinds: frozenset[str]
    rules: tuple[Rule, ...] = ()
    counted: tuple[Counted, ...] = ()

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def _required(
    name: str,
    type: ColumnType,
    description: str,
    *,
    fields: tuple[Column, ...] = (),
    allowed: tuple[str, ...] = (),
    pattern: str | None = None,
    minimum: int | None = None,
) -> Column:
    return Column(name, type, Mode.REQUIRED, description, fields, allowed, pattern, minimum)


def _nullable(name: str, type: ColumnType, description: str) -> Column:
    return Column(name, type, Mode.NULLABLE, description)


TASK_RUNS = Table(
    name="task_runs_v1",
    view="task_runs",
    title="Task runs",
    description=(
        "One row for each run of a task that was resolved, on the UTC day on which it was. A task "
        "that is retried has several runs; queue time is `started - scheduled`, run time is "
        "`resolved - started`."
    ),
    columns=(
        _required("task_id", "STRING", "The task this run belongs to.", pattern=SLUGID_PATTERN),
        _required("run_id", "INTEGER", "Number of the run within its task, from 0.", minimum=0),
        _nullable(
            "reason_created",
            "STRING",
            "Why the queue made this run: scheduled, retry, task-retry, rerun or exception.",
        ),
        _nullable(
            "reason_resolved",
            "STRING",
            "Why the run ended: completed, failed, deadline-exceeded, canceled, claim-expired, "
            "worker-shutdown, intermittent-task and others.",
        ),
        _required("resolved", "TIMESTAMP", "When the run ended."),
        _required("scheduled", "TIMESTAMP", "When the run became ready for a worker to claim."),
        _nullable("started", "TIMESTAMP", "When a worker claimed the run; NULL if none ever did."),
        _required(
            "state",
            "STRING",
            "How the run ended.",
            allowed=("completed", "failed", "exception"),
        ),
        _required("submission_date", "DATE", "UTC day of `resolved`; the partition."),
        _nullable(
            "worker_group",
            "STRING",
            "Where the worker is: a GCP zone, an Azure location, or a data centre.",
        ),
        _nullable(
            "worker_id",
            "STRING",
            "The worker: a GCP instance id, an Azure machine name, or a hardware host.",
        ),
    ),
    key=("task_id", "run_id"),
    partition_column="submission_date",
    clustering=("task_id", "run_id"),
    group="pulse",
    kinds=frozenset({"pulse", "table"}),
    rules=(
        Rule(
            "day_of_resolution",
            "DATE(resolved) = submission_date",
            "A run lies in the partition of the day on which it was resolved.",
        ),
    ),
    counted=(
        Counted(
            "conflicting_runs",
            "Runs that messages tell differently, although a resolved run never changes.",
        ),
    ),
)

TAGS: tuple[Column, ...] = (
    _nullable("created_for_user", "STRING", "Who the task runs for: on try, the pusher."),
    _nullable("kind", "STRING", "The task's kind: build, test, source-test and others."),
    _nullable("label", "STRING", "The task's name within its push."),
    _nullable("os", "STRING", "Operating system it runs on."),
    _nullable("owned_by", "STRING", "Who is responsible for the task."),
    _nullable("project", "STRING", "The tree: autoland, try, mozilla-central and others."),
    _nullable("trust_domain", "STRING", "gecko, comm, mobile and others."),
    _nullable("worker_implementation", "STRING", "generic-worker or docker-worker."),
    _nullable("test_suite", "STRING", "The test suite, of test tasks."),
    _nullable("test_platform", "STRING", "The platform and build type under test."),
    _nullable("test_variant", "STRING", "The variant of the test suite, if any."),
)
"""The tags of a task that `tasks_v2` keeps."""

TASKS = Table(
    name="tasks_v2",
    view="tasks",
    title="Tasks",
    description=(
        "One row for each task, on the UTC day on which its first run (run 0) was resolved. Join "
        "with `task_runs` on task_id; a push is a task_group_id, its tree is `tags.project`, and "
        "the pusher is `tags.created_for_user`."
    ),
    columns=(
        _required("scheduler_id", "STRING", "What created the task, such as gecko-level-3."),
        _required("submission_date", "DATE", "UTC day on which run 0 was resolved; the partition."),
        _required("task_group_id", "STRING", "The push (or other group) the task belongs to."),
        _required("task_id", "STRING", "The task.", pattern=SLUGID_PATTERN),
        _required(
            "task_queue_id",
            "STRING",
            "The worker pool that runs the task, as provisioner/worker-type.",
            pattern="^[^/]+/[^/]+$",
        ),
        _required("tags", "RECORD", "What the task is, as its creator labelled it.", fields=TAGS),
    ),
    key=("task_id",),
    partition_column="submission_date",
    clustering=("task_id",),
    group="pulse",
    kinds=frozenset({"pulse", "table"}),
    counted=(
        Counted("conflicting_tasks", "Tasks that messages tell differently."),
        Counted(
            "tasks_without_tags",
            "Tasks of which no message has tags, such as those of a cancelled group.",
        ),
    ),
)

VIEW_DATASET = "fxci"
"""The dataset of the views, by which people read the tables."""

TABLES: tuple[Table, ...] = (TASKS, TASK_RUNS)
"""Every table, in the order in which people read them."""

_ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "DATE": pa.date32(),
    # Arrow has no JSON that Parquet keeps; the text is what both engines store.
    "JSON": pa.string(),
}


def _arrow_field(column: Column) -> pa.Field:
    if column.type == "RECORD":
        type_ = pa.struct([_arrow_field(field) for field in column.fields])
    else:
        type_ = _ARROW_TYPES[column.type]
    if column.mode is Mode.REPEATED:
        type_ = pa.list_(pa.field("element", type_, nullable=False))
    return pa.field(column.name, type_, nullable=column.mode is Mode.NULLABLE)


def arrow_schema(table: Table) -> pa.Schema:
    """The schema of a partition's rows: REQUIRED columns are not nullable, an absent REPEATED
    value is an empty list."""
    return pa.schema([_arrow_field(column) for column in table.columns])
