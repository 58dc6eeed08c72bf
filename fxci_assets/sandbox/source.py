"""The simulated pulse: the queues of a drain, filled by the simulator as time goes by.

Here belongs how a reader moves through what is published: the position, and its file. What is
published is `messages`.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from fxci_assets import durable
from fxci_assets.resources.pulse import Batch, BatchLimits, Message
from fxci_assets.sandbox import SimulatorError
from fxci_assets.sandbox.firefox_ci import World, midnight
from fxci_assets.sandbox.messages import Position, Published, count_after, published_after
from fxci_assets.taskcluster.messages import EXCHANGES


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    """The position's file. It names the world: in another one it would mean nothing."""

    seed: int
    tasks_per_day: int
    at: int
    day: int
    number: int


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class SimulatedPulse:
    """A `PulseSource` of what the world has published since a position, up to now.

    The position is all the state there is: it is what has been acknowledged. A reader that starts
    for the first time finds the whole days of the last `history_days` waiting.
    """

    __slots__ = ("_clock", "_history_days", "_position_file", "_world")

    def __init__(
        self,
        world: World,
        position_file: Path,
        *,
        history_days: int = 30,
        clock: Callable[[], dt.datetime] = _now,
    ) -> None:
        self._world = world
        self._position_file = position_file
        self._history_days = history_days
        self._clock = clock

    @property
    def queues(self) -> tuple[str, ...]:
        return tuple(f"queue/sandbox/{name}" for name in EXCHANGES)

    def depth(self) -> Mapping[str, int]:
        counts = count_after(self._world, self._position(), self._clock())
        return {f"queue/sandbox/{name}": counts.get(name, 0) for name in EXCHANGES}

    @contextmanager
    def open(self, on_missing: Callable[[str], None]) -> Iterator[SimulatedSession]:
        """Read on from the position. A simulated queue is never missing."""
        now = self._clock()
        waiting = published_after(self._world, self._position(), now)
        yield SimulatedSession(waiting, self._clock, self._advance)

    def _position(self) -> Position:
        stored = self._load()
        if stored is None:
            first = self._clock().date() - dt.timedelta(days=self._history_days)
            return Position(midnight(first), 0, -1)
        return Position(stored.at, stored.day, stored.number)

    def _load(self) -> _Stored | None:
        try:
            text = self._position_file.read_bytes()
        except FileNotFoundError:
            return None
        try:
            stored = msgspec.json.decode(text, type=_Stored)
        except msgspec.MsgspecError as error:
            raise SimulatorError(
                f"{self._position_file} is not the simulator's position ({error}); "
                "run `make clean` to start over"
            ) from error
        changed = [
            f"{name} was {before} and is now {now}"
            for name, before, now in (
                ("seed", stored.seed, self._world.seed),
                ("tasks_per_day", stored.tasks_per_day, self._world.tasks_per_day),
            )
            if before != now
        ]
        if changed:
            raise SimulatorError(
                f"the simulator's {' and '.join(changed)}: what has been read so far is of "
                "another world; run `make clean` to start over"
            )
        return stored

    def _advance(self, position: Position) -> None:
        """Move the position forward, never back, and durably. The lock is for readers that
        acknowledge at once: each compares with what the other wrote."""
        file = self._position_file
        file.parent.mkdir(parents=True, exist_ok=True)
        with (file.parent / f"{file.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if position <= self._position():
                return
            stored = _Stored(self._world.seed, self._world.tasks_per_day, *position)
            durable.write(file, msgspec.json.encode(stored) + b"\n")


class SimulatedSession:
    """A `PulseSession`: what had been published when it was opened, and nothing later."""

    __slots__ = ("_advance", "_clock", "_waiting")

    def __init__(
        self,
        waiting: Iterator[Published],
        clock: Callable[[], dt.datetime],
        advance: Callable[[Position], None],
    ) -> None:
        self._waiting = waiting
        self._clock = clock
        self._advance = advance

    def receive(self, limits: BatchLimits) -> Batch | None:
        first = next(self._waiting, None)
        if first is None:
            return None
        messages: list[Message] = []
        size = 0
        closed_by: Literal["messages", "bytes", "seconds", "quiet"] = "quiet"
        # Counted from the first message: to find the position again takes its time.
        ends = time.monotonic() + limits.seconds
        for message in itertools.chain((first,), self._waiting):
            messages.append(Message(message.exchange, message.routing_key, message.body))
            size += len(message.body)
            position = message.position
            if len(messages) >= limits.messages:
                closed_by = "messages"
                break
            if size >= limits.bytes:
                closed_by = "bytes"
                break
            if time.monotonic() >= ends:
                closed_by = "seconds"
                break
        return Batch(messages, self._clock(), closed_by, token=position)

    def ack(self, batch: Batch) -> None:
        if not isinstance(batch.token, Position):
            raise TypeError(f"not a batch of the simulated pulse: its token is {batch.token!r}")
        self._advance(batch.token)
