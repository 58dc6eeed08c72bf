"""Tells Dagster what the command line did, where DAGSTER_HOME is set.

For people only: nothing depends on these events. Dagster is imported only where there is a home
to report to, since that alone takes longer than most commands.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fxci_assets.drain import DrainReport
    from fxci_assets.pipeline import Rebuilt

_log = logging.getLogger(__name__)


def report(drained: DrainReport | None, rebuilt: Sequence[Rebuilt]) -> None:
    """Report the days that received messages and those that were rebuilt. A Dagster that cannot
    be reached is logged and no more: the work is done, and recorded where it counts."""
    if not os.environ.get("DAGSTER_HOME") or not (drained or rebuilt):
        return
    try:
        _report(drained, rebuilt)
    except Exception:
        _log.exception("Dagster could not be told what was done")


def _report(drained: DrainReport | None, rebuilt: Sequence[Rebuilt]) -> None:
    import dagster as dg

    from fxci_assets.assets.pulse import KEY
    from fxci_assets.assets.specs import drained_metadata, rebuilt_metadata

    events = [
        dg.AssetMaterialization(KEY, partition=day.isoformat(), metadata=drained_metadata(counts))
        for day, counts in sorted(drained.days.items() if drained else ())
    ]
    events += [
        dg.AssetMaterialization(
            made.table.name, partition=made.day.isoformat(), metadata=rebuilt_metadata(made)
        )
        for made in rebuilt
    ]
    with dg.DagsterInstance.get() as instance:
        for event in events:
            instance.report_runless_asset_event(event)
