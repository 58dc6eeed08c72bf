"""`task_definitions_v1`: what messages tell was defined is fetched from the queue, then built from
the archive."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from fxci_assets.assets import pulse
from fxci_assets.assets.building import FetchConfig, build_days, days_of, own_days_check
from fxci_assets.assets.lineage import columns_from
from fxci_assets.assets.specs import asset_spec
from fxci_assets.pipeline import Pipeline
from fxci_assets.resources.taskcluster import Taskcluster
from fxci_assets.settings import Settings
from fxci_assets.tables import TASK_DEFINITIONS


def task_definitions(
    settings: Settings, partitions: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=TASK_DEFINITIONS.name,
        specs=[
            asset_spec(
                TASK_DEFINITIONS,
                settings,
                [pulse.KEY],
                partitions,
                dt.timedelta(hours=6),
                columns_from(TASK_DEFINITIONS, pulse.KEY, "body"),
            )
        ],
        check_specs=[own_days_check(TASK_DEFINITIONS)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def build(
        context: dg.AssetExecutionContext,
        config: FetchConfig,
        pipeline: dg.ResourceParam[Pipeline],
        taskcluster: dg.ResourceParam[Taskcluster],
    ) -> Iterator[dg.MaterializeResult[None]]:
        if config.fetch:
            context.log.info(pipeline.fetch_definitions(taskcluster).describe())
        yield from build_days(context, pipeline, [TASK_DEFINITIONS], days_of(context))

    return build
