"""What the tables must hold, worked out again in plain Python.

An oracle for whole-way tests, written from the definition of `task_runs_v1` and `tasks_v2` and
sharing no code with the pipeline: it reads JSON, is as slow as it likes, and knows neither days nor
files. It takes for granted that what is there has the right type, but for what the simulator spoils
on purpose.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable

Row = dict[str, object]
Rows = dict[str, list[Row]]

_TAGS = (
    "created_for_user",
    "kind",
    "label",
    "os",
    "owned_by",
    "project",
    "trust_domain",
    "worker_implementation",
    "test_suite",
    "test_platform",
    "test_variant",
)
_DEFINED = "exchange/taskcluster-queue/v1/task-defined"


def rows_of(messages: Iterable[tuple[str, bytes]], first_day: str = "2024-07-08") -> Rows:
    """The rows of both tables, by their keys, from (exchange, body)."""
    first = dt.datetime.fromisoformat(f"{first_day}T00:00:00Z")
    last = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    runs: dict[tuple[str, int], Row] = {}
    tasks: dict[str, Row] = {}
    tags: dict[str, Row] = {}
    told = [body for exchange, body in messages if exchange != _DEFINED]
    # Of messages that differ the one with more runs wins, then one without a flawed tag, then the
    # greater body: it comes last.
    for _, _, body in sorted((_seen(body), _flawless(body), body) for body in told):
        if _seen(body) < 0:
            continue
        event = json.loads(body)
        status = event["status"]
        task_id = status["taskId"]
        for run in status["runs"]:
            if run["state"] not in ("completed", "failed", "exception"):
                continue
            resolved = _time(run.get("resolved"))
            if resolved is None or not first <= resolved <= last:
                continue
            runs[task_id, run["runId"]] = {
                "task_id": task_id,
                "run_id": run["runId"],
                "reason_created": run.get("reasonCreated"),
                "reason_resolved": run.get("reasonResolved"),
                "resolved": resolved,
                "scheduled": _time(run["scheduled"]),
                "started": _time(run.get("started")),
                "state": run["state"],
                "submission_date": resolved.date(),
                "worker_group": run.get("workerGroup"),
                "worker_id": run.get("workerId"),
            }
            if run["runId"] != 0:
                continue
            queue = status.get("taskQueueId")
            tasks[task_id] = {
                "scheduler_id": status["schedulerId"],
                "submission_date": resolved.date(),
                "task_group_id": status["taskGroupId"],
                "task_id": task_id,
                "task_queue_id": queue or f"{status['provisionerId']}/{status['workerType']}",
            }
            if given := event.get("task", {}).get("tags"):
                tags[task_id] = _tags(given)
    none = dict.fromkeys(_TAGS)
    return {
        "task_runs_v1": [row for _, row in sorted(runs.items())],
        "tasks_v2": [
            row | {"tags": tags.get(task_id, none)} for task_id, row in sorted(tasks.items())
        ],
    }


def assert_same(found: Rows, wanted: Rows) -> None:
    """The same rows with the same columns, and each of them once; else it says what differs."""
    assert list(found) == list(wanted)
    for table in wanted:
        there, right = ([_text(row) for row in rows[table]] for rows in (found, wanted))
        missing, extra = sorted({*right} - {*there}), sorted({*there} - {*right})
        assert not missing and not extra, (
            f"{table}: {len(missing)} rows are missing, {len(extra)} should not be there: "
            f"{missing[:2]} {extra[:2]}"
        )
        assert len(there) == len(right), f"{table}: a row is there twice"


def _text(row: Row) -> str:
    return json.dumps(row, default=lambda value: value.isoformat())


def _seen(body: bytes) -> int:
    """How many runs a message tells of; -1 where nothing of it can be used."""
    try:
        event = json.loads(body)
    except ValueError:
        return -1
    if not isinstance(event, dict) or "status" not in event:
        return -1
    return len(event["status"]["runs"])


def _flawless(body: bytes) -> bool:
    """Whether all tags are strings; a mended message must not lose to the one it replaces."""
    if _seen(body) < 0:
        return False
    tags = json.loads(body).get("task", {}).get("tags") or {}
    return all(isinstance(value, str) for value in tags.values())


def _time(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None


def _tags(given: dict[str, object]) -> Row:
    known: Row = dict.fromkeys(_TAGS)
    # Of two spellings the one already in snake case wins, else the smallest: it comes last.
    for name in sorted(sorted(given, reverse=True), key=_TAGS.__contains__):
        snake = re.sub("(?<!^)(?=[A-Z])", "_", re.sub("[- ]", "_", name)).lower()
        if snake in _TAGS:
            known[snake] = given[name] if isinstance(given[name], str) else None
    return known
