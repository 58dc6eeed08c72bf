"""`task_definitions_v1`, from the archived answers of the queue's API."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

from fxci_assets.archive import Archive
from fxci_assets.builders.partitions import Partitions
from fxci_assets.builders.taken_over import with_taken_over
from fxci_assets.day_rows import DayRows
from fxci_assets.freshness import Inputs, version_of
from fxci_assets.tables import TASK_DEFINITIONS, Table
from fxci_assets.taskcluster.definitions import DefinitionsOfDay

Files = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of files: of definitions, and of rows that were taken over."""


class DefinitionsBuilder:
    """A `builders.Builder`."""

    tables = (TASK_DEFINITIONS,)
    derived = False

    def days(self, archive: Archive) -> Sequence[dt.date]:
        taken_over = archive.baseline.days(TASK_DEFINITIONS)
        return sorted({*archive.definitions.days(), *taken_over})

    def resolve(self, archive: Archive, day: dt.date) -> Inputs[Files]:
        files = tuple(archive.definitions.files(day))
        taken_over = tuple(archive.baseline.files(TASK_DEFINITIONS, day))
        version = version_of([*files, *(f"taken over/{name}" for name in taken_over)])
        return Inputs(version, (files, taken_over))

    def refusal(self, archive: Archive, partitions: Partitions, day: dt.date) -> str | None:
        return None

    def build(
        self, archive: Archive, day: dt.date, inputs: Inputs[Files], tables: Collection[Table]
    ) -> DayRows:
        files, taken_over = inputs.content
        built = DefinitionsOfDay(day, archive.definitions.read(day, files))
        return with_taken_over(built, archive, day, {TASK_DEFINITIONS: taken_over})
