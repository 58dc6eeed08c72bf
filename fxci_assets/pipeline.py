"""Drain, fetch and rebuild, as the command line and the assets share them.

Here the parts come together: the sources, the archive, the builders and a warehouse.
Each part's own subject stays in its module; Dagster and the command line are shells around this.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from fxci_assets import freshness, uptime
from fxci_assets.archive import Archive
from fxci_assets.archive.quarantine import Entry, Item, Replayed
from fxci_assets.archive.store import at_once
from fxci_assets.archive.uptime import Fetch
from fxci_assets.builders import Builder, DayQuery
from fxci_assets.builders.partitions import Partitions
from fxci_assets.day_rows import DayRows
from fxci_assets.definitions_fetch import DefinitionsReport, fetch_definitions
from fxci_assets.drain import DrainLimits, DrainReport, decide, drain, file_messages
from fxci_assets.freshness import Inputs, InputsKeepChanging, Tallied, Written
from fxci_assets.resources.monitoring import Monitoring
from fxci_assets.resources.pulse import BatchLimits, Message, PulseSource
from fxci_assets.resources.taskcluster import Taskcluster
from fxci_assets.resources.warehouse import PartitionWrite, Warehouse
from fxci_assets.settings import Settings
from fxci_assets.tables import TASK_RUNS, WORKER_METRICS, Table, arrow_schema
from fxci_assets.takeover import Takeover
from fxci_assets.taskcluster.definitions import defined_task
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX, TASK_DEFINED, Unusable
from fxci_assets.taskcluster.parsing import faults
from fxci_assets.uptime_fetch import complete_at, fetch_uptime

_log = logging.getLogger(__name__)


class Refused(Exception):
    """What was asked for cannot be done, and why. One line."""


class NotReady(Exception):
    """A day cannot be built yet, and why: its inputs are not all there. One line."""


LEFT_FOR_A_WRITE = 0.3
"""The share of the run limit within which a write is over that was allowed to begin."""


class Overdue(Exception):
    """A rebuild took so long that its mark is about to expire. Its rows are not written: others
    may have built the day meanwhile, and would not learn that it was overwritten."""


class RebuildsFailed(Exception):
    """Some days could not be rebuilt; they stay stale, and their old rows stay as they are."""


LOOK_BACK = dt.timedelta(days=8)
"""For how long a drain looks for messages that nobody has looked at for their definitions; a repair
looks at all."""

Clock = Callable[[], dt.datetime]
"""What the time is, UTC."""


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
    derived: bool
    """Whether it is built from other tables, which are asked for less often."""
    refusal: str | None = None
    """Why it cannot be built now, if it cannot."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild of one day of one table did."""

    table: Table
    day: dt.date
    rows: int
    repeats: int | None
    """Rows that several messages told, less one each; None of what is not made of messages."""
    bytes: int
    seconds: float
    first_event: dt.datetime | None
    last_event: dt.datetime | None
    uri: str
    input_version: str
    data_version: str
    counts: Mapping[str, Tallied]
    job: Mapping[str, str | int]
    """What the warehouse's job told of its cost, and where it can be looked at."""


@dataclass(frozen=True, slots=True)
class _Made:
    """What writing one table's day came to."""

    write: PartitionWrite
    counts: Mapping[str, Tallied]
    repeats: int | None = None
    first_event: dt.datetime | None = None
    last_event: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What the sources tell to the archive, the archive to tables, and tables to others."""

    archive: Archive
    warehouse: Warehouse
    first_day: dt.date
    limits: DrainLimits
    run_limit: dt.timedelta
    builders: Sequence[Builder]
    worker_projects: Sequence[str]
    uptime_retention: dt.timedelta
    clock: Clock = utc_now
    labels: Mapping[str, str] = field(default_factory=dict)
    """Who writes, for the warehouse to keep with each day."""
    retention: dt.timedelta | None = None
    """For how long messages are kept; None: for ever."""
    takeover: Takeover | None = None
    """Where the tables may be those of another job."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        archive: Archive,
        warehouse: Warehouse,
        builders: Sequence[Builder],
        clock: Clock = utc_now,
    ) -> Pipeline:
        bounds = settings.drain
        batch = BatchLimits(bounds.batch_messages, bounds.batch_bytes, bounds.batch_seconds)
        limits = DrainLimits(batch, bounds.max_messages, bounds.max_seconds)
        return cls(
            archive,
            warehouse,
            settings.start_date,
            limits,
            settings.run_limit,
            builders,
            settings.monitoring.projects,
            dt.timedelta(days=settings.monitoring.retention_days),
            clock,
            retention=settings.retention,
        )

    def today(self) -> dt.date:
        return self.clock().date()

    def floor(self) -> dt.date:
        """The first day that is ever built; earlier ones are never stale and never written."""
        taken_over = self.archive.baseline.floor() or dt.date.min
        kept = dt.date.min if self.retention is None else self.today() - self.retention
        return max(self.first_day, taken_over, kept, self.archive.forgotten.before())

    def drain(
        self,
        source: PulseSource,
        progress: Callable[[DrainReport], None] = lambda report: None,
    ) -> DrainReport:
        """Move what is in the queues to the archive. Days are not rebuilt by this. Raises what the
        source raises; and Refused where each message would go to quarantine, because there is no
        first day yet."""
        if self.first_day > self.today():
            raise Refused(f"the first day, {self.first_day} (FXCI_START_DATE), is still to come")
        report = drain(source, self.archive, self.first_day, self.limits, self.clock, progress)
        report.floor = self.floor()
        return report

    def forget(self) -> None:
        """Remove from the archive what was kept for long enough, if that is bounded. Raises what
        the archive raises."""
        if self.retention is not None:
            # Not of the newest day before the floor, which a build may still be reading.
            self.archive.forgotten.forget(self.today() - self.retention - dt.timedelta(days=1))

    def waits_for_takeover(self) -> bool:
        """Whether the tables hold what another job has left, and are not ours yet."""
        return self.takeover is not None and self.takeover.is_due()

    def take_over(self) -> None:
        """Take the tables over from another job, where that is still to be done: until then their
        days are refused. Raises what `Takeover.run` does."""
        if self.takeover is not None:
            self.takeover.run()

    def fetch_definitions(
        self, source: Taskcluster, since: dt.date | None = None
    ) -> DefinitionsReport:
        """Fetch the definitions of the tasks of which messages tell, and of those that are
        pending, to the archive. Looks for messages that nobody has looked at from `since` on, by
        default as far back as is usual. Raises TaskclusterError."""
        since = since or max(self.floor(), self.today() - LOOK_BACK)
        seconds = self.limits.seconds
        return fetch_definitions(source, self.archive, self.first_day, since, seconds, self.clock)

    def uptime(self, source: Monitoring, day: dt.date) -> Fetch:
        """What Cloud Monitoring knows of a day. Of one that it may have begun to forget, what was
        archived of it is the better answer.

        Raises Refused until ten minutes after the day ended, or where a forgotten day was never
        archived; and what the source raises.
        """
        if self._may_be_forgotten(day):
            return self.archive.uptime.read(day, self._newest_fetch(day))
        if self.clock() < complete_at(day):
            raise Refused(
                f"the uptime of {day} is complete from {complete_at(day):%Y-%m-%d %H:%M} UTC on"
            )
        return fetch_uptime(source, self.worker_projects, day, self.clock())

    def uptime_rows(self, source: Monitoring, day: dt.date) -> pa.Table:
        """The rows of `worker_metrics_v1` that a day's uptime makes; nothing is kept of it. Raises
        what `uptime` does."""
        fetch = self.uptime(source, day)
        rows = uptime.UptimeOfDay(day, fetch.fetched_at, fetch.answers).batches(WORKER_METRICS)
        return pa.Table.from_batches(rows, arrow_schema(WORKER_METRICS))

    def archive_uptime(self, source: Monitoring, day: dt.date) -> None:
        """Fetch a day's uptime to the archive. Raises what `uptime` does."""
        if self._may_be_forgotten(day):
            self._newest_fetch(day)  # is there, so that there is nothing to do
        else:
            self.archive.uptime.write(day, self.uptime(source, day))

    def _may_be_forgotten(self, day: dt.date) -> bool:
        return self.today() - day > self.uptime_retention

    def _newest_fetch(self, day: dt.date) -> str:
        files = self.archive.uptime.files(day)
        if not files:
            raise Refused(
                f"the uptime of {day} was never fetched, and Cloud Monitoring is asked for the "
                f"last {self.uptime_retention.days} days only (FXCI_ETL_MONITORING_RETENTION_DAYS)"
            )
        return files[-1]

    def replay(self, item: Entry, body: bytes | None) -> Sequence[dt.date]:
        """File a message from quarantine like a new one, with another body if one is given, and
        mark it replayed. Returns the days it is filed under.

        Raises Refused where it still cannot be used.
        """
        if not item.exchange.startswith(EXCHANGE_PREFIX):
            instead = (
                "fetch the day again (fxci-etl metric export --date …)"
                if item.exchange == uptime.EXCHANGE
                else "the queue was asked and did not know it, or answered something unusable; "
                "there is nothing to replay, only to accept (fxci-etl quarantine accept)"
            )
            raise Refused(
                f"{item.id} is no message of the queue, but from {item.exchange}: {instead}"
            )
        now = self.clock()
        content = self.archive.quarantine.body(item) if body is None else body
        message = Message(item.exchange, item.routing_key, content)
        filing = decide(message, now, self.first_day)
        reasons = filing.reasons
        if message.exchange == TASK_DEFINED:
            try:
                defined_task(message.body)
            except Unusable as unusable:
                reasons += (str(unusable),)
        else:
            # What a build would set aside again, and nobody see: the item is marked replayed.
            reasons += tuple(r for day in filing.days for r in faults(message.body, day))
        if reasons:
            raise Refused(f"{item.id} cannot be filed: {', '.join(dict.fromkeys(reasons))}")
        if message.exchange != TASK_DEFINED and max(filing.days) < self.floor():
            raise Refused(
                f"{item.id} is about {max(filing.days)}, and no day before {self.floor()} is built "
                "any more: all that can be done is to accept it (fxci-etl quarantine accept)"
            )
        file_messages([message], now, self.archive, self.first_day, DrainReport())
        self.archive.quarantine.mark_replayed(item.id, Replayed(now, body is not None))
        return sorted(filing.days)

    def in_quarantine(self, since: dt.date = dt.date.min) -> list[Entry]:
        """What is in quarantine, received on a day or later, and was neither replayed nor
        accepted."""
        return list(self.archive.quarantine.open_entries(since))

    def newest_event(self) -> dt.datetime | None:
        """When the newest run in `task_runs_v1` was resolved, by its newest day with rows."""
        for day in reversed(self.warehouse.partitions(TASK_RUNS)):
            built = self.archive.builds.built(TASK_RUNS.name, day)
            if built is not None and not built.rows:
                continue
            rows = self.warehouse.query(
                f"SELECT MAX(resolved) AS newest FROM `{self.warehouse.name(TASK_RUNS)}` "
                "WHERE submission_date = @day",
                {"day": day},
            )
            newest: dt.datetime | None = rows["newest"][0].as_py()
            if newest is not None:
                return newest
        return None

    def stale(
        self, since: dt.date | None = None, tables: Collection[Table] | None = None
    ) -> list[StaleDay]:
        """The days up to today that must be rebuilt, and can be, oldest first; of all tables or of
        some, from `since` or from the floor."""
        return [one for one in self.stale_or_waiting(since, tables) if one.refusal is None]

    def stale_or_waiting(
        self, since: dt.date | None = None, tables: Collection[Table] | None = None
    ) -> list[StaleDay]:
        """The same with the days that cannot be rebuilt yet, because not all is there that they
        need: these have a refusal."""
        found: list[StaleDay] = []
        first = max(self.floor(), since) if since else self.floor()
        now = self.clock()
        archive = replace(self.archive, builds=self.archive.builds.remembering())
        records = archive.builds
        partitions = Partitions(archive, self.warehouse)
        for builder in self.builders:
            wanted = [table for table in builder.tables if tables is None or table in tables]
            if not wanted:
                continue
            days = set(builder.days(archive))
            for table in wanted:
                days.update(records.built_days(table.name), records.marked_days(table.name))

            def look(
                day: dt.date, builder: Builder = builder, wanted: Sequence[Table] = wanted
            ) -> tuple[str, dict[Table, str]]:
                version = builder.resolve(archive, day).version
                reasons: dict[Table, str] = {}
                for table in wanted:
                    built = records.built(table.name, day)
                    marks = records.marks(table.name, day)
                    reason = freshness.staleness(version, built, marks, now, self.run_limit)
                    if reason is not None:
                        reasons[table] = reason
                return version, reasons

            looked_at = [day for day in sorted(days) if first <= day <= now.date()]
            looks = at_once(look, looked_at)
            for day, (version, reasons) in zip(looked_at, looks, strict=True):
                refusal = self._refusal(builder, archive, partitions, day) if reasons else None
                for table, reason in reasons.items():
                    built = records.built(table.name, day)
                    built_at = built.built_at if built else None
                    found.append(
                        StaleDay(table, day, version, reason, built_at, builder.derived, refusal)
                    )
        return sorted(found, key=lambda stale: (stale.day, stale.table.name))

    def _refusal(
        self, builder: Builder, archive: Archive, partitions: Partitions, day: dt.date
    ) -> str | None:
        if builder.derived and day >= self.today():
            return f"{day} is not over"
        if self.takeover is not None:
            refusal = self.takeover.refusal(builder.tables)
            if refusal is not None:
                return refusal
        return builder.refusal(archive, partitions, day)

    def ready(self, table: Table, days: Iterable[dt.date]) -> list[dt.date]:
        """Those of the days of which a table can be built now."""
        (builder,) = (builder for builder in self.builders if table in builder.tables)
        partitions = Partitions(self.archive, self.warehouse)
        return [
            day for day in days if self._refusal(builder, self.archive, partitions, day) is None
        ]

    def rested(
        self, table: Table, days: Iterable[dt.date], interval: dt.timedelta
    ) -> list[dt.date]:
        """Those of the days that were not built within the last `interval`."""
        now, builds = self.clock(), self.archive.builds
        builts = ((day, builds.built(table.name, day)) for day in days)
        return [
            day
            for day, built in builts
            if freshness.rested(built.built_at if built else None, now, interval)
        ]

    def rebuild(self, tables: Collection[Table], day: dt.date) -> list[Rebuilt]:
        """Build a day of tables anew and replace the old rows, whether it is stale or not.

        Raises Refused for a day that is never built, NotReady for one that cannot be built now,
        freshness.InputsKeepChanging, and what the archive and the warehouse raise.
        """
        self._check_day(day)
        done: list[Rebuilt] = []
        for builder in self.builders:
            wanted = [table for table in builder.tables if table in tables]
            if wanted:
                done += self._rebuild(builder, wanted, day)
        return done

    def _check_day(self, day: dt.date) -> None:
        if day < self.floor():
            raise Refused(f"{day} is before {self.floor()}, the first day that is built")
        if day > self.today():
            raise Refused(f"{day} has not begun")

    def _rebuild(self, builder: Builder, tables: Sequence[Table], day: dt.date) -> list[Rebuilt]:
        partitions = Partitions(self.archive, self.warehouse)
        refusal = self._refusal(builder, self.archive, partitions, day)
        if refusal is not None:
            raise NotReady(f"{', '.join(table.name for table in tables)}: {refusal}")
        done: dict[str, Rebuilt] = {}
        began = self.clock()

        def in_time() -> None:
            if self.clock() - began > (1 - LEFT_FOR_A_WRITE) * self.run_limit:
                raise Overdue(f"{day}: the rebuild took too long, since {began:%H:%M:%S} UTC")

        def build(inputs: Inputs[Any]) -> dict[str, Written]:
            started = time.monotonic()
            result = builder.build(self.archive, day, inputs, tables)
            for table in tables:
                made = self._write(table, day, result, in_time)
                done[table.name] = Rebuilt(
                    table,
                    day,
                    rows=made.write.rows,
                    repeats=made.repeats,
                    bytes=made.write.bytes,
                    seconds=time.monotonic() - started,
                    first_event=made.first_event,
                    last_event=made.last_event,
                    uri=made.write.uri,
                    input_version=inputs.version,
                    data_version=made.write.data_version,
                    counts=made.counts,
                    job=made.write.job,
                )
                started = time.monotonic()
            return {
                name: Written(rebuilt.data_version, rebuilt.rows, rebuilt.counts)
                for name, rebuilt in done.items()
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
        for rebuilt in done.values():
            _log.info("%s %s: %d rows", rebuilt.table.name, day, rebuilt.rows)
        return list(done.values())

    def _write(
        self, table: Table, day: dt.date, result: DayRows | DayQuery, in_time: Callable[[], None]
    ) -> _Made:
        if isinstance(result, DayQuery):
            write = self.warehouse.write_query(
                table,
                day,
                result.sql,
                result.parameters,
                labels=self.labels,
                before_commit=in_time,
            )
            return _Made(write, self._counts(result))
        self.archive.quarantine.add_new(
            Item(**event._asdict(), quarantined_at=self.clock()) for event in result.unusable
        )
        write = self.warehouse.write_partition(
            table, day, result.batches(table), labels=self.labels, before_commit=in_time
        )
        counts = {
            name: Tallied(tally.count, tuple(tally.examples))
            for name, tally in result.counts(table).items()
        }
        repeats = result.staged(table) - write.rows
        return _Made(write, counts, repeats, result.first_event, result.last_event)

    def _counts(self, query: DayQuery) -> dict[str, Tallied]:
        """What the query's companion counts, now that its rows are there."""
        if query.counts is None:
            return {}
        rows = self.warehouse.query(query.counts, query.parameters).to_pylist()
        return {
            row["name"]: Tallied(row["number"], tuple((row["examples"] or "").splitlines()))
            for row in rows
        }

    def rebuild_stale(
        self,
        progress: Callable[[Rebuilt], None] = lambda rebuilt: None,
        tables: Collection[Table] | None = None,
    ) -> list[Rebuilt]:
        """Rebuild every stale day up to today, of all tables or of some. One that fails does not
        keep the others from being built; at the end, RebuildsFailed names those that did. One
        whose inputs keep changing has not failed: another drain is filing, and rebuilds the day
        when it is done."""
        days: dict[dt.date, list[Table]] = {}
        for stale in self.stale(tables=tables):
            days.setdefault(stale.day, []).append(stale.table)
        return self.rebuild_each(days, progress, leave_changing=True)

    def rebuild_each(
        self,
        days: Mapping[dt.date, Collection[Table]],
        progress: Callable[[Rebuilt], None] = lambda rebuilt: None,
        *,
        leave_changing: bool = False,
        leave_unready: bool = False,
    ) -> list[Rebuilt]:
        """Rebuild some tables on some days, as `rebuild_stale` does; with a day whose inputs keep
        changing, or are not there yet, among those that failed, unless these are to be left.

        A table that others are built from comes first, on all days: they may read weeks of it.
        """
        for day in days:
            self._check_day(day)
        done: list[Rebuilt] = []
        failed: dict[str, list[str]] = {}
        for builder in self.builders:
            for day, tables in days.items():
                wanted = [table for table in builder.tables if table in tables]
                try:
                    rebuilt = self._rebuild(builder, wanted, day) if wanted else []
                except Exception as error:
                    if (leave_changing and isinstance(error, InputsKeepChanging)) or (
                        leave_unready and isinstance(error, NotReady)
                    ):
                        _log.warning("%s", error)
                        continue
                    _log.info("%s could not be rebuilt", day, exc_info=True)
                    failed.setdefault(str(error), []).append(f"{day}")
                    continue
                for made in rebuilt:
                    progress(made)
                done += rebuilt
        if failed:
            told = (f"{', '.join(of)} ({why})" for why, of in failed.items())
            raise RebuildsFailed(f"not rebuilt: {'; '.join(told)}")
        return done
