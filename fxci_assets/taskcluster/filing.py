"""Under which UTC days a message is filed, decided once, when it is received.

A message is filed under each day on which one of its resolved runs resolved, so that a day's
table can be built from that day's files alone. What prevents that is a reason of quarantine.
Only what filing needs is decoded here: the body stays as it was received.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from fxci_assets.taskcluster.messages import (
    DECODE_ERRORS,
    RESOLVED_STATES,
    Instant,
    Unusable,
    decode_object,
    utc_day,
)

NO_STATUS = "no-status"
NO_TASK_ID = "no-task-id"
NO_RESOLVED_RUN = "no-resolved-run"
RUNS_UNREADABLE = "runs-unreadable"
RESOLVED_MISSING = "resolved-missing"
RESOLVED_UNREADABLE = "resolved-unreadable"
RESOLVED_TOO_EARLY = "resolved-before-first-partition"
RESOLVED_TOO_LATE = "resolved-in-the-future"

AHEAD = dt.timedelta(days=1)
"""How far ahead of the time of receipt a run may have resolved: clocks differ, days do not."""


@dataclass(frozen=True, slots=True)
class Filing:
    """Where a message goes: the days it is filed under, with the times at which its runs resolved
    on each, and the reasons for which it is kept in quarantine as well. Both can be non-empty:
    then only some of its runs are usable."""

    days: Mapping[dt.date, Sequence[dt.datetime]]
    reasons: tuple[str, ...] = ()


class _Run(msgspec.Struct, gc=False):
    state: str
    resolved: Instant | None = None


class _Status(msgspec.Struct, gc=False):
    taskId: str  # noqa: N815 - the queue's own name
    runs: list[_Run] = []


class _Event(msgspec.Struct, gc=False):
    status: _Status


_decode = msgspec.json.Decoder(_Event).decode


def file_event(body: bytes, received_at: dt.datetime, first_day: dt.date) -> Filing:
    """Decide where a message about a resolved run goes."""
    try:
        runs = _decode(body).status.runs
    except DECODE_ERRORS:
        try:
            runs, reasons = _runs_one_by_one(body)
        except Unusable as unusable:
            return Filing({}, (str(unusable),))
    else:
        reasons = []
    latest = received_at + AHEAD
    days: dict[dt.date, list[dt.datetime]] = {}
    for run in runs:
        if run.state not in RESOLVED_STATES:
            continue
        resolved = run.resolved
        if resolved is None:
            reasons.append(RESOLVED_MISSING)
            continue
        if resolved > latest:
            reasons.append(RESOLVED_TOO_LATE)
            continue
        try:
            day = utc_day(resolved)
        except OverflowError:  # the first hours of year 1, west of Greenwich
            day = dt.date.min
        if day < first_day:
            reasons.append(RESOLVED_TOO_EARLY)
            continue
        days.setdefault(day, []).append(resolved)
    if not days and not reasons:
        reasons.append(NO_RESOLVED_RUN)
    return Filing(days, tuple(dict.fromkeys(reasons)))


def file_definition(body: bytes, received_at: dt.datetime) -> Filing:
    """Decide where a task-defined message goes: under its day of receipt, because it names a task
    and no time. Its taskId is all that is read later."""
    try:
        _decode(body)
    except DECODE_ERRORS:
        try:
            _task_id(_status(body))
        except Unusable as unusable:
            return Filing({}, (str(unusable),))
    return Filing({utc_day(received_at): ()})


def _status(body: bytes) -> dict[str, object]:
    status = decode_object(body).get("status")
    if not isinstance(status, dict):
        raise Unusable(NO_STATUS)
    return status


def _task_id(status: dict[str, object]) -> str:
    task_id = status.get("taskId")
    if not isinstance(task_id, str):
        raise Unusable(NO_TASK_ID)
    return task_id


def _runs_one_by_one(body: bytes) -> tuple[list[_Run], list[str]]:
    """The runs of a message of another shape than the published one, with what is wrong with the
    others: one bad run does not cost the good ones.

    Raises Unusable where there are no runs to look at.
    """
    status = _status(body)
    _task_id(status)
    listed = status.get("runs")
    if not isinstance(listed, list):
        raise Unusable(RUNS_UNREADABLE)
    runs: list[_Run] = []
    reasons: list[str] = []
    for content in listed:
        try:
            runs.append(msgspec.convert(content, _Run))
        except msgspec.ValidationError:
            state = content.get("state") if isinstance(content, dict) else None
            if isinstance(state, str):
                if state in RESOLVED_STATES:
                    reasons.append(RESOLVED_UNREADABLE)
            else:
                reasons.append(RUNS_UNREADABLE)
    return runs, reasons
