"""What the tests of uptime and bills hold against them: when each worker ran tasks and was up, by
the world itself and not by `fleet`."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator

from fxci_assets.sandbox.firefox_ci import DAYS_OF_LIFE, Worker, World, midnight

DAY_MS = 86_400_000

BusyDays = dict[tuple[str, dt.date], int]
"""Milliseconds by instance id and UTC day."""


def days_from(first: dt.date, count: int) -> list[dt.date]:
    return [first + dt.timedelta(days=n) for n in range(count)]


def lived(world: World, days: Iterable[dt.date]) -> Iterator[Worker]:
    """All workers that can have been up on one of the days."""
    pushes = {day - dt.timedelta(days=ago) for day in days for ago in range(DAYS_OF_LIFE)}
    for day in sorted(pushes):
        yield from world.workers(day)


def within(start: int, end: int, day: dt.date) -> int:
    """So much of a time lies on a day."""
    begin = midnight(day)
    return max(0, min(end, begin + DAY_MS) - max(start, begin))


def busy(world: World, days: Iterable[dt.date]) -> BusyDays:
    """For how long each cloud worker ran the tasks of pushes of these days."""
    found: BusyDays = defaultdict(int)
    for pushed in days:
        tasks = {told.task.task_id: told.task for told in world.occurrences(pushed)}
        for task in tasks.values():
            for run in task.runs:
                if run.worker is None or run.worker.provider == "hardware":
                    continue
                assert run.started is not None
                assert run.resolved is not None
                for day in days_from(pushed, DAYS_OF_LIFE):
                    ran = within(run.started, run.resolved, day)
                    if ran:
                        found[run.worker.instance_id, day] += ran
    return dict(found)
