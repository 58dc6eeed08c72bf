"""Taskcluster's queue as an API: what is defined of tasks, and what has become of them.

Here belongs the interface that definitions are fetched and runs are repaired through; over HTTP it
is `taskcluster_queue`, over the simulator `fxci_assets.sandbox.taskcluster`. What a definition
means is `fxci_assets.taskcluster.definitions`; when it is fetched, `fxci_assets.definitions_fetch`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

MOST_IDS = 500
"""Tasks that are asked for at once. The answer to more may come in pages, and these have no stable
order: the queue's query has a LIMIT and no ORDER BY."""


class TaskclusterError(Exception):
    """The queue gave no answer, or one that is none. One line that says what to do."""


class AnswerTooLarge(TaskclusterError):
    """The answer about several tasks is too large for the memory that we want to need; ask for
    fewer. Never raised where one task is asked for."""


class Taskcluster(Protocol):
    """The queue, wherever it is."""

    def definitions(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """The definitions of at most MOST_IDS tasks, each a JSON object, byte for byte as it was
        answered. A task that is not there, because it is unknown or has expired, is left out.

        Raises TaskclusterError where it cannot be known which are there.
        """

    def statuses(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """As `definitions`, but the status of each task, with all its runs."""
