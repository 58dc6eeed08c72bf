"""What is wrong with the answer about one task is no matter to the others."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import pytest

from fxci_assets.resources import taskcluster
from fxci_assets.resources.taskcluster import (
    NOBODY,
    Answered,
    AnswerTooLarge,
    AnswerUnusable,
    NoAnswer,
    TaskclusterError,
    answers_of,
)
from fxci_assets.taskcluster.definitions import is_task_id
from fxci_assets_tests.definitions import MemoryQueue, by_task
from fxci_assets_tests.events import task_id

IDS = [task_id(number) for number in range(1_000)]
BROKEN = AnswerUnusable("broken")
LATE = NoAnswer("late")


@pytest.fixture(autouse=True)
def repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taskcluster, "CHANCE", random.Random(1))


def known(parts: Sequence[Answered]) -> set[str]:
    return {id for part in parts for id in part.answers}


def alone(parts: Sequence[Answered]) -> set[str]:
    return {id for part in parts if part.is_alone for id in part.asked}


def unknown(parts: Sequence[Answered]) -> set[str]:
    return {id for part in parts if part.unusable and not part.is_alone for id in part.asked}


def queue(**unusable: AnswerUnusable) -> MemoryQueue:
    return MemoryQueue(dict(by_task(*IDS)), unusable=unusable)


def test_as_many_are_asked_for_at_once_as_the_queue_takes() -> None:
    asked = queue()
    [first, second] = answers_of(asked.definitions, IDS)
    assert ([*first.asked, *second.asked], first.unusable) == (IDS, None)
    assert first.answers == by_task(*IDS[:500])
    assert list(answers_of(asked.definitions, [])) == []


@pytest.mark.parametrize("bad", [IDS[0], IDS[499], IDS[777]])
def test_the_one_whose_answer_is_of_no_use_is_found(bad: str) -> None:
    asked = queue(**{bad: BROKEN})
    parts = list(answers_of(asked.definitions, IDS))
    assert [(part.asked, part.unusable) for part in parts if part.unusable] == [([bad], BROKEN)]
    assert (known(parts), alone(parts)) == ({*IDS} - {bad}, {bad})
    assert asked.asked.count([NOBODY]) == 1
    assert len(asked.asked) < 25


def test_an_answer_that_is_too_large_is_too_large_for_one_task_only() -> None:
    large = AnswerTooLarge("large")
    parts = list(answers_of(queue(**{IDS[3]: large}).definitions, IDS[:8]))
    assert [(part.asked, part.unusable) for part in parts if part.unusable] == [([IDS[3]], large)]


@pytest.mark.parametrize("error", [BROKEN, AnswerTooLarge("large")])
def test_a_queue_that_answers_even_about_no_task_what_is_of_no_use_has_failed(
    error: AnswerUnusable,
) -> None:
    asked = queue(**dict.fromkeys([*IDS, NOBODY], error))
    with pytest.raises(TaskclusterError, match=str(error)):
        list(answers_of(asked.definitions, IDS))
    assert len(asked.asked) < 15


def test_where_many_are_of_no_use_not_each_of_them_is_looked_for() -> None:
    asked = queue(**dict.fromkeys(IDS[:500], BROKEN))
    parts = list(answers_of(asked.definitions, IDS))
    assert 20 <= len(alone(parts)) < 25
    assert alone(parts) | unknown(parts) == {*IDS[:500]}
    assert known(parts) == {*IDS[500:]}
    assert len(asked.asked) < 100


def test_where_many_are_of_no_use_others_are_looked_for_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taskcluster, "_MOST_ALONE", 2)
    asked = queue(**dict.fromkeys(IDS[:40:8], BROKEN))
    times = [list(answers_of(asked.definitions, IDS[:40])) for _ in range(20)]
    assert all(unknown(time) for time in times)
    assert {id for time in times for id in known(time)} == {*IDS[:40]} - {*IDS[:40:8]}
    assert {id for time in times for id in alone(time)} == {*IDS[:40:8]}


def test_what_is_too_much_for_the_queue_is_asked_for_in_halves() -> None:
    asked = queue()
    asked.most_at_once = 100
    assert known(list(answers_of(asked.definitions, IDS))) == {*IDS}
    assert asked.asked.count([NOBODY]) == 14  # each time that there was no answer


def test_a_task_without_an_answer_is_found_while_there_are_others() -> None:
    parts = list(answers_of(queue(**{IDS[7]: LATE}).definitions, IDS))
    assert (known(parts), alone(parts)) == ({*IDS} - {IDS[7]}, {IDS[7]})


def test_a_queue_that_goes_down_in_the_middle_is_not_mistaken_for_tasks_without_an_answer() -> None:
    asked = queue(**{IDS[7]: LATE})
    asked.fails_from = 5
    with pytest.raises(TaskclusterError, match="no answer"):
        list(answers_of(asked.definitions, IDS))
    asked.unusable |= {NOBODY: LATE}
    asked.fails_from = None
    with pytest.raises(NoAnswer):
        list(answers_of(asked.definitions, IDS))


class Slow:
    """A queue that takes a minute to give no answer about some tasks, and the time."""

    def __init__(self, patch: pytest.MonkeyPatch, bad: Sequence[str]) -> None:
        self._bad = frozenset(bad)
        self._now = 0.0
        self.requests = 0
        patch.setattr("fxci_assets.resources.taskcluster.time.monotonic", lambda: self._now)

    def definitions(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        self.requests += 1
        if self._bad.isdisjoint(ids):
            return by_task(*ids)
        self._now += 60
        raise LATE


def test_what_is_left_when_too_long_nothing_came_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch, [IDS[501]])
    parts = list(answers_of(slow.definitions, IDS))
    assert (len(known(parts)), alone(parts)) == (1_000 - len(unknown(parts)), set())
    assert IDS[501] in unknown(parts)
    assert slow.requests < 10
    assert parts[-1].describe().endswith("not asked for, after 120 s without an answer of use")


def test_something_is_found_out_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = list(answers_of(Slow(monkeypatch, IDS).definitions, IDS))
    assert (known(parts), len(alone(parts)), len(unknown(parts))) == (set(), 1, 999)


def test_a_queue_that_is_not_there_is_not_asked_for_less() -> None:
    asked = queue()
    asked.fails = True
    with pytest.raises(TaskclusterError, match="no answer"):
        list(answers_of(asked.definitions, IDS))
    assert len(asked.asked) == 1


def test_no_task_has_the_id_of_nobody_although_the_queue_takes_it_for_one() -> None:
    assert is_task_id(NOBODY)
