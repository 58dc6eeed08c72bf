"""Messages for tests, as short as a reader can follow."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence

import pyarrow as pa

from fxci_assets.archive.events import EVENT_SCHEMA
from fxci_assets.resources.pulse import Message
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX

DAY = dt.date(2026, 4, 13)
NEXT_DAY = dt.date(2026, 4, 14)
RECEIVED = dt.datetime(2026, 4, 14, 6, tzinfo=dt.UTC)
FIRST_DAY = dt.date(2026, 4, 1)
GROUP = "GroupXAAQ_KA8cLFXIcHtA"


def task_id(number: int) -> str:
    """A valid slug id, in the order of its number."""
    return f"Task{number:04d}QAK{number:010d}A"


def run(
    run_id: int = 0, resolved: object = "2026-04-13T10:00:00.123Z", **fields: object
) -> dict[str, object]:
    """A run that completed on DAY; with `resolved=None`, one that is pending."""
    if resolved is None:
        return {
            "runId": run_id,
            "state": "pending",
            "reasonCreated": "scheduled",
            "scheduled": "2026-04-13T09:00:00.000Z",
        } | fields
    return {
        "runId": run_id,
        "state": "completed",
        "reasonCreated": "scheduled",
        "reasonResolved": "completed",
        "scheduled": "2026-04-13T09:00:00.000Z",
        "started": "2026-04-13T09:01:00.000Z",
        "resolved": resolved,
        "workerGroup": "us-central1-b",
        "workerId": "7732042218797547089",
    } | fields


def body(
    id: str,
    runs: Sequence[object],
    tags: Mapping[str, object] | None = None,
    status: Mapping[str, object] | None = None,
    **fields: object,
) -> bytes:
    """A message's body. `tags=None`: without a `task`, as old messages are."""
    content: dict[str, object] = {
        "version": 1,
        "status": {
            "taskId": id,
            "schedulerId": "gecko-level-1",
            "taskGroupId": GROUP,
            "taskQueueId": "gecko-t/t-linux",
            "provisionerId": "gecko-t",
            "workerType": "t-linux",
            "runs": list(runs),
            **(status or {}),
        },
    }
    if tags is not None:
        content["task"] = {"tags": dict(tags)}
    return json.dumps(content | fields).encode()


def message(content: bytes, name: str = "task-completed") -> Message:
    return Message(f"{EXCHANGE_PREFIX}{name}", "primary.#", content)


def events(*bodies: bytes, name: str = "task-completed") -> pa.Table:
    """Messages as the archive holds them."""
    rows = [
        {
            "exchange": f"{EXCHANGE_PREFIX}{name}",
            "routing_key": "primary.#",
            "received_at": RECEIVED,
            "body": content,
        }
        for content in bodies
    ]
    return pa.Table.from_pylist(rows, EVENT_SCHEMA)
