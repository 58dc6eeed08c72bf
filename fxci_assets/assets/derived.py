"""The tables that are queries over other tables: `worker_usage_v1` and the tables of costs.

What they read follows from `fxci_assets.builders.derived`, what each column is made of from the
query itself.
"""

import datetime as dt
import warnings
from collections.abc import Iterator, Sequence

import dagster as dg

from fxci_assets.assets import sources
from fxci_assets.assets.building import build_days, build_some_days, days_of, own_days_check
from fxci_assets.assets.lineage import columns_of_query
from fxci_assets.assets.plots import plot_of
from fxci_assets.assets.specs import asset_spec
from fxci_assets.builders.derived import DERIVED, Derived, Reads
from fxci_assets.pipeline import Pipeline
from fxci_assets.settings import Settings


class DerivedConfig(dg.Config):
    """Whether days are left as they are whose inputs are those that they were built from."""

    only_stale: bool = False


def derived_tables(
    settings: Settings, partitions: dg.DailyPartitionsDefinition
) -> Sequence[dg.AssetsDefinition]:
    """One asset for each."""
    return [_asset(derived, settings, partitions) for derived in DERIVED]


def _dep(reads: Reads) -> dg.AssetDep:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        mapping = dg.TimeWindowPartitionMapping(
            start_offset=-reads.before,
            end_offset=reads.after,
            # The days after today, and before the first. Without this beta parameter Dagster
            # refuses to launch a run of the days beside them.
            allow_nonexistent_upstream_partitions=True,
        )
    return dg.AssetDep(reads.table.name, partition_mapping=mapping)


def _asset(
    derived: Derived, settings: Settings, partitions: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    table = derived.table
    deps = [
        *(_dep(reads) for reads in derived.reads),
        *(dg.AssetDep(sources.billing_key(source)) for source in derived.bills),
    ]
    spec = asset_spec(
        table,
        settings,
        deps,
        partitions,
        dt.timedelta(hours=30),
        columns_of_query(table, settings),
    )

    @dg.multi_asset(
        name=table.name,
        specs=[spec.replace_attributes(skippable=True)],
        check_specs=[own_days_check(table)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def build(
        context: dg.AssetExecutionContext,
        config: DerivedConfig,
        pipeline: dg.ResourceParam[Pipeline],
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        days = wanted = days_of(context)
        if config.only_stale:
            stale = {one.day for one in pipeline.stale(min(days), [table])}
            wanted = [day for day in days if day in stale]

        def plot() -> dict[str, dg.MetadataValue]:
            return plot_of(table, pipeline, max(days))

        if wanted == days:
            yield from build_days(context, pipeline, [table], days, plot)
        else:
            yield from build_some_days(context, pipeline, table, wanted, plot)

    return build
