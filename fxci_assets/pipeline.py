"""Drain and rebuild, as the command line and the assets share them.

Here the parts come together: a source of messages, the archive, the builders and a warehouse.
Each part's own subject stays in its module; Dagster and the command line are shells around this.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from fxci_assets import freshness
from fxci_assets.archive import Archive
from fxci_assets.archive.quarantine import Item, Replayed
from fxci_assets.builders import BUILDERS, Builder, Files
from fxci_assets.drain import DrainLimits, DrainReport, decide, drain, file_messages
from fxci_assets.freshness import Inputs, InputsKeepChanging, RowsHash, Tallied, Written
from fxci_assets.resources.pulse import BatchLimits, Message, PulseSource
from fxci_assets.resources.warehouse import Warehouse
from fxci_assets.settings import Settings
from fxci_assets.tables import TASK_RUNS, Table
from fxci_assets.taskcluster.messages import TASK_DEFINED
from fxci_assets.taskcluster.parsing import faults

_log = logging.getLogger(__name__)


class Refused(Exception):
    """What was asked for cannot be done, and why. One line."""


class Overdue(Exception):
    """A rebuild took so long that its mark is about to expire. Its rows are not written: others
    may have built the day meanwhile, and would not learn that it was overwritten."""


class RebuildsFailed(Exception):
    """Some days could not be rebuilt; they stay stale, and their old rows stay as they are."""


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True)
class StaleDay:
    """A day of a table that must be rebuilt."""

    table: Table
    day: dt.date
    input_version: str
    reason: str
    built_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild of one day of one table did."""

    table: Table
    day: dt.date
    rows: int
    repeats: int
    """Rows that several messages told, less one each."""
    bytes: int
    seconds: float
    first_event: dt.datetime | None
    last_event: dt.datetime | None
    uri: str
    input_version: str
    data_version: str
    counts: Mapping[str, Tallied]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Messages to the archive, and the archive to tables."""

    archive: Archive
    warehouse: Warehouse
    first_day: dt.date
    limits: DrainLimits
    run_limit: dt.timedelta
    clock: Callable[[], dt.datetime] = utc_now
    builders: Sequence[Builder] = BUILDERS

    @classmethod
    def of(cls, settings: Settings, archive: Archive, warehouse: Warehouse) -> Pipeline:
        bounds = settings.drain
        batch = BatchLimits(bounds.batch_messages, bounds.batch_bytes, bounds.batch_seconds)
        limits = DrainLimits(batch, bounds.max_messages, bounds.max_seconds)
        return cls(archive, warehouse, settings.start_date, limits, settings.run_limit)

    def today(self) -> dt.date:
        return self.clock().date()

    def floor(self) -> dt.date:
        """The first day that is ever built; earlier ones are never stale and never written."""
        return self.first_day

    def drain(
        self,
        source: PulseSource,
        progress: Callable[[DrainReport], None] = lambda report: None,
    ) -> DrainReport:
        """Move what is in the queues to the archive. Days are not rebuilt by this."""
        return drain(source, self.archive, self.first_day, self.limits, self.clock, progress)

    def replay(self, item: Item, body: bytes | None) -> Sequence[dt.date]:
        """File a message from quarantine like a new one, with another body if one is given, and
        mark it replayed. Returns the days it is filed under.

        Raises Refused where it still cannot be used.
        """
        now = self.clock()
        message = Message(item.exchange, item.routing_key, item.body if body is None else body)
        filing = decide(message, now, self.first_day)
        reasons = filing.reasons
        if message.exchange != TASK_DEFINED:
            # What a build would set aside again, and nobody see: the item is marked replayed.
            reasons += tuple(r for day in filing.days for r in faults(message.body, day))
        if reasons:
            raise Refused(f"{item.id} cannot be filed: {', '.join(dict.fromkeys(reasons))}")
        file_messages([message], now, self.archive, self.first_day, DrainReport())
        self.archive.quarantine.mark_replayed(item.id, Replayed(now, body is not None))
        return sorted(filing.days)

    def in_quarantine(self, since: dt.date = dt.date.min) -> list[Item]:
        """What is in quarantine and was not replayed, received on a day or later."""
        replayed = self.archive.quarantine.replayed()
        return [item for item in self.archive.quarantine.items(since) if item.id not in replayed]

    def newest_event(self) -> dt.datetime | None:
        """When the newest run in `task_runs_v1` was resolved, by its newest day with rows."""
        for day in reversed(self.warehouse.partitions(TASK_RUNS)):
            built = self.archive.builds.built(TASK_RUNS.name, day)
            if built is not None and not built.rows:
                continue
            rows = self.warehouse.query(
                f"SELECT MAX(resolved) AS newest FROM `{self.warehouse.target}.{TASK_RUNS.name}` "
                "WHERE submission_date = @day",
                {"day": day},
            )
            newest: dt.datetime | None = rows["newest"][0].as_py()
            if newest is not None:
                return newest
        return None

    def stale(self, since: dt.date | None = None) -> list[StaleDay]:
        """The days up to today that must be rebuilt, oldest first; from `since`, or from the
        floor."""
        found: list[StaleDay] = []
        first = max(self.floor(), since) if since else self.floor()
        now = self.clock()
        records = self.archive.builds
        for builder in self.builders:
            days = set(builder.days(self.archive))
            for table in builder.tables:
                days.update(records.built_days(table.name))
            for day in sorted(days):
                if not first <= day <= now.date():
                    continue
                version = builder.resolve(self.archive, day).version
                for table in builder.tables:
                    built = records.built(table.name, day)
                    marks = records.marks(table.name, day)
                    reason = freshness.staleness(version, built, marks, now, self.run_limit)
                    if reason is not None:
                        built_at = built.built_at if built else None
                        found.append(StaleDay(table, day, version, reason, built_at))
        return sorted(found, key=lambda stale: (stale.day, stale.table.name))

    def rebuild(self, tables: Collection[Table], day: dt.date) -> list[Rebuilt]:
        """Build a day of tables anew and replace the old rows, whether it is stale or not.

        Raises Refused for a day that is never built, freshness.InputsKeepChanging, and what the
        archive and the warehouse raise.
        """
        if day < self.floor():
            raise Refused(f"{day} is before {self.floor()}, the first day that is built")
        if day > self.today():
            raise Refused(f"{day} has not begun")
        done: list[Rebuilt] = []
        for builder in self.builders:
            wanted = [table for table in builder.tables if table in tables]
            if wanted:
                done += self._rebuild(builder, wanted, day)
        return done

    def _rebuild(self, builder: Builder, tables: Sequence[Table], day: dt.date) -> list[Rebuilt]:
        done: dict[str, Rebuilt] = {}
        began = self.clock()

        def in_time(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            """The batches, and at their end, just before they become the partition, an error if
            that comes too late."""
            yield from batches
            if self.clock() - began > 0.9 * self.run_limit:
                raise Overdue(f"{day}: the rebuild took too long, since {began:%H:%M:%S} UTC")

        def build(inputs: Inputs[Files]) -> dict[str, Written]:
            started = time.monotonic()
            built = builder.build(self.archive, day, inputs, tables)
            self.archive.quarantine.add_new(
                Item(**event._asdict(), quarantined_at=self.clock()) for event in built.unusable
            )
            for table in tables:
                hashed = RowsHash()
                batches = in_time(hashed.over(built.batches(table)))
                write = self.warehouse.write_partition(table, day, batches)
                done[table.name] = Rebuilt(
                    table,
                    day,
                    rows=hashed.rows,
                    repeats=built.staged(table) - hashed.rows,
                    bytes=write.bytes,
                    seconds=time.monotonic() - started,
                    first_event=built.first_event,
                    last_event=built.last_event,
                    uri=write.uri,
                    input_version=inputs.version,
                    data_version=hashed.hexdigest(),
                    counts={
                        name: Tallied(tally.count, tuple(tally.examples))
                        for name, tally in built.counts(table).items()
                    },
                )
                started = time.monotonic()
            return {
                name: Written(made.data_version, made.rows, made.counts)
                for name, made in done.items()
            }

        freshness.rebuild(
            [table.name for table in tables],
            day,
            self.archive.builds,
            lambda: builder.resolve(self.archive, day),
            build,
            self.clock,
            self.run_limit,
        )
        for made in done.values():
            _log.info("%s %s: %d rows", made.table.name, day, made.rows)
        return list(done.values())

    def rebuild_stale(
        self, progress: Callable[[Rebuilt], None] = lambda rebuilt: None
    ) -> list[Rebuilt]:
        """Rebuild every stale day up to today. One that fails does not keep the others from
        being built; at the end, RebuildsFailed names those that did. One whose inputs keep
        changing has not failed: another drain is filing, and rebuilds the day when it is done."""
        days: dict[dt.date, list[Table]] = {}
        for stale in self.stale():
            days.setdefault(stale.day, []).append(stale.table)
        return self.rebuild_each(days, progress, leave_changing=True)

    def rebuild_each(
        self,
        days: Mapping[dt.date, Collection[Table]],
        progress: Callable[[Rebuilt], None] = lambda rebuilt: None,
        *,
        leave_changing: bool = False,
    ) -> list[Rebuilt]:
        """Rebuild some tables on some days, as `rebuild_stale` does; with a day whose inputs keep
        changing among those that failed, unless it is to be left."""
        done: list[Rebuilt] = []
        failed: list[str] = []
        for day, tables in days.items():
            try:
                rebuilt = self.rebuild(tables, day)
            except Refused:
                raise
            except Exception as error:
                if leave_changing and isinstance(error, InputsKeepChanging):
                    _log.warning("%s", error)
                    continue
                _log.info("%s could not be rebuilt", day, exc_info=True)
                failed.append(f"{day} ({error})")
                continue
            for made in rebuilt:
                progress(made)
            done += rebuilt
        if failed:
            raise RebuildsFailed(f"not rebuilt: {'; '.join(failed)}")
        return done
