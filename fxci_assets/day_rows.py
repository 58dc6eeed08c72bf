"""What a build makes of one day: rows, what was set aside, and what was counted on the way.

The interface between what sources mean (`taskcluster`, `uptime`) and who writes rows
(`fxci_assets.pipeline`). How rows are made belongs to the sources.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import pyarrow as pa

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

    unusable: list[UnusableEvent]
    first_event: dt.datetime | None
    last_event: dt.datetime | None

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, sorted by the table's key."""

    def staged(self, table: Table) -> int:
        """Rows before repeats were dropped."""

    def counts(self, table: Table) -> Mapping[str, Tally]:
        """What is worth a look; complete once the batches have been read."""
