"""The queries that make tables of tables, in BigQuery's dialect, one file each.

`<table>.sql` gives a table's rows of one day, `@day`; `<table>.counts.sql`, where there is one,
what is worth counting about the day that was just built, as rows of `name`, `number` and
`examples`. `views/<view>.sql` is what people read a table through. `${table}` stands for a table
of ours and `${billing.source}` for a billing export; `text` puts in what they are called. What a
query reads, and when it may run, is `fxci_assets.builders.derived`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

from fxci_assets.settings import Settings, SettingsError
from fxci_assets.tables import (
    BILLING,
    TABLES,
    TASK_DEFINITIONS,
    TASK_RUNS,
    TASKS,
    VIEW_DATASET,
    WORKER_METRICS,
)

_FILES = resources.files(__name__)


def names(settings: Settings) -> Mapping[str, str]:
    """What the tables and sources are called, as `project.dataset.table`, by placeholder.

    Raises SettingsError where two are called the same: each would be written over the other.
    """
    target = f"{settings.bigquery.project}.{settings.bigquery.dataset}"
    set_ = settings.bigquery.tables
    named = {
        TASKS.name: set_.tasks,
        TASK_RUNS.name: set_.runs,
        TASK_DEFINITIONS.name: set_.taskdefinitions,
        WORKER_METRICS.name: set_.metrics,
    }
    own = {table.name: f"{target}.{named.get(table.name, table.name)}" for table in TABLES}
    names = own | {f"billing.{s.name}": getattr(settings.billing, s.name) for s in BILLING}
    first: dict[str, str] = {}
    for placeholder, name in names.items():
        if first.setdefault(name, placeholder) != placeholder:
            raise SettingsError(
                f"{first[name]} and {placeholder} have one name by the settings: each needs its own"
            )
    return names


def text(file: str, names: Mapping[str, str]) -> str:
    """The query in a file, as BigQuery is given it.

    Raises KeyError for a placeholder that stands for nothing.
    """
    sql = (_FILES / file).read_text(encoding="utf-8")
    return re.sub(r"\$\{([\w.]+)\}", lambda found: names[found[1]], sql)


def exists(file: str) -> bool:
    return (_FILES / file).is_file()


def views(names: Mapping[str, str], dataset: str = VIEW_DATASET) -> Mapping[str, str]:
    """The query behind each view, by `dataset.view`."""
    return {f"{dataset}.{table.view}": text(f"views/{table.view}.sql", names) for table in TABLES}
