"""The state of queues and builds survives as it was written."""

from __future__ import annotations

import datetime as dt

import pytest

from fxci_assets.archive import Archive
from fxci_assets.archive.records import Gap
from fxci_assets.archive.store import Store
from fxci_assets.freshness import Built, Tallied
from fxci_assets_tests.events import DAY, NEXT_DAY, RECEIVED

QUEUE = "queue/fxci/task-failed"


@pytest.fixture
def archive(store: Store) -> Archive:
    return Archive.over(store, "project.dataset")


def test_when_a_queue_was_drained(archive: Archive) -> None:
    assert archive.queues.drained(QUEUE) is None
    archive.queues.record_drained(QUEUE, RECEIVED)
    assert archive.queues.drained(QUEUE) == RECEIVED
    assert archive.queues.drained("queue/fxci/task-completed") is None


def test_a_gap_is_open_until_it_is_closed(archive: Archive) -> None:
    gap = Gap(QUEUE, RECEIVED, RECEIVED + dt.timedelta(hours=2))
    archive.queues.record_gap(gap)
    archive.queues.record_gap(gap)
    assert archive.queues.open_gaps() == [gap]
    archive.queues.close_gap(gap, gap.found_at, "repaired by hand")
    assert archive.queues.open_gaps() == []


def test_a_gap_that_is_found_again_after_it_was_closed_is_open_again(archive: Archive) -> None:
    gap = Gap(QUEUE, RECEIVED, RECEIVED + dt.timedelta(hours=2))
    archive.queues.record_gap(gap)
    archive.queues.close_gap(gap, gap.found_at, "repaired by hand")
    longer = Gap(QUEUE, RECEIVED, RECEIVED + dt.timedelta(hours=5))
    archive.queues.record_gap(longer)
    assert archive.queues.open_gaps() == [longer]


def test_what_is_not_ours_in_the_folders_is_passed_over(archive: Archive, store: Store) -> None:
    archive.builds.record("tasks_v2", DAY, Built("v", "d", 7, RECEIVED))
    folder = "built/project.dataset/tasks_v2"
    store.create(f"{folder}/.DS_Store", b"")
    store.create(f"{folder}/{NEXT_DAY}", b"")  # a record that was cut off
    store.create("pulse_events/.ipynb_checkpoints/x", b"")
    assert archive.builds.built_days("tasks_v2") == [DAY, NEXT_DAY]
    assert archive.builds.built("tasks_v2", NEXT_DAY) is None
    assert archive.events.days() == []


def test_builds_are_recorded_by_table_and_day(archive: Archive) -> None:
    built = Built("v", "d", 7, RECEIVED, {"conflicting_runs": Tallied(1, ("a/0",))})
    archive.builds.record("tasks_v2", DAY, built)
    assert archive.builds.built("tasks_v2", DAY) == built
    assert archive.builds.built("tasks_v2", NEXT_DAY) is None
    assert archive.builds.built("task_runs_v1", DAY) is None
    assert archive.builds.built_days("tasks_v2") == [DAY]


def test_a_look_at_many_days_sees_each_record_once_as_it_was(archive: Archive) -> None:
    first, second = Built("v", "d", 7, RECEIVED), Built("w", "e", 8, RECEIVED)
    look = archive.builds.remembering()
    archive.builds.record("tasks_v2", DAY, first)
    assert look.built("tasks_v2", DAY) == first
    archive.builds.record("tasks_v2", DAY, second)
    assert look.built("tasks_v2", DAY) == first
    assert look.remembering().built("tasks_v2", DAY) == first
    assert archive.builds.remembering().built("tasks_v2", DAY) == second


def test_builds_of_another_target_are_not_ours(archive: Archive, store: Store) -> None:
    archive.builds.record("tasks_v2", DAY, Built("v", "d", 7, RECEIVED))
    other = Archive.over(store, "project.shadow")
    assert other.builds.built("tasks_v2", DAY) is None


def test_marks_of_rebuilds_under_way(archive: Archive) -> None:
    mark = archive.builds.put_mark("tasks_v2", DAY, RECEIVED)
    other = archive.builds.put_mark("tasks_v2", DAY, RECEIVED)
    assert {m.id for m in archive.builds.marks("tasks_v2", DAY)} == {mark.id, other.id}
    archive.builds.remove_mark("tasks_v2", DAY, mark)
    archive.builds.remove_mark("tasks_v2", DAY, mark)
    assert archive.builds.marks("tasks_v2", DAY) == [other]
