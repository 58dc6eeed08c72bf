"""The simulated world: pushes, their tasks, the workers that run them, and what happens to them.

Here belongs how the world behaves, as a small scheduling simulation: tasks arrive with pushes, an
idle worker of their pool claims them or a new one is booted, workers are evicted or stop when idle.
Queue time, runs and workers' lives agree with each other because they come out of the same events.
How the world looks on pulse (JSON, repeats, losses, broken messages) is `messages`; names and
weights are `catalogue`.

A day's pushes and their tasks, its fleet and everything that happens to these are a function of
(seed, tasks_per_day, day) alone. They may live past midnight, but two days never share a worker,
so days can be simulated in any order. All of a day has happened `DAYS_OF_LIFE` days after it began.
"""

from __future__ import annotations

import base64
import datetime as dt
import heapq
import math
import random
import string
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from fxci_assets.sandbox.catalogue import (
    DECISION_MINUTES,
    HOUR_WEIGHTS,
    POOLS,
    TREES,
    Job,
    Pool,
    Provider,
    Tree,
    load,
)

Instant = int
"""Milliseconds since the epoch, which is the precision of the queue's timestamps."""

TaskState = Literal["unscheduled", "pending", "running", "completed", "failed", "exception"]
Kind = Literal["task-completed", "task-failed", "task-exception", "task-defined"]

DAYS_OF_LIFE = 3
DEFAULT_TASKS_PER_DAY = 2_000

_SECOND = 1_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_NEVER: Instant = 1 << 62

_CLAIM = 20 * _MINUTE  # how long a claim of a run holds
_RECLAIM = 15 * _MINUTE  # how often a living worker renews it
_CREATION_INTERVAL = 15  # a decision task creates its tasks one after the other
_RETRIES = 5
_SPOT_LIFE_HOURS = 28.0  # mean, until the cloud takes a spot machine back
_SCALING = 0.7  # machines booted for each task that waits

_CRON_A_DAY = 24
_CANCELLED_PUSHES = 0.04  # of the smaller pushes to try
_COMPLETED_IS_RERUN = 0.001
_FAILED_IS_RERUN = 0.04
_FAILED_BUILD_IS_RERUN = 0.9  # a whole push's tests wait for it

# What becomes of a run, but for eviction: cumulative.
_FATES: tuple[tuple[float, str], ...] = (
    (0.0004, "hangs"),
    (0.0032, "claim-expired"),
    (0.0085, "intermittent-task"),
    (0.0095, "malformed-payload"),
    (0.0103, "resource-unavailable"),
    (0.0113, "internal-error"),
)
_FAILURE = 0.079
_BUILD_FAILURE = 0.012

_RETRY_REASONS = {
    "worker-shutdown": "retry",
    "claim-expired": "retry",
    "intermittent-task": "task-retry",
}


def midnight(day: dt.date) -> Instant:
    return (day - dt.date(1970, 1, 1)).days * _DAY


def moment(instant: Instant) -> dt.datetime:
    """The instant as the datetime that it is, in UTC."""
    return dt.datetime.fromtimestamp(instant // 1000, dt.UTC).replace(
        microsecond=instant % 1000 * 1000
    )


def instant(moment: dt.datetime) -> Instant:
    """The last instant that is not after the moment."""
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)


@dataclass(slots=True, eq=False)
class Worker:
    """A machine. `zone` and `instance_id` are its runs' workerGroup and workerId."""

    provider: Provider
    project: str
    pool: str
    zone: str
    name: str
    instance_id: str
    machine_type: str
    spot: bool
    started: Instant
    stopped: Instant | None = None
    taken_back: Instant = _NEVER  # when the cloud evicts it, if it still lives then
    idle_since: Instant = 0


@dataclass(slots=True, eq=False)
class Run:
    task: Task
    run_id: int
    reason_created: str
    scheduled: Instant
    state: TaskState = "pending"
    reason_resolved: str | None = None
    started: Instant | None = None
    taken_until: Instant | None = None
    resolved: Instant | None = None
    worker: Worker | None = None


@dataclass(slots=True, eq=False)
class Task:
    task_id: str
    group: Group
    job: Job
    pool: Pool
    tags: dict[str, str]
    created: Instant
    deadline: Instant
    expires: Instant
    state: TaskState = "unscheduled"
    retries_left: int = _RETRIES
    runs: list[Run] = field(default_factory=list)
    dependents: list[Task] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Group:
    """A push: a decision task, whose id is the group's, and the tasks that it creates."""

    group_id: str
    tree: Tree
    user: str
    size: int  # the decision task included
    will_be_cancelled: bool
    cancelled: bool = False
    tasks: list[Task] = field(default_factory=list)  # only where they will be cancelled


class Occurrence(NamedTuple):
    """Something that the queue tells about a task, with the task's status at that moment.

    `task` lives on; what was known then is its first `runs_seen` runs, the last of which was
    pending if `state` is.
    """

    at: Instant
    kind: Kind
    task: Task
    run_id: int  # -1 of a definition
    runs_seen: int
    state: TaskState
    retries_left: int


@dataclass(frozen=True, slots=True)
class World:
    """A Firefox-CI that never was."""

    seed: int = 0
    tasks_per_day: int = DEFAULT_TASKS_PER_DAY

    def random(self, day: dt.date, purpose: str) -> random.Random:
        """Chance that is the same in every process: a string seeds by its own digest."""
        return random.Random(f"{self.seed}/{self.tasks_per_day}/{day}/{purpose}")

    def occurrences(
        self, day: dt.date, on_stopped: Callable[[Worker], None] | None = None
    ) -> Iterator[Occurrence]:
        """All that happens to the tasks of a day's pushes, in time order. `on_stopped` gets each
        worker of the day's fleet when its life is known."""
        return _Simulation(self, day, on_stopped).occurrences()

    def workers(self, day: dt.date) -> list[Worker]:
        """The fleet that served the day's pushes."""
        fleet: list[Worker] = []
        for _ in self.occurrences(day, fleet.append):
            pass
        return fleet


class _Queue:
    """A pool's tasks that wait and workers that idle."""

    __slots__ = ("booting", "idle", "idle_time", "pool", "waiting")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.waiting: deque[Task] = deque()
        self.idle: deque[Worker] = deque()  # the longest idle first
        self.booting = 0
        self.idle_time = pool.idle_seconds * _SECOND or _NEVER

    def leaves(self, worker: Worker) -> Instant:
        """When an idle worker stops, if no task comes."""
        return min(worker.idle_since + self.idle_time, worker.taken_back)


class _Simulation:
    """One day. Each event is a method, called in the order of time."""

    def __init__(
        self, world: World, day: dt.date, on_stopped: Callable[[Worker], None] | None
    ) -> None:
        self.world = world
        self.day = day
        self.midnight = midnight(day)
        self.on_stopped = on_stopped
        self.pushes = world.random(day, "pushes")
        self.fates = world.random(day, "fates")
        self.fleet = world.random(day, "fleet")
        self.events: list[tuple[Instant, int, Callable[[Instant, Any], None], Any]] = []
        self.count = 0
        self.told: list[Occurrence] = []
        self.queues = {id: _Queue(pool) for id, pool in POOLS.items()}

    def occurrences(self) -> Iterator[Occurrence]:
        self._plan_pushes()
        self._install_hardware()
        events, told = self.events, self.told
        while events:
            at, _, happen, what = heapq.heappop(events)
            happen(at, what)
            if told:
                yield from told
                told.clear()
        for queue in self.queues.values():
            for worker in queue.idle:
                self._stop(worker, min(queue.leaves(worker), self.midnight + DAYS_OF_LIFE * _DAY))

    def _at(self, at: Instant, happen: Callable[[Instant, Any], None], what: object) -> None:
        self.count += 1
        heapq.heappush(self.events, (at, self.count, happen, what))

    def _tell(self, now: Instant, kind: Kind, task: Task, run_id: int) -> None:
        self.told.append(
            Occurrence(now, kind, task, run_id, len(task.runs), task.state, task.retries_left)
        )

    # Pushes and their tasks

    def _plan_pushes(self) -> None:
        """Pushes become larger, not only more, as the volume grows: both by its square root."""
        chance = self.pushes
        left = self.world.tasks_per_day
        mean_size = math.sqrt(left)
        left -= self._plan_cron(min(_CRON_A_DAY, left // 4))
        weights = [tree.weight for tree in TREES]
        while left > 0:
            (tree,) = chance.choices(TREES, weights)
            size = max(2, round(mean_size * tree.size * chance.lognormvariate(-0.3, 0.8)))
            size = min(size, left)
            left -= size
            (hour,) = chance.choices(range(24), HOUR_WEIGHTS)
            group = Group(
                group_id=_slugid(chance),
                tree=tree,
                user=f"user{1 + int(tree.pushers * chance.random() ** 2)}@example.com",
                size=size,
                will_be_cancelled=(
                    # One large push cancelled would be the day's main event.
                    tree.name == "try" and size < mean_size and chance.random() < _CANCELLED_PUSHES
                ),
            )
            self._at(self.midnight + hour * _HOUR + chance.randrange(_HOUR), self._push, group)

    def _plan_cron(self, count: int) -> int:
        """Decision tasks by the clock that decide on nothing: so that something happens at night,
        as it does at the real one."""
        (tree,) = (tree for tree in TREES if tree.name == "mozilla-central")
        for number in range(count):
            group = Group(_slugid(self.pushes), tree, "user1@example.com", 1, False)
            at = self.midnight + number * 24 * _HOUR // count
            self._at(at + self.pushes.randrange(10 * _MINUTE), self._push, group)
        return count

    def _push(self, now: Instant, group: Group) -> None:
        job = Job(
            "decision-task",
            "Decision Task",
            f"{group.tree.domain_level}/decision",
            DECISION_MINUTES,
            0,
            "linux",
        )
        tags = {"createdForUser": group.user, "kind": job.kind}
        decision = self._create(now, group, group.group_id, job, tags)
        self._schedule(now, decision)

    def _create(
        self, now: Instant, group: Group, task_id: str, job: Job, tags: dict[str, str]
    ) -> Task:
        pool = POOLS[job.pool.format(level=group.tree.domain_level)]
        expires = now + (28 if group.tree.level == 1 else 365) * _DAY
        task = Task(task_id, group, job, pool, tags, now, now + _DAY, expires)
        if group.will_be_cancelled:
            group.tasks.append(task)
        self._tell(now, "task-defined", task, -1)
        if self.pushes.random() < 0.01:
            # A decision task that lost the queue's answer creates the task once more.
            self._at(now + self.pushes.randrange(_SECOND, 30 * _SECOND), self._repeat, task)
        return task

    def _repeat(self, now: Instant, task: Task) -> None:
        if task.state == "unscheduled":
            self._tell(now, "task-defined", task, -1)

    def _create_next(self, now: Instant, creation: tuple[Task, list[Job], dict[str, Task]]) -> None:
        """The decision task creates one more task, builds first."""
        decision, jobs, builds = creation
        group, chance = decision.group, self.pushes
        if not jobs or group.cancelled:
            return
        job = jobs.pop()
        label = job.label
        if job.chunks > 1:
            label += f"-{chance.randint(1, job.chunks)}"
        tags = {
            "createdForUser": group.user,
            "kind": job.kind,
            "label": label,
            "os": job.os,
            "project": group.tree.name,
            "trust-domain": group.tree.domain,
            "worker-implementation": (
                "docker-worker" if job.kind == "build" and job.os == "linux" else "generic-worker"
            ),
        }
        if job.suite:
            tags["test-suite"] = job.suite
            tags["test-platform"] = job.platform
            tags["tests_grouped"] = "1"
        if job.variant:
            tags["test-variant"] = job.variant
        if job.owned_by:
            tags["owned_by"] = job.owned_by
        if chance.random() < 0.3:
            tags["retrigger"] = "true"
        task = self._create(now, group, _slugid(chance), job, tags)
        if job.builds:
            builds.setdefault(job.builds, task)
        # Without a build of its own the push's tests use one of an earlier push.
        needs = builds.get(job.needs, decision)
        if needs.state == "completed":
            self._schedule(now, task)
        else:
            needs.dependents.append(task)
        self._at(now + _CREATION_INTERVAL, self._create_next, creation)

    def _schedule(self, now: Instant, task: Task) -> None:
        if task.state == "unscheduled":
            self._pend(now, task, "scheduled")

    def _cancel(self, now: Instant, group: Group) -> None:
        group.cancelled = True
        freed: list[Worker] = []
        for task in group.tasks:
            if task.state == "unscheduled":
                self._never_scheduled(now, task, "canceled")
            elif task.state in ("pending", "running"):
                run = task.runs[-1]
                if run.started is not None and run.worker:
                    run.started = min(run.started, now)  # it was just being claimed
                    run.taken_until = _claim_end(run.started, now)
                    freed.append(run.worker)
                self._resolve(now, run, "exception", "canceled")
        # Only now, or a worker would claim a task of the same group.
        for worker in freed:
            self._look_for_work(now, worker)
        group.tasks.clear()

    def _deadline(self, now: Instant, task: Task) -> None:
        """A running run is not looked at here: its end was planned with the deadline in mind."""
        if task.state == "unscheduled":
            self._never_scheduled(now, task, "deadline-exceeded")
        elif task.state == "pending":
            self._resolve(now, task.runs[-1], "exception", "deadline-exceeded")

    def _never_scheduled(self, now: Instant, task: Task, reason: str) -> None:
        """The queue gives a task that ends without a run one that was never pending."""
        run = Run(task, 0, "exception", now)
        task.runs.append(run)
        self._resolve(now, run, "exception", reason)

    # Runs

    def _pend(self, now: Instant, task: Task, reason: str) -> None:
        task.state = "pending"
        task.runs.append(Run(task, len(task.runs), reason, now))
        self._find_worker(now, task)

    def _rerun(self, now: Instant, task: Task) -> None:
        if not task.group.cancelled:
            task.retries_left = _RETRIES
            self._pend(now, task, "rerun")

    def _find_worker(self, now: Instant, task: Task) -> None:
        """An idle worker of the pool claims the task, or it waits."""
        queue = self.queues[task.pool.id]
        while queue.idle:
            worker = queue.idle.pop()  # the last to become idle, so that the others can stop
            leaves = queue.leaves(worker)
            if leaves > now + 5 * _SECOND:
                self._claim(now, task, worker)
                return
            self._stop(worker, leaves)
        queue.waiting.append(task)
        if task.pool.provider == "hardware" or task.deadline - now < _HOUR:
            self._expire(now, task)
        self._boot(now, queue)

    def _claim(self, now: Instant, task: Task, worker: Worker) -> None:
        """The worker starts the run; how it will end is known from here."""
        chance = self.fates
        run = task.runs[-1]
        job = task.job
        task.state = run.state = "running"
        run.worker = worker
        started = run.started = now + 200 + int(2_800 * chance.random())
        minutes = min(job.minutes * chance.lognormvariate(-0.1, 0.45), 170.0)
        duration = 20 * _SECOND + int(minutes * _MINUTE)
        fate = chance.random()
        reason = "completed"
        if job.kind == "decision-task":
            duration += task.group.size * _CREATION_INTERVAL
            if fate < 0.01:
                reason = "failed"
        elif fate < _FATES[-1][0]:
            reason = next(reason for limit, reason in _FATES if fate < limit)
        elif fate < _FATES[-1][0] + (_BUILD_FAILURE if job.builds else _FAILURE):
            reason = "failed"
        end = alive_until = started + duration
        if reason == "hangs":
            # Its worker renews the claim for ever.
            end = alive_until = _NEVER
        elif reason == "claim-expired":
            end = _claim_end(started, alive_until) + chance.randrange(_SECOND, 30 * _SECOND)
        if end > task.deadline:
            reason = "deadline-exceeded"
            end = max(started, task.deadline) + chance.randrange(_SECOND, _MINUTE)
        if worker.taken_back < end:
            reason, end = "worker-shutdown", worker.taken_back
        run.taken_until = _claim_end(started, min(alive_until, end))
        self._at(end, self._end, (run, reason))
        if reason == "completed" and job.kind == "decision-task":
            self._plan_tasks(end, task)

    def _plan_tasks(self, decided: Instant, decision: Task) -> None:
        """What the decision task decides on; it creates the tasks in its last seconds."""
        group, chance = decision.group, self.pushes
        jobs = chance.choices(
            group.tree.jobs, [job.weight for job in group.tree.jobs], k=group.size - 1
        )
        if not jobs:
            return
        jobs.sort(key=lambda job: bool(job.builds))  # taken from the end
        first = decided - group.size * _CREATION_INTERVAL
        self._at(first, self._create_next, (decision, jobs, {}))
        if group.will_be_cancelled:
            self._at(decided + chance.randrange(_MINUTE, 25 * _MINUTE), self._cancel, group)

    def _end(self, now: Instant, what: tuple[Run, str]) -> None:
        run, reason = what
        worker = run.worker
        if run.state != "running" or worker is None:  # cancelled
            return
        state: TaskState = "exception"
        if reason == "completed":
            state = "completed"
        elif reason == "failed":
            state = "failed"
        self._resolve(now, run, state, reason)
        if reason == "worker-shutdown" or (
            reason == "claim-expired" and worker.provider != "hardware"
        ):
            self._stop(worker, now)
        else:
            self._look_for_work(now, worker)

    def _resolve(self, now: Instant, run: Run, state: TaskState, reason: str) -> None:
        task = run.task
        task.state = run.state = state
        run.resolved = now
        run.reason_resolved = reason
        kind: Kind = "task-exception"
        if state == "completed":
            kind = "task-completed"
        elif state == "failed":
            kind = "task-failed"
        retry = _RETRY_REASONS.get(reason)
        if retry and task.retries_left:
            # The new run is there before the message about the old one is sent.
            task.retries_left -= 1
            task.state = "pending"
            task.runs.append(Run(task, len(task.runs), retry, now))
            self._tell(now, kind, task, run.run_id)
            self._find_worker(now, task)
            return
        self._tell(now, kind, task, run.run_id)
        if reason != "canceled":
            self._settle(now, task)

    def _settle(self, now: Instant, task: Task) -> None:
        """The task is resolved: what waited for it goes on, or waits in vain; someone may want it
        rerun."""
        chance = self.fates
        completed = task.state == "completed"
        for dependent in task.dependents:
            if completed:
                self._schedule(now, dependent)
            else:
                self._expire(now, dependent)
        if completed:
            task.dependents.clear()
        likely = _COMPLETED_IS_RERUN if completed else _FAILED_IS_RERUN
        if task.job.builds and not completed:
            likely = _FAILED_BUILD_IS_RERUN
        elif task.job.kind == "decision-task":
            likely = 0.0 if completed else 1.0
        if len(task.runs) <= 3 and task.runs[-1].started and chance.random() < likely:
            again = now + chance.randrange(2 * _MINUTE, 40 * _MINUTE)
            if again < task.deadline:
                self._at(again, self._rerun, task)

    def _expire(self, now: Instant, task: Task) -> None:
        """Look at the task again at its deadline. Only those that might come to that are looked
        at: one event for each task would hold a whole day in memory."""
        at = task.deadline + self.fates.randrange(_SECOND, _MINUTE)
        # What it waited for may itself have ended at its deadline, a moment later.
        self._at(max(now, at), self._deadline, task)

    # Workers

    def _look_for_work(self, now: Instant, worker: Worker) -> None:
        """The worker claims what has waited longest, or idles."""
        queue = self.queues[worker.pool]
        if worker.taken_back <= now + 5 * _SECOND:
            self._stop(worker, worker.taken_back)
            self._boot(now, queue)
            return
        while queue.waiting:
            task = queue.waiting.popleft()
            if task.state == "pending":  # else cancelled, or past its deadline
                self._claim(now, task, worker)
                return
        while queue.idle and queue.leaves(queue.idle[0]) <= now:
            longest = queue.idle.popleft()
            self._stop(longest, queue.leaves(longest))
        worker.idle_since = now
        queue.idle.append(worker)

    def _boot(self, now: Instant, queue: _Queue) -> None:
        """Boot what is missing for the tasks that wait."""
        pool, chance = queue.pool, self.fleet
        if pool.provider == "hardware":
            return
        while queue.booting < len(queue.waiting) * _SCALING:
            queue.booting += 1
            started = now + chance.randrange(5 * _SECOND, 40 * _SECOND)
            worker = Worker(
                provider=pool.provider,
                project=pool.project,
                pool=pool.id,
                zone=chance.choice(pool.locations),
                name="",
                instance_id="",
                machine_type=pool.machine_type,
                spot=pool.spot,
                started=started,
            )
            if pool.provider == "gcp":
                worker.name = f"{pool.id.replace('/', '-')}-{_letters(chance, 12)}"
                worker.instance_id = str(chance.randrange(10**18, 1 << 63))
            else:
                worker.name = worker.instance_id = f"vm-{_letters(chance, 35)}"
            if pool.spot:
                life = chance.expovariate(1 / _SPOT_LIFE_HOURS)
                worker.taken_back = started + _MINUTE + int(life * _HOUR)
            boot = chance.randrange(pool.boot_seconds[0], pool.boot_seconds[1])
            self._at(started + boot * _SECOND, self._ready, worker)

    def _ready(self, now: Instant, worker: Worker) -> None:
        queue = self.queues[worker.pool]
        queue.booting -= 1
        self._look_for_work(now, worker)
        self._boot(now, queue)

    def _stop(self, worker: Worker, at: Instant) -> None:
        worker.stopped = at
        if self.on_stopped:
            self.on_stopped(worker)

    def _install_hardware(self) -> None:
        """Hosts enough for the day's work and half as much again. A host serves the pushes of
        every `DAYS_OF_LIFE`th day, so that it never serves two days' at once."""
        turn = self.day.toordinal() % DAYS_OF_LIFE
        for queue in self.queues.values():
            pool = queue.pool
            if pool.provider != "hardware" or pool.broken:
                continue
            minutes = load(pool) * self.world.tasks_per_day
            prefix, digits = pool.hosts
            for ordinal in range(1 + math.ceil(1.5 * minutes / (24 * 60))):
                name = f"{prefix}{1 + turn + ordinal * DAYS_OF_LIFE:0{digits}}"
                queue.idle.append(
                    Worker(
                        provider=pool.provider,
                        project=pool.project,
                        pool=pool.id,
                        zone=pool.locations[0],
                        name=name,
                        instance_id=name,
                        machine_type=pool.machine_type,
                        spot=False,
                        started=self.midnight,
                        idle_since=self.midnight,
                    )
                )


def _claim_end(started: Instant, last_sign: Instant) -> Instant:
    """Until when the last claim holds of a worker that was alive until `last_sign`."""
    return started + (last_sign - started) // _RECLAIM * _RECLAIM + _CLAIM


def _slugid(chance: random.Random) -> str:
    """A version 4 UUID in URL-safe base64, without a leading dash, as Taskcluster makes them."""
    bits = chance.getrandbits(127) & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62
    return base64.urlsafe_b64encode(bits.to_bytes(16, "big"))[:22].decode()


def _letters(chance: random.Random, count: int) -> str:
    return "".join(chance.choices(string.ascii_lowercase + string.digits, k=count))
