"""The table contract: one spec per table, from which everything else that names columns follows.

Here belong a table's name, columns, key, partitioning, clustering, descriptions and the domain
of its values, one module per subject. The BigQuery schema, the Arrow schema, Dagster's column
metadata and the generated checks are all functions of a `Table`. How a table is filled does not
belong here.
"""

from __future__ import annotations

from fxci_assets.tables.billing import (
    AZURE_FXCI,
    AZURE_FXCI_LOOKUP,
    AZURE_TASKCLUSTER,
    AZURE_TASKCLUSTER_LOOKUP,
    BILLING,
    GCP,
)
from fxci_assets.tables.costs import TASK_RUN_COSTS, WORKER_COSTS, WORKER_UTILIZATION
from fxci_assets.tables.definitions import TASK_DEFINITIONS
from fxci_assets.tables.pulse import SLUGID_PATTERN, TAGS, TASK_RUNS, TASKS
from fxci_assets.tables.spec import (
    Column,
    Counted,
    Mode,
    Relation,
    Rule,
    Source,
    Table,
    arrow_schema,
    type_name,
)
from fxci_assets.tables.workers import WORKER_METRICS, WORKER_USAGE

__all__ = [
    "AZURE_FXCI",
    "AZURE_FXCI_LOOKUP",
    "AZURE_TASKCLUSTER",
    "AZURE_TASKCLUSTER_LOOKUP",
    "BILLING",
    "GCP",
    "SLUGID_PATTERN",
    "TABLES",
    "TAGS",
    "TASKS",
    "TASK_DEFINITIONS",
    "TASK_RUNS",
    "TASK_RUN_COSTS",
    "VIEW_DATASET",
    "WORKER_COSTS",
    "WORKER_METRICS",
    "WORKER_USAGE",
    "WORKER_UTILIZATION",
    "Column",
    "Counted",
    "Mode",
    "Relation",
    "Rule",
    "Source",
    "Table",
    "arrow_schema",
    "type_name",
]

VIEW_DATASET = "fxci"
"""The dataset of the views, by which people read the tables."""

TABLES: tuple[Table, ...] = (
    TASKS,
    TASK_RUNS,
    TASK_DEFINITIONS,
    WORKER_METRICS,
    WORKER_USAGE,
    WORKER_COSTS,
    TASK_RUN_COSTS,
    WORKER_UTILIZATION,
)
"""Every table, in the order in which people read them."""
