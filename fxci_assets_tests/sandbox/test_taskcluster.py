"""The simulated queue's API says the same as its messages, and in the shape of the real one."""

from __future__ import annotations

import datetime as dt
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fxci_assets.resources.taskcluster import Taskcluster
from fxci_assets.sandbox.firefox_ci import Task, World, moment
from fxci_assets.sandbox.messages import Published, published
from fxci_assets.sandbox.taskcluster import SimulatedTaskcluster
from fxci_assets.taskcluster.messages import TASK_DEFINED
from fxci_assets_tests.events import task_id

DAY = dt.date(2026, 3, 4)
START = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
END = START + dt.timedelta(days=1)
LATER = END + dt.timedelta(days=3)
WORLD = World(seed=29, tasks_per_day=600)
"""In which a task is run again by hand that was retried before."""


@cache
def a_day() -> list[Published]:
    """Messages of a day without flaws."""
    return [told for told in published(WORLD, START, END) if told.flaw is None]


def tasks() -> list[Task]:
    """The tasks of the day's pushes."""
    told = {
        one.occurrence.task.task_id: one.occurrence.task
        for one in a_day()
        if one.position.day == DAY.toordinal()
    }
    return list(told.values())


def at(now: dt.datetime, world: World = WORLD) -> Taskcluster:
    return SimulatedTaskcluster(world, clock=lambda: now)


def validator(name: str) -> Any:  # noqa: ANN401
    data = os.environ.get("FXCI_SAMPLE_DATA")
    if not data:
        pytest.skip("FXCI_SAMPLE_DATA does not name the folder of sample data")
    return jsonschema.Draft7Validator(json.loads((Path(data) / "schemas" / name).read_text()))


def test_definitions_validate_against_the_published_schema() -> None:
    schema = validator("task.json")
    found = at(LATER).definitions([task.task_id for task in tasks()])
    assert len(found) == len(tasks()) > 400
    for body in found.values():
        schema.validate(json.loads(body))


def test_statuses_validate_against_the_published_schema_at_any_time() -> None:
    schema = validator("task-status.json")
    states = set()
    for hours in (*range(0, 24, 2), 72):
        now = START + dt.timedelta(hours=hours)
        for body in at(now).statuses([task.task_id for task in tasks()]).values():
            status = json.loads(body)
            # Which the schema of a status has not had from the beginning.
            states.add(status["state"])
            schema.validate(status)
    assert states == {"unscheduled", "pending", "running", "completed", "failed", "exception"}


def test_a_definition_is_of_the_task_that_messages_tell_of() -> None:
    found = at(LATER).definitions([task.task_id for task in tasks()])
    compared = 0
    for told in a_day():
        status = json.loads(told.body)["status"]
        if told.exchange != TASK_DEFINED or status["taskId"] not in found:
            continue
        defined = json.loads(found[status["taskId"]])
        names = ("taskQueueId", "schedulerId", "projectId", "taskGroupId", "priority", "deadline")
        assert {name: defined[name] for name in names} == {name: status[name] for name in names}
        assert defined["expires"] == status["expires"]
        assert defined["tags"] == json.loads(told.body)["task"]["tags"]
        assert dt.datetime.fromisoformat(defined["created"]) <= told.at
        compared += 1
    assert compared > 400


def test_a_status_is_what_a_message_told_at_that_moment() -> None:
    compared = 0
    for told in a_day():
        now = moment(told.occurrence.at)
        id = told.occurrence.task.task_id
        status = json.loads(at(now).statuses([id])[id])
        in_message = json.loads(told.body)["status"]
        if told.exchange == TASK_DEFINED:
            # A task may be scheduled in the same moment, and is defined before.
            in_message |= {name: status[name] for name in ("state", "runs")}
        assert status == in_message
        compared += len(status["runs"]) > 1
    assert compared > 3


def test_a_task_is_there_from_its_creation_until_it_expires() -> None:
    small = World(1, 10)
    task = next(iter(small.occurrences(DAY))).task
    tick = dt.timedelta(milliseconds=1)
    for now, there in (
        (moment(task.created) - tick, False),
        (moment(task.created), True),
        (moment(task.expires) - tick, True),
        (moment(task.expires), False),
    ):
        assert bool(at(now, small).statuses([task.task_id])) is there


def test_a_few_definitions_do_not_show_at_once() -> None:
    late = 0
    for task in tasks():
        created = moment(task.created)
        if not at(created).definitions([task.task_id]):
            late += 1
            assert at(created).statuses([task.task_id])
            assert at(created + dt.timedelta(minutes=30)).definitions([task.task_id])
    assert 0 < late < 0.03 * len(tasks())


def test_a_task_is_found_wherever_it_is_and_in_whatever_company() -> None:
    small = World(2, 10)
    days = [DAY - dt.timedelta(days=n) for n in (0, 1, 2, 30, 7, 8)]
    ids = [next(iter(small.occurrences(day))).task.task_id for day in days]
    together = at(END, small).statuses([*ids, task_id(1)])
    assert set(together) == set(ids)
    queue = at(END, small)
    for id in (task_id(1), *reversed(ids), task_id(1)):
        assert queue.statuses([id]) == {known: together[known] for known in ids if known == id}
