"""A pulse in memory, for tests of what happens to messages rather than of how they are read."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence

from fxci_assets.resources.pulse import Batch, BatchLimits, Message
from fxci_assets_tests.events import RECEIVED


class MemoryPulse:
    """Implements PulseSource and PulseSession. What is not acknowledged comes again."""

    queues = ("queue/test/task-completed", "queue/test/task-failed")

    def __init__(
        self,
        messages: Sequence[Message] = (),
        missing: Sequence[str] = (),
        received_at: dt.datetime = RECEIVED,
    ) -> None:
        self.waiting = list(messages)
        self.missing = list(missing)
        self.received_at = received_at
        self.before_ack: Callable[[], None] = lambda: None
        self._read = 0

    def depth(self) -> Mapping[str, int]:
        return {self.queues[0]: len(self.waiting)}

    @contextlib.contextmanager
    def open(self, on_missing: Callable[[str], None]) -> Iterator[MemoryPulse]:
        self._read = 0
        while self.missing:
            on_missing(self.missing.pop())
        yield self

    def receive(self, limits: BatchLimits) -> Batch | None:
        messages = self.waiting[self._read : self._read + limits.messages]
        if not messages:
            return None
        self._read += len(messages)
        return Batch(messages, self.received_at, "messages", token=self._read)

    def ack(self, batch: Batch) -> None:
        self.before_ack()
        upto = batch.token
        assert isinstance(upto, int)
        del self.waiting[:upto]
        self._read -= upto
