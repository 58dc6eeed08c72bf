"""What rows a day's definitions become."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxci_assets.archive.definitions import DEFINITION_SCHEMA, Definition
from fxci_assets.day_rows import DayRows
from fxci_assets.tables import TASK_DEFINITIONS, arrow_schema
from fxci_assets.taskcluster import definitions
from fxci_assets.taskcluster.definitions import (
    DefinitionsOfDay,
    day_created,
    defined_task,
    definition_row,
)
from fxci_assets.taskcluster.messages import Unusable
from fxci_assets_tests.definitions import FETCHED, definition
from fxci_assets_tests.events import DAY, FIRST_DAY, GROUP, NEXT_DAY, body, task_id

TASK = task_id(1)
LATER = FETCHED + dt.timedelta(minutes=1)
Row = dict[str, object]


class Built:
    """The rows of some definitions, for one day."""

    def __init__(self, parts: Sequence[Sequence[Definition]], day: dt.date = DAY) -> None:
        tables = [
            pa.Table.from_pylist([one._asdict() for one in part], DEFINITION_SCHEMA)
            for part in parts
        ]
        self.made: DayRows = DefinitionsOfDay(day, tables)
        schema = arrow_schema(TASK_DEFINITIONS)
        table = pa.Table.from_batches(self.made.batches(TASK_DEFINITIONS), schema)
        table.validate(full=True)
        self.rows: list[Row] = table.to_pylist()
        self.reasons = [event.reason for event in self.made.unusable]
        self.counts = {
            name: tally.count
            for name, tally in self.made.counts(TASK_DEFINITIONS).items()
            if tally.count
        }


def build(*bodies: bytes, day: dt.date = DAY) -> Built:
    """Of different tasks."""
    return Built([[Definition(task_id(n), FETCHED, b) for n, b in enumerate(bodies, 1)]], day)


def test_a_definition() -> None:
    built = build(
        definition(
            dependencies=[GROUP],
            routes=["index.a", "index.b"],
            scopes=["queue:a"],
            extra={"treeherder": {"tier": 1}},
        )
    )
    assert built.rows == [
        {
            "taskId": TASK,
            "submission_date": DAY,
            "created": dt.datetime(2026, 4, 13, 10, 0, 0, 123000, dt.UTC),
            "deadline": dt.datetime(2026, 4, 14, 10, 0, 0, 123000, dt.UTC),
            "expires": dt.datetime(2027, 4, 13, 10, 0, 0, 123000, dt.UTC),
            "dependencies": [GROUP],
            "routes": ["index.a", "index.b"],
            "scopes": ["queue:a"],
            "extra": '{"treeherder": {"tier": 1}}',
            "metadata": (
                '{"name": "a task", "description": "does nothing", '
                '"owner": "user1@example.com", "source": "https://example.com/"}'
            ),
            "payload": '{"command": ["true"]}',
            "tags": '{"kind": "test"}',
            "priority": "low",
            "projectId": "gecko",
            "provisionerId": "gecko-t",
            "requires": "all-completed",
            "schedulerId": "gecko-level-1",
            "taskGroupId": GROUP,
            "taskQueueId": "gecko-t/t-linux",
            "workerType": "t-linux",
            "retries": 5,
        }
    ]
    assert (built.reasons, built.counts, built.made.staged(TASK_DEFINITIONS)) == ([], {}, 1)
    assert built.made.first_event == built.made.last_event == built.rows[0]["created"]


def test_json_is_the_text_that_was_answered() -> None:
    payload = b'{"n" :1.10,"big":12345678901234567890123, "e":1E2, "\\u00e9":"\xc3\xa9\\u0000"}'
    content = definition().replace(b'{"command": ["true"]}', payload)
    [row] = build(content).rows
    assert row["payload"] == payload.decode()


@pytest.mark.parametrize(
    ("left_out", "default"),
    [
        ("projectId", "none"),
        ("schedulerId", "-"),
        ("taskGroupId", TASK),
        ("dependencies", []),
        ("requires", "all-completed"),
        ("routes", []),
        ("scopes", []),
        ("priority", "lowest"),
        ("retries", 5),
        ("tags", "{}"),
        ("extra", "{}"),
        ("expires", dt.datetime(2027, 4, 14, 10, 0, 0, 123000, dt.UTC)),
        ("taskQueueId", "gecko-t/t-linux"),
        ("provisionerId", "gecko-t"),
        ("workerType", "t-linux"),
    ],
)
def test_what_is_left_out_is_the_published_default(left_out: str, default: object) -> None:
    [row] = build(definition(without=(left_out,))).rows
    assert row[left_out] == default


def test_the_halves_of_a_task_queue_come_from_its_id_where_they_are_left_out() -> None:
    [row] = build(definition(without=("provisionerId", "workerType"), taskQueueId="a-b/c-d")).rows
    assert (row["provisionerId"], row["workerType"]) == ("a-b", "c-d")


def test_halves_that_are_not_those_of_the_id_stay_as_they_were_told() -> None:
    [row] = build(definition(taskQueueId="a/b", provisionerId="c", workerType="d")).rows
    assert (row["taskQueueId"], row["provisionerId"], row["workerType"]) == ("a/b", "c", "d")


@pytest.mark.parametrize(
    ("deadline", "expires"),
    [
        ("2028-02-29T10:00:00Z", dt.datetime(2029, 3, 1, 10, tzinfo=dt.UTC)),
        ("2027-02-28T23:00:00-02:00", dt.datetime(2028, 3, 1, 1, tzinfo=dt.UTC)),
    ],
)
def test_a_year_after_the_deadline_is_as_the_queue_reckons(
    deadline: str, expires: dt.datetime
) -> None:
    [row] = build(definition(without=("expires",), deadline=deadline)).rows
    assert row["expires"] == expires


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "unreadable"),
        (definition()[:-1], "unreadable"),
        (definition().replace(b"a task", b"\xff"), "unreadable"),
        (definition(payload={"x": "\ud800"}), "unreadable"),
        (b"[]", "not-an-object"),
        (definition(without=("payload",)), "definition-incomplete"),
        (definition(without=("metadata",)), "definition-incomplete"),
        (definition(without=("deadline",)), "definition-incomplete"),
        (definition(without=("taskQueueId", "workerType")), "definition-incomplete"),
        (definition(taskQueueId="noslash"), "definition-incomplete"),
        (definition(payload=None), "definition-incomplete"),
        (definition(extra=[]), "definition-incomplete"),
        (definition(tags="x"), "definition-incomplete"),
        (definition(scopes=[None]), "definition-incomplete"),
        (definition(routes="x"), "definition-incomplete"),
        (definition(retries=-1), "definition-incomplete"),
        (definition(retries="5"), "definition-incomplete"),
        (definition(retries=2**63), "definition-incomplete"),
        (definition(deadline="soon"), "definition-incomplete"),
        (definition(deadline="2026-04-14T10:00:00"), "definition-incomplete"),
        (definition(expires="9999-12-31T23:59:59-14:00"), "definition-incomplete"),
        (
            definition(without=("expires",), deadline="9999-12-31T23:59:59Z"),
            "definition-incomplete",
        ),
        (definition("2026-04-14T00:00:00Z"), "created-on-another-day"),
    ],
)
def test_one_that_cannot_be_used_is_set_aside_and_counted(content: bytes, reason: str) -> None:
    built = build(definition(), content, definition())
    assert [row["taskId"] for row in built.rows] == [task_id(1), task_id(3)]
    [event] = built.made.unusable
    assert (event.reason, event.body, event.routing_key) == (reason, content, task_id(2))
    assert (event.exchange, event.received_at) == ("taskcluster-queue/task-definition", FETCHED)
    assert built.counts == {"unusable_definitions": 1}


def test_one_that_is_too_large_for_a_row_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    large = definition(payload={"x": "y" * 10_000})
    monkeypatch.setattr(definitions, "MOST_BYTES", len(large) - 1)
    built = build(large, definition())
    assert [row["taskId"] for row in built.rows] == [task_id(2)]
    assert (built.reasons, built.counts) == (["definition-too-large"], {"definitions_too_large": 1})


def test_one_of_nine_megabytes_is_stored() -> None:
    built = build(definition(payload={"x": "y" * 9_500_000}), definition())
    assert [len(str(row["payload"])) > 9_500_000 for row in built.rows] == [True, False]


@pytest.mark.parametrize(
    ("levels", "reasons"),
    [(499, []), (500, []), (501, ["definition-too-deep"]), (100_000, ["definition-too-deep"])],
)
def test_json_may_have_as_many_levels_as_bigquery_takes(levels: int, reasons: list[str]) -> None:
    text = b'{"a":' * levels + b'"[{\\"[{"' + b"}" * levels
    built = build(definition().replace(b'{"command": ["true"]}', text))
    assert built.reasons == reasons


@pytest.mark.parametrize("name", ["payload", "extra", "metadata", "tags"])
def test_json_may_have_no_number_that_bigquery_refuses(name: str) -> None:
    fields: dict[str, Any] = {name: {"n": [7]}}
    refused = definition(**fields).replace(b"[7]", b"[1e999]")
    built = build(refused, definition())
    assert [row["taskId"] for row in built.rows] == [task_id(2)]
    assert built.reasons == ["definition-unstorable"]
    assert built.counts == {"definitions_too_large": 1}


@pytest.mark.parametrize(
    "text", [b'"\\u0000"', b'{"a":1,"a":2}', b"1e308", b"0.1234567890123456789"]
)
def test_json_may_have_what_bigquery_takes_although_it_does_not_keep_all_of_it(text: bytes) -> None:
    content = definition().replace(b'["true"]', text)
    [row] = build(content).rows
    assert row["payload"] == f'{{"command": {text.decode()}}}'


def test_many_brackets_are_not_many_levels() -> None:
    wide = {"list": [{"[": ["]"]} for _ in range(1_000)], "text": '[{"\\' * 1_000}
    assert build(definition(payload=wide)).reasons == []


def test_of_two_fetches_the_first_wins_and_a_changed_priority_is_no_conflict() -> None:
    first = Definition(TASK, FETCHED, definition(priority="low"))
    later = Definition(TASK, LATER, definition(priority="highest"))
    for parts in ([[first, later]], [[later, first]], [[later], [first]]):
        built = Built(parts)
        assert [row["priority"] for row in built.rows] == ["low"]
        assert (built.counts, built.made.staged(TASK_DEFINITIONS)) == ({}, 2)


def test_two_that_differ_in_more_are_counted() -> None:
    first = Definition(TASK, FETCHED, definition(retries=1))
    later = Definition(TASK, LATER, definition(retries=2))
    built = Built([[later, Definition(task_id(2), LATER, definition())], [first]])
    assert [(row["taskId"], row["retries"]) for row in built.rows] == [(TASK, 1), (task_id(2), 5)]
    assert built.counts == {"conflicting_definitions": 1}
    assert built.made.counts(TASK_DEFINITIONS)["conflicting_definitions"].examples == [TASK]


def test_one_that_can_be_used_is_preferred_to_one_that_was_fetched_before() -> None:
    bad = Definition(TASK, FETCHED, definition(without=("payload",)))
    good = Definition(TASK, LATER, definition())
    built = Built([[bad, good]])
    assert (len(built.rows), built.reasons) == (1, ["definition-incomplete"])


def test_the_first_and_the_last_that_was_created() -> None:
    made = build(*(definition(f"2026-04-13T{hour:02}:00:00Z") for hour in (10, 9, 12, 11))).made
    assert made.first_event == dt.datetime(2026, 4, 13, 9, tzinfo=dt.UTC)
    assert made.last_event == dt.datetime(2026, 4, 13, 12, tzinfo=dt.UTC)


def test_a_day_without_definitions() -> None:
    assert Built([]).rows == Built([[]]).rows == []


@pytest.mark.parametrize(("rows", "size"), [(7, 10**6), (10**6, 3_000)])
def test_more_than_are_taken_into_memory_at_a_time(
    monkeypatch: pytest.MonkeyPatch, rows: int, size: int
) -> None:
    monkeypatch.setattr(definitions, "_PART_ROWS", rows)
    monkeypatch.setattr(definitions, "_PART_BYTES", size)
    numbers = list(range(100))
    random.Random(1).shuffle(numbers)
    built = Built(
        [[Definition(task_id(n), FETCHED, definition()) for n in numbers[i::3]] for i in range(3)]
    )
    assert [row["taskId"] for row in built.rows] == [task_id(n) for n in range(100)]
    assert all(len(batch) <= 7 for batch in built.made.batches(TASK_DEFINITIONS))


class TestTheDayItIsFiledUnder:
    def day(self, content: bytes) -> dt.date:
        return day_created(content, FETCHED, FIRST_DAY)

    def test_is_the_utc_day_of_its_creation(self) -> None:
        assert self.day(definition()) == DAY
        assert self.day(definition("2026-04-13T23:00:00-02:00")) == NEXT_DAY
        assert self.day(definition("2026-04-14T12:00:00Z")) == NEXT_DAY
        assert self.day(definition("2026-04-01T00:00:00Z")) == FIRST_DAY

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "unreadable"),
            (b'{"x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "definition-too-deep"),
            (b'"x"', "not-an-object"),
            (b"{}", "created-unreadable"),
            (b'{"created": "yesterday"}', "created-unreadable"),
            (b'{"created": "2026-04-13T10:00:00"}', "created-unreadable"),
            (b'{"created": "0001-01-01T00:00:00+14:00"}', "created-unreadable"),
            (b'{"created": "2026-03-31T23:59:59Z"}', "created-before-first-partition"),
            (b'{"created": "2026-04-14T12:00:01Z"}', "created-in-the-future"),
        ],
    )
    def test_is_none(self, content: bytes, reason: str) -> None:
        with pytest.raises(Unusable, match=f"^{reason}$"):
            self.day(content)


class TestTheTaskThatAMessageIsAbout:
    def test_is_named_by_its_status(self) -> None:
        assert defined_task(body(TASK, [])) == TASK
        assert defined_task(b'{"status": {"taskId": "%s"}, "task": [7]}' % TASK.encode()) == TASK

    @pytest.mark.parametrize(
        "content", [b'{"status": []}', body("../etc", []), body("", []), b"{}"]
    )
    def test_is_none(self, content: bytes) -> None:
        with pytest.raises(Unusable, match="task-id-invalid"):
            defined_task(content)


def test_real_definitions() -> None:
    data = os.environ.get("FXCI_SAMPLE_DATA")
    if not data:
        pytest.skip("FXCI_SAMPLE_DATA does not name the folder of sample data")
    lines = (Path(data) / "taskcluster" / "task_definitions.ndjson").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert len(entries) == 120
    for entry in entries:
        task: Mapping[str, object] = entry["task"]
        content = json.dumps(task).encode()
        day = day_created(content, FETCHED, dt.date(2018, 1, 1))
        row = dict(
            zip(
                arrow_schema(TASK_DEFINITIONS).names,
                definition_row(entry["taskId"], content, day),
                strict=True,
            )
        )
        assert row["taskQueueId"] == f"{task['provisionerId']}/{task['workerType']}"
        assert row["projectId"] == "none"
        for name in ("payload", "extra", "metadata", "tags"):
            assert json.loads(str(row[name])) == task[name]
        for name in ("dependencies", "routes", "scopes", "priority", "retries", "schedulerId"):
            assert row[name] == task[name]
        for name in ("created", "deadline", "expires"):
            assert row[name] == dt.datetime.fromisoformat(str(task[name]))


# Any order, repetition and batching of the same answers gives the same rows: of each task the
# definition that can be used and was fetched first.

_fetched = st.builds(
    Definition,
    st.sampled_from([task_id(1), task_id(2), "ATask000QAK0000000003A"]),
    st.sampled_from([FETCHED, LATER]),
    st.sampled_from(
        [
            definition(),
            definition(priority="high"),
            definition(retries=9),
            definition("2026-04-14T00:00:00Z"),
            definition(payload=None),
            b"[]",
        ]
    ),
)


def is_usable(content: bytes) -> bool:
    said = json.loads(content)
    return bool(said) and bool(said["payload"]) and said["created"].startswith("2026-04-13")


def expected(fetched: Sequence[Definition]) -> list[tuple[str, object, object]]:
    """Task, priority and retries, slowly."""
    chosen: dict[str, Definition] = {}
    for one in sorted(fetched, key=lambda one: (one.fetched_at, one.body), reverse=True):
        if is_usable(one.body):
            chosen[one.task_id] = one
    said = {id: json.loads(chosen[id].body) for id in sorted(chosen)}
    return [(id, said[id]["priority"], said[id]["retries"]) for id in said]


def conflicts(fetched: Sequence[Definition]) -> int:
    retries: dict[str, set[int]] = {}
    for one in fetched:
        if is_usable(one.body):
            retries.setdefault(one.task_id, set()).add(json.loads(one.body)["retries"])
    return sum(len(found) > 1 for found in retries.values())


@settings(max_examples=150, deadline=None)
@given(fetched=st.lists(_fetched, max_size=8), data=st.data())
def test_any_order_repetition_and_batching_gives_the_same_rows(
    fetched: list[Definition], data: st.DataObject
) -> None:
    repeats = data.draw(st.lists(st.sampled_from(fetched), max_size=4)) if fetched else []
    shuffled = data.draw(st.permutations(fetched + repeats))
    cut = data.draw(st.integers(0, len(shuffled)))
    built = Built([shuffled[:cut], shuffled[cut:]])
    found = [(row["taskId"], row["priority"], row["retries"]) for row in built.rows]
    assert found == expected(fetched)
    assert built.counts.get("conflicting_definitions", 0) == conflicts(fetched)
    assert len(built.reasons) == sum(not is_usable(one.body) for one in shuffled)
