"""What the tables are made from and others keep: assets that Dagster shows and never runs."""

from collections.abc import Sequence

import dagster as dg

from fxci_assets import sql
from fxci_assets.assets.specs import column_schema, description
from fxci_assets.settings import Settings
from fxci_assets.tables import BILLING, Source

UPTIME = "cloud_monitoring_uptime"

_UPTIME = """\
### Uptime, by Google Cloud Monitoring

The metric `compute.googleapis.com/instance/uptime` of the worker projects: seconds, sampled each
minute. It is forgotten after six weeks.
"""

_UPTIME_COLUMNS = dg.TableSchema(
    [dg.TableColumn("timeSeries", "JSON", "A time series: whose it is, and its points.")]
)


def billing_key(source: Source) -> str:
    return f"billing_{source.name}"


def sources(settings: Settings) -> Sequence[dg.AssetSpec]:
    """Cloud Monitoring's metric and the clouds' billing exports."""
    names = sql.names(settings)
    return [
        dg.AssetSpec(
            UPTIME,
            group_name="workers",
            description=description(_UPTIME, settings),
            metadata={"dagster/column_schema": _UPTIME_COLUMNS},
            kinds={"googlecloud", "source"},
        ),
        *(
            dg.AssetSpec(
                billing_key(source),
                group_name="costs",
                description=description(f"### {source.title}\n\n{source.description}", settings),
                metadata={
                    "dagster/column_schema": column_schema(source),
                    "dagster/table_name": names[f"billing.{source.name}"],
                },
                kinds={"bigquery", "source"},
            )
            for source in BILLING
        ),
    ]
