"""What is checked of the tables and the archive: questions with an answer that names the cases.

Plain functions over the pipeline; when they run, and what a failure stops, is
`fxci_assets.checks`. What holds for one table alone comes from its spec.
"""

from __future__ import annotations

import collections
import datetime as dt
from dataclasses import dataclass, field

from fxci_assets.archive.store import at_once
from fxci_assets.definitions_fetch import DEFINITION_GONE, GONE_AFTER
from fxci_assets.freshness import Built
from fxci_assets.pipeline import Pipeline, StaleDay
from fxci_assets.repair import beyond_repair, missing
from fxci_assets.tables import (
    TASK_RUN_COSTS,
    TASK_RUNS,
    TASKS,
    WORKER_COSTS,
    WORKER_UTILIZATION,
    Column,
    Counted,
    Mode,
    Table,
)
from fxci_assets.uptime_fetch import complete_at

_DAY = dt.timedelta(days=1)

_MOST_CASES = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to a check: whether all is well, in one sentence, and what is not."""

    passed: bool
    summary: str
    cases: list[dict[str, object]] = field(default_factory=list)
    """The first of those it was given; the summary counts them all."""
    days: list[dt.date] = field(default_factory=list)
    """The days that are bad."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cases", self.cases[:_MOST_CASES])


def _reference(pipeline: Pipeline, table: Table) -> str:
    return f"`{pipeline.warehouse.name(table)}`"


def _span(first: dt.date, last: dt.date) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def key_is_unique(pipeline: Pipeline, table: Table, first: dt.date, last: dt.date) -> Finding:
    """No key stands in more than one row of the days, nor on more than one of them."""
    key, day = ", ".join(table.key), table.partition_column
    per_day = day in table.key
    repeated = pipeline.warehouse.query(
        f"SELECT {key}, COUNT(*) AS number_of_rows, MIN({day}) AS first_day, "
        f"MAX({day}) AS last_day FROM {_reference(pipeline, table)} "
        f"WHERE {day} BETWEEN @first AND @last "
        f"GROUP BY {key} HAVING COUNT(*) > 1",
        {"first": first, "last": last},
    )
    rows = repeated.sort_by([(name, "ascending") for name in table.key]).to_pylist()
    bad = {row[name] for row in rows for name in ("first_day", "last_day")}
    where = "" if per_day else ", also across days"
    return Finding(
        not rows,
        f"{len(rows):,} keys of {table.name} are repeated on {_span(first, last)}{where}",
        rows,
        sorted(bad),
    )


def _condition(column: Column) -> str | None:
    """The domain of a column as a BigQuery expression, or None if its type is all there is."""
    conditions: list[str] = []
    if column.allowed:
        values = ", ".join(f"'{value}'" for value in column.allowed)
        conditions.append(f"{column.name} IN ({values})")
    if column.pattern is not None:
        conditions.append(f"REGEXP_CONTAINS({column.name}, r'{column.pattern}')")
    if column.minimum is not None:
        conditions.append(f"{column.name} >= {column.minimum}")
    if column.mode is Mode.REQUIRED and not conditions:
        conditions.append(f"{column.name} IS NOT NULL")
    if not conditions:
        return None
    whole = " AND ".join(conditions)
    return whole if column.mode is Mode.REQUIRED else f"({column.name} IS NULL OR {whole})"


def conditions(table: Table) -> dict[str, str]:
    """What must hold for each row of a table, by name: its columns' domains and its rules."""
    found = {column.name: _condition(column) for column in table.columns}
    domains = {name: condition for name, condition in found.items() if condition is not None}
    return domains | {rule.name: rule.holds for rule in table.rules}


def values_are_in_their_domain(
    pipeline: Pipeline, table: Table, first: dt.date, last: dt.date
) -> Finding:
    """Each row of the days is as the table's spec says."""
    day = table.partition_column
    held = conditions(table)
    counts = ", ".join(
        f"COUNTIF(NOT IFNULL({condition}, FALSE)) AS breaks_{name}"
        for name, condition in held.items()
    )
    by_day = pipeline.warehouse.query(
        f"SELECT {day}, {counts} FROM {_reference(pipeline, table)} "
        f"WHERE {day} BETWEEN @first AND @last GROUP BY {day}",
        {"first": first, "last": last},
    )
    cases: list[dict[str, object]] = []
    for row in by_day.sort_by(day).to_pylist():
        cases += [
            {"day": row[day], "condition": condition, "rows": row[f"breaks_{name}"]}
            for name, condition in held.items()
            if row[f"breaks_{name}"]
        ]
    days = sorted({case["day"] for case in cases})  # type: ignore[type-var]
    return Finding(
        not cases,
        f"{len(cases)} conditions on {table.name} are broken on {_span(first, last)}",
        cases,
        days,  # type: ignore[arg-type]
    )


def tasks_match_runs(pipeline: Pipeline, first: dt.date, last: dt.date) -> Finding:
    """On each day, `tasks_v2` has a row for each run 0 in `task_runs_v1`, and no other."""
    by_day = pipeline.warehouse.query(
        "SELECT COALESCE(runs.day, tasks.day) AS day, "
        "COUNTIF(tasks.task_id IS NULL) AS runs_without_task, "
        "COUNTIF(runs.task_id IS NULL) AS tasks_without_run "
        f"FROM (SELECT submission_date AS day, task_id FROM {_reference(pipeline, TASK_RUNS)} "
        "WHERE submission_date BETWEEN @first AND @last AND run_id = 0) AS runs "
        f"FULL JOIN (SELECT submission_date AS day, task_id FROM {_reference(pipeline, TASKS)} "
        "WHERE submission_date BETWEEN @first AND @last) AS tasks "
        "ON runs.day = tasks.day AND runs.task_id = tasks.task_id GROUP BY 1",
        {"first": first, "last": last},
    )
    bad = [
        row
        for row in by_day.sort_by("day").to_pylist()
        if row["runs_without_task"] or row["tasks_without_run"]
    ]
    return Finding(
        not bad,
        f"run 0 and task differ on {len(bad)} of the days {_span(first, last)}",
        bad,
        [row["day"] for row in bad],
    )


def exceptions_are_few(pipeline: Pipeline, first: dt.date, last: dt.date, most: float) -> Finding:
    """On no day is the share of runs that ended as an exception above a bound."""
    by_day = pipeline.warehouse.query(
        "SELECT submission_date, COUNT(*) AS runs, COUNTIF(state = 'exception') AS exceptions "
        f"FROM {_reference(pipeline, TASK_RUNS)} "
        "WHERE submission_date BETWEEN @first AND @last GROUP BY submission_date",
        {"first": first, "last": last},
    )
    bad = [
        row | {"share": round(row["exceptions"] / row["runs"], 4)}
        for row in by_day.sort_by("submission_date").to_pylist()
        if row["exceptions"] > most * row["runs"]
    ]
    return Finding(
        not bad,
        f"more than {most:.0%} of the runs are exceptions on {len(bad)} of the days "
        f"{_span(first, last)}",
        bad,
        [row["submission_date"] for row in bad],
    )


def _builds(
    pipeline: Pipeline, table: Table, first: dt.date, last: dt.date
) -> list[tuple[dt.date, Built]]:
    """What is recorded of those of the days that were built."""
    records = pipeline.archive.builds
    days = [day for day in records.built_days(table.name) if first <= day <= last]
    found = at_once(lambda day: records.built(table.name, day), days)
    return [(day, built) for day, built in zip(days, found, strict=True) if built is not None]


def nothing_was_counted(
    pipeline: Pipeline, table: Table, counted: Counted, first: dt.date, last: dt.date
) -> Finding:
    """The builds of the days met nothing of this kind."""
    cases: list[dict[str, object]] = []
    days: list[dt.date] = []
    total = 0
    for day, built in _builds(pipeline, table, first, last):
        tally = built.counts.get(counted.name)
        if tally is not None and tally.count:
            total += tally.count
            days.append(day)
            cases += [{"day": day, "case": example} for example in tally.examples]
    summary = f"{counted.description} {total:,} on {_span(first, last)}."
    return Finding(not total, summary, cases, days)


def bill_is_complete(
    pipeline: Pipeline, first: dt.date, last: dt.date, least_share: float
) -> Finding:
    """The bills of the days were whole when they were last read, by what the build counted: GCP
    had billed each hour of the day, and the hours in which the metered workers were up."""
    bad: list[dict[str, object]] = []
    days: list[dt.date] = []
    for day, built in _builds(pipeline, WORKER_COSTS, first, last):
        number = {name: tally.count for name, tally in built.counts.items()}
        up = number.get("seconds_up", 0)
        # Of a day that was not metered nothing can be said.
        share = number.get("seconds_up_and_billed", 0) / up if up else 1.0
        hours = number.get("hours_billed", 0)
        if hours < 24 or share < least_share:
            days.append(day)
            bad.append(
                {
                    "day": day,
                    "hours_billed": hours,
                    "share_of_uptime_billed": round(share, 4),
                    "read_at": built.built_at,
                }
            )
    return Finding(
        not bad,
        f"the bill was not complete when it was last read for {len(bad)} of the days "
        f"{_span(first, last)}; usually it is from 18:00 UTC of the next day on",
        bad,
        days,
    )


def no_day_is_missing(pipeline: Pipeline, table: Table, first: dt.date, last: dt.date) -> Finding:
    """Since its first day the table has each day that is over: what a source forgets cannot be
    made up for much later."""
    there = {*pipeline.warehouse.partitions(table)}
    there |= {*pipeline.archive.builds.built_days(table.name)}
    # A night's run takes its time.
    over = last if pipeline.clock() >= complete_at(last) + dt.timedelta(hours=2) else last - _DAY
    begin = max(first, min(there, default=over + _DAY))
    days = [begin + n * _DAY for n in range((over - begin).days + 1)]
    missing = [day for day in days if day not in there]
    return Finding(
        not missing,
        f"{len(missing)} of the days {_span(begin, over)} are missing in {table.name}",
        [{"day": day} for day in missing],
        missing,
    )


def costs_add_up(pipeline: Pipeline, first: dt.date, last: dt.date) -> Finding:
    """On each day, what `worker_utilization_v1` says was billed is what `worker_costs_v1` does.
    Days that are to be built again, or never were, are not looked at."""
    known = {*pipeline.warehouse.partitions(WORKER_UTILIZATION)}
    known |= {*pipeline.archive.builds.built_days(WORKER_UTILIZATION.name)}
    stale = {one.day for one in pipeline.stale(first, [WORKER_UTILIZATION])}
    by_day = pipeline.warehouse.query(
        "SELECT IFNULL(utilization.day, costs.day) AS day, "
        "IFNULL(utilization.dollars, 0) AS in_utilization, "
        "IFNULL(costs.dollars, 0) AS in_costs, IFNULL(costs.size, 0) AS size "
        "FROM (SELECT usage_date AS day, SUM(billed_cost) AS dollars "
        f"FROM {_reference(pipeline, WORKER_UTILIZATION)} "
        "WHERE usage_date BETWEEN @first AND @last GROUP BY day) AS utilization "
        "FULL JOIN (SELECT usage_start_date AS day, SUM(IFNULL(total_cost, 0)) AS dollars, "
        f"SUM(ABS(IFNULL(total_cost, 0))) AS size FROM {_reference(pipeline, WORKER_COSTS)} "
        "WHERE usage_start_date BETWEEN @first AND @last GROUP BY day) AS costs "
        "ON costs.day = utilization.day",
        {"first": first, "last": last},
    )
    bad = [
        row
        for row in by_day.sort_by("day").to_pylist()
        if row["day"] in known - stale
        and abs(row["in_utilization"] - row["in_costs"]) > 1e-6 + 1e-9 * row["size"]
    ]
    return Finding(
        not bad,
        f"the dollars of {WORKER_UTILIZATION.name} and {WORKER_COSTS.name} differ on {len(bad)} of "
        f"the days {_span(first, last)}",
        bad,
        [row["day"] for row in bad],
    )


def runs_cost_no_more_than_workers(pipeline: Pipeline, first: dt.date, last: dt.date) -> Finding:
    """The runs of a worker that were resolved on a day cost no more than the worker did in the 31
    days over which its cost is spread, unless they overlap."""
    by_worker = pipeline.warehouse.query(
        "WITH runs AS ("
        "SELECT costs.submission_date AS day, costs.cloud_provider AS cloud_provider, "
        "costs.worker_zone AS zone, costs.worker_instance_id AS instance_id, "
        "costs.run_cost AS run_cost, costs.attribution_worker_cost AS worker_cost, "
        "runs.started < MAX(runs.resolved) OVER (PARTITION BY costs.submission_date, "
        "costs.cloud_provider, costs.worker_zone, costs.worker_instance_id "
        "ORDER BY runs.started, runs.resolved "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS overlaps "
        f"FROM {_reference(pipeline, TASK_RUN_COSTS)} AS costs "
        f"JOIN {_reference(pipeline, TASK_RUNS)} AS runs "
        "ON runs.task_id = costs.task_id AND runs.run_id = costs.run_id "
        "AND runs.submission_date = costs.submission_date "
        "WHERE costs.submission_date BETWEEN @first AND @last "
        "AND runs.submission_date BETWEEN @first AND @last) "
        "SELECT day, cloud_provider, zone, instance_id, SUM(run_cost) AS cost_of_runs, "
        "MAX(worker_cost) AS cost_of_worker FROM runs "
        "GROUP BY day, cloud_provider, zone, instance_id "
        "HAVING SUM(run_cost) > MAX(worker_cost) * (1 + 1e-9) AND MAX(worker_cost) > 0 "
        "AND NOT LOGICAL_OR(IFNULL(overlaps, FALSE))",
        {"first": first, "last": last},
    )
    order = ("day", "cloud_provider", "zone", "instance_id")
    rows = by_worker.sort_by([(name, "ascending") for name in order]).to_pylist()
    return Finding(
        not rows,
        f"the runs of {len(rows):,} workers cost more than these did on {_span(first, last)}",
        rows,
        sorted({row["day"] for row in rows}),
    )


def data_is_recent(pipeline: Pipeline, most: dt.timedelta) -> Finding:
    """The newest run was resolved not long ago. A freshness policy looks at when a day was last
    built, and an empty drain makes it green; this looks at the data."""
    newest = pipeline.newest_event()
    now = pipeline.clock()
    if newest is None:
        return Finding(False, f"{TASK_RUNS.name} has no rows")
    age = now - newest
    return Finding(
        age <= most,
        f"the newest run was resolved at {newest:%Y-%m-%d %H:%M:%S} UTC, "
        f"{age.total_seconds() / 60:.0f} minutes ago",
    )


def quarantine_is_quiet(pipeline: Pipeline, first: dt.date, most: int) -> Finding:
    """Not more messages than expected came to quarantine within 24 hours and stayed there. Those
    received before `first` are not looked at, though a build could find one of them today."""
    now = pipeline.clock()
    since = now - dt.timedelta(hours=24)
    items = [item for item in pipeline.in_quarantine(first) if item.quarantined_at >= since]
    reasons = collections.Counter(item.reason for item in items)
    return Finding(
        len(items) <= most,
        f"{len(items):,} messages came to quarantine within 24 hours and are still there; "
        f"up to {most:,} are expected",
        [{"reason": reason, "messages": count} for reason, count in reasons.most_common()],
    )


def nothing_is_missing(pipeline: Pipeline, first: dt.date, last: dt.date) -> Finding:
    """Each task that was defined has a run once its deadline has passed, and each run its task."""
    if pipeline.waits_for_takeover():
        return Finding(True, "the tables are not taken over yet, and nothing can be told of them")
    found = missing(pipeline, first, last)
    given_up = beyond_repair(pipeline.in_quarantine(first))
    return Finding(
        not found,
        f"{len(found):,} tasks of {first} to {last} lack their runs or are missing themselves, and "
        f"fxci-etl repair asks the queue for them; {len(given_up):,} others it could not find",
        [{"task": task.task_id, "day": task.day, "why": task.why} for task in found],
        sorted({task.day for task in found}),
    )


def no_definition_is_gone(pipeline: Pipeline, first: dt.date) -> Finding:
    """Each task of which messages told since a day has shown its definition, or still may."""
    gone = [
        item.routing_key for item in pipeline.in_quarantine(first) if item.reason == DEFINITION_GONE
    ]
    pending = pipeline.archive.definitions.pending().since
    oldest = f", the oldest since {min(pending.values()):%Y-%m-%d %H:%M} UTC" if pending else ""
    return Finding(
        not gone,
        f"{len(gone):,} definitions were asked for since {first} and not returned within "
        f"{GONE_AFTER.days} days; {len(pending):,} are pending{oldest}",
        [{"task": task_id} for task_id in sorted(gone)],
    )


def no_gap_is_open(pipeline: Pipeline) -> Finding:
    """No queue was gone for a time in which messages are missing."""
    gaps = pipeline.archive.queues.open_gaps()
    return Finding(
        not gaps,
        f"{len(gaps)} gaps are open: a queue was gone, and what was published meanwhile is "
        "missing; run fxci-etl repair, which fills and closes them",
        [{"gap": gap.id, "until": gap.found_at} for gap in gaps],
        sorted({gap.since.date() for gap in gaps}),
    )


def no_day_was_given_up(table: Table, given_up: list[StaleDay]) -> Finding:
    """No stale day has used up its attempts."""
    days = [stale for stale in given_up if stale.table == table]
    return Finding(
        not days,
        f"{len(days)} days of {table.name} are stale and each attempt to rebuild them failed; "
        "look at their runs, then run fxci-etl rebuild",
        [{"day": stale.day, "reason": stale.reason} for stale in days],
        [stale.day for stale in days],
    )


def rows_are_valid(pipeline: Pipeline, table: Table, days: list[dt.date]) -> Finding:
    """The days just built have unique keys and values in their domain."""
    first, last = min(days), max(days)
    findings = [
        key_is_unique(pipeline, table, first, last),
        values_are_in_their_domain(pipeline, table, first, last),
    ]
    failed = [finding for finding in findings if not finding.passed]
    return Finding(
        not failed,
        "; ".join(finding.summary for finding in failed or findings),
        # The conditions first: keys by the dozen would leave no room for them.
        [case for finding in reversed(failed) for case in finding.cases],
        sorted({day for finding in failed for day in finding.days}),
    )
