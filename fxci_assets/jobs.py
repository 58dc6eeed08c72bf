"""What is run together."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition as Job,
)

from fxci_assets.assets import pulse, tasks

BLOCKING_CHECKS = tuple(
    dg.AssetCheckKey(dg.AssetKey(table.name), tasks.OWN_DAYS) for table in tasks.TABLES
)

_TABLES = dg.AssetSelection.assets(*(table.name for table in tasks.TABLES))
# Without the checks over the last days, which have a job and an hour of their own.
_OWN_CHECKS = dg.AssetSelection.checks(*BLOCKING_CHECKS)


def default_jobs(checks: dg.AssetChecksDefinition) -> Sequence[Job]:
    return [
        dg.define_asset_job(
            "ingest",
            selection=(
                (dg.AssetSelection.assets(pulse.KEY) | _TABLES)
                - dg.AssetSelection.all_asset_checks()
            )
            | _OWN_CHECKS,
            description="Drain the queues, then build the day: by its schedule, today.",
        ),
        dg.define_asset_job(
            "rebuild",
            selection=(_TABLES - dg.AssetSelection.all_asset_checks()) | _OWN_CHECKS,
            description="Build days anew from the archive. Reads no queue.",
        ),
        dg.define_asset_job(
            "checks",
            selection=dg.AssetSelection.checks(checks),
            description="All checks over the last days.",
        ),
    ]
