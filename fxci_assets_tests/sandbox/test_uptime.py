"""The simulated Cloud Monitoring says how long the simulated workers were up.

What is expected is worked out from the world's workers and runs."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from functools import cache
from typing import Any

from fxci_assets.sandbox.catalogue import LEVEL_1_PROJECT, LEVEL_3_PROJECT
from fxci_assets.sandbox.firefox_ci import Worker, World, instant, midnight
from fxci_assets.sandbox.uptime import SimulatedMonitoring
from fxci_assets_tests.sandbox.busy import DAY_MS, busy, days_from, lived, within

DAYS = days_from(dt.date(2026, 3, 2), 7)
LATER = dt.datetime(2026, 4, 1, 12, tzinfo=dt.UTC)
WORLD = World(seed=1, tasks_per_day=2_000)
PROJECTS = (LEVEL_1_PROJECT, LEVEL_3_PROJECT)
MINUTE = 60_000


def uptime(project: str, day: dt.date, now: dt.datetime = LATER) -> list[dict[str, Any]]:
    answer = SimulatedMonitoring(WORLD, clock=lambda: now).uptime(project, day)
    return [json.loads(series) for series in answer]


def end_of(point: dict[str, Any]) -> int:
    return instant(dt.datetime.fromisoformat(point["interval"]["endTime"]))


def of_day(series: dict[str, Any], day: dt.date) -> list[dict[str, Any]]:
    begin = midnight(day)
    return [point for point in series["points"] if begin < end_of(point) <= begin + DAY_MS]


def seconds(answer: list[dict[str, Any]], day: dt.date) -> dict[str, float]:
    """The seconds of a day by instance, as the contract has them."""
    found: dict[str, float] = defaultdict(float)
    for series in answer:
        for point in of_day(series, day):
            found[series["resource"]["labels"]["instance_id"]] += point["value"]["doubleValue"]
    return dict(found)


@cache
def answers() -> list[tuple[str, dt.date, list[dict[str, Any]]]]:
    return [(project, day, uptime(project, day)) for day in DAYS for project in PROJECTS]


@cache
def measured() -> dict[tuple[str, dt.date], float]:
    return {
        (id_, day): up for _, day, answer in answers() for id_, up in seconds(answer, day).items()
    }


@cache
def gcp_workers() -> dict[str, Worker]:
    return {w.instance_id: w for w in lived(WORLD, DAYS) if w.provider == "gcp"}


def counted(worker: Worker, day: dt.date, until: int | None = None) -> float:
    """The seconds from the first whole minute to the second in which the worker stopped."""
    first = -(-worker.started // MINUTE) * MINUTE
    last = -(-(worker.stopped or 0) // 1_000) * 1_000
    return within(first, last if until is None else min(last, until), day) / 1_000


def unmetered() -> set[str]:
    metered = {id_ for id_, _ in measured()}
    return {
        id_
        for id_, worker in gcp_workers().items()
        if id_ not in metered and any(counted(worker, day) for day in DAYS)
    }


def test_each_worker_is_measured_from_its_first_whole_minute_to_its_end() -> None:
    missing = unmetered()
    expected = {
        (id_, day): counted(worker, day)
        for id_, worker in gcp_workers().items()
        for day in DAYS
        if id_ not in missing and counted(worker, day)
    }

    assert measured() == expected


def test_few_workers_have_no_series_at_all() -> None:
    assert 0 < len(unmetered()) < 0.01 * len(gcp_workers())


def test_a_worker_was_up_whenever_it_ran_a_task() -> None:
    ran = busy(WORLD, days_from(DAYS[0] - dt.timedelta(days=2), 9))
    of_gcp = {key: ms for key, ms in ran.items() if key[0] in gcp_workers() and key[1] in DAYS}
    missing = unmetered()

    assert len(of_gcp) > 4_000
    assert len({id_ for id_, _ in of_gcp if id_ in missing}) > 0
    for (id_, day), ms in of_gcp.items():
        assert id_ in missing or measured()[id_, day] >= ms / 1_000


def test_what_is_up_for_less_than_a_minute_before_midnight_has_no_series_that_day() -> None:
    short = [
        (id_, day)
        for id_, worker in gcp_workers().items()
        for day in DAYS
        if 0 < within(worker.started, worker.stopped or 0, day) < MINUTE
        and worker.started >= midnight(day)
    ]

    assert short
    assert not set(short) & measured().keys()


def test_a_series_is_that_of_the_rest_api() -> None:
    day, ids = DAYS[2], gcp_workers()
    plain = next(
        series
        for series in uptime(LEVEL_3_PROJECT, day)
        if len(series["points"]) == 1
        and series["metric"]["labels"]["instance_name"].startswith("gecko-3-b-linux")
    )
    worker = ids[plain["resource"]["labels"]["instance_id"]]

    assert plain == {
        "metric": {
            "type": "compute.googleapis.com/instance/uptime",
            "labels": {"instance_name": worker.name},
        },
        "resource": {
            "type": "gce_instance",
            "labels": {
                "project_id": "fxci-production-level3-workers",
                "instance_id": worker.instance_id,
                "zone": worker.zone,
            },
        },
        "metricKind": "DELTA",
        "valueType": "DOUBLE",
        "points": [
            {
                "interval": {
                    "startTime": "2026-03-04T00:00:00Z",
                    "endTime": "2026-03-05T00:00:00Z",
                },
                "value": {"doubleValue": counted(worker, day)},
            }
        ],
    }


def test_most_series_have_one_point_that_ends_with_the_day_and_the_newest_comes_first() -> None:
    every = [(day, series) for _, day, answer in answers() for series in answer]
    usual = [
        (day, series)
        for day, series in every
        if [end_of(point) for point in series["points"]] == [midnight(day) + DAY_MS]
    ]

    assert len(usual) > 0.95 * len(every)
    for _, series in every:
        ends = [end_of(point) for point in series["points"]]
        assert ends == sorted(set(ends), reverse=True)
        assert all(point["value"]["doubleValue"] > 0 for point in series["points"])


def test_a_renamed_instance_is_two_series() -> None:
    names: dict[tuple[str, dt.date], set[str]] = defaultdict(set)
    for _, day, answer in answers():
        for series in answer:
            id_ = series["resource"]["labels"]["instance_id"]
            names[id_, day].add(series["metric"]["labels"]["instance_name"])
    renamed = [key for key, both in names.items() if len(both) == 2]

    assert 0 < len(renamed) < 0.01 * len(names)
    for id_, day in renamed:
        assert measured()[id_, day] == counted(gcp_workers()[id_], day)


def test_some_days_come_in_halves_and_some_with_a_point_of_the_day_before() -> None:
    halves = before = 0
    for _, day, answer in answers():
        for series in answer:
            halves += len(of_day(series, day)) == 2
            before += len(of_day(series, day)) < len(series["points"])
    total = sum(len(answer) for _, _, answer in answers())

    assert 0 < halves < 0.03 * total
    assert 0 < before < 0.03 * total


def test_only_what_had_happened_by_the_clock_is_known_and_that_some_minutes_late() -> None:
    day = DAYS[3]
    now = dt.datetime(2026, 3, 5, 15, 20, 30, tzinfo=dt.UTC)
    until = instant(dt.datetime(2026, 3, 5, 15, 16, tzinfo=dt.UTC))
    missing = unmetered()
    found = {
        id_: up
        for project in PROJECTS
        for id_, up in seconds(uptime(project, day, now), day).items()
    }

    assert found == {
        id_: counted(worker, day, until)
        for id_, worker in gcp_workers().items()
        if id_ not in missing and counted(worker, day, until)
    }


def test_nothing_is_known_of_days_to_come_and_of_projects_that_are_not_there() -> None:
    midnight_before = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)

    assert uptime(LEVEL_1_PROJECT, DAYS[0], midnight_before) == []
    assert uptime("fxci-production-level9-workers", DAYS[0]) == []
    assert uptime("", DAYS[0]) == []


def test_it_says_the_same_each_time_whatever_was_asked_before() -> None:
    day = DAYS[1]
    monitoring = SimulatedMonitoring(WORLD, clock=lambda: LATER)
    first = monitoring.uptime(LEVEL_1_PROJECT, day)
    monitoring.uptime(LEVEL_1_PROJECT, day + dt.timedelta(days=20))

    assert monitoring.uptime(LEVEL_1_PROJECT, day) == first
    other = SimulatedMonitoring(World(2, 2_000), clock=lambda: LATER)
    assert other.uptime(LEVEL_1_PROJECT, day) != first
