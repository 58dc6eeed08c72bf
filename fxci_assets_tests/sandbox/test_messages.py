"""What the simulator publishes has the shape of the real messages, and their flaws."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fxci_assets.sandbox.firefox_ci import World
from fxci_assets.sandbox.messages import (
    BODY_FLAWS,
    RUN_FLAWS,
    Published,
    count_after,
    published,
    published_after,
)
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX, EXCHANGES

START = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
END = START + dt.timedelta(days=1)


@cache
def a_day() -> list[Published]:
    return list(published(World(seed=1, tasks_per_day=20_000), START, END))


@cache
def bodies() -> list[tuple[Published, dict[str, Any]]]:
    return [(m, json.loads(m.body)) for m in a_day() if m.flaw is None]


def name(message: Published) -> str:
    return message.exchange.removeprefix(EXCHANGE_PREFIX)


def test_messages_validate_against_the_published_schemas() -> None:
    data = os.environ.get("FXCI_SAMPLE_DATA")
    if not data:
        pytest.skip("FXCI_SAMPLE_DATA does not name the folder of sample data")
    for exchange in EXCHANGES:
        schema = json.loads((Path(data) / "schemas" / f"{exchange}-message.json").read_text())
        validator = jsonschema.Draft7Validator(schema)
        of_exchange = [body for message, body in bodies() if name(message) == exchange]
        assert len(of_exchange) > 300
        # A few hundred of each at regular distances, and all that have a history.
        chosen = of_exchange[:: max(1, len(of_exchange) // 400)]
        chosen += [body for body in of_exchange if len(body["status"]["runs"]) > 1][:400]
        for body in chosen:
            validator.validate(body)


def test_messages_come_in_time_order_and_within_the_asked_time() -> None:
    positions = [message.position for message in a_day()]

    assert positions == sorted(set(positions))
    assert all(START <= message.at < END for message in a_day())


def test_two_halves_are_the_whole_and_a_position_is_exact() -> None:
    world = World(1, 500)
    noon = START + dt.timedelta(hours=12, microseconds=1)
    whole = list(published(world, START, END))

    halves = [*published(world, START, noon), *published(world, noon, END)]
    after = whole[300].position

    assert [m.position for m in halves] == [m.position for m in whole]
    assert [m.body for m in published_after(world, after, END)] == [m.body for m in whole[301:]]
    assert sum(count_after(world, after, END).values()) == len(whole) - 301


def test_a_day_publishes_also_what_happens_to_tasks_of_the_days_before() -> None:
    created = Counter(message.position.day - START.date().toordinal() for message in a_day())

    assert {0, -1} <= set(created) <= {0, -1, -2}
    assert created[0] > 0.9 * len(a_day())


def test_the_resolving_messages_are_in_the_usual_proportions() -> None:
    counts = Counter(name(message) for message in a_day())
    resolving = counts.total() - counts["task-defined"]

    assert counts["task-completed"] / resolving == pytest.approx(0.90, abs=0.02)
    assert counts["task-failed"] / resolving == pytest.approx(0.07, abs=0.015)
    assert counts["task-exception"] / resolving == pytest.approx(0.03, abs=0.015)


def test_pulse_repeats_delays_and_loses_a_few() -> None:
    """Against a day of the world, of which every occurrence should have come once."""
    world = World(1, 6_000)
    expected = {
        (told.task.task_id, told.kind, told.run_id, told.at)
        for told in world.occurrences(START.date())
    }
    came = list(published(world, START, START + dt.timedelta(days=3)))
    first_seen: dict[tuple[str, str, int, int], list[Published]] = defaultdict(list)
    for message in came:
        told = message.occurrence
        if message.position.day == START.date().toordinal():
            first_seen[(told.task.task_id, told.kind, told.run_id, told.at)].append(message)
    repeats = [messages for messages in first_seen.values() if len(messages) > 1]
    late = [m for messages in first_seen.values() for m in messages[:1] if _delay(m) > 0]

    assert set(first_seen) <= expected
    assert 1 - len(first_seen) / len(expected) == pytest.approx(0.002, abs=0.0015)
    assert len(repeats) / len(expected) == pytest.approx(0.005, abs=0.002)
    assert len(late) / len(expected) == pytest.approx(0.003, abs=0.002)
    assert all(_delay(message) < 24 * 3600 for message in late)
    assert all(len({message.body for message in messages}) == 1 for messages in repeats)


def _delay(message: Published) -> float:
    return (message.position.at - message.occurrence.at) / 1000


def test_a_run_whose_own_message_never_came_is_named_by_a_later_one() -> None:
    own = {(m.occurrence.task.task_id, m.occurrence.run_id) for m in a_day()}
    named = {(run.task.task_id, run.run_id) for m in a_day() for run in m.usable_runs}

    assert named - own


def test_a_status_tells_what_was_known_at_that_moment() -> None:
    retried = 0
    for message, body in bodies():
        status, told = body["status"], message.occurrence
        if name(message) == "task-defined":
            assert (status["state"], status["runs"], "runId" in body) == ("unscheduled", [], False)
            continue
        *_, last = status["runs"]
        assert [run["runId"] for run in status["runs"]] == list(range(len(status["runs"])))
        if status["state"] == "pending":
            retried += 1
            assert name(message) == "task-exception"
            assert body["runId"] == last["runId"] - 1
            assert set(last) == {"runId", "state", "reasonCreated", "scheduled"}
            assert last["reasonCreated"] in ("retry", "task-retry")
        else:
            assert name(message) == f"task-{status['state']}" == f"task-{last['state']}"
            assert body["runId"] == last["runId"] == told.run_id
    assert retried > 50


def test_usable_runs_are_those_that_the_body_lists_as_resolved() -> None:
    for message, body in bodies():
        listed = [run["runId"] for run in body["status"]["runs"] if "resolved" in run]
        assert [run.run_id for run in message.usable_runs] == listed


def test_a_missed_deadline_names_no_worker_of_its_own() -> None:
    started = Counter[bool]()
    for message, body in bodies():
        run = body["status"]["runs"][body["runId"]] if "runId" in body else {}
        if run.get("reasonResolved") == "deadline-exceeded":
            started["started" in run] += 1
            assert "workerGroup" not in body
            assert "workerId" not in body
            assert f".{body['runId']}._._." in message.routing_key
            assert run["resolved"] >= body["status"]["deadline"]

    assert started[False] > 20
    assert started[True] > 0


def test_only_cancelled_tasks_have_no_tags() -> None:
    for message, body in bodies():
        run = body["status"]["runs"][body["runId"]] if "runId" in body else {}
        assert (body["task"] == {"tags": {}}) == (run.get("reasonResolved") == "canceled")
        if name(message) == "task-defined":
            assert body["task"]["tags"]["createdForUser"].endswith("@example.com")


def test_tags_have_the_names_that_the_real_ones_have() -> None:
    names = set(itertools.chain.from_iterable(body["task"]["tags"] for _, body in bodies()))

    assert names == {
        "createdForUser",
        "kind",
        "label",
        "os",
        "owned_by",
        "project",
        "trust-domain",
        "worker-implementation",
        "test-suite",
        "test-platform",
        "test-variant",
        "tests_grouped",  # the tables do not know these two
        "retrigger",
    }


def test_routing_keys_are_the_queues() -> None:
    for message, body in bodies():
        status = body["status"]
        assert message.routing_key.split(".") == [
            "primary",
            status["taskId"],
            str(body.get("runId", "_")),
            body.get("workerGroup", "_"),
            body.get("workerId", "_"),
            status["provisionerId"],
            status["workerType"],
            status["schedulerId"],
            status["taskGroupId"],
            "_",
        ]
        assert status["taskQueueId"] == f"{status['provisionerId']}/{status['workerType']}"


def test_a_few_messages_are_unusable_each_in_its_way() -> None:
    flawed = [message for message in a_day() if message.flaw]

    assert len(flawed) / len(a_day()) == pytest.approx(0.003, abs=0.001)
    assert {message.flaw for message in flawed} == BODY_FLAWS | RUN_FLAWS | {"tag-not-a-string"}
    for message in flawed:
        try:
            body = json.loads(message.body)
        except ValueError:
            assert message.flaw == "not-json"
            continue
        told = message.occurrence
        if message.flaw == "not-an-object":
            assert isinstance(body, list)
        elif message.flaw == "no-status":
            assert "status" not in body
        elif message.flaw == "tag-not-a-string":
            assert body["task"]["tags"]["label"] == 7
        else:
            resolved = body["status"]["runs"][told.run_id].get("resolved")
            assert resolved in (None, "2199-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z")
            assert told.run_id not in {run.run_id for run in message.usable_runs}
