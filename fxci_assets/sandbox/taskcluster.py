"""The simulated queue's API: what is defined of the world's tasks, and what has become of them.

Here belong the shape of an answer and which tasks are not in it. What a task is and does is
`firefox_ci`; what is said of it on pulse is `messages`, and says the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from fxci_assets.sandbox.firefox_ci import Instant, Run, Task, World, instant, moment
from fxci_assets.sandbox.fleet import draw

_UNSEEN = 0.01  # tasks whose definition does not show at once
_UNSEEN_FOR = 30 * 60_000

_REMEMBERED = dt.timedelta(days=366)  # no task expires later

_RETRIES = 5
_RETRIED = ("retry", "task-retry")

_CLAIM = 20 * 60_000
_RECLAIM = 15 * 60_000


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class SimulatedTaskcluster:
    """A `Taskcluster` of the world, that knows what had happened by the clock.

    An id does not tell of which day its task is, so that days are simulated until it is found,
    beginning beside the day on which the last one was: tasks are asked for day by day.
    """

    __slots__ = ("_clock", "_near", "_world")

    def __init__(self, world: World, *, clock: Callable[[], dt.datetime] = _now) -> None:
        self._world = world
        self._clock = clock
        self._near: dt.date | None = None

    def definitions(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        now = instant(self._clock())
        return {
            task.task_id: msgspec.json.encode(_definition(task))
            for task in self._there(ids, now)
            if draw("unseen", task.task_id) >= _UNSEEN or task.created + _UNSEEN_FOR <= now
        }

    def statuses(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        now = instant(self._clock())
        return {
            task.task_id: msgspec.json.encode(_status(task, now)) for task in self._there(ids, now)
        }

    def _there(self, ids: Sequence[str], now: Instant) -> Iterator[Task]:
        """Those of the tasks that have been created and have not expired."""
        return (task for task in self._find(ids) if task.created <= now < task.expires)

    def _find(self, ids: Sequence[str]) -> Iterator[Task]:
        wanted = set(ids)
        for day in self._days():
            if not wanted:
                return
            tasks = _tasks(self._world, day)
            found = sorted(wanted & tasks.keys())
            if found:
                self._near = day
                wanted.difference_update(found)
                yield from (tasks[id] for id in found)

    def _days(self) -> Sequence[dt.date]:
        today = self._clock().date()
        near = self._near or today
        days = [today - dt.timedelta(days=ago) for ago in range(_REMEMBERED.days)]
        return sorted(days, key=lambda day: abs(day - near))


@lru_cache(maxsize=4)
def _tasks(world: World, day: dt.date) -> Mapping[str, Task]:
    """The tasks of a day's pushes, with all that ever happens to them."""
    return {told.task.task_id: told.task for told in world.occurrences(day)}


def _definition(task: Task) -> dict[str, object]:
    group, job = task.group, task.job
    tree = group.tree
    provisioner_id, _, worker_type = task.pool.id.partition("/")
    is_decision = task.task_id == group.group_id
    revision = f"{int(draw('revision', group.group_id) * 16**12):012x}"
    name = task.tags.get("label", job.label)
    return {
        "provisionerId": provisioner_id,
        "workerType": worker_type,
        "taskQueueId": task.pool.id,
        "schedulerId": tree.scheduler_id,
        "projectId": "none",
        "taskGroupId": group.group_id,
        "dependencies": [] if is_decision else [group.group_id],
        "requires": "all-completed",
        "routes": [f"tc-treeherder.v2.{tree.name}.{revision}"],
        "priority": tree.priority,
        "retries": _RETRIES,
        "created": _text(task.created),
        "deadline": _text(task.deadline),
        "expires": _text(task.expires),
        "scopes": [f"assume:simulated:{tree.name}"],
        "payload": {
            "command": [["/bin/bash", "-c", f"simulate {name}"]],
            "env": {"MOZ_SCM_LEVEL": str(tree.level), "GECKO_HEAD_REV": revision},
            "maxRunTime": 60 * int(2 * job.minutes + 30),
        },
        "metadata": {
            "name": name,
            "description": f"A simulated task of {tree.name}",
            "owner": group.user,
            "source": f"https://example.com/{tree.name}/file/{revision}/taskcluster/{job.kind}",
        },
        "tags": task.tags,
        "extra": {"parent": group.group_id, "treeherder": {"jobKind": job.kind, "tier": 1}},
    }


def _status(task: Task, now: Instant) -> dict[str, object]:
    """The status as the queue would have told it then: a task lives on in the simulation."""
    provisioner_id, _, worker_type = task.pool.id.partition("/")
    runs = [_run(run, now) for run in task.runs if run.scheduled <= now]
    retries_left = _RETRIES
    for run in runs:
        if run["reasonCreated"] in _RETRIED:
            retries_left -= 1
        elif run["reasonCreated"] == "rerun":
            retries_left = _RETRIES
    return {
        "taskId": task.task_id,
        "provisionerId": provisioner_id,
        "workerType": worker_type,
        "taskQueueId": task.pool.id,
        "schedulerId": task.group.tree.scheduler_id,
        "projectId": "none",
        "taskGroupId": task.group.group_id,
        "priority": task.group.tree.priority,
        "deadline": _text(task.deadline),
        "expires": _text(task.expires),
        "retriesLeft": retries_left,
        "state": runs[-1]["state"] if runs else "unscheduled",
        "runs": runs,
    }


def _run(run: Run, now: Instant) -> dict[str, object]:
    told: dict[str, object] = {
        "runId": run.run_id,
        "state": "pending",
        "reasonCreated": run.reason_created,
        "scheduled": _text(run.scheduled),
    }
    taken_until = run.taken_until
    if run.started is not None and run.started <= now and taken_until is not None and run.worker:
        told |= {
            "state": "running",
            "started": _text(run.started),
            "workerGroup": run.worker.zone,
            "workerId": run.worker.instance_id,
            # The last claim; before that, the one that held then.
            "takenUntil": _text(
                min(taken_until, run.started + (now - run.started) // _RECLAIM * _RECLAIM + _CLAIM)
            ),
        }
    if run.resolved is not None and run.resolved <= now:
        told |= {
            "state": run.state,
            "reasonResolved": run.reason_resolved,
            "resolved": _text(run.resolved),
        }
    return told


def _text(at: Instant) -> str:
    """The instant as the queue writes it."""
    return moment(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
