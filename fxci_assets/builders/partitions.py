"""Which partitions there are."""

from __future__ import annotations

import datetime as dt

from fxci_assets.archive import Archive
from fxci_assets.resources.warehouse import Warehouse
from fxci_assets.tables import Table


class Partitions:
    """Those that were recorded, or that have rows. (An empty day of BigQuery looks absent.) The
    warehouse is asked once for each table: this is for one look at many days."""

    def __init__(self, archive: Archive, warehouse: Warehouse) -> None:
        self._archive = archive
        self._warehouse = warehouse
        self._listed: dict[str, frozenset[dt.date]] = {}

    def has(self, table: Table, day: dt.date) -> bool:
        if self._archive.builds.built(table.name, day) is not None:
            return True
        if table.name not in self._listed:
            self._listed[table.name] = frozenset(self._warehouse.partitions(table))
        return day in self._listed[table.name]
