"""`tasks_v2` and `task_runs_v1`: built from the archived messages of a day, with one decoding."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from fxci_assets.assets import pulse
from fxci_assets.assets.building import build_days, days_of, own_days_check
from fxci_assets.assets.lineage import columns_from
from fxci_assets.assets.specs import asset_spec
from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.pipeline import Pipeline
from fxci_assets.settings import Settings

TABLES = TaskBuilder.tables


def task_tables(
    settings: Settings, partitions: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    """Both assets; each can be selected alone."""

    @dg.multi_asset(
        name="task_tables",
        specs=[
            asset_spec(
                table,
                settings,
                [pulse.KEY],
                partitions,
                dt.timedelta(hours=6),
                columns_from(table, pulse.KEY, "body"),
            )
            for table in TABLES
        ],
        check_specs=[own_days_check(table) for table in TABLES],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def build(
        context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[dg.MaterializeResult[None]]:
        tables = [t for t in TABLES if dg.AssetKey(t.name) in context.selected_asset_keys]
        yield from build_days(context, pipeline, tables, days_of(context))

    return build
