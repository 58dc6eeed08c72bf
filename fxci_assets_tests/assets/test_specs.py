"""What Dagster is told of a day that was built."""

import datetime as dt

import dagster as dg

from fxci_assets.assets.specs import rebuilt_metadata
from fxci_assets.freshness import Tallied
from fxci_assets.pipeline import Rebuilt
from fxci_assets.tables import WORKER_COSTS


def test_what_a_job_cost_is_told_with_a_link_to_it() -> None:
    url = "https://console.cloud.google.com/bigquery?j=bq:US:job"
    made = Rebuilt(
        WORKER_COSTS,
        dt.date(2026, 4, 13),
        rows=3,
        repeats=None,
        bytes=1_000,
        seconds=0.5,
        first_event=None,
        last_event=None,
        uri="https://console.cloud.google.com/bigquery?t=worker_costs_v1",
        input_version="in",
        data_version="out",
        counts={"hours_billed": Tallied(24)},
        job={"job_url": url, "bytes_billed": 10_485_760, "slot_ms": 1_200},
    )
    told = rebuilt_metadata(made)
    assert told["job_url"] == dg.MetadataValue.url(url)
    assert told["bytes_billed"] == dg.MetadataValue.int(10_485_760)
    assert told["slot_ms"] == dg.MetadataValue.int(1_200)
    assert told["hours_billed"] == dg.MetadataValue.int(24)
    assert told["dagster/partition_row_count"] == dg.MetadataValue.int(3)
    # Nothing of it was told by messages.
    assert "repeats_dropped" not in told
