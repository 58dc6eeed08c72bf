"""The views by which people read the tables, where a setting says that they are ours to keep."""

from collections.abc import Sequence

import dagster as dg

from fxci_assets import sql
from fxci_assets.assets.specs import OWNERS, description
from fxci_assets.pipeline import Pipeline
from fxci_assets.settings import Settings
from fxci_assets.tables import TABLES

KEY = "views"

_DESCRIPTION = """\
### The views

One for each table, in the dataset that `bigquery.view_dataset` names. Materialising them makes
their queries those of this code.
"""


def views(settings: Settings) -> Sequence[dg.AssetsDefinition]:
    """None where the setting is not set: a second deployment must not move the public views."""
    dataset = settings.bigquery.view_dataset
    if dataset is None:
        return []
    queries = sql.views(sql.names(settings), dataset)

    @dg.multi_asset(
        name=KEY,
        specs=[
            dg.AssetSpec(
                KEY,
                deps=[table.name for table in TABLES],
                group_name="views",
                description=description(_DESCRIPTION, settings),
                owners=OWNERS,
                kinds={"bigquery", "view"},
            )
        ],
    )
    def keep(
        context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.MaterializeResult[None]:
        # A view of a table that is not there cannot be made.
        pipeline.warehouse.ensure_tables(TABLES)
        pipeline.warehouse.ensure_views(queries)
        return dg.MaterializeResult(asset_key=KEY, metadata={"views": sorted(queries)})

    return [keep]
