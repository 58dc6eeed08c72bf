"""Taskcluster's queue as an API: what is defined of tasks, and what has become of them.

Here belongs the interface that definitions are fetched and runs are repaired through, and how
what is wrong with the answer about one task is kept from the others; over HTTP it is
`taskcluster_queue`, over the simulator `fxci_assets.sandbox.taskcluster`. What a definition
means is `fxci_assets.taskcluster.definitions`; when it is fetched, `fxci_assets.definitions_fetch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

MOST_IDS = 500
"""Tasks that are asked for at once. The answer to more may come in pages, and these have no stable
order: the queue's query has a LIMIT and no ORDER BY."""

NOBODY = "AAAAAAAAQACAAAAAAAAAAA"
"""The id of no task, though it could be one's: 122 zero bits."""

_MOST_ALONE = 20
"""Tasks that are found one by one to have an answer of no use. Where there are more, the others
among which there is one are left together, so that a broken queue is not asked for each task."""


class TaskclusterError(Exception):
    """The queue gave no answer, or one that is none. One line that says what to do."""


class AnswerUnusable(TaskclusterError):
    """The answer about some tasks is of no use, which may be due to one of them: ask for fewer."""


class AnswerTooLarge(AnswerUnusable):
    """The answer is too large for the memory that we want to need."""


class Taskcluster(Protocol):
    """The queue, wherever it is."""

    def definitions(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """The definitions of at most MOST_IDS tasks, each a JSON object, byte for byte as it was
        answered. A task that is not there, because it is unknown or has expired, is left out.

        Raises TaskclusterError where it cannot be known which are there.
        """

    def statuses(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """As `definitions`, but the status of each task, with all its runs."""


class Answered(NamedTuple):
    """What came of asking for some tasks."""

    asked: Sequence[str]
    answers: Mapping[str, bytes]
    unusable: AnswerUnusable | None = None
    """Why nothing is known of these tasks, although the queue answers. Of one task only, if its
    answer is too large."""

    def describe(self) -> str:
        """One line of what is not known and why."""
        others = f" and {len(self.asked) - 1} others" if len(self.asked) > 1 else ""
        return f"nothing is known of {self.asked[0]}{others}: {self.unusable}"


def answers_of(
    ask: Callable[[Sequence[str]], Mapping[str, bytes]], ids: Sequence[str]
) -> Iterator[Answered]:
    """What one of the methods of `Taskcluster` answers about tasks, as many at a time as the queue
    and our memory take. An answer that is of no use is asked for in halves, until it is known which
    task it is due to.

    Raises TaskclusterError where the queue gives no answer, also none about no task.
    """
    alone = 0
    is_there = False
    parts = [ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS)][::-1]
    while parts:
        part = parts.pop()
        try:
            answers = ask(part)
        except AnswerUnusable as error:
            is_large = isinstance(error, AnswerTooLarge)
            in_halves = len(part) > 1 and (is_large or alone < _MOST_ALONE)
            # Many that are large are nothing unusual. Else: is it the tasks, or the queue?
            if not is_there and not (in_halves and is_large):
                ask([NOBODY])
                is_there = True
            if in_halves:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            else:
                alone += len(part)
                yield Answered(part, {}, error)
        else:
            yield Answered(part, answers)
