"""Definitions for tests, as short as a reader can follow, and a queue in memory that knows them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fxci_assets.resources.taskcluster import (
    AnswerTooLarge,
    AnswerUnusable,
    NoAnswer,
    TaskclusterError,
)
from fxci_assets_tests.events import GROUP

FETCHED = dt.datetime(2026, 4, 13, 12, tzinfo=dt.UTC)


def definition(
    created: object = "2026-04-13T10:00:00.123Z", *, without: tuple[str, ...] = (), **fields: object
) -> bytes:
    """A definition as the queue answers it; of a task that was created on DAY."""
    content: dict[str, object] = {
        "provisionerId": "gecko-t",
        "workerType": "t-linux",
        "taskQueueId": "gecko-t/t-linux",
        "schedulerId": "gecko-level-1",
        "projectId": "gecko",
        "taskGroupId": GROUP,
        "dependencies": [],
        "requires": "all-completed",
        "routes": [],
        "priority": "low",
        "retries": 5,
        "created": created,
        "deadline": "2026-04-14T10:00:00.123Z",
        "expires": "2027-04-13T10:00:00.123Z",
        "scopes": [],
        "payload": {"command": ["true"]},
        "metadata": {
            "name": "a task",
            "description": "does nothing",
            "owner": "user1@example.com",
            "source": "https://example.com/",
        },
        "tags": {"kind": "test"},
        "extra": {},
    }
    content |= fields
    return json.dumps({name: content[name] for name in content if name not in without}).encode()


def by_task(*ids: str, **fields: object) -> Mapping[str, bytes]:
    """The same definition for several tasks."""
    return dict.fromkeys(ids, definition(**fields))  # type: ignore[arg-type]


@dataclass
class MemoryQueue:
    """A `Taskcluster` that knows some definitions and statuses."""

    known: dict[str, bytes] = field(default_factory=dict)
    known_statuses: dict[str, bytes] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    """The tasks of each request for definitions."""
    asked_statuses: list[list[str]] = field(default_factory=list)
    fails: bool = False
    fails_from: int | None = None
    """The number of the first request for definitions without an answer."""
    most_bytes: int = 1_000_000
    """Of an answer about several tasks."""
    most_at_once: int = 500
    """Tasks of which there is an answer in time."""
    unusable: dict[str, AnswerUnusable] = field(default_factory=dict)
    """What is raised where a task is asked for, be it among others."""
    without_definition: dict[str, AnswerUnusable] = field(default_factory=dict)
    """The same, but where its definition is asked for only."""

    def definitions(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        self.asked.append(list(ids))
        if self.fails_from is not None and len(self.asked) >= self.fails_from:
            raise TaskclusterError("no answer")
        for error in (self.without_definition[id] for id in ids if id in self.without_definition):
            raise error
        answer = self._answer(ids, self.known)
        if len(ids) > 1 and sum(map(len, answer.values())) > self.most_bytes:
            raise AnswerTooLarge("too large")
        return answer

    def statuses(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        self.asked_statuses.append(list(ids))
        return self._answer(ids, self.known_statuses)

    def _answer(self, ids: Sequence[str], known: Mapping[str, bytes]) -> Mapping[str, bytes]:
        if self.fails:
            raise TaskclusterError("no answer")
        if len(ids) > self.most_at_once:
            raise NoAnswer("504")
        for error in (self.unusable[id] for id in ids if id in self.unusable):
            raise error
        return {id: known[id] for id in ids if id in known}
