"""`pulse_events`: the archive of messages. Materialising any day drains the queues."""

import datetime as dt

import dagster as dg

from fxci_assets.assets.specs import OWNERS, description, drained_metadata
from fxci_assets.drain import DrainReport
from fxci_assets.pipeline import Pipeline
from fxci_assets.resources.pulse import PulseSource
from fxci_assets.settings import Settings

KEY = "pulse_events"
POOL = "pulse"

_DESCRIPTION = """\
### Messages of Taskcluster's queue

What the queue service published on pulse, byte for byte, under each UTC day on which one of a
message's runs resolved. Durable before it is acknowledged; append-only.

**Materialising any day drains the queues**, and reports every day that received messages. What
cannot be used is in quarantine: `fxci-etl quarantine list`.
"""

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("exchange", "string", "The exchange: what happened to the task."),
        dg.TableColumn("routing_key", "string", "The routing key."),
        dg.TableColumn("received_at", "timestamp", "When the message was received, UTC."),
        dg.TableColumn("body", "binary", "The body as it was received: JSON."),
    ]
)


def pulse_events(
    settings: Settings, partitions: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    """The asset; its pool keeps two drains from reading the same queues at once."""
    spec = dg.AssetSpec(
        KEY,
        group_name="pulse",
        description=description(_DESCRIPTION, settings),
        metadata={"dagster/column_schema": _COLUMNS},
        owners=OWNERS,
        kinds={"pulse", "parquet"},
        tags={"deployment": settings.deployment},
        partitions_def=partitions,
        freshness_policy=dg.FreshnessPolicy.time_window(
            warn_window=dt.timedelta(hours=1), fail_window=dt.timedelta(hours=3)
        ),
    )

    @dg.multi_asset(
        name=KEY,
        specs=[spec],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=POOL,
    )
    def drain(
        context: dg.AssetExecutionContext,
        pipeline: dg.ResourceParam[Pipeline],
        pulse: dg.ResourceParam[PulseSource],
    ) -> dg.MaterializeResult[None]:
        report = pipeline.drain(pulse)
        context.log.info(report.describe())
        failed = [gap.describe() for gap in report.gaps]
        # Whatever comes of these, what was waiting is safe, and no queue overflows.
        for step in (pipeline.take_over, pipeline.forget):
            try:
                step()
            except Exception as error:
                context.log.error(f"after the drain: {step.__name__} failed", exc_info=True)
                failed.append(str(error))
        asked_for = {dt.date.fromisoformat(key) for key in context.partition_keys}
        if failed:
            _report_days(context, report, set(report.days) | asked_for)
            raise dg.Failure("; ".join(failed), allow_retries=False)
        # The run's own days are materialised by its result; an event of their own would be a
        # second one.
        _report_days(context, report, set(report.days) - asked_for)
        for day in sorted(asked_for):
            context.add_asset_metadata(
                drained_metadata(report.day(day)),
                asset_key=KEY,
                partition_key=day.isoformat(),
            )
        return dg.MaterializeResult(
            asset_key=KEY,
            metadata={
                "received_in_drain": report.received,
                "quarantined_in_drain": sum(report.quarantined.values()),
                "quarantine_reasons": dg.MetadataValue.json(report.quarantined),
                "filed_before_the_first_day_in_drain": report.too_early,
                "ended": report.ended,
                "drain_seconds": round(report.seconds, 3),
            },
        )

    return drain


def _report_days(
    context: dg.AssetExecutionContext, report: DrainReport, days: set[dt.date]
) -> None:
    for day in sorted(days):
        context.log_event(
            dg.AssetMaterialization(
                KEY,
                partition=day.isoformat(),
                metadata=drained_metadata(report.day(day)),
            )
        )
