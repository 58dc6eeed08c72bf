"""The simulated bills, as the clouds' exports bring them to the warehouse.

Here belongs when they are brought. What is in them is `gcp` and `azure`, which are functions of the
world, a day and a moment; what is paid for what is `prices`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable

import pyarrow as pa

from fxci_assets.resources.billing import BillingExports
from fxci_assets.sandbox.billing.azure import EXPORTS, azure_bill, azure_lookup
from fxci_assets.sandbox.billing.gcp import gcp_bill
from fxci_assets.sandbox.firefox_ci import World
from fxci_assets.tables.billing import GCP
from fxci_assets.tables.spec import Source

Fill = Callable[[Source, dt.date | None, Iterable[pa.RecordBatch]], object]
"""Makes rows the only ones of a source's day, or of a source without partitions."""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class SimulatedBilling(BillingExports):
    """The exports of the world, as they were by the clock."""

    def __init__(self, world: World, fill: Fill, clock: Callable[[], dt.datetime] = _now) -> None:
        self._world = world
        self._fill = fill
        self._clock = clock

    def refresh(self, day: dt.date) -> None:
        """Brings all exports of a day up to date.

        Of Azure the day is filled first, and only then the lookup, so that whoever reads between
        the two, or after a crash between them, finds the rows of the snapshot that is named. The
        lookup is that of all days: a day that was refreshed more than an hour ago may lack the
        snapshot that it names now, and is to be refreshed before it is read again.
        """
        now = self._clock()
        self._fill(GCP, day, gcp_bill(self._world, day, now).to_batches())
        for export in EXPORTS:
            load = azure_bill(self._world, export, day, now)
            self._fill(export.load, day, load.to_batches())
            self._fill(export.lookup, None, azure_lookup(self._world, export, now).to_batches())
