"""What is run together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from fxci_assets.assets import pulse, tasks
from fxci_assets.settings import Settings

if TYPE_CHECKING:
    # It has no public name.
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

MAX_RUNTIME_SECONDS_TAG = "dagster/max_runtime"

BLOCKING_CHECKS = tuple(
    dg.AssetCheckKey(dg.AssetKey(table.name), tasks.OWN_DAYS) for table in tasks.TABLES
)

_TABLES = dg.AssetSelection.assets(*(table.name for table in tasks.TABLES))
# Without the checks over the last days, which have a job and an hour of their own.
_OWN_CHECKS = dg.AssetSelection.checks(*BLOCKING_CHECKS)


def default_jobs(
    settings: Settings, checks: dg.AssetChecksDefinition
) -> Sequence["UnresolvedAssetJobDefinition"]:
    # A run that lives longer is ended; by then, its rebuilds count as dead. What is started in the
    # UI without a job has the instance's own limit.
    tags = {MAX_RUNTIME_SECONDS_TAG: str(int(settings.rebuild.run_limit_seconds))}
    return [
        dg.define_asset_job(
            "ingest",
            selection=(
                (dg.AssetSelection.assets(pulse.KEY) | _TABLES)
                - dg.AssetSelection.all_asset_checks()
            )
            | _OWN_CHECKS,
            tags=tags,
            description="Drain the queues, then build the day: by its schedule, today.",
        ),
        dg.define_asset_job(
            "rebuild",
            selection=(_TABLES - dg.AssetSelection.all_asset_checks()) | _OWN_CHECKS,
            tags=tags,
            description="Build days anew from the archive. Reads no queue.",
        ),
        dg.define_asset_job(
            "checks",
            selection=dg.AssetSelection.checks(checks),
            tags=tags,
            description="All checks over the last days.",
        ),
    ]
