"""`worker_metrics_v1`, from the newest archived fetch of a day's uptime."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

from fxci_assets.archive import Archive
from fxci_assets.builders.partitions import Partitions
from fxci_assets.day_rows import DayRows
from fxci_assets.freshness import NO_INPUTS, Inputs, version_of
from fxci_assets.tables import WORKER_METRICS, Table
from fxci_assets.uptime import UptimeOfDay


class UptimeBuilder:
    """A `builders.Builder`. What a day is built from is the name of a file."""

    tables = (WORKER_METRICS,)
    derived = False

    def days(self, archive: Archive) -> Sequence[dt.date]:
        return archive.uptime.days()

    def resolve(self, archive: Archive, day: dt.date) -> Inputs[str]:
        files = archive.uptime.files(day)
        return Inputs(version_of(files[-1:]), files[-1]) if files else Inputs(NO_INPUTS, "")

    def refusal(self, archive: Archive, partitions: Partitions, day: dt.date) -> str | None:
        if archive.uptime.files(day):
            return None
        return f"the uptime of {day} was never fetched; run fxci-etl metric export --date {day}"

    def build(
        self, archive: Archive, day: dt.date, inputs: Inputs[str], tables: Collection[Table]
    ) -> DayRows:
        fetch = archive.uptime.read(day, inputs.content)
        return UptimeOfDay(day, fetch.fetched_at, fetch.answers)
