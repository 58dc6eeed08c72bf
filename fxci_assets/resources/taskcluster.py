"""Taskcluster's queue as an API: what is defined of tasks, and what has become of them.

Here belongs the interface that definitions are fetched and runs are repaired through, and how
what is wrong with the answer about one task is kept from the others; over HTTP it is
`taskcluster_queue`, over the simulator `fxci_assets.sandbox.taskcluster`. What a definition
means is `fxci_assets.taskcluster.definitions`; when it is fetched, `fxci_assets.definitions_fetch`.
"""

from __future__ import annotations

import base64
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

MOST_IDS = 500
"""Tasks that are asked for at once. The answer to more may come in pages, and these have no stable
order: the queue's query has a LIMIT and no ORDER BY."""

NOBODY = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
"""The id of no task, though it could be one's. Whoever creates a task chooses its id, so that
nobody may know it beforehand."""

_MOST_ALONE = 20
"""Tasks that are found one by one to have an answer of no use. Where there are more, the others
among which there is one are left together, so that a broken queue is not asked for each task."""

_MOST_SECONDS = 120.0
"""Of waiting for answers that are of no use, or never come. What is left then is not asked for."""

CHANCE = random.Random()  # noqa: S311 - nothing secret
"""Decides what is asked for first, where not all is found out at once: what comes too late this
time would else come too late each time."""


class TaskclusterError(Exception):
    """The queue gave no answer, or one that is none. One line that says what to do."""


class AnswerUnusable(TaskclusterError):
    """The answer about some tasks is of no use, which may be due to one of them: ask for fewer."""


class AnswerTooLarge(AnswerUnusable):
    """The answer is too large for the memory that we want to need."""


class NoAnswer(AnswerUnusable):
    """No answer came from the queue itself. It may be down, or so much was asked for that it, or
    what stands before it, did not finish."""


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
    """Why nothing is known of these tasks, although the queue answers."""
    is_alone: bool = False
    """Whether that is due to this one task, which was asked for alone. Else it is due to others
    among these, or there was no time. What is too large is always one task."""

    def describe(self) -> str:
        """One line of what is not known and why."""
        others = f" and {len(self.asked) - 1} others" if len(self.asked) > 1 else ""
        return f"nothing is known of {self.asked[0]}{others}: {self.unusable}"


def answers_of(
    ask: Callable[[Sequence[str]], Mapping[str, bytes]], ids: Sequence[str]
) -> Iterator[Answered]:
    """What one of the methods of `Taskcluster` answers about tasks, as many at a time as the queue
    and our memory take. An answer that is of no use is asked for in halves, until it is known which
    task it is due to, or _MOST_ALONE or _MOST_SECONDS are reached. What is not known then may be
    asked for another time: the halves are by chance, so that each time more becomes known.

    Raises TaskclusterError where the queue gives no answer, also none about no task.
    """
    alone = 0
    is_there = False
    has_settled = False
    wasted = 0.0
    parts = [ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS)][::-1]
    while parts:
        part = parts.pop()
        began = time.monotonic()
        try:
            answers = ask(part)
        except AnswerUnusable as error:
            is_large = isinstance(error, AnswerTooLarge)
            in_halves = len(part) > 1 and (is_large or alone < _MOST_ALONE)
            # Many that are large are nothing unusual. Else: is it the tasks, or the queue? One that
            # does not answer may have gone down just now, so that it is asked each time.
            if isinstance(error, NoAnswer) or not (is_there or (in_halves and is_large)):
                ask([NOBODY])
                is_there = True
            if not is_large:
                wasted += time.monotonic() - began
            if in_halves:
                mixed = CHANCE.sample(part, len(part))
                middle = len(part) // 2
                parts += [mixed[middle:], mixed[:middle]]
            else:
                alone += len(part)
                has_settled = True
                yield Answered(part, {}, error, is_alone=len(part) == 1)
        else:
            has_settled = True
            yield Answered(part, answers)
        # Not before anything is found out, or one that is slow enough would keep all from it.
        if parts and has_settled and wasted >= _MOST_SECONDS:
            left = [task_id for part in parts for task_id in part]
            why = AnswerUnusable(f"not asked for, after {wasted:.0f} s without an answer of use")
            yield Answered(left, {}, why)
            return
