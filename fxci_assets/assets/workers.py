"""`worker_metrics_v1`: a day's uptime, fetched from Cloud Monitoring and built from the archive."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from fxci_assets.assets import sources
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
from fxci_assets.resources.monitoring import Monitoring
from fxci_assets.settings import Settings
from fxci_assets.tables import WORKER_METRICS


def worker_metrics(
    settings: Settings, partitions: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=WORKER_METRICS.name,
        specs=[
            asset_spec(
                WORKER_METRICS,
                settings,
                [sources.UPTIME],
                partitions,
                dt.timedelta(hours=30),
                columns_from(WORKER_METRICS, sources.UPTIME, "timeSeries"),
            )
        ],
        check_specs=[own_days_check(WORKER_METRICS)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def build(
        context: dg.AssetExecutionContext,
        config: FetchConfig,
        pipeline: dg.ResourceParam[Pipeline],
        monitoring: dg.ResourceParam[Monitoring],
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        days = days_of(context)
        failed = _fetch(pipeline, monitoring, days) if config.fetch else {}
        if not failed:
            yield from build_days(context, pipeline, [WORKER_METRICS], days)
            return
        told = "; ".join(f"{day} ({error})" for day, error in failed.items())
        context.log.error(f"not fetched: {told}")
        fetched = [day for day in days if day not in failed]
        if fetched:
            yield from build_some_days(context, pipeline, WORKER_METRICS, fetched)
        raise dg.Failure(f"not fetched: {told}")

    return build


def _fetch(
    pipeline: Pipeline, monitoring: Monitoring, days: Sequence[dt.date]
) -> Mapping[dt.date, Exception]:
    """Fetch each of the days. One that fails does not keep the others from being built; returns
    those that did."""
    failed: dict[dt.date, Exception] = {}
    for day in days:
        try:
            pipeline.archive_uptime(monitoring, day)
        except Exception as error:
            failed[day] = error
    return failed
