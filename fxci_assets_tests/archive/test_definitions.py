"""Definitions come back as they were, and the list of pending tasks loses none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import pytest

from fxci_assets.archive.definitions import Definition, DefinitionFiles
from fxci_assets.archive.files import ArchiveError
from fxci_assets.archive.store import LocalStore
from fxci_assets_tests.definitions import FETCHED
from fxci_assets_tests.events import DAY, NEXT_DAY, task_id

HOUR = dt.timedelta(hours=1)
ONE, TWO, THREE = task_id(1), task_id(2), task_id(3)


@pytest.fixture
def definitions(tmp_path: Path) -> DefinitionFiles:
    return DefinitionFiles(LocalStore(tmp_path))


def test_definitions_come_back_as_they_were(definitions: DefinitionFiles) -> None:
    zone = dt.timezone(dt.timedelta(hours=-7))
    written = [
        Definition(ONE, FETCHED, b'{"payload":  {"n": 1.10}}'),
        Definition(TWO, (FETCHED + HOUR).astimezone(zone), b"\xff\x00 not JSON"),
    ]
    definitions.write(DAY, written)
    [part] = definitions.read(DAY, definitions.files(DAY))
    assert [tuple(row.values()) for row in part.to_pylist()] == written


def test_each_write_is_a_file_of_its_day_and_the_first_fetched_comes_first(
    definitions: DefinitionFiles,
) -> None:
    assert (definitions.days(), definitions.files(DAY)) == ([], [])
    for day, at in ((NEXT_DAY, FETCHED), (DAY, FETCHED + HOUR), (DAY, FETCHED)):
        definitions.write(day, [Definition(ONE, at, b"{}")])
    assert definitions.days() == [DAY, NEXT_DAY]
    assert [name[:16] for name in definitions.files(DAY)] == [
        "20260413T120000.",
        "20260413T130000.",
    ]


def test_large_definitions_are_read_in_small_parts(definitions: DefinitionFiles) -> None:
    large = [Definition(task_id(n), FETCHED, b"%d" % n + b"x" * 9_000_000) for n in range(2)]
    definitions.write(DAY, large)
    parts = list(definitions.read(DAY, definitions.files(DAY)))
    assert [len(part) for part in parts] == [1, 1]


def test_a_damaged_file_is_named(definitions: DefinitionFiles, tmp_path: Path) -> None:
    definitions.write(DAY, [Definition(ONE, FETCHED, b"{}")])
    [path] = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArchiveError, match=path.name):
        list(definitions.read(DAY, [path.name]))


def test_the_tasks_that_files_of_events_tell_of(definitions: DefinitionFiles) -> None:
    definitions.record_told(DAY, "b.parquet", [TWO, ONE])
    definitions.record_told(DAY, "a.parquet", [])
    definitions.record_told(DAY, "a.parquet", [])
    definitions.record_told(NEXT_DAY, "c.parquet", [THREE])
    assert definitions.told_files(DAY) == ["a.parquet", "b.parquet"]
    assert definitions.told_tasks(DAY, ["a.parquet", "b.parquet"]).to_pylist() == [TWO, ONE]
    assert definitions.told_tasks(DAY, []).to_pylist() == []
    assert definitions.days() == []


class TestPending:
    def since(self, definitions: DefinitionFiles) -> Mapping[str, dt.datetime]:
        return definitions.pending().since

    def test_of_a_task_that_was_asked_for_twice_the_first_time_counts(
        self, definitions: DefinitionFiles
    ) -> None:
        definitions.add_pending({ONE: FETCHED + HOUR, TWO: FETCHED})
        definitions.add_pending({ONE: FETCHED})
        definitions.add_pending({TWO: FETCHED + HOUR})
        assert self.since(definitions) == {ONE: FETCHED, TWO: FETCHED}

    def test_what_is_left_stays_in_one_file(self, definitions: DefinitionFiles) -> None:
        definitions.add_pending({ONE: FETCHED, TWO: FETCHED})
        definitions.add_pending({THREE: FETCHED})
        definitions.settle_pending(definitions.pending(), {TWO: FETCHED, THREE: FETCHED})
        assert self.since(definitions) == {TWO: FETCHED, THREE: FETCHED}
        assert len(definitions.pending().files) == 1

    def test_nothing_is_written_where_nothing_changed(self, definitions: DefinitionFiles) -> None:
        definitions.add_pending({})
        definitions.settle_pending(definitions.pending(), {})
        assert definitions.pending().files == ()
        definitions.add_pending({ONE: FETCHED})
        before = definitions.pending()
        definitions.settle_pending(before, {ONE: FETCHED})
        assert definitions.pending() == before

    def test_what_others_add_meanwhile_stays(self, definitions: DefinitionFiles) -> None:
        definitions.add_pending({ONE: FETCHED})
        seen = definitions.pending()
        definitions.add_pending({TWO: FETCHED})
        definitions.settle_pending(seen, {})
        assert self.since(definitions) == {TWO: FETCHED}

    def test_what_two_settle_at_once_is_there_until_both_have(
        self, definitions: DefinitionFiles
    ) -> None:
        definitions.add_pending({ONE: FETCHED, TWO: FETCHED})
        mine, others = definitions.pending(), definitions.pending()
        definitions.settle_pending(mine, {TWO: FETCHED})
        definitions.settle_pending(others, {ONE: FETCHED})
        assert self.since(definitions) == {ONE: FETCHED, TWO: FETCHED}

    def test_a_file_that_is_settled_while_the_list_is_read_is_passed_over(
        self, tmp_path: Path
    ) -> None:
        class Settled(LocalStore):
            def files(self, folder: str) -> list[str]:
                return [*super().files(folder), "settled"]

        definitions = DefinitionFiles(Settled(tmp_path))
        definitions.add_pending({ONE: FETCHED})
        assert self.since(definitions) == {ONE: FETCHED}
        assert "settled" not in definitions.pending().files
