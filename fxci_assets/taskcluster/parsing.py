"""What one message says of one day: its runs that resolved on it, and the task if run 0 did.

A message of the published shape is decoded at once; one of another shape part by part, so that
what is wrong with it costs no more than itself. How messages that say the same, or differ, become
rows is `rows`.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, NamedTuple

import msgspec

from fxci_assets.tables import SLUGID_PATTERN, TAGS, TASKS
from fxci_assets.taskcluster.messages import (
    DECODE_ERRORS,
    RESOLVED_STATES,
    Instant,
    Unusable,
    decode_object,
    in_utc,
    utc_day,
)

TASK_ID_INVALID = "task-id-invalid"
TASK_INCOMPLETE = "task-incomplete"
TASK_UNREADABLE = "task-unreadable"
RUN_UNREADABLE = "run-unreadable"
TAG_NOT_A_STRING = "tag-not-a-string"


def _whole(pattern: str) -> str:
    """A spec's pattern for Python, whose `$` also matches before a newline at the end."""
    return pattern.removesuffix("$") + r"\Z"


_TASK_ID = _whole(SLUGID_PATTERN)
_QUEUE_ID = re.compile(_whole(TASKS.column("task_queue_id").pattern or ""))


class _Run(msgspec.Struct, gc=False):
    runId: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # noqa: N815
    state: str
    scheduled: Instant
    resolved: Instant
    started: Instant | None = None
    reasonCreated: str | None = None  # noqa: N815
    reasonResolved: str | None = None  # noqa: N815
    workerGroup: str | None = None  # noqa: N815
    workerId: str | None = None  # noqa: N815


class _AnyRun(msgspec.Struct, gc=False):
    """A run that may not have been resolved, or even begun."""

    state: str
    runId: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None  # noqa: N815
    scheduled: Instant | None = None
    resolved: Instant | None = None
    started: Instant | None = None
    reasonCreated: str | None = None  # noqa: N815
    reasonResolved: str | None = None  # noqa: N815
    workerGroup: str | None = None  # noqa: N815
    workerId: str | None = None  # noqa: N815


class _FiledRun(msgspec.Struct, gc=False):
    """What filing looked at. What it refused is in quarantine already."""

    state: str
    resolved: Instant | None = None


class _Status(msgspec.Struct, gc=False):
    taskId: Annotated[str, msgspec.Meta(pattern=_TASK_ID)]  # noqa: N815
    schedulerId: str  # noqa: N815
    taskGroupId: str  # noqa: N815
    runs: list[_AnyRun]
    taskQueueId: str | None = None  # noqa: N815
    provisionerId: str | None = None  # noqa: N815
    workerType: str | None = None  # noqa: N815


class _TaskPart(msgspec.Struct, gc=False):
    tags: dict[str, str] | None = None


class _Event(msgspec.Struct, gc=False):
    status: _Status
    task: _TaskPart | None = None


_decode = msgspec.json.Decoder(_Event).decode

TAG_NAMES = tuple(tag.name for tag in TAGS)
_TAG_INDEX = {name: index for index, name in enumerate(TAG_NAMES)}
NO_TAGS: tuple[str | None, ...] = (None,) * len(TAG_NAMES)


_KNOWN_NAMES: dict[str, int | None] = {}
"""The index of each name that was met, None for those of no known tag: there are few of them."""


def _tag_index(name: str) -> int | None:
    try:
        return _KNOWN_NAMES[name]
    except KeyError:
        index = _TAG_INDEX.get(normalise_tag_name(name))
        if len(_KNOWN_NAMES) < 10_000:  # names are others' to choose
            _KNOWN_NAMES[name] = index
        return index


def normalise_tag_name(name: str) -> str:
    """`createdForUser` and `created-for-user` to `created_for_user`."""
    name = name.replace("-", "_").replace(" ", "_")
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def _string_tags(tags: dict[str, str]) -> tuple[str | None, ...]:
    """As `_known_tags`, where all values are strings and rarely two names collide."""
    values: list[str | None] = list(NO_TAGS)
    for name, value in tags.items():
        index = _tag_index(name)
        if index is not None:
            if values[index] is not None:
                return _known_tags(dict(tags))[0]
            values[index] = value
    return tuple(values)


def _known_tags(tags: dict[str, object]) -> tuple[tuple[str | None, ...], bool]:
    """The values of the known tags in the table's order, and whether one was not a string."""
    origins: dict[int, str] = {}
    for name in tags:
        index = _tag_index(name)
        if index is None:
            continue
        other = origins.get(index)
        if other is None or _precedence(name) < _precedence(other):
            origins[index] = name
    values = list(NO_TAGS)
    not_a_string = False
    for index, name in origins.items():
        value = tags[name]
        if isinstance(value, str):
            values[index] = value
        else:
            not_a_string = True
    return tuple(values), not_a_string


def _precedence(name: str) -> tuple[bool, str]:
    return (name not in _TAG_INDEX, name)


class Parsed(NamedTuple):
    """What one message says of one day."""

    task_id: str
    seen: int
    """Entries of status.runs: how far the message has seen."""
    runs: list[tuple[object, ...]]
    """Columns of task_runs_v1 without the day, for each run that resolved on it."""
    resolved: list[dt.datetime]
    """When these runs did."""
    task: tuple[str, str, str, str] | None
    """scheduler_id, task_group_id, task_id, task_queue_id, if run 0 resolved on the day."""
    tags: tuple[str | None, ...] | None
    """None where the message has no tags at all."""
    reasons: tuple[str, ...]


def parse(body: bytes, day: dt.date) -> Parsed:
    """Raises Unusable where nothing of the message can be used."""
    try:
        event = _decode(body)
    except DECODE_ERRORS:
        return _parse_leniently(body, day)
    status = event.status
    task_id = status.taskId
    runs: list[tuple[object, ...]] = []
    times: list[dt.datetime] = []
    reasons: list[str] = []
    first = False
    for run in status.runs:
        resolved = run.resolved
        if resolved is None or run.state not in RESOLVED_STATES or _day(resolved) != day:
            continue
        run_id = run.runId
        if run_id is None or run.scheduled is None:
            reasons.append(RUN_UNREADABLE)
            continue
        try:
            row = _run_row(task_id, run_id, run, run.scheduled, resolved)
        except OverflowError:
            reasons.append(RUN_UNREADABLE)
            continue
        first = first or run_id == 0
        runs.append(row)
        times.append(resolved)
    task = None
    tags: tuple[str | None, ...] | None = None
    if first:
        queue_id = _queue_id(status.taskQueueId, status.provisionerId, status.workerType)
        if queue_id is None:
            reasons.append(TASK_INCOMPLETE)
        else:
            task = (status.schedulerId, status.taskGroupId, task_id, queue_id)
            if event.task is not None and event.task.tags:
                tags = _string_tags(event.task.tags)
    return Parsed(task_id, len(status.runs), runs, times, task, tags, tuple(reasons))


def _day(instant: dt.datetime) -> dt.date | None:
    try:
        return utc_day(instant)
    except OverflowError:
        return None


def _run_row(
    task_id: str, run_id: int, run: _Run | _AnyRun, scheduled: dt.datetime, resolved: dt.datetime
) -> tuple[object, ...]:
    """Raises OverflowError for a time that the calendar of UTC does not have."""
    return (
        task_id,
        run_id,
        run.reasonCreated,
        run.reasonResolved,
        in_utc(resolved),
        in_utc(scheduled),
        None if run.started is None else in_utc(run.started),
        run.state,
        run.workerGroup,
        run.workerId,
    )


def _queue_id(queue_id: object, provisioner: object, worker_type: object) -> str | None:
    """Messages of before 2021 have no taskQueueId, but its two halves."""
    if queue_id is None and isinstance(provisioner, str) and isinstance(worker_type, str):
        queue_id = f"{provisioner}/{worker_type}"
    return queue_id if isinstance(queue_id, str) and _QUEUE_ID.match(queue_id) else None


def _parse_leniently(body: bytes, day: dt.date) -> Parsed:
    """A message of another shape than the published one: part by part, so that what is wrong
    costs no more than itself."""
    content = decode_object(body)
    status = content.get("status")
    if not isinstance(status, dict):  # filing would not have filed it
        raise Unusable(TASK_INCOMPLETE)
    task_id = status.get("taskId")
    if not isinstance(task_id, str) or not re.search(_TASK_ID, task_id):
        raise Unusable(TASK_ID_INVALID)
    listed = status.get("runs")
    listed = listed if isinstance(listed, list) else []
    reasons: list[str] = []
    runs: list[tuple[object, ...]] = []
    times: list[dt.datetime] = []
    first = False
    for entry in listed:
        try:
            filed = msgspec.convert(entry, _FiledRun)
        except msgspec.ValidationError:
            continue
        if filed.state not in RESOLVED_STATES or filed.resolved is None:
            continue
        if _day(filed.resolved) != day:
            continue
        try:
            run = msgspec.convert(entry, _Run)
            row = _run_row(task_id, run.runId, run, run.scheduled, run.resolved)
        except (msgspec.ValidationError, OverflowError):
            reasons.append(RUN_UNREADABLE)
            continue
        first = first or run.runId == 0
        runs.append(row)
        times.append(run.resolved)
    task = None
    tags: tuple[str | None, ...] | None = None
    if first:
        scheduler, group = status.get("schedulerId"), status.get("taskGroupId")
        queue_id = _queue_id(
            status.get("taskQueueId"), status.get("provisionerId"), status.get("workerType")
        )
        if isinstance(scheduler, str) and isinstance(group, str) and queue_id is not None:
            task = (scheduler, group, task_id, queue_id)
        else:
            reasons.append(TASK_INCOMPLETE)
        part = {} if content.get("task") is None else content["task"]
        given = part.get("tags") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(given, dict | None):
            reasons.append(TASK_UNREADABLE)
        elif given:
            tags, not_a_string = _known_tags(given)
            if not_a_string:
                reasons.append(TAG_NOT_A_STRING)
    return Parsed(task_id, len(listed), runs, times, task, tags, tuple(dict.fromkeys(reasons)))


def faults(body: bytes, day: dt.date) -> tuple[str, ...]:
    """The reasons for which a build of the day would set the message aside; none if it is good."""
    try:
        return parse(body, day).reasons
    except Unusable as unusable:
        return (str(unusable),)
