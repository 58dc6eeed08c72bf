"""The parts of a queue message that this project reads, and how they are decoded.

Here belongs what filing and parsing share: exchanges, states, and how a body is decoded. Which
day a message is filed under is `filing`; what it says of a day is `parsing`. Both read the shapes
of Taskcluster's published schemas (queue, v1), less what is not needed: unknown fields are
skipped, and fields that old messages lack are optional.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec

EXCHANGES: tuple[str, ...] = ("task-completed", "task-failed", "task-exception", "task-defined")
"""The exchanges of the queue service whose messages are archived, without their prefix."""

EXCHANGE_PREFIX = "exchange/taskcluster-queue/v1/"

TASK_DEFINED = f"{EXCHANGE_PREFIX}task-defined"
"""The one whose messages are about no run."""

Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]
"""A timestamp with its zone; the queue writes UTC with milliseconds."""

LIFE = dt.timedelta(days=6)
"""From a task's creation until its last run is resolved, at most: a deadline is up to five days
ahead, by the clock of whoever created the task (the queue's createTask), and what it ends has begun
before it."""

RESOLVED_STATES = frozenset({"completed", "failed", "exception"})
"""The states from which a run never changes again."""

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a body raises: RecursionError for thousands of nested brackets, and
UnicodeDecodeError for bytes that are not UTF-8 within a string."""

UNREADABLE = "unreadable"
"""Reason of quarantine: the body is not JSON."""

NOT_AN_OBJECT = "not-an-object"
"""Reason of quarantine: the body is JSON, and not an object."""


class Unusable(Exception):
    """A message, or a part of it, that cannot be used. Its text is the reason of quarantine: a
    short name, the same for all messages with the same fault."""


def decode_object(body: bytes) -> dict[str, object]:
    """The body as plain data, for messages whose shape is not the published one.

    Raises Unusable where it is not JSON, or not an object.
    """
    try:
        content = msgspec.json.decode(body)
    except DECODE_ERRORS:
        raise Unusable(UNREADABLE) from None
    if not isinstance(content, dict):
        raise Unusable(NOT_AN_OBJECT)
    return content


def utc_day(instant: dt.datetime) -> dt.date:
    """The UTC day of an instant. Raises OverflowError at the very edges of the calendar."""
    return in_utc(instant).date()


def in_utc(instant: dt.datetime) -> dt.datetime:
    """The same instant. Raises OverflowError at the very edges of the calendar."""
    return instant if instant.tzinfo is dt.UTC else instant.astimezone(dt.UTC)
