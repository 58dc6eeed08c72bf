"""How tables are built from the archive: one builder for the tables that share their inputs.

A builder says which days it has inputs for, what their version is, and what rows come of them.
What a message means is `fxci_assets.taskcluster`; when a day is built, and that it is written
whole, is `fxci_assets.pipeline`. A new table from the archive is a new builder in BUILDERS.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from fxci_assets.archive import Archive
from fxci_assets.freshness import Inputs, version_of
from fxci_assets.tables import TASK_RUNS, TASKS, Table
from fxci_assets.taskcluster.rows import Tally, TaskTables, UnusableEvent

Files = tuple[str, ...]


class DayRows(Protocol):
    """The rows of one day, and what was met on the way to them."""

    unusable: list[UnusableEvent]
    first_event: dt.datetime | None
    last_event: dt.datetime | None

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, sorted by the table's key."""

    def staged(self, table: Table) -> int:
        """Rows before repeats were dropped."""

    def counts(self, table: Table) -> Mapping[str, Tally]:
        """What is worth a look; complete once the batches have been read."""


class Builder(Protocol):
    """Tables that are built from the same inputs, with one reading of them."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables, in the order in which they are written."""

    def days(self, archive: Archive) -> Sequence[dt.date]:
        """The days for which there are inputs."""

    def resolve(self, archive: Archive, day: dt.date) -> Inputs[Files]:
        """The inputs of a day, as they are now."""

    def build(
        self, archive: Archive, day: dt.date, inputs: Inputs[Files], tables: Collection[Table]
    ) -> DayRows:
        """The rows of some of the tables, from exactly these inputs."""


class TaskBuilder:
    """`tasks_v2` and `task_runs_v1`, from the messages filed under a day."""

    tables = (TASKS, TASK_RUNS)

    def days(self, archive: Archive) -> Sequence[dt.date]:
        return archive.events.days()

    def resolve(self, archive: Archive, day: dt.date) -> Inputs[Files]:
        files = tuple(archive.events.files(day))
        return Inputs(version_of(files), files)

    def build(
        self, archive: Archive, day: dt.date, inputs: Inputs[Files], tables: Collection[Table]
    ) -> DayRows:
        return TaskTables(day, lambda: archive.events.read(day, inputs.content), tables)


BUILDERS: tuple[Builder, ...] = (TaskBuilder(),)
