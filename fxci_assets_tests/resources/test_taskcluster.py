"""What is wrong with the answer about one task is no matter to the others."""

from __future__ import annotations

import pytest

from fxci_assets.resources.taskcluster import (
    NOBODY,
    AnswerTooLarge,
    AnswerUnusable,
    TaskclusterError,
    answers_of,
)
from fxci_assets.taskcluster.definitions import is_task_id
from fxci_assets_tests.definitions import MemoryQueue, by_task
from fxci_assets_tests.events import task_id

IDS = [task_id(number) for number in range(1_000)]
BROKEN = AnswerUnusable("broken")


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
    assert {id for part in parts for id in part.answers} == {*IDS} - {bad}
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
    assert sorted(id for part in parts if part.unusable for id in part.asked) == sorted(IDS[:500])
    assert {id for part in parts for id in part.answers} == {*IDS[500:]}
    assert len(asked.asked) < 100


def test_a_queue_that_is_not_there_is_not_asked_for_less() -> None:
    asked = queue()
    asked.fails = True
    with pytest.raises(TaskclusterError, match="no answer"):
        list(answers_of(asked.definitions, IDS))
    assert len(asked.asked) == 1


def test_no_task_has_the_id_of_nobody_although_the_queue_takes_it_for_one() -> None:
    assert is_task_id(NOBODY)
