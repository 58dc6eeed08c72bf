"""Under which days a message is filed, and what keeps it from being filed."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxci_assets.taskcluster.filing import file_definition, file_event
from fxci_assets_tests.events import DAY, FIRST_DAY, NEXT_DAY, RECEIVED, body, run, task_id

TASK = task_id(1)


def test_a_message_is_filed_under_the_day_its_run_resolved() -> None:
    filing = file_event(body(TASK, [run()]), RECEIVED, FIRST_DAY)
    assert dict(filing.days) == {DAY: [dt.datetime(2026, 4, 13, 10, 0, 0, 123000, dt.UTC)]}
    assert filing.reasons == ()


def test_the_day_is_that_of_utc() -> None:
    filing = file_event(
        body(TASK, [run(resolved="2026-04-13T20:00:00-05:00")]), RECEIVED, FIRST_DAY
    )
    assert set(filing.days) == {NEXT_DAY}


def test_a_message_is_filed_under_each_day_on_which_a_run_resolved() -> None:
    runs = [run(0), run(1, "2026-04-14T00:00:00.000Z"), run(2, None)]
    filing = file_event(body(TASK, runs), RECEIVED, FIRST_DAY)
    assert set(filing.days) == {DAY, NEXT_DAY}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "unreadable"),
        (b'{"status": {"taskId": "x"', "unreadable"),
        (b"\xff\xfe", "unreadable"),
        (b"[" * 100_000, "unreadable"),
        (b'{"status":{"taskId":"\\ud800","runs":[]}}', "unreadable"),
        (b"[]", "not-an-object"),
        (b"17", "not-an-object"),
        (b"{}", "no-status"),
        (b'{"status": []}', "no-status"),
        (b'{"status": {"runs": []}}', "no-task-id"),
        (b'{"status": {"taskId": 3, "runs": []}}', "no-task-id"),
        (b'{"status": {"taskId": "x", "runs": {}}}', "runs-unreadable"),
        (b'{"status": {"taskId": "x", "runs": [7]}}', "runs-unreadable"),
        (body(TASK, []), "no-resolved-run"),
        (body(TASK, [run(0, None)]), "no-resolved-run"),
        (body(TASK, [run(0, None, state="completed")]), "resolved-missing"),
        (body(TASK, [run(0, "yesterday")]), "resolved-unreadable"),
        (body(TASK, [run(0, "2026-04-13T10:00:00")]), "resolved-unreadable"),
        (body(TASK, [run(0, 1776074400)]), "resolved-unreadable"),
        (body(TASK, [run(0, "1970-01-01T00:00:00.000Z")]), "resolved-before-first-partition"),
        (body(TASK, [run(0, "0001-01-01T00:00:00+05:00")]), "resolved-before-first-partition"),
        (body(TASK, [run(0, "2026-04-15T06:00:00.001Z")]), "resolved-in-the-future"),
        (body(TASK, [run(0, "9999-12-31T23:59:59-05:00")]), "resolved-in-the-future"),
    ],
)
def test_what_cannot_be_filed_has_a_reason(content: bytes, reason: str) -> None:
    filing = file_event(content, RECEIVED, FIRST_DAY)
    assert dict(filing.days) == {}
    assert filing.reasons == (reason,)


def test_the_first_partition_and_a_day_ahead_are_still_possible() -> None:
    runs = [run(0, "2026-04-01T00:00:00.000Z"), run(1, "2026-04-15T06:00:00.000Z")]
    filing = file_event(body(TASK, runs), RECEIVED, FIRST_DAY)
    assert set(filing.days) == {FIRST_DAY, dt.date(2026, 4, 15)}
    assert filing.reasons == ()


def test_one_bad_run_does_not_cost_the_good_one() -> None:
    runs = [run(0), run(1, "1970-01-01T00:00:00Z"), run(2, "nonsense"), 7, run(4, None)]
    filing = file_event(body(TASK, runs), RECEIVED, FIRST_DAY)
    assert set(filing.days) == {DAY}
    assert set(filing.reasons) == {
        "resolved-before-first-partition",
        "resolved-unreadable",
        "runs-unreadable",
    }


def test_a_definition_is_filed_under_its_day_of_receipt() -> None:
    filing = file_definition(body(TASK, []), RECEIVED)
    assert dict(filing.days) == {NEXT_DAY: ()}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"{", "unreadable"), (b"[]", "not-an-object"), (b'{"status": {}}', "no-task-id")],
)
def test_a_definition_without_a_task_id_cannot_be_filed(content: bytes, reason: str) -> None:
    assert file_definition(content, RECEIVED).reasons == (reason,)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_runs = st.lists(
    _json
    | st.fixed_dictionaries(
        {},
        optional={
            "runId": _json | st.integers(0, 5),
            "state": _json | st.sampled_from(["completed", "failed", "pending"]),
            "resolved": _json | st.datetimes().map(lambda at: f"{at.isoformat()}Z"),
        },
    ),
    max_size=3,
)


@given(st.binary() | _json.map(lambda c: json.dumps(c).encode()))
def test_anything_is_filed_or_has_a_reason(content: bytes) -> None:
    filing = file_event(content, RECEIVED, FIRST_DAY)
    assert filing.days or filing.reasons


@given(_json | _runs)
def test_any_runs_are_filed_or_have_a_reason(runs: object) -> None:
    content = json.dumps({"status": {"taskId": TASK, "runs": runs}}).encode()
    filing = file_event(content, RECEIVED, FIRST_DAY)
    assert filing.days or filing.reasons
    assert all(FIRST_DAY <= day <= dt.date(2026, 4, 15) for day in filing.days)
