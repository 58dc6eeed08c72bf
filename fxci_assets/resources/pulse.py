"""Taskcluster's pulse: queues of messages that are read in batches and acknowledged once durable.

Here belongs the interface that a drain reads through; over AMQP it is `amqp`, over the simulator
`fxci_assets.sandbox.source`. What a message means is `fxci_assets.taskcluster`; when it may be
acknowledged is `fxci_assets.drain`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol


class Message(NamedTuple):
    """A message as it was received; `body` is never altered."""

    exchange: str
    routing_key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is closed; the first bound that is reached closes it."""

    messages: int = 5_000
    bytes: int = 16_000_000
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that are filed together and then acknowledged at once.

    `token` is the source's own: it says what `ack` acknowledges.
    """

    messages: list[Message]
    received_at: dt.datetime
    closed_by: Literal["messages", "bytes", "seconds", "quiet"]
    token: object


class PulseSession(Protocol):
    """An open connection to the queues."""

    def receive(self, limits: BatchLimits) -> Batch | None:
        """The next batch, or None when the queues are empty by their own count."""

    def ack(self, batch: Batch) -> None:
        """Acknowledge the batch and every one before it. Where the connection it came over is
        lost, nothing happens: the messages come again, and disappear as repeats."""


class PulseSource(Protocol):
    """The four queues, wherever they are."""

    @property
    def queues(self) -> tuple[str, ...]:
        """Full names of the queues."""

    def depth(self) -> Mapping[str, int]:
        """Messages ready in each queue; a queue that does not exist is left out."""

    def open(self, on_missing: Callable[[str], None]) -> AbstractContextManager[PulseSession]:
        """Connect. `on_missing` is called with a queue's name each time that one is found gone,
        before it is declared again."""
