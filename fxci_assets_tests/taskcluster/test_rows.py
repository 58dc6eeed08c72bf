"""What rows a day's messages become."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.tables import TASK_RUNS, TASKS, Table, arrow_schema
from fxci_assets.taskcluster.filing import file_event
from fxci_assets.taskcluster.parsing import normalise_tag_name
from fxci_assets.taskcluster.rows import TaskTables
from fxci_assets_tests.events import (
    DAY,
    FIRST_DAY,
    GROUP,
    NEXT_DAY,
    RECEIVED,
    body,
    events,
    run,
    task_id,
)

TASK = task_id(1)
Row = dict[str, object]


class Built:
    """The tables of some messages, for one day."""

    def __init__(self, parts: Sequence[pa.Table], day: dt.date = DAY) -> None:
        self.tables = TaskTables(day, lambda: parts, TaskBuilder.tables)
        self.runs = self._rows(TASK_RUNS)
        self.tasks = self._rows(TASKS)
        self.reasons = sorted(event.reason for event in self.tables.unusable)

    def _rows(self, table: Table) -> list[Row]:
        batches = list(self.tables.batches(table))
        rows: list[Row] = pa.Table.from_batches(batches, arrow_schema(table)).to_pylist()
        return rows

    def count(self, table: Table, name: str) -> int:
        return self.tables.counts(table)[name].count


def build(*bodies: bytes, day: dt.date = DAY) -> Built:
    return Built([events(*bodies)], day)


def tags(task: Row) -> dict[str, str]:
    """The tags that are set."""
    given = task["tags"]
    assert isinstance(given, dict)
    return {name: value for name, value in given.items() if value is not None}


def test_a_completed_task() -> None:
    built = build(body(TASK, [run()], {"createdForUser": "user1@example.com", "kind": "test"}))
    assert built.runs == [
        {
            "task_id": TASK,
            "run_id": 0,
            "reason_created": "scheduled",
            "reason_resolved": "completed",
            "resolved": dt.datetime(2026, 4, 13, 10, 0, 0, 123000, dt.UTC),
            "scheduled": dt.datetime(2026, 4, 13, 9, tzinfo=dt.UTC),
            "started": dt.datetime(2026, 4, 13, 9, 1, tzinfo=dt.UTC),
            "state": "completed",
            "submission_date": DAY,
            "worker_group": "us-central1-b",
            "worker_id": "7732042218797547089",
        }
    ]
    [task] = built.tasks
    assert tags(task) == {"created_for_user": "user1@example.com", "kind": "test"}
    assert {name: value for name, value in task.items() if name != "tags"} == {
        "scheduler_id": "gecko-level-1",
        "submission_date": DAY,
        "task_group_id": GROUP,
        "task_id": TASK,
        "task_queue_id": "gecko-t/t-linux",
    }


def test_a_run_is_the_runs_own_never_the_messages() -> None:
    content = body(TASK, [run()], runId=7, workerGroup="elsewhere", workerId="another")
    [row] = build(content).runs
    assert (row["run_id"], row["worker_group"]) == (0, "us-central1-b")


def test_a_deadline_that_passed_before_a_run_started_has_no_worker() -> None:
    never_started = run(
        state="exception", reasonResolved="deadline-exceeded", started=None,
        workerGroup=None, workerId=None,
    )  # fmt: skip
    [row] = build(body(TASK, [never_started])).runs
    assert (row["started"], row["worker_group"], row["worker_id"]) == (None, None, None)


def test_each_run_lies_on_the_day_it_resolved_and_the_task_on_that_of_run_0() -> None:
    content = body(TASK, [run(0), run(1, "2026-04-14T00:00:00.000Z")], {"kind": "test"})
    first, second = build(content), build(content, day=NEXT_DAY)
    assert [row["run_id"] for row in first.runs] == [0]
    assert [row["run_id"] for row in second.runs] == [1]
    assert [row["task_id"] for row in first.tasks] == [TASK]
    assert second.tasks == []


def test_a_run_whose_own_message_never_came_is_recovered_from_a_later_one() -> None:
    later = body(TASK, [run(0, state="exception", reasonResolved="worker-shutdown"), run(1)])
    assert [row["run_id"] for row in build(later).runs] == [0, 1]


def test_repeats_disappear() -> None:
    content = body(TASK, [run()], {"kind": "test"})
    built = Built([events(content, content), events(content)])
    assert (len(built.runs), len(built.tasks)) == (1, 1)
    assert built.tables.staged(TASK_RUNS) == 3
    assert built.count(TASK_RUNS, "conflicting_runs") == 0


def test_of_two_messages_that_differ_the_one_with_more_runs_wins_and_is_counted() -> None:
    short = body(TASK, [run(0, reasonResolved="zzz")], {"kind": "short"})
    long = body(TASK, [run(0), run(1, None)], {"kind": "long"})
    for order in ((short, long), (long, short)):
        built = build(*order)
        assert [row["reason_resolved"] for row in built.runs] == ["completed"]
        assert [tags(task) for task in built.tasks] == [{"kind": "long"}]
        assert built.count(TASK_RUNS, "conflicting_runs") == 1
        assert built.tables.counts(TASK_RUNS)["conflicting_runs"].examples == [f"{TASK}/0"]


def test_of_two_that_have_seen_as_much_the_greater_body_wins() -> None:
    one = body(TASK, [run(0, workerId="1")])
    two = body(TASK, [run(0, workerId="2")])
    for order in ((one, two), (two, one)):
        assert [row["worker_id"] for row in build(*order).runs] == ["2"]


def test_a_conflict_about_one_task_leaves_its_neighbours_alone() -> None:
    others = [body(task_id(n), [run()], {"kind": "test"}) for n in range(2, 30)]
    one, two = body(TASK, [run(workerId="1")]), body(TASK, [run(workerId="2")])
    built = build(one, *others, two)
    assert [row["task_id"] for row in built.runs] == [task_id(n) for n in range(1, 30)]
    assert [row["task_id"] for row in built.tasks] == [task_id(n) for n in range(1, 30)]


def test_tags_come_from_a_message_that_has_any() -> None:
    cancelled = body(TASK, [run(), run(1)], {})
    tagged = body(TASK, [run()], {"kind": "test"})
    built = build(cancelled, tagged)
    assert [tags(task) for task in built.tasks] == [{"kind": "test"}]
    assert built.count(TASKS, "tasks_without_tags") == 0
    assert built.count(TASKS, "conflicting_tasks") == 0


@pytest.mark.parametrize("given_tags", [None, {}])
def test_a_task_without_tags_is_kept_and_counted(given_tags: dict[str, object] | None) -> None:
    built = build(body(TASK, [run()], given_tags))
    assert [tags(task) for task in built.tasks] == [{}]
    assert built.tables.counts(TASKS)["tasks_without_tags"].examples == [TASK]


def test_a_task_whose_tags_are_all_unknown_is_not_one_without_tags() -> None:
    built = build(body(TASK, [run()], {"retrigger": "true"}))
    assert [tags(task) for task in built.tasks] == [{}]
    assert built.count(TASKS, "tasks_without_tags") == 0


def test_messages_of_before_2021_have_no_task_queue_id() -> None:
    old = body(TASK, [run()], status={"taskQueueId": None})
    assert [task["task_queue_id"] for task in build(old).tasks] == ["gecko-t/t-linux"]


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("createdForUser", "created_for_user"),
        ("trust-domain", "trust_domain"),
        ("test suite", "test_suite"),
        ("OS", "o_s"),
        ("Kind", "kind"),
        ("test_variant", "test_variant"),
        ("test-Variant", "test__variant"),
    ],
)
def test_normalising_a_tag_name(name: str, normal: str) -> None:
    assert normalise_tag_name(name) == normal


@pytest.mark.parametrize(
    ("given_tags", "project"),
    [
        ({"Project": "smaller original", "project": "snake case"}, "snake case"),
        ({"trustDomain": "T", "trust-domain": "-"}, None),
    ],
)
def test_if_two_names_collide_snake_case_wins(
    given_tags: dict[str, object], project: str | None
) -> None:
    [task] = build(body(TASK, [run()], given_tags)).tasks
    assert tags(task).get("project") == project


def test_if_two_names_collide_and_neither_is_snake_case_the_smaller_wins() -> None:
    [task] = build(body(TASK, [run()], {"trustDomain": "T", "trust-domain": "-"})).tasks
    assert tags(task)["trust_domain"] == "-"


def test_a_tag_that_is_no_string_is_null_and_the_message_set_aside() -> None:
    content = body(TASK, [run()], {"kind": 5, "label": "a", "retrigger": 1})
    built = build(content)
    assert [tags(task) for task in built.tasks] == [{"label": "a"}]
    assert len(built.runs) == 1
    [event] = built.tables.unusable
    assert (event.reason, event.body) == ("tag-not-a-string", content)


def test_an_unknown_tag_that_is_no_string_is_nobodys_business() -> None:
    built = build(body(TASK, [run()], {"kind": "a", "retrigger": 1}))
    assert [tags(task) for task in built.tasks] == [{"kind": "a"}]
    assert built.reasons == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (run(1, scheduled=None), "run-unreadable"),
        (run(1, scheduled="soon"), "run-unreadable"),
        (run(1, started=3), "run-unreadable"),
        (run(1) | {"runId": None}, "run-unreadable"),
        (run(1) | {"runId": -1}, "run-unreadable"),
        (run(1) | {"runId": 2**63}, "run-unreadable"),
        (run(1, workerId=["a"]), "run-unreadable"),
        (run(1, scheduled="0001-01-01T00:00:00+14:00"), "run-unreadable"),
        (run(1, started="9999-12-31T23:59:59-14:00"), "run-unreadable"),
    ],
)
def test_a_run_that_cannot_be_used_sets_the_message_aside_and_its_others_are_used(
    bad: Row, reason: str
) -> None:
    built = build(body(TASK, [run(0), bad], {"kind": "a"}))
    assert [row["run_id"] for row in built.runs] == [0]
    assert len(built.tasks) == 1
    assert built.reasons == [reason]


@pytest.mark.parametrize(
    "status",
    [
        {"schedulerId": None},
        {"taskGroupId": 7},
        {"taskQueueId": None, "workerType": None},
        {"taskQueueId": 7},
        {"taskQueueId": "noslash"},
    ],
)
def test_a_task_that_lacks_a_required_column_keeps_its_runs(status: Row) -> None:
    built = build(body(TASK, [run()], {"kind": "a"}, status))
    assert (len(built.runs), built.tasks, built.reasons) == (1, [], ["task-incomplete"])


def test_a_task_part_that_is_null_is_none_at_all() -> None:
    built = build(body(TASK, [run(), run(1, None, started=3)], task=None))
    assert (len(built.tasks), built.reasons) == (1, [])


@pytest.mark.parametrize("task", [[], "x", {"tags": "x"}, {"tags": ["x"]}])
def test_a_task_part_that_is_unreadable_keeps_the_rows(task: object) -> None:
    built = build(body(TASK, [run()], task=task))
    assert (len(built.runs), len(built.tasks)) == (1, 1)
    assert built.reasons == ["task-unreadable"]


@pytest.mark.parametrize("id", ["../etc", f"{TASK}\n", "", TASK[:-1]])
def test_a_task_id_that_is_none_sets_the_message_aside(id: str) -> None:
    built = build(body(id, [run()]))
    assert (built.runs, built.reasons) == ([], ["task-id-invalid"])


def test_task_defined_messages_are_no_rows() -> None:
    built = Built([events(body(TASK, [run()]), name="task-defined")])
    assert (built.runs, built.tasks) == ([], [])


def test_one_table_alone() -> None:
    content = events(body(TASK, [run()], {"kind": "a"}))
    tables = TaskTables(DAY, lambda: [content], [TASKS])
    assert len(list(tables.batches(TASKS))) == 1
    assert list(tables.batches(TASK_RUNS)) == []


def test_a_day_without_messages() -> None:
    built = Built([])
    assert (built.runs, built.tasks) == ([], [])


def test_more_rows_than_are_kept_unsorted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxci_assets.taskcluster.staging._RUN_ROWS", 10)
    numbers = list(range(100))
    random.Random(1).shuffle(numbers)
    parts = [events(*(body(task_id(n), [run()]) for n in numbers[i::7])) for i in range(7)]
    built = Built(parts)
    assert [row["task_id"] for row in built.runs] == [task_id(n) for n in range(100)]


# Any order, repetition and batching of a set of messages gives the same tables: held against
# tables.md read literally, message by message.

_ids = st.sampled_from([task_id(1), task_id(2), "ATask000QAK0000000003A"])
_run_dicts = st.builds(
    lambda run_id, resolved, worker, state: run(
        run_id, resolved, workerId=worker, **({"state": state} if resolved else {})
    ),
    st.integers(0, 2),
    st.sampled_from(["2026-04-13T10:00:00.123Z", "2026-04-14T01:00:00Z", None, "bad"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["completed", "failed", "running"]),
)
_tags = st.none() | st.dictionaries(
    st.sampled_from(["kind", "Kind", "os", "test-suite", "testSuite", "retrigger"]),
    st.sampled_from(["x", "y"]) | st.just(3),
    max_size=2,
)
_bodies = st.lists(
    st.builds(
        lambda task, runs, tags_, group: body(task, runs, tags_, {"taskGroupId": group}),
        _ids,
        st.lists(_run_dicts, max_size=3),
        _tags,
        st.sampled_from([GROUP, task_id(9)]),
    ),
    max_size=8,
)


def normalised(given_tags: Row) -> Row:
    """The known tags of those used here; a name in snake case wins, else the smaller one."""
    known: Row = {}
    for name in sorted(given_tags, key=lambda n: (n != normalise_tag_name(n), n)):
        if normalise_tag_name(name) in ("kind", "os", "test_suite"):
            known.setdefault(normalise_tag_name(name), given_tags[name])
    return known


def resolved_on(entry: Row, day: dt.date) -> bool:
    if entry["state"] not in ("completed", "failed", "exception"):
        return False
    try:
        return dt.datetime.fromisoformat(str(entry["resolved"])).date() == day
    except (KeyError, ValueError):
        return False


def expected(bodies: Iterable[bytes], day: dt.date) -> tuple[list[Row], list[Row]]:
    """The rows as tables.md words it, slowly."""
    runs: dict[tuple[str, int], tuple[tuple[int, bool, bytes], Row]] = {}
    tasks: dict[str, tuple[tuple[int, bool, bytes], Row]] = {}
    task_tags: dict[str, tuple[tuple[int, bool, bytes], Row]] = {}
    for content in bodies:
        if day not in file_event(content, RECEIVED, FIRST_DAY).days:
            continue
        event = json.loads(content)
        status = event["status"]
        own = normalised((event.get("task") or {}).get("tags") or {})
        flawless = all(isinstance(value, str) for value in own.values())
        zero = any(r["runId"] == 0 and resolved_on(r, day) for r in status["runs"])
        rank = (len(status["runs"]), flawless or not zero, content)
        for entry in status["runs"]:
            if entry["state"] not in ("completed", "failed", "exception"):
                continue
            try:
                resolved = dt.datetime.fromisoformat(entry["resolved"])
            except (KeyError, ValueError):
                continue
            if resolved.date() != day:
                continue
            key = (status["taskId"], entry["runId"])
            if key not in runs or runs[key][0] <= rank:
                runs[key] = (rank, {"worker_id": entry["workerId"], "state": entry["state"]})
            if entry["runId"] == 0:
                if status["taskId"] not in tasks or tasks[status["taskId"]][0] <= rank:
                    tasks[status["taskId"]] = (rank, {"task_group_id": status["taskGroupId"]})
                given_tags = (event.get("task") or {}).get("tags") or {}
                known = normalised(given_tags)
                if given_tags and (
                    status["taskId"] not in task_tags or task_tags[status["taskId"]][0] <= rank
                ):
                    strings: Row = {n: v if isinstance(v, str) else None for n, v in known.items()}
                    task_tags[status["taskId"]] = (rank, strings)
    run_rows = [{"task_id": k[0], "run_id": k[1], **row} for k, (_, row) in sorted(runs.items())]
    task_rows = [
        {
            "task_id": k,
            **row,
            **{n: task_tags.get(k, (None, {}))[1].get(n) for n in ("kind", "os", "test_suite")},
        }
        for k, (_, row) in sorted(tasks.items())
    ]
    return run_rows, task_rows


@settings(max_examples=150, deadline=None)
@given(bodies=_bodies, data=st.data())
def test_any_order_repetition_and_batching_gives_the_same_tables(
    bodies: list[bytes], data: st.DataObject
) -> None:
    repeats = data.draw(st.lists(st.sampled_from(bodies), max_size=4)) if bodies else []
    shuffled = data.draw(st.permutations(bodies + repeats))
    cut = data.draw(st.integers(0, len(shuffled)))
    for day in (DAY, NEXT_DAY):
        built = Built([events(*shuffled[:cut]), events(*shuffled[cut:])], day)
        run_rows, task_rows = expected(bodies, day)
        names = ("task_id", "run_id", "worker_id", "state")
        assert [{name: row[name] for name in names} for row in built.runs] == run_rows
        found = [
            {
                "task_id": row["task_id"],
                "task_group_id": row["task_group_id"],
                **{name: tags(row).get(name) for name in ("kind", "os", "test_suite")},
            }
            for row in built.tasks
        ]
        assert found == task_rows
