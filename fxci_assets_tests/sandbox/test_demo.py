"""`fxci-etl sandbox demo`: what a newcomer sees first, run as they run it."""

import datetime as dt
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fxci_assets.cli import main
from fxci_assets.pipeline import utc_now
from fxci_assets.sandbox import SIMULATED_NOTICE
from fxci_assets.sandbox.demo import run_demo
from fxci_assets.settings import Settings, SettingsError
from fxci_assets.tables import (
    TABLES,
    TASK_RUN_COSTS,
    WORKER_COSTS,
    WORKER_USAGE,
    WORKER_UTILIZATION,
)
from fxci_assets_tests.dagster_instance import days_of, materialisations, new_instance

BILLED = (WORKER_USAGE, WORKER_COSTS, TASK_RUN_COSTS, WORKER_UTILIZATION)


def demo(root: Path, days: int) -> Result:
    environment = {
        "FXCI_DEPLOYMENT": "sandbox",
        "FXCI_SANDBOX_DIR": str(root),
        "FXCI_SANDBOX_TASKS_PER_DAY": "40",
        "FXCI_SANDBOX_DAYS": str(days),
        # So few tasks leave hours of a night without any.
        "FXCI_ETL_CHECKS_DATA_AGE_SECONDS": "1000000",
    }
    return CliRunner().invoke(main, ["sandbox", "demo"], env=environment, catch_exceptions=False)


def table(output: str, heading: str) -> list[dict[str, str]]:
    """The rows of the table below a heading. No value has a blank in it."""
    lines = output.splitlines()
    [start] = [number for number, line in enumerate(lines) if line.startswith(heading)]
    assert lines[start + 1] == ""
    names, _, *rows = lines[start + 2 : lines.index("", start + 2)]
    return [dict(zip(names.split(), row.split(), strict=True)) for row in rows]


def test_the_demo_shows_a_week_and_can_be_repeated(tmp_path: Path) -> None:
    started = utc_now().date()
    with new_instance() as instance:
        first = demo(tmp_path, days=7)
        # It would be 1 if a check of severity ERROR had failed.
        assert (first.exit_code, first.stderr) == (0, "")
        assert first.output.startswith(SIMULATED_NOTICE)
        assert "median_queue_seconds" in first.output
        dollars = table(first.output, "Where the dollars for workers went")
        assert [row["cloud"] for row in dollars] == ["azure", "gcp"]
        for row in dollars:
            assert list(row) == [
                "cloud",
                "billed",
                "busy",
                "idle",
                "never_claimed",
                "unmetered",
                "task_share",
            ]
            billed, *parts, task_share = (float(row[name]) for name in list(row)[1:])
            assert sum(parts) == pytest.approx(billed, abs=0.03)  # each is rounded
            assert 0 < task_share < 1

        # What was read is not read again, and what was built is built the same.
        second = demo(tmp_path, days=1)
        assert (second.exit_code, second.stderr) == (0, "")
        if utc_now().date() == started:
            week = [(started - dt.timedelta(days=n)).isoformat() for n in range(7, 0, -1)]
            for one in TABLES:
                events = materialisations(instance, one.name)
                assert set(week) <= set(days_of(events))
                before, after = (e.metadata["data_version"] for e in events if e.day == week[-1])
                # A bill may have arrived meanwhile.
                assert before == after or one in BILLED


def test_the_demo_runs_in_the_sandbox_only(tmp_path: Path) -> None:
    settings = Settings(deployment="local", sandbox_dir=tmp_path)
    with pytest.raises(SettingsError, match="the demo runs in the sandbox only"):
        run_demo(settings)
