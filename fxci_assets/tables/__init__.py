"""The table contract: one spec per table, from which everything else that names columns follows.

Here belong a table's name, columns, key, partitioning, clustering, descriptions and the domain
of its values, one module per subject. The BigQuery schema, the Arrow schema, Dagster's column
metadata and the generated checks are all functions of a `Table`. How a table is filled does not
belong here.
"""

from __future__ import annotations

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
)

__all__ = [
    "SLUGID_PATTERN",
    "TABLES",
    "TAGS",
    "TASKS",
    "TASK_RUNS",
    "VIEW_DATASET",
    "Column",
    "Counted",
    "Mode",
    "Relation",
    "Rule",
    "Source",
    "Table",
    "arrow_schema",
]

VIEW_DATASET = "fxci"
"""The dataset of the views, by which people read the tables."""

TABLES: tuple[Table, ...] = (TASKS, TASK_RUNS)
"""Every table, in the order in which people read them."""
