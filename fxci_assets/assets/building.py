"""Days of tables as steps of a run: what is built, reported and checked in each."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import dagster as dg

from fxci_assets import quality
from fxci_assets.assets.specs import check_result, rebuilt_metadata
from fxci_assets.pipeline import Pipeline, Rebuilt
from fxci_assets.tables import Table

OWN_DAYS = "rows_are_valid"
"""The blocking check of the days that a run has just built."""

_LINEAGE = "dagster/column_lineage"

Extra = Callable[[], Mapping[str, dg.MetadataValue]]
"""What is told of the last of a run's days beside what is told of each."""


class FetchConfig(dg.Config):
    """Whether what is missing is fetched before the days are built. Not where only what is already
    archived has to become rows."""

    fetch: bool = True


def own_days_check(table: Table) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        OWN_DAYS,
        asset=table.name,
        blocking=True,
        description="The days of this run have unique keys and values in their domain.",
    )


def days_of(context: dg.AssetExecutionContext) -> list[dt.date]:
    return [dt.date.fromisoformat(key) for key in context.partition_keys]


def build_days(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    tables: Sequence[Table],
    days: Sequence[dt.date],
    extra: Extra = dict,
) -> Iterator[dg.MaterializeResult[None]]:
    """Rebuild and check the run's days of some tables."""
    with _Report(context, extra, days) as report:
        pipeline.rebuild_each(dict.fromkeys(days, tables), report)
    for table in tables:
        yield dg.MaterializeResult(
            asset_key=table.name, check_results=list(_own_days(context, pipeline, table, days))
        )


def build_some_days(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    table: Table,
    days: Sequence[dt.date],
    extra: Extra = dict,
) -> Iterator[dg.AssetCheckResult]:
    """Rebuild and check some of the run's days, and report these alone: there is no result, which
    would say that all of them were materialised."""
    if not days:
        context.log.info("no day has to be built")
        return
    with _Report(context, extra, days) as report:
        pipeline.rebuild_each({day: [table] for day in days}, report)
        report.whole = False
    yield from _own_days(context, pipeline, table, days)


def _own_days(
    context: dg.AssetExecutionContext, pipeline: Pipeline, table: Table, days: Sequence[dt.date]
) -> Iterable[dg.AssetCheckResult]:
    if dg.AssetCheckKey(dg.AssetKey(table.name), OWN_DAYS) in context.selected_asset_check_keys:
        finding = quality.rows_are_valid(pipeline, table, list(days))
        yield check_result(finding, table.name, OWN_DAYS)


class _Report:
    """Tells Dagster of each day that is built, though another fails or the run is terminated.

    A run's own days are materialised by its result, all at once, and what is told here is added to
    that. Where there will be no result, each is reported by an event of its own.
    """

    def __init__(
        self, context: dg.AssetExecutionContext, extra: Extra, days: Sequence[dt.date]
    ) -> None:
        self._context = context
        self._extra = extra
        self._last = max(days)
        self._done: list[tuple[Rebuilt, dict[str, dg.MetadataValue]]] = []
        self.whole = True

    def __enter__(self) -> "_Report":
        return self

    def __call__(self, made: Rebuilt) -> None:
        metadata = rebuilt_metadata(made)
        if made.day == self._last:
            metadata |= self._more()
            # Where Dagster shows it, it is that of the newest materialisation.
            definition = self._context.assets_def.metadata_by_key[dg.AssetKey(made.table.name)]
            lineage = definition[_LINEAGE]
            metadata[_LINEAGE] = dg.MetadataValue.column_lineage(lineage)
        self._done.append((made, metadata))
        self._context.log.info(f"{made.table.name} {made.day}: {made.rows:,} rows")

    def _more(self) -> Mapping[str, dg.MetadataValue]:
        try:
            return self._extra()
        except Exception:
            # The rows are there: that they could not be drawn is no failure.
            self._context.log.warning("there is no plot", exc_info=True)
            return {}

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A run that is terminated raises a BaseException.
        whole = self.whole and kind is None
        for made, metadata in self._done:
            name, day = made.table.name, made.day.isoformat()
            if whole:
                self._context.add_asset_metadata(metadata, asset_key=name, partition_key=day)
            else:
                self._context.log_event(
                    dg.AssetMaterialization(name, partition=day, metadata=metadata)
                )
