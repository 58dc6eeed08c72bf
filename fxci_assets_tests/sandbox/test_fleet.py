"""Who was up when agrees with the world, by whatever moment is asked."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pytest

from fxci_assets.sandbox.firefox_ci import Worker, World, instant, midnight, moment
from fxci_assets.sandbox.fleet import draw, presences, renaming
from fxci_assets_tests.sandbox.busy import DAY_MS, days_from, lived, within

DAY = dt.date(2026, 3, 4)
WORLD = World(seed=1, tasks_per_day=1_000)
END = midnight(DAY) + DAY_MS


def test_everyone_who_was_up_on_the_day_is_there_for_as_long_as_that_was() -> None:
    found = {p.worker.instance_id: p.end - p.start for p in presences(WORLD, DAY, END)}
    expected = {
        worker.instance_id: within(worker.started, worker.stopped or 0, DAY)
        for worker in lived(WORLD, [DAY])
    }

    assert found == {id_: up for id_, up in expected.items() if up}


def test_some_workers_were_up_since_the_day_before_and_on_the_next() -> None:
    of_day = list(presences(WORLD, DAY, END))

    assert any(p.worker.started < p.start == midnight(DAY) for p in of_day)
    assert any((p.worker.stopped or 0) > p.end == END for p in of_day)
    assert {p.worker.provider for p in of_day} == {"gcp", "azure", "hardware"}


def test_only_what_had_happened_is_there() -> None:
    noon = midnight(DAY) + DAY_MS // 2
    whole = {p.worker.instance_id: p for p in presences(WORLD, DAY, END)}
    part = {p.worker.instance_id: p for p in presences(WORLD, DAY, noon)}

    assert part.keys() == {id_ for id_, p in whole.items() if p.start < noon}
    for id_, presence in part.items():
        assert presence.start == whole[id_].start
        assert presence.end == min(whole[id_].end, noon)
    assert list(presences(WORLD, DAY, midnight(DAY))) == []


def test_a_worker_is_the_fleet_of_one_day_only() -> None:
    ids = [worker.instance_id for day in days_from(DAY, 4) for worker in WORLD.workers(day)]
    cloud = [id_ for id_ in ids if id_.isdigit() or id_.startswith("vm-")]

    assert len(cloud) > 1_000
    assert len(set(cloud)) == len(cloud)


def test_days_in_a_row_simulate_each_fleet_once(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated: Counter[dt.date] = Counter()
    workers = World.workers

    def counted(world: World, day: dt.date) -> list[Worker]:
        simulated[day] += 1
        return workers(world, day)

    monkeypatch.setattr(World, "workers", counted)
    world = World(seed=99, tasks_per_day=50)
    for day in days_from(DAY, 20):
        for _ in range(3):
            assert list(presences(world, day, midnight(day) + DAY_MS))

    assert set(simulated) == set(days_from(DAY - dt.timedelta(days=2), 22))
    assert set(simulated.values()) == {1}


def test_few_instances_are_renamed_in_the_middle_of_their_life() -> None:
    workers = list(lived(WORLD, days_from(DAY, 10)))
    renamed = [(worker, to) for worker in workers if (to := renaming(worker)) is not None]

    assert 0 < len(renamed) < len(workers) / 100
    for worker, to in renamed:
        assert worker.provider == "gcp"
        assert worker.started < to.at < (worker.stopped or 0)
        assert to.name != worker.name
        assert renaming(worker) == to


def test_a_draw_is_the_same_in_every_process_and_depends_on_all_that_it_is_for() -> None:
    assert draw("a", 1) == 0.6972597455578795
    draws = [draw("purpose", n) for n in range(10_000)]

    assert len(set(draws)) == len(draws)
    assert 0 <= min(draws) < 0.01
    assert 0.99 < max(draws) < 1
    assert sum(draws) / len(draws) == pytest.approx(0.5, abs=0.02)
    assert draw("other", 1) != draw("purpose", 1)


def test_an_instant_is_of_its_moment() -> None:
    at = dt.datetime(2026, 3, 4, 5, 6, 7, 89_000, dt.UTC)

    assert moment(instant(at)) == at
    assert instant(at + dt.timedelta(microseconds=999)) == instant(at)
