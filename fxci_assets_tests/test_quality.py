"""Each check passes on good data, and on bad data fails and names the bad days."""

import datetime as dt
from collections.abc import Mapping

import pytest

from fxci_assets import quality
from fxci_assets.archive.quarantine import Accepted, Item, Replayed
from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.quality import Finding
from fxci_assets.tables import TASK_RUNS, TASKS, Column, Counted, Mode, Table
from fxci_assets_tests.dagster_instance import Project, completed
from fxci_assets_tests.events import DAY, FIRST_DAY, NEXT_DAY, RECEIVED, body, message, run, task_id

DAY_BEFORE = dt.date(2026, 4, 12)


def task_row(number: int, day: dt.date = DAY, **fields: object) -> dict[str, object]:
    return {
        "scheduler_id": "gecko-level-1",
        "submission_date": day,
        "task_group_id": task_id(0),
        "task_id": task_id(number),
        "task_queue_id": "gecko-t/t-linux",
        "tags": {},
    } | fields


def run_row(
    number: int, day: dt.date = DAY, run_id: int = 0, **fields: object
) -> dict[str, object]:
    noon = dt.datetime.combine(day, dt.time(12), dt.UTC)
    return {
        "task_id": task_id(number),
        "run_id": run_id,
        "resolved": noon,
        "scheduled": noon - dt.timedelta(hours=1),
        "state": "completed",
        "submission_date": day,
    } | fields


# --- keys -----------------------------------------------------------------------------------------


def test_keys_that_are_unique(project: Project) -> None:
    project.write(TASK_RUNS, DAY, run_row(1, run_id=0), run_row(2))
    project.write(TASK_RUNS, NEXT_DAY, run_row(1, NEXT_DAY, run_id=1))
    finding = quality.key_is_unique(project.pipeline, TASK_RUNS, DAY, NEXT_DAY)
    assert finding == Finding(
        True, "0 keys of task_runs_v1 are repeated on 2026-04-13 to 2026-04-14, also across days"
    )


def test_a_key_that_is_repeated_on_another_day(project: Project) -> None:
    project.write(TASKS, DAY_BEFORE, task_row(3, DAY_BEFORE))
    project.write(TASKS, DAY, task_row(1), task_row(2))
    project.write(TASKS, NEXT_DAY, task_row(1, NEXT_DAY))
    finding = quality.key_is_unique(project.pipeline, TASKS, DAY_BEFORE, NEXT_DAY)
    assert finding == Finding(
        False,
        "1 keys of tasks_v2 are repeated on 2026-04-12 to 2026-04-14, also across days",
        [
            {
                "task_id": task_id(1),
                "number_of_rows": 2,
                "first_day": DAY,
                "last_day": NEXT_DAY,
            }
        ],
        [DAY, NEXT_DAY],
    )


def test_a_key_that_is_repeated_within_its_day(project: Project) -> None:
    project.write(TASK_RUNS, DAY, run_row(1), run_row(1, state="failed"))
    finding = quality.key_is_unique(project.pipeline, TASK_RUNS, DAY, DAY)
    assert (finding.passed, finding.days) == (False, [DAY])


def test_no_more_than_twenty_cases_are_named_and_all_are_counted(project: Project) -> None:
    project.write(TASKS, DAY, *(task_row(n) for n in range(25)), *(task_row(n) for n in range(25)))
    finding = quality.key_is_unique(project.pipeline, TASKS, DAY, DAY)
    assert finding.summary.startswith("25 keys of tasks_v2 are repeated")
    assert [case["task_id"] for case in finding.cases] == [task_id(n) for n in range(20)]


# --- domains --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        ({"state": "lost"}, "state IN ('completed', 'failed', 'exception')"),
        ({"run_id": -1}, "run_id >= 0"),
        (
            {"resolved": dt.datetime(2026, 4, 14, tzinfo=dt.UTC)},
            "DATE(resolved) = submission_date",
        ),
    ],
)
def test_a_run_outside_of_its_domain(
    project: Project, fields: dict[str, object], condition: str
) -> None:
    project.write(TASK_RUNS, DAY_BEFORE, run_row(1, DAY_BEFORE))
    project.write(TASK_RUNS, DAY, run_row(2), run_row(3) | fields, run_row(4) | fields)
    finding = quality.values_are_in_their_domain(project.pipeline, TASK_RUNS, DAY_BEFORE, DAY)
    assert finding == Finding(
        False,
        "1 conditions on task_runs_v1 are broken on 2026-04-12 to 2026-04-13",
        [{"day": DAY, "condition": condition, "rows": 2}],
        [DAY],
    )


@pytest.mark.parametrize(
    "fields", [{"task_id": "not-a-slugid"}, {"task_queue_id": "no-provisioner"}]
)
def test_a_task_outside_of_its_domain(project: Project, fields: dict[str, object]) -> None:
    project.write(TASKS, DAY, task_row(1), task_row(2) | fields)
    finding = quality.values_are_in_their_domain(project.pipeline, TASKS, DAY, DAY)
    [name] = fields
    [case] = finding.cases
    assert str(case["condition"]).startswith(f"REGEXP_CONTAINS({name}, ")
    assert (finding.passed, finding.days, case["rows"]) == (False, [DAY], 1)


@pytest.mark.parametrize(
    ("table", "row"), [(TASKS, task_row(1)), (TASK_RUNS, run_row(1))], ids=["tasks", "runs"]
)
def test_rows_in_their_domain(project: Project, table: Table, row: Mapping[str, object]) -> None:
    project.write(table, DAY, row)
    finding = quality.values_are_in_their_domain(project.pipeline, table, DAY, DAY)
    assert (finding.passed, finding.cases, finding.days) == (True, [], [])


def test_a_domain_lets_null_pass_where_the_column_is_nullable() -> None:
    cases = (
        (Mode.NULLABLE, ("a", "b"), "(size IS NULL OR size IN ('a', 'b'))"),
        (Mode.REQUIRED, ("a", "b"), "size IN ('a', 'b')"),
        (Mode.REQUIRED, (), "size IS NOT NULL"),
    )
    for mode, allowed, expected in cases:
        column = Column("size", "STRING", mode, "A size.", allowed=allowed)
        table = Table("t", "t", "T", "T.", (column,), ("size",), "day", (), "g", frozenset())
        assert quality.conditions(table) == {"size": expected}


def test_many_keys_leave_room_for_conditions(project: Project) -> None:
    project.write(TASK_RUNS, DAY, *[run_row(n, state="lost") for n in range(25)] * 2)
    finding = quality.rows_are_valid(project.pipeline, TASK_RUNS, [DAY])
    assert (len(finding.cases), finding.cases[0]["rows"]) == (20, 50)


def test_rows_are_valid_tells_of_keys_and_of_values(project: Project) -> None:
    project.write(TASK_RUNS, DAY, run_row(1, state="lost"), run_row(1, state="lost"))
    finding = quality.rows_are_valid(project.pipeline, TASK_RUNS, [DAY])
    assert finding.summary == (
        "1 keys of task_runs_v1 are repeated on 2026-04-13, also across days; "
        "1 conditions on task_runs_v1 are broken on 2026-04-13"
    )
    assert (finding.passed, len(finding.cases), finding.days) == (False, 2, [DAY])


# --- between tables -------------------------------------------------------------------------------


def test_tasks_that_match_runs(project: Project) -> None:
    project.write(TASKS, DAY, task_row(1))
    # A retry on the next day is another run of the same task.
    project.write(TASK_RUNS, DAY, run_row(1))
    project.write(TASK_RUNS, NEXT_DAY, run_row(1, NEXT_DAY, run_id=1))
    assert quality.tasks_match_runs(project.pipeline, DAY, NEXT_DAY).passed


def test_tasks_that_do_not_match_runs(project: Project) -> None:
    project.write(TASKS, DAY_BEFORE, task_row(1, DAY_BEFORE))
    project.write(TASK_RUNS, DAY_BEFORE, run_row(1, DAY_BEFORE))
    project.write(TASKS, DAY, task_row(2), task_row(3), task_row(4))
    project.write(TASK_RUNS, DAY, run_row(4), run_row(5))
    project.write(TASK_RUNS, NEXT_DAY, run_row(6, NEXT_DAY))
    finding = quality.tasks_match_runs(project.pipeline, DAY_BEFORE, NEXT_DAY)
    assert finding == Finding(
        False,
        "run 0 and task differ on 2 of the days 2026-04-12 to 2026-04-14",
        [
            {"day": DAY, "runs_without_task": 1, "tasks_without_run": 2},
            {"day": NEXT_DAY, "runs_without_task": 1, "tasks_without_run": 0},
        ],
        [DAY, NEXT_DAY],
    )


@pytest.mark.parametrize(("exceptions", "passed"), [(1, True), (2, False)])
def test_exceptions_may_be_a_tenth_of_a_day(
    project: Project, exceptions: int, passed: bool
) -> None:
    states = ["exception"] * exceptions + ["failed"] * (10 - exceptions)
    project.write(TASK_RUNS, DAY, *(run_row(n, state=state) for n, state in enumerate(states)))
    project.write(TASK_RUNS, NEXT_DAY, *(run_row(n, NEXT_DAY) for n in range(10, 40)))
    finding = quality.exceptions_are_few(project.pipeline, DAY, NEXT_DAY, 0.1)
    assert finding.passed is passed
    assert finding.days == ([] if passed else [DAY])
    assert finding.cases == (
        [] if passed else [{"submission_date": DAY, "runs": 10, "exceptions": 2, "share": 0.2}]
    )


# --- what a build counts --------------------------------------------------------------------------


def counted(table: Table, name: str) -> Counted:
    return next(one for one in table.counted if one.name == name)


def test_runs_that_messages_tell_differently(project: Project) -> None:
    project.drain(completed(1), completed(2), message(body(task_id(2), [run(0, state="failed")])))
    project.drain(completed(3, "2026-04-14T01:00:00Z"))
    project.pipeline.rebuild_stale()
    what = counted(TASK_RUNS, "conflicting_runs")
    finding = quality.nothing_was_counted(project.pipeline, TASK_RUNS, what, DAY, NEXT_DAY)
    assert finding == Finding(
        False,
        "Runs that messages tell differently, although a resolved run never changes. 1 on "
        "2026-04-13 to 2026-04-14.",
        [{"day": DAY, "case": f"{task_id(2)}/0"}],
        [DAY],
    )
    later = quality.nothing_was_counted(project.pipeline, TASK_RUNS, what, NEXT_DAY, NEXT_DAY)
    assert later.passed


def test_the_records_of_other_days_are_not_read(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.drain(completed(1))
    project.pipeline.rebuild_stale()
    [record] = (project.root / "sandbox/archive/built").glob(f"*/task_runs_v1/{DAY}")
    record.write_bytes(b"damaged")
    what = counted(TASK_RUNS, "conflicting_runs")
    assert quality.nothing_was_counted(project.pipeline, TASK_RUNS, what, DAY, DAY).passed
    assert "is damaged" in caplog.text
    caplog.clear()
    assert quality.nothing_was_counted(project.pipeline, TASK_RUNS, what, NEXT_DAY, NEXT_DAY).passed
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("name", "unusual"),
    [
        ("tasks_without_tags", [body(task_id(2), [run()])]),
        (
            "conflicting_tasks",
            [
                body(task_id(2), [run()], {"kind": "test"}, {"schedulerId": scheduler})
                for scheduler in ("gecko-level-1", "gecko-level-3")
            ],
        ),
    ],
)
def test_tasks_that_are_counted(project: Project, name: str, unusual: list[bytes]) -> None:
    what = counted(TASKS, name)
    project.drain(completed(1))
    project.pipeline.rebuild_stale()
    assert quality.nothing_was_counted(project.pipeline, TASKS, what, DAY, NEXT_DAY).passed
    project.drain(*(message(content) for content in unusual))
    project.pipeline.rebuild_stale()
    finding = quality.nothing_was_counted(project.pipeline, TASKS, what, DAY, NEXT_DAY)
    assert (finding.passed, finding.days) == (False, [DAY])
    assert finding.cases == [{"day": DAY, "case": task_id(2)}]


def test_the_tables_of_messages_count_what_their_specs_say_and_nothing_else(
    project: Project,
) -> None:
    builder, archive = TaskBuilder(), project.pipeline.archive
    inputs = builder.resolve(archive, DAY)
    built = builder.build(archive, DAY, inputs, builder.tables)
    for table in builder.tables:
        assert list(built.batches(table)) == []
        assert set(built.counts(table)) == {one.name for one in table.counted}


# --- the data, the archive and the queues ---------------------------------------------------------


def test_data_is_recent(project: Project) -> None:
    most = dt.timedelta(hours=2)
    assert quality.data_is_recent(project.pipeline, most) == Finding(
        False, "task_runs_v1 has no rows"
    )
    project.write(TASK_RUNS, DAY, run_row(1))
    project.write(TASK_RUNS, NEXT_DAY)  # an empty drain makes no data recent
    project.now = dt.datetime(2026, 4, 13, 14, tzinfo=dt.UTC)
    assert quality.data_is_recent(project.pipeline, most) == Finding(
        True, "the newest run was resolved at 2026-04-13 12:00:00 UTC, 120 minutes ago"
    )
    project.now += dt.timedelta(minutes=1)
    assert not quality.data_is_recent(project.pipeline, most).passed


def quarantined(project: Project, number: int, age: dt.timedelta) -> Item:
    at = project.now - age
    item = Item("unreadable", "exchange/x", "primary.#", at, b"{%d" % number, at)
    project.pipeline.archive.quarantine.add([item])
    return item


def test_quarantine_is_quiet_up_to_its_bound(project: Project) -> None:
    for number in range(3):
        quarantined(project, number, dt.timedelta(hours=23))
    quarantined(project, 3, dt.timedelta(hours=25))
    assert quality.quarantine_is_quiet(project.pipeline, FIRST_DAY, 3).passed
    assert quality.quarantine_is_quiet(project.pipeline, FIRST_DAY, 2) == Finding(
        False,
        "3 messages came to quarantine within 24 hours and are still there; up to 2 are expected",
        [{"reason": "unreadable", "messages": 3}],
    )


def test_what_was_replayed_or_accepted_does_not_count(project: Project) -> None:
    quarantine = project.pipeline.archive.quarantine
    replayed, accepted = (quarantined(project, n, dt.timedelta(hours=1)) for n in (1, 2))
    assert not quality.quarantine_is_quiet(project.pipeline, FIRST_DAY, 1).passed
    quarantine.mark_replayed(replayed.id, Replayed(project.now, True))
    assert quality.quarantine_is_quiet(project.pipeline, FIRST_DAY, 1).passed
    assert not quality.quarantine_is_quiet(project.pipeline, FIRST_DAY, 0).passed
    quarantine.accept(accepted.id, Accepted(project.now, "a test of ours"))
    assert quality.quarantine_is_quiet(project.pipeline, FIRST_DAY, 0).passed


def test_what_a_build_finds_today_in_an_old_message_counts(project: Project) -> None:
    received = project.now - dt.timedelta(days=10)
    item = Item("run-unreadable", "exchange/x", "primary.#", received, b"{}", project.now)
    project.pipeline.archive.quarantine.add([item])
    assert not quality.quarantine_is_quiet(project.pipeline, FIRST_DAY, 0).passed


def test_a_gap_is_open_until_it_is_closed(project: Project) -> None:
    assert quality.no_gap_is_open(project.pipeline).passed
    project.drain()
    project.now += dt.timedelta(minutes=20)
    project.pulse.missing.append("queue/test/task-failed")
    project.drain()
    assert quality.no_gap_is_open(project.pipeline) == Finding(
        False,
        "1 gaps are open: a queue was gone, and what was published meanwhile is missing; run "
        "fxci-etl repair, which fills and closes them",
        [{"gap": "queue/test/task-failed@2026-04-14T06:00:00.000000Z", "until": project.now}],
        [RECEIVED.date()],
    )
    queues = project.pipeline.archive.queues
    [gap] = queues.open_gaps()
    queues.close_gap(gap, project.now, "nothing failed then")
    assert quality.no_gap_is_open(project.pipeline).passed
