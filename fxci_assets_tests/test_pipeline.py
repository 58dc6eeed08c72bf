"""From messages to tables: what makes a day stale, and that it is always healed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fxci_assets import repair, uptime
from fxci_assets.archive import Archive
from fxci_assets.archive.files import ArchiveError
from fxci_assets.archive.quarantine import Item
from fxci_assets.archive.store import LocalStore, Store
from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.drain import DrainLimits
from fxci_assets.pipeline import Overdue, Pipeline, RebuildsFailed, Refused, utc_now
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.pulse import BatchLimits, Message
from fxci_assets.tables import TASK_RUNS, TASKS, Table
from fxci_assets.taskcluster import definitions
from fxci_assets_tests.events import (
    DAY,
    FIRST_DAY,
    NEXT_DAY,
    RECEIVED,
    body,
    message,
    run,
    task_id,
)
from fxci_assets_tests.pulse import MemoryPulse

RUN_LIMIT = dt.timedelta(hours=1)


class Clock:
    """The time of the test."""

    def __init__(self) -> None:
        self.now = RECEIVED

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pipeline(tmp_path: Path, clock: Clock, store: Store) -> Pipeline:
    return make_pipeline(tmp_path, clock, store=store)


def make_pipeline(
    root: Path,
    clock: Callable[[], dt.datetime],
    run_limit: dt.timedelta = RUN_LIMIT,
    store: Store | None = None,
) -> Pipeline:
    archive = Archive.over(store or LocalStore(root / "archive"), "project.dataset")
    warehouse = LocalWarehouse(root / "warehouse", "project", "dataset")
    limits = DrainLimits(BatchLimits(messages=100), 10_000, 60)
    return Pipeline(
        archive,
        warehouse,
        FIRST_DAY,
        limits,
        run_limit,
        builders=[TaskBuilder()],
        worker_projects=[],
        uptime_retention=dt.timedelta(days=40),
        clock=clock,
    )


def completed(number: int, resolved: str = "2026-04-13T10:00:00Z") -> Message:
    return message(body(task_id(number), [run(0, resolved)], {"kind": "test"}))


def drain(pipeline: Pipeline, *messages: Message) -> None:
    pipeline.drain(MemoryPulse(messages))


def ids(pipeline: Pipeline, table: Table, day: dt.date = DAY) -> list[str]:
    rows = pipeline.warehouse.query(
        f"SELECT task_id FROM dataset.{table.name} WHERE submission_date = @day ORDER BY task_id",
        {"day": day},
    )
    found: list[str] = rows["task_id"].to_pylist()
    return found


def stale(pipeline: Pipeline) -> list[tuple[str, dt.date, str]]:
    return [(s.table.name, s.day, s.reason) for s in pipeline.stale()]


def test_drained_messages_become_rows(pipeline: Pipeline) -> None:
    drain(pipeline, completed(1), completed(2, "2026-04-14T01:00:00Z"))
    assert [(name, day) for name, day, _ in stale(pipeline)] == [
        ("task_runs_v1", DAY),
        ("tasks_v2", DAY),
        ("task_runs_v1", NEXT_DAY),
        ("tasks_v2", NEXT_DAY),
    ]
    rebuilt = pipeline.rebuild_stale()
    assert [(made.table.name, made.day, made.rows) for made in rebuilt] == [
        ("tasks_v2", DAY, 1),
        ("task_runs_v1", DAY, 1),
        ("tasks_v2", NEXT_DAY, 1),
        ("task_runs_v1", NEXT_DAY, 1),
    ]
    assert stale(pipeline) == []
    assert ids(pipeline, TASKS) == ids(pipeline, TASK_RUNS) == [task_id(1)]


def test_late_messages_make_their_day_stale_and_no_other(pipeline: Pipeline) -> None:
    drain(pipeline, completed(1), completed(2, "2026-04-14T01:00:00Z"))
    pipeline.rebuild_stale()
    drain(pipeline, completed(3))
    assert stale(pipeline) == [
        ("task_runs_v1", DAY, "inputs changed"),
        ("tasks_v2", DAY, "inputs changed"),
    ]
    pipeline.rebuild_stale()
    assert ids(pipeline, TASK_RUNS) == [task_id(1), task_id(3)]


def test_a_drain_that_died_before_the_rebuild_is_healed_without_new_messages(
    pipeline: Pipeline,
) -> None:
    drain(pipeline, completed(1))  # and then nothing: it was killed
    assert len(pipeline.rebuild_stale()) == 2
    assert ids(pipeline, TASKS) == [task_id(1)]


def test_rebuilding_a_day_twice_gives_the_same_rows(pipeline: Pipeline) -> None:
    drain(pipeline, *(completed(n) for n in range(50)))
    first = pipeline.rebuild(TaskBuilder.tables, DAY)
    drain(pipeline, completed(7))  # a repeat: another file, the same rows
    second = pipeline.rebuild(TaskBuilder.tables, DAY)
    assert [m.data_version for m in first] == [m.data_version for m in second]
    assert [m.input_version for m in first] != [m.input_version for m in second]
    assert [m.repeats for m in second] == [1, 1]


def test_what_a_rebuild_says_of_itself(pipeline: Pipeline) -> None:
    drain(pipeline, completed(1, "2026-04-13T01:00:00Z"), completed(2, "2026-04-13T22:00:00Z"))
    [made] = pipeline.rebuild([TASK_RUNS], DAY)
    assert made.first_event == dt.datetime(2026, 4, 13, 1, tzinfo=dt.UTC)
    assert made.last_event == dt.datetime(2026, 4, 13, 22, tzinfo=dt.UTC)
    assert made.bytes > 0
    assert made.counts["conflicting_runs"].count == 0


def test_one_table_alone(pipeline: Pipeline) -> None:
    drain(pipeline, completed(1))
    pipeline.rebuild([TASKS], DAY)
    assert stale(pipeline) == [("task_runs_v1", DAY, "never built")]
    assert ids(pipeline, TASK_RUNS) == []


def test_a_day_that_fails_keeps_its_rows_and_does_not_stop_the_others(
    pipeline: Pipeline, store: Store
) -> None:
    drain(pipeline, completed(1), completed(2, "2026-04-14T01:00:00Z"))
    pipeline.rebuild_stale()
    drain(pipeline, completed(3), completed(4, "2026-04-14T01:00:00Z"))
    damaged = pipeline.archive.events.files(DAY)[-1]
    store.replace(f"pulse_events/date={DAY}/{damaged}", b"damaged")
    with pytest.raises(RebuildsFailed, match=f"2026-04-13 .*{damaged} cannot be read"):
        pipeline.rebuild_stale()
    assert ids(pipeline, TASKS) == [task_id(1)]
    assert ids(pipeline, TASKS, NEXT_DAY) == [task_id(2), task_id(4)]
    assert {day for _, day, _ in stale(pipeline)} == {DAY}


def test_a_rebuild_that_died_makes_its_day_stale_once_it_is_overdue(
    pipeline: Pipeline, clock: Clock
) -> None:
    drain(pipeline, completed(1))
    pipeline.rebuild_stale()
    pipeline.archive.builds.put_mark("tasks_v2", DAY, clock.now)
    clock.now += RUN_LIMIT
    assert stale(pipeline) == []
    clock.now += dt.timedelta(seconds=1)
    assert stale(pipeline) == [("tasks_v2", DAY, "a rebuild died")]
    pipeline.rebuild_stale()
    assert stale(pipeline) == []


@pytest.mark.parametrize(
    ("day", "reason"),
    [
        (FIRST_DAY - dt.timedelta(days=1), "2026-03-31 is before 2026-04-01, the first day"),
        (dt.date(2026, 4, 15), "2026-04-15 has not begun"),
    ],
)
def test_days_that_are_never_built(pipeline: Pipeline, day: dt.date, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        pipeline.rebuild(TaskBuilder.tables, day)


def test_messages_that_were_kept_for_long_enough_are_removed_and_their_rows_stay(
    pipeline: Pipeline, clock: Clock
) -> None:
    """With all that names users; what is later, and what is known of the queues, stays."""
    kept = dataclasses.replace(pipeline, retention=dt.timedelta(days=40))
    drain(kept, completed(1), completed(2, "2026-04-14T01:00:00Z"), message(b"not json"))
    kept.rebuild_stale()
    clock.now += dt.timedelta(days=40)
    assert kept.floor() == NEXT_DAY
    kept.forget()
    assert kept.archive.events.files(DAY)  # which a build may be reading
    clock.now += dt.timedelta(days=1)
    kept.forget()
    assert (kept.archive.events.files(DAY), len(kept.archive.events.files(NEXT_DAY))) == ([], 1)
    assert len(kept.in_quarantine()) == 1  # it came on the later day
    clock.now += dt.timedelta(days=1)
    kept.forget()
    assert (kept.archive.events.files(NEXT_DAY), kept.in_quarantine()) == ([], [])
    assert kept.stale() == []
    assert (ids(kept, TASKS), ids(kept, TASKS, NEXT_DAY)) == ([task_id(1)], [task_id(2)])
    with pytest.raises(Refused, match="2026-04-13 is before 2026-04-16, the first day that is"):
        kept.rebuild([TASKS], DAY)


@pytest.mark.parametrize("retention", [None, dt.timedelta(days=60)], ids=["none", "longer"])
def test_rows_whose_messages_are_removed_stay_whatever_is_set_since(
    pipeline: Pipeline, clock: Clock, store: Store, retention: dt.timedelta | None
) -> None:
    """There is nothing left to build them from. The clock may be set back, too."""
    drain(pipeline, completed(1))
    pipeline.rebuild_stale()
    clock.now += dt.timedelta(days=50)
    dataclasses.replace(pipeline, retention=dt.timedelta(days=40)).forget()
    assert pipeline.archive.events.files(DAY) == []
    for archive in (
        Archive.over(store, "project.dataset"),
        # Of another deployment on the same archive, which had built it too.
        dataclasses.replace(
            pipeline.archive, forgotten=Archive.over(LocalStore(Path("/no")), "x").forgotten
        ),
    ):
        changed = dataclasses.replace(pipeline, archive=archive, retention=retention)
        assert changed.rebuild_stale() == []
        assert ids(changed, TASKS) == [task_id(1)]
    reopened = dataclasses.replace(pipeline, archive=Archive.over(store, "project.dataset"))
    with pytest.raises(Refused, match="2026-04-13 is before 2026-04-23, the first day that is"):
        reopened.rebuild([TASKS], DAY)


def test_what_is_about_a_day_that_is_not_built_any_more_is_not_replayed(
    pipeline: Pipeline, clock: Clock
) -> None:
    flawed = message(body(task_id(1), [run(resolved="garbled")]))
    drain(pipeline, flawed)
    clock.now += dt.timedelta(days=50)
    kept = dataclasses.replace(pipeline, retention=dt.timedelta(days=40))
    [item] = kept.in_quarantine()
    with pytest.raises(Refused, match="is about 2026-04-13, and no day before 2026-04-24 is built"):
        kept.replay(item, body(task_id(1), [run()]))
    assert len(kept.in_quarantine()) == 1


def test_a_day_ahead_of_the_clock_waits_for_its_day(pipeline: Pipeline, clock: Clock) -> None:
    drain(pipeline, completed(1, "2026-04-15T00:10:00Z"))
    assert stale(pipeline) == []
    clock.now = dt.datetime(2026, 4, 15, 0, 11, tzinfo=dt.UTC)
    assert len(stale(pipeline)) == 2


def test_nothing_is_read_before_the_first_day_has_come(pipeline: Pipeline) -> None:
    """Each message would go to quarantine."""
    early = dataclasses.replace(pipeline, first_day=NEXT_DAY + dt.timedelta(days=1))
    source = MemoryPulse([completed(1)])
    with pytest.raises(Refused, match=r"2026-04-15 \(FXCI_START_DATE\), is still to come"):
        early.drain(source)
    assert len(source.waiting) == 1


def test_a_day_without_messages_is_built_empty_when_it_is_asked_for(pipeline: Pipeline) -> None:
    assert [made.rows for made in pipeline.rebuild(TaskBuilder.tables, DAY)] == [0, 0]
    assert stale(pipeline) == []


def test_what_a_build_cannot_use_is_in_quarantine_once(pipeline: Pipeline) -> None:
    bad = message(body(task_id(1), [run(), run(1, scheduled=None)], {"kind": 5}))
    drain(pipeline, bad, bad)
    pipeline.rebuild(TaskBuilder.tables, DAY)
    pipeline.rebuild(TaskBuilder.tables, DAY)
    quarantine = pipeline.archive.quarantine
    found = [(item.reason, quarantine.body(item)) for item in pipeline.in_quarantine()]
    assert sorted(found) == [("run-unreadable", bad.body), ("tag-not-a-string", bad.body)]
    assert ids(pipeline, TASK_RUNS) == [task_id(1)]


def test_a_message_in_quarantine_is_mended_and_replayed(pipeline: Pipeline) -> None:
    drain(pipeline, message(completed(1).body[:-1]))
    [item] = pipeline.in_quarantine()
    with pytest.raises(Refused, match=f"{item.id} cannot be filed: unreadable"):
        pipeline.replay(item, None)
    assert pipeline.replay(item, completed(1).body) == [DAY]
    assert pipeline.in_quarantine() == []
    pipeline.rebuild_stale()
    assert ids(pipeline, TASK_RUNS) == [task_id(1)]


@pytest.mark.parametrize(
    ("exchange", "advice"),
    [
        (uptime.EXCHANGE, "fetch the day again (fxci-etl metric export --date …)"),
        (definitions.EXCHANGE, "there is nothing to replay, only to accept"),
        (repair.EXCHANGE, "there is nothing to replay, only to accept"),
    ],
)
def test_what_is_no_message_is_not_replayed_and_it_is_said_what_to_do(
    pipeline: Pipeline, exchange: str, advice: str
) -> None:
    pipeline.archive.quarantine.add([Item("reason", exchange, "key", RECEIVED, b"{}", RECEIVED)])
    [item] = pipeline.in_quarantine()
    with pytest.raises(Refused, match=re.escape(f"from {exchange}: ") + ".*" + re.escape(advice)):
        pipeline.replay(item, None)


def test_a_mended_message_that_is_still_only_partly_usable_stays(pipeline: Pipeline) -> None:
    drain(pipeline, message(b"{"))
    [item] = pipeline.in_quarantine()
    partly = body(task_id(1), [run(), run(1, "1970-01-01T00:00:00Z")])
    with pytest.raises(Refused, match="resolved-before-first-partition"):
        pipeline.replay(item, partly)
    assert pipeline.in_quarantine() == [item]
    assert pipeline.archive.events.days() == []


@pytest.mark.parametrize(
    "content",
    [
        body(task_id(1), [run(), run(1, scheduled=None)], {"kind": "a"}),
        body(task_id(1), [run()], {"kind": 5}),
        body(task_id(1), [run()], {"kind": "a"}, {"taskQueueId": "noslash"}),
        body("no task id", [run()], {"kind": "a"}),
    ],
)
def test_what_a_build_would_set_aside_again_is_not_replayed(
    pipeline: Pipeline, content: bytes
) -> None:
    drain(pipeline, message(content))
    pipeline.rebuild_stale()
    [item] = pipeline.in_quarantine()
    with pytest.raises(Refused, match=f"{item.id} cannot be filed: {item.reason}"):
        pipeline.replay(item, None)
    assert pipeline.in_quarantine() == [item]


def test_a_mended_message_wins_over_the_one_it_replaces(pipeline: Pipeline) -> None:
    flawed, mended = (body(task_id(1), [run()], {"project": value}) for value in (5, "try"))
    assert flawed > mended  # in byte order, by which it would win otherwise
    drain(pipeline, message(flawed))
    pipeline.rebuild_stale()
    [item] = pipeline.in_quarantine()
    pipeline.replay(item, mended)
    pipeline.rebuild_stale()
    rows = rows_of(pipeline)["tasks_v2"]
    assert [row["tags"]["project"] for row in rows] == ["try"]  # type: ignore[index]
    assert pipeline.in_quarantine() == []


def test_rebuilds_keep_what_they_cannot_use_once_on_disk_too(
    pipeline: Pipeline, store: Store
) -> None:
    for number in range(3):
        drain(pipeline, message(body(task_id(number), [run()], {"kind": number})))
        pipeline.rebuild_stale()
    files = store.files(f"quarantine/date={RECEIVED.date()}")
    assert (len(files), len(pipeline.in_quarantine())) == (3, 3)


def test_a_rebuild_that_was_held_up_does_not_write_over_a_newer_one(
    pipeline: Pipeline, clock: Clock
) -> None:
    drain(pipeline, completed(1))
    pipeline.rebuild_stale()

    class Slow(type(pipeline.builders[0])):  # type: ignore[misc]
        def build(self, *arguments: object) -> object:
            clock.now += RUN_LIMIT
            return super().build(*arguments)

    slow = dataclasses.replace(pipeline, builders=[Slow()])
    drain(pipeline, completed(2))
    with pytest.raises(Overdue, match="2026-04-13: the rebuild took too long, since 06:00:00 UTC"):
        slow.rebuild(TaskBuilder.tables, DAY)
    assert ids(pipeline, TASKS) == [task_id(1)]
    clock.now += dt.timedelta(minutes=1)
    pipeline.rebuild_stale()
    assert ids(pipeline, TASKS) == [task_id(1), task_id(2)]


def test_a_damaged_byte_in_the_archive_is_noticed(pipeline: Pipeline, store: Store) -> None:
    drain(pipeline, *(completed(n) for n in range(50)))
    [name] = pipeline.archive.events.files(DAY)
    path = f"pulse_events/date={DAY}/{name}"
    whole = store.read(path)
    # Of the pages; in the footer Parquet notices by itself or it makes no difference.
    for position in range(100, len(whole) - 1_500, 97):
        damaged = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
        store.replace(path, damaged)
        with pytest.raises(ArchiveError, match=name):
            pipeline.rebuild([TASKS], DAY)


def test_the_newest_event(pipeline: Pipeline) -> None:
    assert pipeline.newest_event() is None
    drain(pipeline, completed(1), completed(2, "2026-04-14T01:00:00Z"))
    pipeline.rebuild_stale()
    assert pipeline.newest_event() == dt.datetime(2026, 4, 14, 1, tzinfo=dt.UTC)


# For real: processes that drain and rebuild beside each other, and are killed at any moment.

_WORKER = """
import sys, time, datetime as dt
from pathlib import Path
from fxci_assets.pipeline import utc_now
from fxci_assets_tests.gcs import store_at
from fxci_assets_tests.pulse import MemoryPulse
from fxci_assets_tests.test_pipeline import completed, make_pipeline
root, location, role, start = sys.argv[1:]
pipeline = make_pipeline(Path(root), utc_now, dt.timedelta(seconds=1), store_at(location))
number = int(start)
print("ready", flush=True)
while True:
    if role == "drain":
        # An id of five digits would be none.
        messages = [completed(n % 10_000) for n in range(number, number + 5)]
        pipeline.drain(MemoryPulse(messages, received_at=utc_now()))
        number += 5
        time.sleep(0.05)
    else:
        try:
            pipeline.rebuild_stale()
        except Exception as error:
            print(f"failed: {error}", flush=True)
"""


@pytest.mark.slow
def test_two_builders_and_a_drain_that_are_killed_leave_nothing_wrong(
    tmp_path: Path, location: str, store: Store
) -> None:
    def start(role: str, number: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _WORKER, str(tmp_path), location, role, str(number)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        return worker

    chance = random.Random(7)
    kills = int(os.environ.get("FXCI_FAULT_KILLS", "6"))
    workers = {"A": start("build"), "B": start("build")}
    drains = [start("drain")]
    outputs: list[str] = []
    for kill in range(kills):
        time.sleep(chance.uniform(0.2, 0.8))
        victim = chance.choice(["A", "B", "drain"])
        process = drains[-1] if victim == "drain" else workers[victim]
        process.send_signal(signal.SIGKILL)
        outputs.append(process.communicate()[0])
        if victim == "drain":
            drains.append(start("drain", 1_000 * (kill + 1)))
        else:
            workers[victim] = start("build")
    time.sleep(1.5)
    for process in (*workers.values(), drains[-1]):
        process.send_signal(signal.SIGKILL)
        outputs.append(process.communicate()[0])
    time.sleep(1.1)  # every mark of the dead has expired

    pipeline = make_pipeline(tmp_path, utc_now, dt.timedelta(seconds=1), store)
    pipeline.rebuild_stale()
    assert pipeline.stale() == []
    files = pipeline.archive.events.files(DAY)
    filed = {
        json.loads(content)["status"]["taskId"]
        for part in pipeline.archive.events.read(DAY, files)
        for content in part["body"].to_pylist()
    }
    assert len(filed) > 50
    assert ids(pipeline, TASK_RUNS) == ids(pipeline, TASKS) == sorted(filed)
    failures = [line for text in outputs for line in text.splitlines() if "failed" in line]
    # The second where the machine is busy: a rebuild has one second.
    known = ("new inputs arrived", "the rebuild took too long")
    assert all(any(text in line for text in known) for line in failures), failures


def rows_of(
    pipeline: Pipeline, tables: Sequence[Table] = TaskBuilder.tables
) -> dict[str, list[object]]:
    """All rows of the days there are, in order."""
    return {
        table.name: pipeline.warehouse.query(
            f"SELECT * FROM dataset.{table.name} WHERE submission_date >= '2018-01-01' "
            f"ORDER BY {', '.join(table.key)}"
        ).to_pylist()
        for table in tables
    }
