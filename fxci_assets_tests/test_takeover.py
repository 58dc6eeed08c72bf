"""Taking over from another job: every row of before is there once, and no key twice."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fxci_assets import sql, takeover
from fxci_assets.archive import Archive
from fxci_assets.archive.baseline import Attempt
from fxci_assets.archive.store import LocalStore
from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.pipeline import Pipeline, Refused
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.pulse import Message
from fxci_assets.settings import BigQuery, Settings
from fxci_assets.tables import TASK_RUNS, TASKS, Table, arrow_schema
from fxci_assets.takeover import Takeover
from fxci_assets_tests.events import RECEIVED, body, message, run, task_id
from fxci_assets_tests.old_job import old_run, old_task
from fxci_assets_tests.pulse import MemoryPulse
from fxci_assets_tests.test_pipeline import make_pipeline

TODAY = RECEIVED.date()
"""2026-04-14: the day of the first drain."""

FLOOR = TODAY - dt.timedelta(days=7)
NAMES = sql.names(Settings(bigquery=BigQuery(project="project", dataset="dataset")))


def ago(days: int, time: str = "12:00") -> dt.datetime:
    at = dt.time.fromisoformat(time)
    return dt.datetime.combine(TODAY - dt.timedelta(days=days), at, dt.UTC)


class OldJob:
    """What the job of before left in the tables, by the day on which it processed it."""

    def __init__(self, warehouse: LocalWarehouse) -> None:
        self._warehouse = warehouse

    def left(self, table: Table, days_ago: int, *rows: dict[str, object]) -> None:
        day = TODAY - dt.timedelta(days=days_ago)
        of_day = [row | {table.partition_column: day} for row in rows]
        batch = pa.RecordBatch.from_pylist(of_day, arrow_schema(table))
        self._warehouse.write_partition(table, day, [batch])


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    made = make_pipeline(tmp_path, lambda: RECEIVED)
    views = sql.views(NAMES)
    warehouse = LocalWarehouse(tmp_path / "warehouse", "project", "dataset", views=views)
    return dataclasses.replace(made, warehouse=warehouse)


@pytest.fixture
def old(pipeline: Pipeline) -> OldJob:
    assert isinstance(pipeline.warehouse, LocalWarehouse)
    return OldJob(pipeline.warehouse)


def take_over(pipeline: Pipeline, today: dt.date = TODAY) -> dt.date:
    clock = dt.datetime.combine(today, dt.time(6), dt.UTC)
    dataclasses.replace(of(pipeline), clock=lambda: clock).run()
    floor = pipeline.archive.baseline.floor()
    assert floor is not None
    return floor


def is_due(pipeline: Pipeline) -> bool:
    return of(pipeline).is_due()


def of(pipeline: Pipeline, bucket: LocalStore | None = None) -> Takeover:
    """The takeover of a pipeline, with the files of the old job in a bucket."""
    none = LocalStore(Path("/nowhere"))
    return Takeover(
        pipeline.archive,
        pipeline.warehouse,
        bucket or none,
        NAMES,
        pipeline.first_day,
        pipeline.clock,
    )


def drain(pipeline: Pipeline, *messages: Message) -> None:
    pipeline.drain(MemoryPulse(messages))
    pipeline.rebuild_stale()


def rows(pipeline: Pipeline, table: Table) -> list[dict[str, object]]:
    """All rows there are, by key."""
    found = pipeline.warehouse.query(
        f"SELECT * FROM fxci.{table.view} WHERE submission_date > '2020-01-01'"
    )
    order = [(name, "ascending") for name in table.key]
    listed: list[dict[str, object]] = found.sort_by(order).to_pylist()
    return listed


def runs(pipeline: Pipeline) -> list[tuple[object, object, object, object]]:
    """Task, run, day and who told it."""
    return [
        (row["task_id"], row["run_id"], row["submission_date"], row["reason_created"])
        for row in rows(pipeline, TASK_RUNS)
    ]


def days_ago(days: int) -> dt.date:
    return TODAY - dt.timedelta(days=days)


def test_a_row_is_kept_under_the_day_on_which_it_happened(pipeline: Pipeline, old: OldJob) -> None:
    # Processed two days after it was resolved, and long after it was resolved.
    old.left(TASK_RUNS, 1, old_run(1, ago(3)), old_run(2, ago(30)), old_run(3, ago(1)))
    old.left(TASKS, 1, old_task(1), old_task(2), old_task(3))
    assert take_over(pipeline) == FLOOR
    pipeline.rebuild_stale()
    assert runs(pipeline) == [
        (task_id(1), 0, days_ago(3), "the old job"),
        (task_id(2), 0, FLOOR, "the old job"),
        (task_id(3), 0, days_ago(1), "the old job"),
    ]
    assert [(row["task_id"], row["submission_date"]) for row in rows(pipeline, TASKS)] == [
        (task_id(1), days_ago(3)),
        (task_id(2), FLOOR),
        (task_id(3), days_ago(1)),
    ]


def test_a_task_whose_first_run_is_not_taken_over_stays_on_its_day(
    pipeline: Pipeline, old: OldJob
) -> None:
    old.left(TASK_RUNS, 9, old_run(1, ago(9)))
    old.left(TASK_RUNS, 2, old_run(1, ago(2), run_id=1))
    old.left(TASKS, 2, old_task(1))
    take_over(pipeline)
    pipeline.rebuild_stale()
    assert [row["submission_date"] for row in rows(pipeline, TASKS)] == [days_ago(2)]


def test_a_repeated_row_is_there_once(pipeline: Pipeline, old: OldJob) -> None:
    old.left(TASK_RUNS, 2, old_run(1, ago(2)), old_run(1, ago(2)))
    old.left(TASK_RUNS, 1, old_run(1, ago(2)))
    old.left(TASKS, 2, old_task(1))
    old.left(TASKS, 1, old_task(1))
    take_over(pipeline)
    pipeline.rebuild_stale()
    assert len(rows(pipeline, TASK_RUNS)) == len(rows(pipeline, TASKS)) == 1


def test_messages_win_by_key_and_the_other_rows_stay(pipeline: Pipeline, old: OldJob) -> None:
    old.left(TASK_RUNS, 1, *(old_run(number, ago(1)) for number in range(1, 9)))
    old.left(TASKS, 1, *(old_task(number) for number in range(1, 9)))
    take_over(pipeline)
    told = [1, 4, 8, 20]
    drain(
        pipeline,
        *(
            message(body(task_id(number), [run(0, f"{ago(1):%Y-%m-%dT%H:%M:%SZ}")], {"kind": "x"}))
            for number in told
        ),
    )
    assert [(task, who) for task, _, _, who in runs(pipeline)] == sorted(
        [(task_id(n), "scheduled") for n in told]
        + [(task_id(n), "the old job") for n in (2, 3, 5, 6, 7)]
    )
    assert [row["task_id"] for row in rows(pipeline, TASKS)] == sorted(
        task_id(n) for n in (*range(1, 9), 20)
    )


def test_late_messages_on_both_sides_of_the_floor(pipeline: Pipeline, old: OldJob) -> None:
    """A run resolved before the floor is kept and never built; its old partition is not touched."""
    before = FLOOR - dt.timedelta(days=1)
    old.left(TASK_RUNS, 8, old_run(1, ago(8)), old_run(2, ago(8)))
    old.left(TASK_RUNS, 7, old_run(3, ago(8, "23:59")))
    take_over(pipeline)
    early = message(body(task_id(2), [run(0, f"{before}T23:59:59.999Z")], {"kind": "x"}))
    report = pipeline.drain(
        MemoryPulse(
            [early, message(body(task_id(4), [run(0, f"{FLOOR}T00:00:00Z")], {"kind": "x"}))]
        )
    )
    assert report.describe().endswith(
        "; the queues are empty; 1 tell of days before 2026-04-07, which are not built"
    )
    pipeline.rebuild_stale()
    assert runs(pipeline) == [
        (task_id(1), 0, before, "the old job"),
        (task_id(2), 0, before, "the old job"),
        (task_id(3), 0, FLOOR, "the old job"),
        (task_id(4), 0, FLOOR, "scheduled"),
    ]
    assert pipeline.archive.events.days() == [before, FLOOR]
    assert pipeline.stale() == []
    with pytest.raises(Refused, match=f"{before} is before {FLOOR}"):
        pipeline.rebuild(TaskBuilder.tables, before)


def test_without_a_takeover_a_complete_day_would_shrink(pipeline: Pipeline, old: OldJob) -> None:
    """What it is for."""
    old.left(TASK_RUNS, 1, *(old_run(number, ago(1)) for number in range(1, 9)))
    late = message(body(task_id(20), [run(0, f"{ago(1):%Y-%m-%dT%H:%M:%SZ}")], {"kind": "x"}))
    drain(pipeline, late)
    assert len(runs(pipeline)) == 1


def test_who_comes_back_takes_over_anew_into_another_archive(
    pipeline: Pipeline, old: OldJob, tmp_path: Path
) -> None:
    """As docs/migrating.md says: the same archive knows nothing of what came in between."""
    take_over(pipeline)
    old.left(TASK_RUNS, 1, *(old_run(number, ago(1)) for number in range(1, 9)))
    assert not is_due(pipeline)
    archive = Archive.over(LocalStore(tmp_path / "another"), "project.dataset")
    back = dataclasses.replace(pipeline, archive=archive)
    assert is_due(back)
    take_over(back)
    late = message(body(task_id(20), [run(0, f"{ago(1):%Y-%m-%dT%H:%M:%SZ}")], {"kind": "x"}))
    drain(back, late)
    assert len(runs(back)) == 9


class Crash(Exception):
    """The process is gone."""


def crash_at(archive: Archive, step: int) -> Archive:
    """The archive, whose n-th write of the takeover never happens."""
    left = iter(range(step, -1, -1))

    class Dying(LocalStore):
        def create(self, path: str, data: bytes) -> None:
            self._step()
            super().create(path, data)

        def replace(self, path: str, data: bytes) -> None:
            self._step()
            super().replace(path, data)

        def _step(self) -> None:
            if next(left) == 0:
                raise Crash

    store = archive.baseline._store
    assert isinstance(store, LocalStore)
    return Archive.over(Dying(store._root), "project.dataset")


@pytest.mark.parametrize("step", range(6))
def test_a_takeover_that_is_broken_off_begins_again_with_the_same_days(
    pipeline: Pipeline, old: OldJob, step: int
) -> None:
    old.left(TASK_RUNS, 7, old_run(1, ago(7)))
    old.left(TASK_RUNS, 1, old_run(2, ago(1)), old_run(3, ago(4)))
    old.left(TASKS, 1, old_task(2))
    assert is_due(pipeline)
    dying = dataclasses.replace(pipeline, archive=crash_at(pipeline.archive, step))
    with pytest.raises(Crash):
        take_over(dying)
    assert is_due(pipeline)
    assert pipeline.archive.baseline.floor() is None
    # What was kept so far is not built.
    assert all(not pipeline.archive.baseline.files(t, days_ago(1)) for t in TaskBuilder.tables)
    tomorrow = TODAY + dt.timedelta(days=1)
    again = take_over(pipeline, tomorrow)
    assert again == (FLOOR if step else FLOOR + dt.timedelta(days=1))
    assert not is_due(pipeline)
    pipeline.rebuild_stale()
    assert [task for task, *_ in runs(pipeline)] == sorted([task_id(n) for n in (1, 2, 3)])


def test_one_that_is_taken_up_much_later_keeps_what_the_old_job_did_meanwhile(
    pipeline: Pipeline, old: OldJob
) -> None:
    """It failed, and the old job was set again for ten days."""
    pipeline.archive.baseline.begin(TODAY)
    old.left(TASK_RUNS, 0, old_run(1, ago(0, "01:00")))
    old.left(TASK_RUNS, -9, *(old_run(number, ago(-9)) for number in (2, 3, 4)))
    later = TODAY + dt.timedelta(days=10)
    clock = dt.datetime.combine(later, dt.time(6), dt.UTC)
    then = dataclasses.replace(pipeline, clock=lambda: clock)
    assert take_over(then, later) == FLOOR
    late = message(body(task_id(4), [run(0, f"{ago(-9):%Y-%m-%dT%H:%M:%SZ}")], {"kind": "x"}))
    source = MemoryPulse([late])
    source.received_at = clock
    then.drain(source)
    then.rebuild_stale()
    assert [(task, who) for task, _, _, who in runs(then)] == [
        (task_id(1), "the old job"),
        (task_id(2), "the old job"),
        (task_id(3), "the old job"),
        (task_id(4), "scheduled"),
    ]


def test_no_row_is_kept_before_the_first_day(pipeline: Pipeline, old: OldJob) -> None:
    """Under which no day is built, so that it would be lost."""
    started = dataclasses.replace(pipeline, first_day=days_ago(2))
    old.left(TASK_RUNS, 1, old_run(1, ago(3)), old_run(2, ago(1)))
    assert take_over(started) == days_ago(2)
    started.rebuild_stale()
    assert [(task, day) for task, _, day, _ in runs(started)] == [
        (task_id(1), days_ago(2)),
        (task_id(2), days_ago(1)),
    ]


def test_of_two_at_once_the_first_says_where_the_floor_is(
    pipeline: Pipeline, old: OldJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other finds in the tables is what was built since."""
    assert take_over(pipeline) == dt.date.min
    old.left(TASK_RUNS, 1, old_run(1, ago(1)))
    monkeypatch.setattr(Takeover, "is_due", lambda self: True)  # as it was when it began
    assert take_over(pipeline) == dt.date.min
    assert pipeline.archive.baseline.files(TASK_RUNS, days_ago(1)) == []


def test_many_rows_are_kept_in_files_of_some_size(
    pipeline: Pipeline, old: OldJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "_FILE_BYTES", 1)
    monkeypatch.setattr(
        LocalWarehouse,
        "stream",
        lambda self, *of: (self.query(*of).slice(n, 7) for n in range(0, 43, 7)),
    )
    numbers = [11, 3, 38, *range(40)]  # some twice, and in no order
    old.left(TASK_RUNS, 1, *(old_run(number, ago(1)) for number in numbers))
    take_over(pipeline)
    files = pipeline.archive.baseline.files(TASK_RUNS, days_ago(1))
    assert len(files) == 1 + 7  # one says that the day is to be built anew
    drain(
        pipeline, message(body(task_id(8), [run(0, f"{ago(1):%Y-%m-%dT%H:%M:%SZ}")], {"kind": "x"}))
    )
    assert [(task, who) for task, _, _, who in runs(pipeline)] == [
        (task_id(n), "scheduled" if n == 8 else "the old job") for n in range(40)
    ]


class TestATableOfTheOldJob:
    def test_that_is_not_there_may_be_misspelt(self, pipeline: Pipeline, old: OldJob) -> None:
        class Missing(LocalWarehouse):
            def exists(self, table: Table) -> bool:
                return table != TASKS

        warehouse = Missing(Path("/nowhere"), "project", "dataset")
        there = dataclasses.replace(of(pipeline), warehouse=warehouse)
        misspelt = dataclasses.replace(
            there, names={**NAMES, TASKS.name: "project.dataset.task_v2"}
        )
        with pytest.raises(
            takeover.TakeoverError,
            match=r"there is no table project\.dataset\.task_v2, and there is "
            r"project\.dataset\.task_runs_v1: check the name in FXCI_ETL_BIGQUERY_TABLES_",
        ):
            misspelt.run()
        assert misspelt.is_due()

    def test_that_has_rows_without_what_is_required_is_named(
        self, pipeline: Pipeline, old: OldJob, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may be laxer than it should be, and is then written to all the same."""
        old.left(TASK_RUNS, 1, old_run(1, ago(1)))
        query = LocalWarehouse.query

        def without(self: LocalWarehouse, *of: Any, **options: Any) -> pa.Table:  # noqa: ANN401
            rows = query(self, *of, **options)
            index = rows.column_names.index("scheduled")
            return rows.set_column(index, "scheduled", pa.nulls(len(rows), rows["scheduled"].type))

        monkeypatch.setattr(LocalWarehouse, "query", without)
        with pytest.raises(
            takeover.TakeoverError,
            match=r"dataset\.task_runs_v1 of 2026-04-13 has 1 rows without scheduled, which is",
        ):
            take_over(pipeline)
        assert is_due(pipeline)


def test_an_archive_in_use_is_not_taken_over(pipeline: Pipeline) -> None:
    assert is_due(pipeline)
    drain(pipeline, message(body(task_id(1), [run(0)], {"kind": "x"})))
    assert not is_due(pipeline)


# --- what the old job could not store -------------------------------------------------------------


def failed(root: Path, *bodies: bytes) -> LocalStore:
    entries = [{"data": json.loads(content)} for content in bodies]
    (root / "bucket").mkdir()
    (root / "bucket" / takeover.FAILED_EVENTS).write_text(json.dumps(entries))
    return LocalStore(root / "bucket")


def test_its_failed_messages_are_filed_and_left_in_place(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    bucket = failed(
        tmp_path,
        body(task_id(1), [run(0)], {"kind": "x"}, {"state": "completed"}),
        body(task_id(2), [run(0, state="failed")], {"kind": "x"}, {"state": "failed"}),
        body(task_id(3), [run(0, state="exception")], {"kind": "x"}, {"state": "exception"}),
        b'{"no": "message"}',
    )
    for _ in range(2):
        takeover.import_failed_events(pipeline.archive, bucket, pipeline.first_day, pipeline.clock)
        assert [item.reason for item in pipeline.in_quarantine()] == ["no-status"]
        pipeline.rebuild_stale()
        assert [task for task, *_ in runs(pipeline)] == sorted(task_id(n) for n in (1, 2, 3))
    exchanges = {
        exchange.rpartition("/")[2]
        for exchange in _exchanges(pipeline.archive, TODAY - dt.timedelta(days=1))
    }
    assert exchanges == {"task-completed", "task-failed", "task-exception"}
    assert bucket.files("") == [takeover.FAILED_EVENTS]


def test_a_task_whose_run_it_could_not_store_is_there_once(
    pipeline: Pipeline, old: OldJob, tmp_path: Path
) -> None:
    """It had stored the task's row, on the next day; which day that is of, only the run tells."""
    old.left(TASKS, 0, old_task(1), old_task(2))
    bucket = failed(
        tmp_path,
        body(task_id(1), [run(0, "2026-04-13T23:55:00Z")], {"kind": "x"}, {"state": "completed"}),
    )
    of(pipeline, bucket).run()
    pipeline.rebuild_stale()
    assert [(row["task_id"], row["submission_date"]) for row in rows(pipeline, TASKS)] == [
        (task_id(1), days_ago(1)),
        (task_id(2), days_ago(0)),  # of this one nothing better is known
    ]


def test_what_an_attempt_has_left_is_forgotten(
    pipeline: Pipeline, old: OldJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old job went on, and somebody mended its rows."""
    old.left(TASK_RUNS, 2, old_run(1, ago(3)), old_run(2, ago(2)))
    with monkeypatch.context() as failing:
        failing.setattr(Attempt, "finish", lambda self, floor: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            take_over(pipeline)
    old.left(TASK_RUNS, 2, old_run(1, ago(4)))
    take_over(pipeline)
    pipeline.rebuild_stale()
    assert [(task, day) for task, _, day, _ in runs(pipeline)] == [(task_id(1), days_ago(4))]


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(body(task_id(1), [run(0, "2026-04-01T10:00:00Z")]), id="before the floor"),
        pytest.param(body(task_id(1), [run(0)], status={"schedulerId": None}), id="incomplete"),
        pytest.param(body(task_id(1), [run(0, state="running")]), id="not resolved"),
    ],
)
def test_a_message_of_which_no_row_is_made_is_no_better_than_a_guess(
    pipeline: Pipeline, old: OldJob, told: bytes
) -> None:
    old.left(TASKS, 1, old_task(1))
    pipeline.drain(MemoryPulse([message(told)]))
    take_over(pipeline)
    pipeline.rebuild_stale()
    assert [row["task_id"] for row in rows(pipeline, TASKS)] == [task_id(1)]


def test_a_task_that_came_again_is_there_once(pipeline: Pipeline, old: OldJob) -> None:
    """The old job died before it had stored the run, and had acknowledged nothing."""
    old.left(TASKS, 0, old_task(1))
    pipeline.drain(MemoryPulse([message(body(task_id(1), [run(0)], {"kind": "x"}))]))
    take_over(pipeline)
    pipeline.rebuild_stale()
    assert [(row["task_id"], row["submission_date"]) for row in rows(pipeline, TASKS)] == [
        (task_id(1), days_ago(1))
    ]


def test_a_task_without_a_run_in_two_partitions_is_there_once(
    pipeline: Pipeline, old: OldJob
) -> None:
    old.left(TASKS, 2, old_task(1))
    old.left(TASKS, 1, old_task(1))
    take_over(pipeline)
    pipeline.rebuild_stale()
    assert [row["submission_date"] for row in rows(pipeline, TASKS)] == [days_ago(1)]


def test_nothing_is_taken_over_before_the_first_day(pipeline: Pipeline, old: OldJob) -> None:
    old.left(TASK_RUNS, 0, old_run(1, ago(0, "01:00")))
    early = dataclasses.replace(of(pipeline), first_day=TODAY + dt.timedelta(days=1))
    with pytest.raises(takeover.TakeoverError, match=r"2026-04-15 \(FXCI_START_DATE\), is still"):
        early.run()
    assert early.is_due()


def _exchanges(archive: Archive, day: dt.date) -> Iterable[str]:
    for part in archive.events.read(day, archive.events.files(day)):
        yield from part["exchange"].to_pylist()


def test_no_file_of_failed_messages_is_nothing_to_do(pipeline: Pipeline, tmp_path: Path) -> None:
    takeover.import_failed_events(
        pipeline.archive, LocalStore(tmp_path / "bucket"), pipeline.first_day, pipeline.clock
    )
    assert pipeline.archive.events.days() == []


def test_a_file_of_failed_messages_that_cannot_be_read_is_named(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    (tmp_path / takeover.FAILED_EVENTS).write_text('{"data": 1}')
    with pytest.raises(takeover.TakeoverError, match=f"{takeover.FAILED_EVENTS} is not a list"):
        takeover.import_failed_events(
            pipeline.archive, LocalStore(tmp_path), pipeline.first_day, pipeline.clock
        )
