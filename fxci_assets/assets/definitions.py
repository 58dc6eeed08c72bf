"""`task_definitions_v1`: what messages tell was defined is fetched from the queue, then built from
the archive."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from fxci_assets.assets import pulse
from fxci_assets.assets.building import (
    FetchConfig,
    build_days,
    build_some_days,
    days_of,
    own_days_check,
)
from fxci_assets.assets.lineage import columns_from
from fxci_assets.assets.specs import asset_spec
from fxci_assets.pipeline import Pipeline
from fxci_assets.resources.taskcluster import Taskcluster
from fxci_assets.settings import Settings
from fxci_assets.tables import TASK_DEFINITIONS


class DefinitionsConfig(FetchConfig):
    """Also whether days that were built a short while ago are left to the sensor of stale days: a
    day is some hundred MB, and each drain adds to today's."""

    only_rested: bool = False


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
            ).replace_attributes(skippable=True)
        ],
        check_specs=[own_days_check(TASK_DEFINITIONS)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def build(
        context: dg.AssetExecutionContext,
        config: DefinitionsConfig,
        pipeline: dg.ResourceParam[Pipeline],
        taskcluster: dg.ResourceParam[Taskcluster],
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        if config.fetch:
            context.log.info(pipeline.fetch_definitions(taskcluster).describe())
        days = wanted = days_of(context)
        if config.only_rested:
            wanted = pipeline.rested(TASK_DEFINITIONS, days, settings.rest)
        if wanted == days:
            yield from build_days(context, pipeline, [TASK_DEFINITIONS], days)
        else:
            yield from build_some_days(context, pipeline, TASK_DEFINITIONS, wanted)

    return build
