"""The tables that are queries over other tables: what each reads of them, and when it may run.

What the queries say is in `fxci_assets/sql`, one file each. That a day is written whole, and
recorded, is `fxci_assets.pipeline`. A new one is a spec, a .sql file and an entry in DERIVED.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fxci_assets import sql
from fxci_assets.archive import Archive
from fxci_assets.builders.partitions import Partitions
from fxci_assets.freshness import Inputs, version_of
from fxci_assets.resources.billing import BillingExports
from fxci_assets.tables import (
    AZURE_FXCI,
    AZURE_FXCI_LOOKUP,
    AZURE_TASKCLUSTER,
    AZURE_TASKCLUSTER_LOOKUP,
    GCP,
    TASK_RUN_COSTS,
    TASK_RUNS,
    WORKER_COSTS,
    WORKER_METRICS,
    WORKER_USAGE,
    WORKER_UTILIZATION,
    Source,
    Table,
)
from fxci_assets.taskcluster.messages import LIFE


@dataclass(frozen=True, slots=True)
class Reads:
    """A table that a query reads, from some days before its own day to some days after it."""

    table: Table
    before: int = 0
    after: int = 0

    def days(self, day: dt.date) -> Iterator[dt.date]:
        return (day + dt.timedelta(days=n) for n in range(-self.before, self.after + 1))


@dataclass(frozen=True, slots=True)
class Derived:
    """A table that is a query."""

    table: Table
    reads: tuple[Reads, ...] = ()
    counts_read: tuple[Reads, ...] = ()
    """What only the query that counts reads."""
    bills: tuple[Source, ...] = ()
    follows: Table | None = None
    """Days are wanted once this table has them. None: only its schedule wants a day, because what
    it reads has no version."""
    needs: tuple[Table, ...] = ()
    """Refused while one of these has no partition for the day."""
    paired: tuple[Table, Table] | None = None
    """Refused while a day that is read has a partition of the first, and none of the second."""


_AZURE = (AZURE_FXCI, AZURE_FXCI_LOOKUP, AZURE_TASKCLUSTER, AZURE_TASKCLUSTER_LOOKUP)

DERIVED: tuple[Derived, ...] = (
    # Its rows are the bills' alone; how complete these are is counted against the uptime.
    Derived(WORKER_COSTS, counts_read=(Reads(WORKER_METRICS),), bills=(GCP, *_AZURE)),
    Derived(
        WORKER_USAGE,
        reads=(Reads(WORKER_METRICS),),
        bills=_AZURE,
        follows=WORKER_COSTS,
        needs=(WORKER_METRICS,),
    ),
    Derived(
        TASK_RUN_COSTS,
        reads=(
            Reads(TASK_RUNS),
            Reads(WORKER_COSTS, before=30),
            Reads(WORKER_USAGE, before=30),
        ),
        follows=WORKER_COSTS,
        # Else a cost would be divided by the uptime of fewer days than it covers.
        paired=(WORKER_COSTS, WORKER_USAGE),
    ),
    Derived(
        WORKER_UTILIZATION,
        reads=(
            Reads(WORKER_COSTS),
            Reads(WORKER_USAGE),
            # A run lies under the day on which it was resolved.
            Reads(TASK_RUNS, after=LIFE.days),
        ),
        follows=WORKER_COSTS,
        needs=(WORKER_COSTS, WORKER_METRICS, WORKER_USAGE),
    ),
)
"""In an order in which each comes after what it reads."""


@dataclass(frozen=True, slots=True)
class DayQuery:
    """A query whose result is the rows of a day, and one that counts what is worth a look."""

    sql: str
    counts: str | None
    parameters: Mapping[str, dt.date | Sequence[str]]


class DerivedBuilder:
    """A `builders.Builder` of one table. A query reads what is there when it runs."""

    derived = True

    def __init__(
        self,
        derived: Derived,
        names: Mapping[str, str],
        worker_projects: Sequence[str],
        billing: BillingExports,
        look_back_days: int,
    ) -> None:
        self.tables = (derived.table,)
        self._derived = derived
        self._names = names
        self._projects = list(worker_projects)
        self._billing = billing
        self._look_back = look_back_days

    def days(self, archive: Archive) -> Sequence[dt.date]:
        follows = self._derived.follows
        return archive.builds.built_days(follows.name) if follows else ()

    def resolve(self, archive: Archive, day: dt.date) -> Inputs[None]:
        versions = []
        for reads in (*self._derived.reads, *self._derived.counts_read):
            for other in reads.days(day):
                if (day - other).days > self._look_back:
                    continue
                built = archive.builds.built(reads.table.name, other)
                if built is not None:
                    versions.append(f"{reads.table.name}/{other}/{built.data_version}")
        return Inputs(version_of(versions), None)

    def refusal(self, archive: Archive, partitions: Partitions, day: dt.date) -> str | None:
        if self._derived.bills:
            refusal = self._billing.refusal(day)
            if refusal is not None:
                return refusal
        for table in self._derived.needs:
            if not partitions.has(table, day):
                return f"{table.name} has no partition for {day}; {_how_to_make(table, day)}"
        if self._derived.paired is not None:
            first, second = self._derived.paired
            read = next(reads for reads in self._derived.reads if reads.table == first)
            for other in read.days(day):
                if partitions.has(first, other) and not partitions.has(second, other):
                    return (
                        f"{other} has a partition in {first.name} and none in {second.name}; "
                        f"{_how_to_make(second, other)}"
                    )
        return None

    def build(
        self, archive: Archive, day: dt.date, inputs: Inputs[None], tables: Collection[Table]
    ) -> DayQuery:
        if self._derived.bills:
            self._billing.refresh(day)
        name = self._derived.table.name
        counts = f"{name}.counts.sql"
        return DayQuery(
            sql.text(f"{name}.sql", self._names),
            sql.text(counts, self._names) if sql.exists(counts) else None,
            {"day": day, "projects": self._projects},
        )


def _how_to_make(table: Table, day: dt.date) -> str:
    if table == WORKER_METRICS:
        return f"run fxci-etl metric export --date {day}"
    return f"run fxci-etl rebuild --from {day} --to {day} {table.name}"
