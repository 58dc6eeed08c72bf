"""Repair: what messages did not tell is asked of the queue, and filed as if they had.

Here belong which tasks something is missing of, and the messages that tell it. A message of repair
is filed and built like any other: it is known by its routing key, which begins with `repair.`, and
its status is the queue's own, byte for byte. Days are not rebuilt by this.

Publishing is best effort, and a queue that is not read in time is deleted, with what is in it. But
the queue service remembers each task until it expires, four weeks or a year, and ends each one at
its deadline at the latest, with a run: so a task that was defined, whose deadline has passed and of
which no run is known, is one whose messages were lost. What cannot be found is put in quarantine,
once, and is not asked for again.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from fxci_assets.archive.quarantine import Entry, Item
from fxci_assets.archive.records import Gap
from fxci_assets.definitions_fetch import DefinitionsReport, fetch_named
from fxci_assets.drain import DrainReport, file_messages
from fxci_assets.pipeline import Pipeline, Refused
from fxci_assets.resources.pulse import Message
from fxci_assets.resources.taskcluster import MOST_IDS, Taskcluster, answers_of
from fxci_assets.tables import TASK_DEFINITIONS, TASK_RUNS, TASKS, Table
from fxci_assets.taskcluster import definitions
from fxci_assets.taskcluster.messages import (
    DECODE_ERRORS,
    EXCHANGE_PREFIX,
    LIFE,
    RESOLVED_STATES,
    TASK_DEFINED,
)

_log = logging.getLogger(__name__)

EXCHANGE = "taskcluster-queue/task-status"
"""Stands for an exchange where a task's status is in quarantine."""

ROUTING_KEY = "repair."
"""Begins the routing key of what repair files or puts in quarantine; the task's id follows."""

STATUS_GONE = "status-gone"
STATUS_UNREADABLE = "status-unreadable"

NO_RUN = "without a run, past their deadline"
NO_TASK = "with a run, but no task"
IN_A_GAP = "without a run since a queue was gone"

_LATE = dt.timedelta(days=1)
"""After its deadline, before a task counts as lost: messages come late."""

_DRIFT = dt.timedelta(minutes=15)
"""By which `created`, by the clock of whoever created the task, may differ from the queue's."""

_RETRIED = "'worker-shutdown', 'claim-expired', 'intermittent-task'"
"""Reasons after which the queue makes another run, while retries are left."""

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Missing:
    """A task of which something is missing from the tables."""

    task_id: str
    why: str
    day: dt.date
    """The day that shows it: of its creation, or of a run."""
    first: dt.date
    """The first day on which what is missing can lie."""
    last: dt.date
    newest_run: int = -1
    """The newest run that is known, where only a newer one would be news."""
    defined: bool = True
    """Whether its definition is known."""

    def days(self) -> Iterator[dt.date]:
        return (self.first + n * _DAY for n in range((self.last - self.first).days + 1))


@dataclass(slots=True)
class RepairReport:
    """What a repair did."""

    found: dict[str, int] = field(default_factory=dict)
    """Tasks of which something is missing, by what."""
    filed: int = 0
    """Tasks whose status was filed."""
    unresolved: int = 0
    """Tasks of which the queue tells nothing new yet."""
    quarantined: dict[str, int] = field(default_factory=dict)
    """What is not to be had, or cannot be used, by reason."""
    definitions: DefinitionsReport = field(default_factory=DefinitionsReport)
    """What came of the definitions that were pending or missing."""
    days: Sequence[dt.date] = ()
    """The days under which anything was filed: they are to be built again."""
    closed: list[Gap] = field(default_factory=list)
    """Gaps that are repaired."""
    left_open: dict[str, str] = field(default_factory=dict)
    """Gaps that cannot be repaired yet, and why."""

    def describe(self) -> str:
        """One line."""
        found = ", ".join(f"{count:,} tasks {why}" for why, count in self.found.items())
        return (
            f"missing: {found or 'nothing'}; {self.filed:,} filed under {len(self.days)} days, "
            f"{self.unresolved:,} not resolved, {sum(self.quarantined.values()):,} to quarantine; "
            f"{sum(self.definitions.archived.values()):,} definitions archived; "
            f"{len(self.closed)} gaps closed, {len(self.left_open)} left open"
        )


def missing(pipeline: Pipeline, first: dt.date, last: dt.date) -> list[Missing]:
    """Tasks that were created on the days and have lost their runs, and tasks with runs on the days
    that are missing themselves; by id. Without those whose rows may only be still to be built, and
    those that are beyond repair."""
    found = [*_without_run(pipeline, first, last), *_without_task(pipeline, first, last)]
    stale = {stale.day for stale in pipeline.stale(first - LIFE, [TASKS, TASK_RUNS])}
    hopeless = beyond_repair(_set_aside(pipeline, first))
    return [
        task
        for task in _each_once(found)
        if task.task_id not in hopeless and stale.isdisjoint(task.days())
    ]


def beyond_repair(items: Iterable[Entry]) -> frozenset[str]:
    """The tasks of which repair has put something among these items of the quarantine."""
    return frozenset(
        item.routing_key.split(".")[1] for item in items if item.routing_key.startswith(ROUTING_KEY)
    )


def repair(pipeline: Pipeline, source: Taskcluster, first: dt.date, last: dt.date) -> RepairReport:
    """Ask the queue for what is missing of the days, and of the time of each open gap, and file
    it. A gap of which all has been asked for is closed. Before that, the definitions are fetched
    of which messages told longer ago than drains look back.

    Raises TaskclusterError where the queue gives no answer; what was filed until then stays, and
    to begin again does no harm, because repeats disappear when a day is built. Raises Refused
    where the tables are another job's, whose days are not ours.
    """
    if pipeline.waits_for_takeover():
        raise Refused("the tables are not taken over yet, which a drain does")
    report = RepairReport(definitions=pipeline.fetch_definitions(source, pipeline.floor()))
    first = max(first, pipeline.floor())
    gaps = pipeline.archive.queues.open_gaps()
    # Before anything is filed, which makes days stale.
    report.left_open = {gap.id: why for gap in gaps if (why := _not_yet(pipeline, gap)) is not None}
    since = min([first, *(gap.since.date() - LIFE for gap in gaps)])
    hopeless = beyond_repair(_set_aside(pipeline, since))
    of_gaps = [task for gap in gaps for task in _without_run_in(pipeline, gap)]
    found = _each_once(
        [
            *missing(pipeline, first, last),
            *(task for task in of_gaps if task.task_id not in hopeless),
        ]
    )
    for task in found:
        _count(report.found, task.why)
    filing = DrainReport()
    for start in range(0, len(found), MOST_IDS):
        _file(pipeline, source, found[start : start + MOST_IDS], report, filing)
    report.filed = filing.filed
    report.days = sorted(day for day, counts in filing.days.items() if counts.filed)
    for reason, count in filing.quarantined.items():
        _count(report.quarantined, reason, count)
    undefined = [task.task_id for task in found if not task.defined]
    undefined += [task_id for gap in gaps for task_id in _undefined_in(pipeline, gap)]
    if undefined:
        fetch_named(
            source,
            pipeline.archive,
            pipeline.first_day,
            list(dict.fromkeys(undefined)),
            pipeline.clock,
            report.definitions,
        )
    for gap in gaps:
        if gap.id not in report.left_open:
            pipeline.archive.queues.close_gap(
                gap, pipeline.clock(), "repaired: the queue was asked for what is missing"
            )
            report.closed.append(gap)
    return report


# What is missing


def _without_run(pipeline: Pipeline, first: dt.date, last: dt.date) -> Iterator[Missing]:
    """Tasks that were created on the days, whose deadline has passed, and that have no run."""
    rows = pipeline.warehouse.query(
        "SELECT defined.task_id, defined.created, defined.deadline FROM ("
        f"SELECT taskId AS task_id, created, deadline FROM {_name(pipeline, TASK_DEFINITIONS)} "
        "WHERE submission_date BETWEEN @first AND @last AND deadline < @passed "
        # Those that were taken over may lie under a later day, and their runs before it.
        "AND created >= @since) AS defined "
        f"LEFT JOIN ({_RUN_TASKS.format(_name(pipeline, TASK_RUNS))}) AS runs "
        "ON runs.task_id = defined.task_id WHERE runs.task_id IS NULL",
        {
            "first": first,
            "last": last,
            "last_run": last + LIFE + _DAY,
            "passed": pipeline.clock() - _LATE,
            "since": dt.datetime.combine(first, dt.time(), dt.UTC),
        },
    )
    for row in rows.to_pylist():
        day = row["created"].date()
        yield Missing(row["task_id"], NO_RUN, day, day, row["deadline"].date() + _DAY)


_RUN_TASKS = "SELECT DISTINCT task_id FROM {} WHERE submission_date BETWEEN @first AND @last_run"


def _without_task(pipeline: Pipeline, first: dt.date, last: dt.date) -> Iterator[Missing]:
    """Tasks that have a run on the days and no row of their own, which is on the day of run 0. Of
    the first days that are built that may be an earlier one, so that they are not looked at."""
    first = max(first, pipeline.floor() + LIFE)
    rows = pipeline.warehouse.query(
        "SELECT runs.task_id, runs.day, definitions.task_id IS NOT NULL AS defined FROM ("
        "SELECT task_id, MAX(submission_date) AS day "
        f"FROM {_name(pipeline, TASK_RUNS)} WHERE submission_date BETWEEN @first AND @last "
        "GROUP BY task_id) AS runs "
        f"LEFT JOIN (SELECT task_id FROM {_name(pipeline, TASKS)} "
        "WHERE submission_date BETWEEN @born AND @last) AS tasks ON tasks.task_id = runs.task_id "
        f"LEFT JOIN (SELECT taskId AS task_id FROM {_name(pipeline, TASK_DEFINITIONS)} "
        "WHERE submission_date BETWEEN @born AND @last) AS definitions "
        "ON definitions.task_id = runs.task_id WHERE tasks.task_id IS NULL",
        {"first": first, "last": last, "born": first - LIFE},
    )
    for row in rows.to_pylist():
        day = row["day"]
        yield Missing(row["task_id"], NO_TASK, day, day - LIFE, day, defined=row["defined"])


def _without_run_in(pipeline: Pipeline, gap: Gap) -> Iterator[Missing]:
    """Tasks of which a run may have been resolved while a queue was gone: those that existed then
    and have none, and those whose newest run was to be followed by another."""
    if _is_of_definitions(gap):
        return
    today = pipeline.today()
    born = gap.since - LIFE
    rows = pipeline.warehouse.query(
        "SELECT defined.task_id, defined.created FROM ("
        f"SELECT taskId AS task_id, created FROM {_name(pipeline, TASK_DEFINITIONS)} "
        "WHERE submission_date BETWEEN @first AND @last AND created BETWEEN @born AND @until) "
        "AS defined "
        f"LEFT JOIN ({_RUN_TASKS.format(_name(pipeline, TASK_RUNS))}) AS runs "
        "ON runs.task_id = defined.task_id WHERE runs.task_id IS NULL",
        {
            "first": born.date(),
            "last": (gap.found_at + _DRIFT).date(),
            "born": born,
            "until": gap.found_at + _DRIFT,
            "last_run": today,
        },
    )
    for row in rows.to_pylist():
        day = row["created"].date()
        yield Missing(row["task_id"], IN_A_GAP, day, day, today)
    rows = pipeline.warehouse.query(
        "SELECT task_id, MAX(run_id) AS newest, MAX(submission_date) AS day "
        f"FROM {_name(pipeline, TASK_RUNS)} WHERE submission_date BETWEEN @first AND @last "
        "GROUP BY task_id "
        f"HAVING MAX(run_id) = MAX(IF(reason_resolved IN ({_RETRIED}), run_id, -1)) "
        "AND MAX(resolved) <= @until",
        {"first": born.date(), "last": today, "until": gap.found_at},
    )
    for row in rows.to_pylist():
        day = row["day"]
        yield Missing(row["task_id"], IN_A_GAP, day, day, today, newest_run=row["newest"])


def _undefined_in(pipeline: Pipeline, gap: Gap) -> list[str]:
    """Tasks with a run that may have been defined while the queue of definitions was gone, and
    whose definition was never asked for."""
    if not _is_of_definitions(gap):
        return []
    last = min(pipeline.today(), gap.found_at.date() + LIFE)
    rows = pipeline.warehouse.query(
        "SELECT DISTINCT runs.task_id FROM ("
        f"SELECT task_id FROM {_name(pipeline, TASK_RUNS)} "
        "WHERE submission_date BETWEEN @first AND @last AND scheduled >= @since) AS runs "
        f"LEFT JOIN (SELECT taskId AS task_id FROM {_name(pipeline, TASK_DEFINITIONS)} "
        "WHERE submission_date BETWEEN @born AND @last) AS definitions "
        "ON definitions.task_id = runs.task_id WHERE definitions.task_id IS NULL",
        {
            "first": gap.since.date(),
            "last": last,
            "born": gap.since.date() - LIFE,
            "since": gap.since - _DRIFT,
        },
    )
    asked = set(pipeline.archive.definitions.pending().since)
    asked.update(
        item.routing_key
        for item in _set_aside(pipeline, gap.since.date())
        if item.exchange == definitions.EXCHANGE
    )
    found: list[str] = rows["task_id"].to_pylist()
    return sorted(set(found) - asked)


def _not_yet(pipeline: Pipeline, gap: Gap) -> str | None:
    """Why not all of a gap can be repaired now, or None."""
    until = gap.found_at.date()
    for stale in pipeline.stale(gap.since.date() - LIFE, [TASK_RUNS, TASK_DEFINITIONS]):
        if stale.day <= until:
            return f"{stale.table.name} of {stale.day} is still to be built"
    resolved = gap.found_at + LIFE
    if _is_of_definitions(gap) and pipeline.clock() < resolved:
        return f"what was defined then is known by its runs, of which the last come by {resolved}"
    return None


def _is_of_definitions(gap: Gap) -> bool:
    return gap.queue.rpartition("/")[2] == TASK_DEFINED.rpartition("/")[2]


def _set_aside(pipeline: Pipeline, since: dt.date) -> list[Entry]:
    """What is in quarantine, also what somebody has accepted: the queue would not say more."""
    quarantine = pipeline.archive.quarantine
    replayed = quarantine.replayed_ids()
    return [item for item in quarantine.entries(since) if item.id not in replayed]


def _each_once(found: Iterable[Missing]) -> list[Missing]:
    """By id; of a task that was found for several reasons, the first."""
    by_id: dict[str, Missing] = {}
    for task in found:
        by_id.setdefault(task.task_id, task)
    return [by_id[task_id] for task_id in sorted(by_id)]


def _name(pipeline: Pipeline, table: Table) -> str:
    return f"`{pipeline.warehouse.name(table)}`"


# The messages that tell it


class _Run(msgspec.Struct):
    runId: int  # noqa: N815 - the queue's own names, here and below
    state: str
    workerGroup: str | None = None  # noqa: N815
    workerId: str | None = None  # noqa: N815


class _Status(msgspec.Struct):
    provisionerId: str  # noqa: N815
    workerType: str  # noqa: N815
    schedulerId: str  # noqa: N815
    taskGroupId: str  # noqa: N815
    runs: list[_Run]


class _Tagged(msgspec.Struct):
    tags: msgspec.Raw = msgspec.Raw(b"{}")


def _file(
    pipeline: Pipeline,
    source: Taskcluster,
    tasks: Sequence[Missing],
    report: RepairReport,
    filing: DrainReport,
) -> None:
    """Ask for the status of some tasks, and file what it tells."""
    now = pipeline.clock()
    statuses: dict[str, bytes] = {}
    unknown: set[str] = set()
    for part in answers_of(source.statuses, [task.task_id for task in tasks]):
        statuses |= part.answers
        if part.unusable is not None:
            # Not to quarantine: the next repair asks again.
            _log.warning("%s", part.describe())
            unknown.update(part.asked)
    tags, untold = _tags(source, list(statuses))
    # What is filed without tags stays so: not because of others that were asked for with it.
    unknown |= untold
    messages: list[Message] = []
    aside: list[Item] = []
    for task in tasks:
        status = statuses.get(task.task_id)
        if task.task_id in unknown:
            report.unresolved += 1
            continue
        if status is None:
            body = msgspec.json.encode({"taskId": task.task_id})
            aside.append(_item(STATUS_GONE, task, body, now))
            continue
        try:
            message = message_of(task.task_id, status, tags.get(task.task_id), task.newest_run)
        except DECODE_ERRORS:
            aside.append(_item(STATUS_UNREADABLE, task, status, now))
            continue
        if message is None:
            report.unresolved += 1
        else:
            messages.append(message)
    if messages:
        # What resolved before the first day that is built would be missing again and again.
        file_messages(messages, now, pipeline.archive, pipeline.floor(), filing)
    pipeline.archive.quarantine.add(aside)
    for item in aside:
        _count(report.quarantined, item.reason)


def message_of(
    task_id: str, status: bytes, tags: bytes | None, newest_run: int = -1
) -> Message | None:
    """The message that the queue would have sent when a task's last resolved run was, or None if
    there is no run that is resolved and newer than one that is known.

    Raises one of DECODE_ERRORS where the status is not what the queue documents.
    """
    said = msgspec.json.decode(status, type=_Status)
    resolved = [run for run in said.runs if run.state in RESOLVED_STATES]
    if not resolved or resolved[-1].runId <= newest_run:
        return None
    run = resolved[-1]
    body: dict[str, object] = {
        "version": 1,
        "status": msgspec.Raw(status),
        "runId": run.runId,
    }
    if tags is not None:
        body["task"] = {"tags": msgspec.Raw(tags)}
    if run.workerGroup is not None and run.workerId is not None:
        body |= {"workerGroup": run.workerGroup, "workerId": run.workerId}
    routing_key = (
        f"{ROUTING_KEY}{task_id}.{run.runId}.{run.workerGroup or '_'}.{run.workerId or '_'}."
        f"{said.provisionerId}.{said.workerType}.{said.schedulerId}.{said.taskGroupId}._"
    )
    return Message(f"{EXCHANGE_PREFIX}task-{run.state}", routing_key, msgspec.json.encode(body))


def _tags(source: Taskcluster, tasks: Sequence[str]) -> tuple[dict[str, bytes], set[str]]:
    """The tags of tasks, as JSON, and the tasks of which they may be there but are not known."""
    found: dict[str, bytes] = {}
    unknown: set[str] = set()
    for part in answers_of(source.definitions, tasks):
        if part.unusable is not None:
            _log.warning("%s", part.describe())
            if not part.is_alone:
                unknown.update(part.asked)
        for task_id, body in part.answers.items():
            try:
                found[task_id] = bytes(msgspec.json.decode(body, type=_Tagged).tags)
            except DECODE_ERRORS:
                continue  # without tags its runs are as good
    return found, unknown


def _item(reason: str, task: Missing, body: bytes, now: dt.datetime) -> Item:
    return Item(reason, EXCHANGE, f"{ROUTING_KEY}{task.task_id}", now, body, now)


def _count(counts: dict[str, int], name: str, number: int = 1) -> None:
    counts[name] = counts.get(name, 0) + number
