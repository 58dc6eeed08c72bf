"""What a person does in Dagster's UI, in a real browser: looks at the assets, materialises a day,
backfills three, and looks where the dollars of one went."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from fxci_assets.assets.pulse import KEY
from fxci_assets.assets.sources import UPTIME, billing_key
from fxci_assets.sandbox import SIMULATED_NOTICE
from fxci_assets.tables import BILLING, TABLES

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium")

# As root Chromium has no sandbox; and without these it looks for Google's hosts at its start.
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        # What is outside of the window is not drawn.
        page = browser.new_page(viewport={"width": 2000, "height": 2000})
        page.set_default_timeout(30_000)
        yield page
        browser.close()


ASSETS = (KEY, UPTIME, *map(billing_key, BILLING), *(table.name for table in TABLES))


class Dagster:
    """`dagster dev` from the root, as `make dev` runs it, over a small sandbox."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        home = folder / "dagster"
        home.mkdir()
        (home / "dagster.yaml").symlink_to(ROOT / "dagster.yaml")
        self._log = (folder / "dev.log").open("wb")
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(home),
            "FXCI_SANDBOX_DIR": str(folder),
            "FXCI_SANDBOX_TASKS_PER_DAY": "300",
        }
        command = Path(sys.executable).with_name("dagster")
        self._process = subprocess.Popen(
            [command, "dev", "--host", "127.0.0.1", "--port", f"{self.port}"],
            cwd=ROOT,
            env=environment,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait(self, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(self.url("/server_info"), timeout=2).close()
            except OSError:
                time.sleep(0.5)
            else:
                return
        raise AssertionError(f"dagster dev does not answer: {Path(self._log.name).read_text()}")

    def ask(self, query: str, variables: Mapping[str, object]) -> dict[str, Any]:
        """GraphQL, to see what came of what was clicked."""
        request = urllib.request.Request(
            self.url("/graphql"),
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
            return data

    def stop(self) -> None:
        """All of its processes: it leaves its children behind where it is merely told to end."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    server = Dagster(tmp_path_factory.mktemp("ui"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def days_ago(number: int) -> str:
    return (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=number)).isoformat()


def materialised(dagster: Dagster, asset: str) -> dict[str, str]:
    """The newest materialisation of each day: the id of its run."""
    answer = dagster.ask(
        """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
        assetMaterializations(limit: 100) { partition runId timestamp } } } }""",
        {"key": {"path": [asset]}},
    )
    found: dict[str, str] = {}
    for event in answer["assetNodeOrError"]["assetMaterializations"]:
        found.setdefault(event["partition"], event["runId"])
    return found


def wait_for(dagster: Dagster, asset: str, days: set[str], seconds: float = 90) -> dict[str, str]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = materialised(dagster, asset)
        if days <= set(found):
            return found
        time.sleep(1)
    raise AssertionError(f"{asset} was not materialised for {days}, only for {set(found)}")


def launch(page: Page, dagster: Dagster, path: str, days: str) -> None:
    """Open the page of an asset or a job, choose days and launch."""
    page.goto(dagster.url(path))
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    chosen = dialog.locator("input[type=text]").first
    chosen.fill(days)
    chosen.press("Enter")
    # Leaving the field is what takes it.
    dialog.get_by_text("Partition selection").first.click()
    dialog.get_by_role("button", name="Launch").click()
    expect(dialog).to_be_hidden()


def in_the_graph(page: Page, asset: str) -> Locator:
    """The node of an asset. A long name has dots in its middle."""
    return page.locator("foreignObject").get_by_text(re.compile(f"{asset[-16:]}$")).first


@pytest.mark.slow
def test_the_assets_are_looked_at_materialised_and_backfilled(
    browser_page: Page, dagster: Dagster
) -> None:
    page = browser_page
    groups = ",".join(f"global@global:{group}" for group in ("pulse", "workers", "costs"))
    page.goto(dagster.url(f"/asset-groups?expanded={groups}"))
    for asset in ASSETS:
        expect(in_the_graph(page, asset)).to_be_visible()

    launch(page, dagster, "/assets/pulse_events?view=partitions", days_ago(0))
    wait_for(dagster, "pulse_events", {days_ago(n) for n in range(4)})

    page.goto(dagster.url("/assets/task_runs_v1?view=overview"))
    expect(page.get_by_text(SIMULATED_NOTICE).first).to_be_visible()
    expect(page.get_by_text("When a worker claimed the run").first).to_be_visible()

    three = {days_ago(n) for n in (1, 2, 3)}
    before = {d: r for d, r in materialised(dagster, "task_runs_v1").items() if d in three}
    launch(
        page, dagster, "/assets/task_runs_v1?view=partitions", f"[{days_ago(3)}...{days_ago(1)}]"
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        runs = {d: r for d, r in materialised(dagster, "task_runs_v1").items() if d in three}
        if set(runs) == three and len(set(runs.values()) - set(before.values())) == 1:
            break
        time.sleep(1)
    assert set(runs) == three
    [backfill] = set(runs.values())
    assert backfill not in before.values()

    page.goto(dagster.url(f"/assets/task_runs_v1?view=partitions&partition={days_ago(2)}"))
    expect(page.get_by_text("dagster/partition_row_count").first).to_be_visible()


@pytest.mark.slow
def test_the_dollars_of_a_day_are_plotted(browser_page: Page, dagster: Dagster) -> None:
    page, day = browser_page, days_ago(2)
    launch(page, dagster, "/assets/worker_metrics_v1?view=partitions", day)
    wait_for(dagster, "worker_metrics_v1", {day})
    launch(page, dagster, "/locations/fxci_assets/jobs/costs", day)
    wait_for(dagster, "worker_utilization_v1", {day})

    page.goto(dagster.url(f"/assets/worker_utilization_v1?view=partitions&partition={day}"))
    page.get_by_text("[Show Markdown]").click()
    plot = page.get_by_role("dialog").get_by_role("img", name="Cost of workers by day and status")
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.complete && image.naturalWidth") == 720

    upstream = "view=lineage&lineageScope=upstream&lineageDepth=5"
    page.goto(dagster.url(f"/assets/worker_utilization_v1?{upstream}"))
    for asset in set(ASSETS) - {"tasks_v2", "task_definitions_v1", "task_run_costs_v1"}:
        expect(in_the_graph(page, asset)).to_be_visible()
