"""The simulated world keeps its promises: it repeats, its days are independent, and tasks, runs
and workers agree with each other."""

from __future__ import annotations

import datetime as dt
import gc
import itertools
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache

import pytest

from fxci_assets.sandbox.catalogue import POOLS, TREES, load
from fxci_assets.sandbox.firefox_ci import (
    DAYS_OF_LIFE,
    Occurrence,
    Run,
    Task,
    Worker,
    World,
    midnight,
    moment,
)
from fxci_assets.tables import SLUGID_PATTERN

DAY = dt.date(2026, 3, 4)
MINUTE = 60_000


@cache
def a_day() -> tuple[list[Occurrence], list[Worker]]:
    workers: list[Worker] = []
    return list(World(seed=2, tasks_per_day=10_000).occurrences(DAY, workers.append)), workers


def tasks() -> list[Task]:
    return list({told.task.task_id: told.task for told in a_day()[0]}.values())


def runs() -> list[Run]:
    return [run for task in tasks() for run in task.runs]


def digest(world: World, day: dt.date) -> list[tuple[object, ...]]:
    return [
        (told.at, told.kind, told.task.task_id, told.run_id, told.state)
        for told in world.occurrences(day)
    ]


def test_a_day_is_the_same_each_time_and_differs_by_seed_volume_and_date() -> None:
    days = [
        digest(World(1, 200), DAY),
        digest(World(2, 200), DAY),
        digest(World(1, 201), DAY),
        digest(World(1, 200), DAY + dt.timedelta(days=1)),
    ]

    assert digest(World(1, 200), DAY) == days[0]
    assert len({str(day) for day in days}) == 4


def test_a_day_is_the_same_in_every_process() -> None:
    script = (
        "import datetime as dt, hashlib\n"
        "from fxci_assets.sandbox.messages import published\n"
        "from fxci_assets.sandbox.firefox_ci import World\n"
        "start = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)\n"
        "digest = hashlib.sha256()\n"
        "for m in published(World(1, 100), start, start + dt.timedelta(days=1)):\n"
        "    digest.update(m.body)\n"
        "print(digest.hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(digests) == 1


def test_what_happens_comes_in_time_order_within_the_days_life() -> None:
    times = [told.at for told in a_day()[0]]

    assert times == sorted(times)
    assert times[0] >= midnight(DAY)
    assert times[-1] < midnight(DAY + dt.timedelta(days=DAYS_OF_LIFE))


@pytest.mark.parametrize("volume", [1, 30, 2_000])
def test_the_volume_is_as_asked(volume: int) -> None:
    defined = {
        told.task.task_id
        for told in World(3, volume).occurrences(DAY)
        if told.kind == "task-defined"
    }

    assert len(defined) == pytest.approx(volume, rel=0.02)


def test_every_task_is_resolved_at_last_by_its_deadline() -> None:
    for task in tasks():
        assert task.state in ("completed", "failed", "exception")
        assert task.deadline == task.created + 24 * 60 * MINUTE
        assert all((run.resolved or 0) <= task.deadline + 2 * MINUTE for run in task.runs)


def test_runs_follow_each_other() -> None:
    for task in tasks():
        assert [run.run_id for run in task.runs] == list(range(len(task.runs)))
        for run in task.runs:
            assert run.resolved is not None
            assert task.created <= run.scheduled <= (run.started or run.scheduled) <= run.resolved
        for before, after in itertools.pairwise(task.runs):
            assert before.resolved is not None
            assert before.resolved <= after.scheduled


def test_each_started_run_has_a_worker_of_its_pool_and_is_within_that_workers_life() -> None:
    for run in runs():
        assert (run.started is None) == (run.worker is None) == (run.taken_until is None)
        if run.worker:
            assert run.worker.pool == run.task.pool.id
            assert run.started is not None
            assert run.worker.stopped is not None
            assert run.worker.started < run.started
            assert (run.resolved or 0) <= run.worker.stopped


def test_a_worker_runs_one_task_at_a_time() -> None:
    of_worker: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for run in runs():
        if run.worker:
            of_worker[run.worker.instance_id].append((run.started or 0, run.resolved or 0))

    assert max(len(spans) for spans in of_worker.values()) > 5
    for spans in of_worker.values():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_a_host_of_the_hardware_never_serves_two_days_at_once() -> None:
    world = World(1, 2_000)
    fleets = [
        {w.name for w in world.workers(DAY + dt.timedelta(days=n)) if w.provider == "hardware"}
        for n in range(DAYS_OF_LIFE + 1)
    ]

    assert fleets[0]
    assert fleets[0] == fleets[DAYS_OF_LIFE]
    assert not set.intersection(*fleets[:2])
    assert not set.intersection(*fleets[1:3])
    assert not fleets[0] & fleets[2]


def test_workers_look_like_those_of_their_provider() -> None:
    workers = a_day()[1]
    shapes = {
        "gcp": (r"us-[a-z]+\d-[a-f]", r"[1-9]\d{18}", r"fxci-production-level[13]-workers"),
        "azure": (r"[a-z]+\d?", r"vm-[a-z0-9]{35}", r"Simulated .+"),
        "hardware": (r"mdc1", r"macmini-m4-\d+|t-linux64-ms-\d{3}", r""),
    }

    assert {worker.provider for worker in workers} == set(shapes)
    assert len({worker.instance_id for worker in workers}) == len(workers)
    for worker in workers:
        zone, instance_id, project = shapes[worker.provider]
        assert re.fullmatch(zone, worker.zone)
        assert re.fullmatch(instance_id, worker.instance_id)
        assert re.fullmatch(project, worker.project)


def test_level_3_builds_run_on_trusted_workers_that_are_never_evicted() -> None:
    trusted = [worker for worker in a_day()[1] if worker.pool == "gecko-3/b-linux"]

    assert trusted
    assert {worker.project for worker in trusted} == {"fxci-production-level3-workers"}
    assert not any(worker.spot for worker in trusted)


def test_an_idle_worker_stops_and_some_are_never_used() -> None:
    last_run: dict[str, int] = defaultdict(int)
    for run in runs():
        if run.worker:
            last_run[run.worker.instance_id] = max(
                last_run[run.worker.instance_id], run.resolved or 0
            )
    cloud = [worker for worker in a_day()[1] if worker.provider != "hardware"]

    assert any(worker.instance_id not in last_run for worker in cloud)
    for worker in cloud:
        ready = worker.started + 10 * MINUTE
        idle_from = max(ready, last_run[worker.instance_id])
        assert (worker.stopped or 0) - idle_from <= 16 * MINUTE


def test_the_fleet_grows_with_the_volume() -> None:
    small, large = (len(World(1, volume).workers(DAY)) for volume in (500, 5_000))

    assert large > 4 * small


def test_tasks_queue_longest_for_what_must_be_booted() -> None:
    waits = [(run.started - run.scheduled) / 1000 for run in runs() if run.started is not None]
    waits.sort()

    assert waits[0] < 3
    assert 10 < waits[len(waits) // 2] < 20 * 60


def test_more_is_pushed_in_working_hours() -> None:
    hours = Counter(moment(task.created).hour for task in tasks())

    assert sum(hours[h] for h in range(13, 19)) > 3 * sum(hours[h] for h in range(6))


def test_a_push_is_a_decision_task_and_then_its_tasks_builds_before_tests() -> None:
    groups: dict[str, list[Task]] = defaultdict(list)
    for task in tasks():
        groups[task.group.group_id].append(task)

    assert len(groups) > 20
    for group_id, members in groups.items():
        decision, *others = sorted(members, key=lambda task: task.created)
        assert decision.task_id == group_id
        assert decision.tags["kind"] == "decision-task"
        assert not any(task.task_id == group_id for task in others)
    finished_before_test = [
        task.runs[0].scheduled
        >= min(
            (
                run.resolved or 0
                for build in groups[task.group.group_id]
                if build.job.builds == task.job.needs
                for run in build.runs
            ),
            default=0,
        )
        for task in tasks()
        if task.job.needs
    ]
    assert all(finished_before_test)


def test_all_that_the_tables_must_cope_with_happens() -> None:
    happened = Counter(
        (run.reason_created, run.reason_resolved, run.started is not None) for run in runs()
    )
    for case in (
        ("scheduled", "completed", True),
        ("scheduled", "failed", True),
        ("scheduled", "worker-shutdown", True),
        ("retry", "completed", True),
        ("scheduled", "claim-expired", True),
        ("scheduled", "intermittent-task", True),
        ("task-retry", "completed", True),
        ("rerun", "completed", True),
        ("scheduled", "deadline-exceeded", False),
        ("scheduled", "deadline-exceeded", True),
        ("exception", "deadline-exceeded", False),
        ("scheduled", "canceled", True),
        ("exception", "canceled", False),
        ("scheduled", "malformed-payload", True),
        ("scheduled", "internal-error", True),
        ("scheduled", "resource-unavailable", True),
    ):
        assert happened[case], case
    assert any(
        a.reason_resolved == b.reason_resolved == "completed"
        for task in tasks()
        for a, b in itertools.pairwise(task.runs)
    )


def test_an_eviction_ends_a_spot_worker() -> None:
    evicted = [run for run in runs() if run.reason_resolved == "worker-shutdown"]

    assert evicted
    for run in evicted:
        assert run.worker is not None
        assert run.worker.spot
        assert run.worker.stopped == run.resolved


def test_an_expired_claim_ends_after_what_was_taken() -> None:
    for run in runs():
        if run.reason_resolved == "claim-expired":
            assert (run.taken_until or 0) < (run.resolved or 0) <= (run.taken_until or 0) + MINUTE
        elif run.taken_until and run.reason_resolved != "deadline-exceeded":
            assert (run.resolved or 0) <= run.taken_until


def test_ids_are_slugids_and_users_are_numbered() -> None:
    for task in tasks():
        assert re.fullmatch(SLUGID_PATTERN, task.task_id)
        assert re.fullmatch(r"user\d+@example\.com", task.tags["createdForUser"])
        others = "".join(v for k, v in task.tags.items() if k not in ("createdForUser", "owned_by"))
        assert "@" not in others


def test_every_pool_and_tree_is_used() -> None:
    assert {task.group.tree.name for task in tasks()} == {tree.name for tree in TREES}
    used = {task.pool.id for task in tasks()}
    assert {pool.id for pool in POOLS.values() if load(pool)} <= used


def test_memory_does_not_grow_with_the_day() -> None:
    world, most = World(1, 20_000), 0
    for count, _ in enumerate(world.occurrences(DAY)):
        if count % 5_000 == 0:
            gc.collect()
            most = max(most, sum(isinstance(thing, Task) for thing in gc.get_objects()))
    alive_elsewhere = len(tasks()) if a_day.cache_info().currsize else 0

    assert most - alive_elsewhere < 5_000
