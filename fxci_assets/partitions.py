"""The one way in which all partitioned assets are partitioned: by UTC day, today included."""

import dagster as dg

from fxci_assets.settings import Settings


def daily(settings: Settings) -> dg.DailyPartitionsDefinition:
    """From the first partition to today: messages of today are wanted today."""
    return dg.DailyPartitionsDefinition(
        start_date=settings.start_date.isoformat(), end_offset=1, timezone="UTC"
    )
