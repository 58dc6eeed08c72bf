"""Fetches of uptime come back as they were, the newest last."""

from __future__ import annotations

import datetime as dt

import pytest

from fxci_assets.archive.files import ArchiveError, from_parquet, to_parquet
from fxci_assets.archive.store import Store
from fxci_assets.archive.uptime import Fetch, UptimeFetches
from fxci_assets_tests.events import DAY, NEXT_DAY, RECEIVED


@pytest.fixture
def fetches(store: Store) -> UptimeFetches:
    return UptimeFetches(store)


def test_a_fetch_comes_back_as_it_was(fetches: UptimeFetches) -> None:
    fetch = Fetch(RECEIVED, {"level3": [b"{}", b"\xff\x00 not JSON", b""], "level1": [b"{}"]})
    name = fetches.write(DAY, fetch)
    assert fetches.read(DAY, name) == fetch
    assert list(fetches.read(DAY, name).answers) == ["level3", "level1"]


def test_a_project_without_series_is_known_to_have_been_asked(fetches: UptimeFetches) -> None:
    fetch = Fetch(RECEIVED, {"level1": [], "level3": [b"{}"], "level2": []})
    name = fetches.write(DAY, fetch)
    assert fetches.read(DAY, name).answers == {"level1": [], "level3": [b"{}"], "level2": []}


def test_many_series_come_back_in_order(fetches: UptimeFetches) -> None:
    series = [f"{number}".encode() for number in range(2_500)]
    name = fetches.write(DAY, Fetch(RECEIVED, {"level1": series}))
    assert fetches.read(DAY, name).answers == {"level1": series}


def test_the_newest_fetch_is_the_last(fetches: UptimeFetches) -> None:
    zone = dt.timezone(dt.timedelta(hours=-7))
    times = [RECEIVED + dt.timedelta(milliseconds=ms) for ms in (10, 0, 2_000, 9)]
    for at in times:
        fetches.write(DAY, Fetch(at.astimezone(zone), {"level1": [str(at).encode()]}))
    read = [fetches.read(DAY, name) for name in fetches.files(DAY)]
    assert [fetch.fetched_at for fetch in read] == sorted(times)
    assert read[-1].answers == {"level1": [str(max(times)).encode()]}


def test_each_fetch_is_a_file_of_its_day(fetches: UptimeFetches) -> None:
    assert (fetches.days(), fetches.files(DAY)) == ([], [])
    again = Fetch(RECEIVED, {"level1": []})
    for day in (NEXT_DAY, DAY, DAY):
        fetches.write(day, again)
    assert fetches.days() == [DAY, NEXT_DAY]
    assert len(fetches.files(DAY)) == 2
    assert len(fetches.files(NEXT_DAY)) == 1


def test_a_fetch_of_no_project_is_refused(fetches: UptimeFetches) -> None:
    with pytest.raises(ValueError, match="no project was asked"):
        fetches.write(DAY, Fetch(RECEIVED, {}))
    assert fetches.days() == []


def test_a_damaged_file_is_named(fetches: UptimeFetches, store: Store) -> None:
    name = fetches.write(DAY, Fetch(RECEIVED, {"level1": [b"{}"]}))
    path = f"worker_metrics/date={DAY}/{name}"
    store.replace(path, store.read(path)[:100])
    with pytest.raises(ArchiveError, match=name):
        fetches.read(DAY, name)


def test_a_file_of_another_format_or_without_rows_is_refused(
    fetches: UptimeFetches, store: Store
) -> None:
    name = fetches.write(DAY, Fetch(RECEIVED, {"level1": [b"{}"]}))
    path = f"worker_metrics/date={DAY}/{name}"
    [whole] = from_parquet(store.read(path), b"worker_metrics/1", name)
    store.replace(path, to_parquet(whole, b"new/9"))
    with pytest.raises(ArchiveError, match="format new/9, not worker_metrics/1"):
        fetches.read(DAY, name)
    store.replace(path, to_parquet(whole.slice(0, 0), b"worker_metrics/1"))
    with pytest.raises(ArchiveError, match=f"{name} holds no answer"):
        fetches.read(DAY, name)
