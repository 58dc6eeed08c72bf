"""Rows as the job left them that this project takes over from, as short as a reader can follow."""

from __future__ import annotations

import datetime as dt

from fxci_assets_tests.events import task_id


def old_run(
    number: int, resolved: dt.datetime, run_id: int = 0, state: str = "completed"
) -> dict[str, object]:
    return {
        "task_id": task_id(number),
        "run_id": run_id,
        "scheduled": resolved - dt.timedelta(hours=1),
        "resolved": resolved,
        "state": state,
        "reason_created": "the old job",
    }


def old_task(number: int) -> dict[str, object]:
    return {
        "scheduler_id": "the-old-job",
        "task_group_id": task_id(0),
        "task_id": task_id(number),
        "task_queue_id": "gecko-t/t-linux",
        "tags": {"kind": "test"},
    }
