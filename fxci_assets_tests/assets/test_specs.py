"""What Dagster is told of a day that was built, and of what was found."""

import datetime as dt

import dagster as dg
import pandas as pd
import pytest

from fxci_assets.assets.plots import stacked_bars
from fxci_assets.assets.specs import check_result, rebuilt_metadata
from fxci_assets.freshness import Tallied
from fxci_assets.pipeline import Rebuilt
from fxci_assets.quality import Finding
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


HOSTILE = {
    "<img src=x onerror=alert(1)>": r"\<img src=x onerror=alert(1)\>",
    "[x](javascript:alert(1))": r"\[x\](javascript:alert(1))",
    "![](https://example.com/who-looks.png)": r"!\[\](https://example.com/who-looks.png)",
    "| a |\n|---|\n| `b` **c** ~~d~~ |": r"\| a \| \|---\| \| \`b\` \*\*c\*\* \~\~d\~\~ \|",
    "\\[x\\](y)": r"\\\[x\\\](y)",
    "\x1b[2J": r"\\x1b\[2J",
}
"""What others may write, and how it stands in Markdown so that it reads the same."""


@pytest.mark.parametrize("text", HOSTILE)
def test_words_of_others_are_no_markdown(text: str) -> None:
    result = check_result(Finding(False, f"not checked: {text}"), "tasks_v2", "key_is_unique")
    assert result.description == f"not checked: {HOSTILE[text]}"


@pytest.mark.parametrize("text", HOSTILE)
def test_words_of_others_are_one_cell_of_a_table(text: str) -> None:
    """Dagster's own table, which is data: there is nothing to break out of."""
    result = check_result(Finding(False, "", [{"tag": text}]), "tasks_v2", "key_is_unique")
    assert result.metadata["cases"] == dg.MetadataValue.table([dg.TableRecord({"tag": text})])


def test_words_of_others_are_pixels_of_a_plot() -> None:
    part = "<img src=x onerror=alert(1)>"
    rows = pd.DataFrame({"day": [dt.date(2026, 4, 13)], "part": [part], "dollars": [1.0]})
    image = stacked_bars(rows, "Cost")
    assert image.startswith(b"\x89PNG\r\n")
    assert part.encode() not in image
