"""How tables are built: one builder for the tables that share their inputs.

A builder says which days it has inputs for, what their version is, and what rows come of them, or
by which query. What a source's answer means is `fxci_assets.taskcluster` and
`fxci_assets.uptime`; when a day is built, and that it is written whole, is
`fxci_assets.pipeline`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from fxci_assets import sql
from fxci_assets.archive import Archive
from fxci_assets.builders.definitions import DefinitionsBuilder
from fxci_assets.builders.derived import DERIVED, DayQuery, DerivedBuilder
from fxci_assets.builders.partitions import Partitions
from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.builders.uptime import UptimeBuilder
from fxci_assets.day_rows import DayRows
from fxci_assets.freshness import Inputs
from fxci_assets.resources.billing import BillingExports
from fxci_assets.settings import Settings
from fxci_assets.tables import Table

__all__ = ["Builder", "DayQuery", "all_builders"]


class Builder(Protocol):
    """Tables that are built from the same inputs, with one reading of them."""

    derived: bool
    """Whether it is built from other tables."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables, in the order in which they are written."""

    def days(self, archive: Archive) -> Sequence[dt.date]:
        """The days for which there are inputs."""

    def resolve(self, archive: Archive, day: dt.date) -> Inputs[Any]:
        """The inputs of a day, as they are now. Their content is the builder's own business."""

    def refusal(self, archive: Archive, partitions: Partitions, day: dt.date) -> str | None:
        """Why a day cannot be built now, or None."""

    def build(
        self, archive: Archive, day: dt.date, inputs: Inputs[Any], tables: Collection[Table]
    ) -> DayRows | DayQuery:
        """The rows of some of the tables, from exactly these inputs; or the query for them."""


def all_builders(settings: Settings, billing: BillingExports) -> Sequence[Builder]:
    """Each after those whose tables it reads."""
    names = sql.names(settings)
    derived = [
        DerivedBuilder(
            one,
            names,
            settings.monitoring.projects,
            billing,
            settings.rebuild.run_costs_look_back_days,
        )
        for one in DERIVED
    ]
    return [TaskBuilder(), DefinitionsBuilder(), UptimeBuilder(), *derived]
