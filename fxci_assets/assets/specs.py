"""How a table's spec is shown in Dagster, and how what was done to a day is.

Both follow from plain data, so that a new table looks like the others without a line here.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from fxci_assets import sql
from fxci_assets.drain import DayCounts
from fxci_assets.pipeline import Rebuilt
from fxci_assets.quality import Finding
from fxci_assets.sandbox import SIMULATED_NOTICE
from fxci_assets.settings import Settings
from fxci_assets.tables import VIEW_DATASET, Column, Mode, Relation, Table
from fxci_assets.texts import one_line

OWNERS = ["team:release-engineering"]


def column_schema(table: Relation) -> dg.TableSchema:
    """The columns of a table; those of a record as `record.field`."""
    return dg.TableSchema(columns=list(_columns(table.columns, "")))


def _columns(columns: Iterable[Column], prefix: str) -> Iterable[dg.TableColumn]:
    for column in columns:
        yield dg.TableColumn(
            f"{prefix}{column.name}",
            type=column.type if column.mode is not Mode.REPEATED else f"{column.type} REPEATED",
            description=column.description,
            constraints=dg.TableColumnConstraints(nullable=column.mode is Mode.NULLABLE),
        )
        yield from _columns(column.fields, f"{prefix}{column.name}.")


def description(text: str, settings: Settings) -> str:
    """A description in Markdown; simulated data is called so."""
    if settings.deployment == "sandbox":
        return f"**{SIMULATED_NOTICE}**\n\n{text}"
    return text


def asset_spec(
    table: Table,
    settings: Settings,
    deps: Sequence[str | dg.AssetDep],
    partitions: dg.PartitionsDefinition,
    fail_window: dt.timedelta,
    lineage: dg.TableColumnLineage,
) -> dg.AssetSpec:
    """The asset of a table."""
    view = f"{settings.bigquery.view_dataset or VIEW_DATASET}.{table.view}"
    key = ", ".join(f"`{name}`" for name in table.key)
    return dg.AssetSpec(
        table.name,
        deps=deps,
        group_name=table.group,
        description=description(
            f"### {table.title}\n\n{table.description}\n\nKey: {key}. Partitioned by day on "
            f"`{table.partition_column}`, and each query needs a filter on it. People read the "
            f"view `{view}`.",
            settings,
        ),
        metadata={
            "dagster/column_schema": column_schema(table),
            "dagster/column_lineage": lineage,
            "dagster/table_name": sql.names(settings)[table.name],
            "view": view,
            "key": list(table.key),
            "partition_column": table.partition_column,
            "clustering": list(table.clustering),
        },
        owners=OWNERS,
        kinds=set(table.kinds),
        tags={"deployment": settings.deployment},
        partitions_def=partitions,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=fail_window),
    )


def _times(first: dt.datetime | None, last: dt.datetime | None) -> dict[str, dg.MetadataValue]:
    times: dict[str, dg.MetadataValue] = {}
    if first is not None and last is not None:
        times["oldest_resolved"] = dg.MetadataValue.timestamp(first)
        times["newest_resolved"] = dg.MetadataValue.timestamp(last)
    return times


def rebuilt_metadata(made: Rebuilt) -> dict[str, dg.MetadataValue]:
    """What Dagster is told of one day of a table."""
    counted = {name: dg.MetadataValue.int(tally.count) for name, tally in made.counts.items()}
    if made.repeats is not None:
        counted["repeats_dropped"] = dg.MetadataValue.int(made.repeats)
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(made.rows),
        "bytes": dg.MetadataValue.int(made.bytes),
        "seconds": dg.MetadataValue.float(round(made.seconds, 3)),
        "dagster/uri": dg.MetadataValue.text(made.uri),
        "input_version": dg.MetadataValue.text(made.input_version),
        "data_version": dg.MetadataValue.text(made.data_version),
        **counted,
        **_job(made.job),
        **_times(made.first_event, made.last_event),
    }


def _job(job: Mapping[str, str | int]) -> dict[str, dg.MetadataValue]:
    return {
        name: dg.MetadataValue.url(told) if isinstance(told, str) else dg.MetadataValue.int(told)
        for name, told in job.items()
    }


def drained_metadata(counts: DayCounts) -> dict[str, dg.MetadataValue]:
    """What Dagster is told of one day of `pulse_events` after a drain."""
    return {
        "received": dg.MetadataValue.int(counts.received),
        "filed": dg.MetadataValue.int(counts.filed),
        "quarantined": dg.MetadataValue.int(counts.quarantined),
        "bytes": dg.MetadataValue.int(counts.size),
        **_times(counts.oldest, counts.newest),
    }


def check_result(
    finding: Finding,
    asset: str,
    name: str,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """A finding as Dagster shows it: the cases as a table, the bad days by name."""
    metadata: dict[str, dg.MetadataValue] = {}
    if finding.days:
        metadata["bad_days"] = dg.MetadataValue.text(", ".join(map(str, finding.days)))
    if finding.cases:
        records = [
            dg.TableRecord({column: _cell(value) for column, value in case.items()})
            for case in finding.cases
        ]
        metadata["cases"] = dg.MetadataValue.table(records)
    return dg.AssetCheckResult(
        passed=finding.passed,
        asset_key=asset,
        check_name=name,
        severity=severity,
        description=_as_markdown(finding.summary),
        metadata=metadata,
    )


def _as_markdown(text: str) -> str:
    """A text that reads the same where Dagster's UI takes it for Markdown: that a check could not
    be made is told in words of others, and these must not become a link or load an image."""
    return re.sub(r"([\\`*\[\]<>|~])", r"\\\1", one_line(text))


def _cell(value: object) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)
