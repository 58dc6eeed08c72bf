"""`tasks_v2` and `task_runs_v1`: built from the archived messages of a day, with one decoding."""

import datetime as dt
from collections.abc import Iterator, Sequence

import dagster as dg

from fxci_assets import quality
from fxci_assets.assets import pulse
from fxci_assets.assets.specs import asset_spec, check_result, rebuilt_metadata
from fxci_assets.builders import TaskBuilder
from fxci_assets.pipeline import Pipeline, Rebuilt
from fxci_assets.settings import Settings
from fxci_assets.tables import Table

TABLES: Sequence[Table] = TaskBuilder.tables

OWN_DAYS = "rows_are_valid"
"""The blocking check of the days that a run has just built."""


def task_tables(
    settings: Settings, partitions: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    """Both assets; each can be selected alone."""

    @dg.multi_asset(
        name="task_tables",
        specs=[
            asset_spec(table, settings, [pulse.KEY], partitions, dt.timedelta(hours=6))
            for table in TABLES
        ],
        check_specs=[
            dg.AssetCheckSpec(
                OWN_DAYS,
                asset=table.name,
                blocking=True,
                description="The days of this run have unique keys and values in their domain.",
            )
            for table in TABLES
        ],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def build(
        context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[dg.MaterializeResult[None]]:
        tables = [t for t in TABLES if dg.AssetKey(t.name) in context.selected_asset_keys]
        days = [dt.date.fromisoformat(key) for key in context.partition_keys]
        rebuild_days(context, pipeline, tables, days)
        for table in tables:
            results = []
            if dg.AssetCheckKey(dg.AssetKey(table.name), OWN_DAYS) in (
                context.selected_asset_check_keys
            ):
                finding = quality.rows_are_valid(pipeline, table, days)
                results.append(check_result(finding, table.name, OWN_DAYS))
            yield dg.MaterializeResult(asset_key=table.name, check_results=results)

    return build


def rebuild_days(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    tables: Sequence[Table],
    days: Sequence[dt.date],
) -> None:
    """Rebuild the run's days. A day that fails does not keep the others from being built, and
    those that are built are reported all the same.

    A run's own days are materialised by its result, all at once; only where there will be no
    result is each reported by an event of its own.
    """
    done: list[Rebuilt] = []
    whole = False

    def report(made: Rebuilt) -> None:
        done.append(made)
        context.log.info(f"{made.table.name} {made.day}: {made.rows:,} rows")
        context.add_asset_metadata(
            rebuilt_metadata(made), asset_key=made.table.name, partition_key=made.day.isoformat()
        )

    try:
        pipeline.rebuild_each(dict.fromkeys(days, tables), report)
        whole = True
    finally:
        # Not `except Exception`: a run that is terminated raises a BaseException.
        if not whole:
            for made in done:
                context.log_event(
                    dg.AssetMaterialization(
                        made.table.name,
                        partition=made.day.isoformat(),
                        metadata=rebuilt_metadata(made),
                    )
                )
