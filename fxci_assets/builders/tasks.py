"""`tasks_v2` and `task_runs_v1`, from the archived messages of a day, with one decoding."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

from fxci_assets.archive import Archive
from fxci_assets.builders.partitions import Partitions
from fxci_assets.day_rows import DayRows
from fxci_assets.freshness import Inputs, version_of
from fxci_assets.tables import TASK_RUNS, TASKS, Table
from fxci_assets.taskcluster.rows import TaskTables

Files = tuple[str, ...]


class TaskBuilder:
    """A `builders.Builder`."""

    tables = (TASKS, TASK_RUNS)
    derived = False

    def days(self, archive: Archive) -> Sequence[dt.date]:
        return archive.events.days()

    def resolve(self, archive: Archive, day: dt.date) -> Inputs[Files]:
        files = tuple(archive.events.files(day))
        return Inputs(version_of(files), files)

    def refusal(self, archive: Archive, partitions: Partitions, day: dt.date) -> str | None:
        return None

    def build(
        self, archive: Archive, day: dt.date, inputs: Inputs[Files], tables: Collection[Table]
    ) -> DayRows:
        return TaskTables(day, lambda: archive.events.read(day, inputs.content), tables)
