"""What a build makes of one day: rows, what was set aside, and what was counted on the way.

The interface between what sources mean (`taskcluster`, `uptime`) and who writes rows
(`fxci_assets.pipeline`). How rows are made belongs to the sources.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec
import pyarrow as pa

from fxci_assets.spool import Spool
from fxci_assets.tables import Table

_EXAMPLES = 10


class UnusableEvent(NamedTuple):
    """A message that is filed and of which a part cannot be used; or another source's answer,
    with what it was an answer to in the place of the exchange."""

    reason: str
    exchange: str
    routing_key: str
    received_at: dt.datetime
    body: bytes


class SetAside:
    """What cannot be used, in the order in which it was met. Not in memory: whoever creates tasks
    can make all of a day unusable, and large."""

    def __init__(self) -> None:
        self._events = Spool()

    def add(self, event: UnusableEvent) -> None:
        self._events.add(msgspec.msgpack.encode(event))

    def __iter__(self) -> Iterator[UnusableEvent]:
        return (msgspec.msgpack.decode(event, type=UnusableEvent) for event in self._events)


@dataclass(slots=True)
class Tally:
    """How often something worth a look was met, and the first few cases by name."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, cases: Sequence[str]) -> None:
        self.count += len(cases)
        self.examples += cases[: max(0, _EXAMPLES - len(self.examples))]


class DayRows(Protocol):
    """The rows of one day, and what was met on the way to them."""

    first_event: dt.datetime | None
    last_event: dt.datetime | None

    @property
    def unusable(self) -> Iterable[UnusableEvent]:
        """What was set aside; from the beginning at each iteration, and one event in memory."""

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, sorted by the table's key."""

    def staged(self, table: Table) -> int:
        """Rows before repeats were dropped."""

    def counts(self, table: Table) -> Mapping[str, Tally]:
        """What is worth a look; complete once the batches have been read."""
