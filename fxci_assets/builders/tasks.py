"""`tasks_v2` and `task_runs_v1`, from the archived messages of a day, with one decoding.

Of days that were taken over from another job there are also the rows that it had left.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence

from fxci_assets.archive import Archive
from fxci_assets.builders.partitions import Partitions
from fxci_assets.builders.taken_over import with_taken_over
from fxci_assets.day_rows import DayRows
from fxci_assets.freshness import Inputs, version_of
from fxci_assets.tables import TASK_RUNS, TASKS, Table
from fxci_assets.taskcluster.rows import TaskTables

Files = Mapping[str, tuple[str, ...]]
"""Names of files: of messages, and of each table's rows that were taken over."""

_MESSAGES = "messages"


class TaskBuilder:
    """A `builders.Builder`."""

    tables = (TASKS, TASK_RUNS)
    derived = False

    def days(self, archive: Archive) -> Sequence[dt.date]:
        taken_over = (day for table in self.tables for day in archive.baseline.days(table))
        return sorted({*archive.events.days(), *taken_over})

    def resolve(self, archive: Archive, day: dt.date) -> Inputs[Files]:
        files = {_MESSAGES: tuple(archive.events.files(day))}
        for table in self.tables:
            files[table.name] = tuple(archive.baseline.files(table, day))
        names = list(files[_MESSAGES])
        names += [f"{table.name}/{name}" for table in self.tables for name in files[table.name]]
        return Inputs(version_of(names), files)

    def refusal(self, archive: Archive, partitions: Partitions, day: dt.date) -> str | None:
        return None

    def build(
        self, archive: Archive, day: dt.date, inputs: Inputs[Files], tables: Collection[Table]
    ) -> DayRows:
        files = inputs.content
        built = TaskTables(day, lambda: archive.events.read(day, files[_MESSAGES]), tables)
        return with_taken_over(built, archive, day, {t: files[t.name] for t in tables})
