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
from fxci_assets_tests.dagster_instance import days_of, materialisations, new_instance


def demo(root: Path) -> Result:
    environment = {
        "FXCI_DEPLOYMENT": "sandbox",
        "FXCI_SANDBOX_DIR": str(root),
        "FXCI_SANDBOX_TASKS_PER_DAY": "200",
        "FXCI_SANDBOX_DAYS": "1",
        # So few tasks leave hours of a night without any.
        "FXCI_ETL_CHECKS_DATA_AGE_SECONDS": "1000000",
    }
    return CliRunner().invoke(main, ["sandbox", "demo"], env=environment, catch_exceptions=False)


def section(output: str, title: str) -> list[str]:
    """The lines of a part of the output, up to an empty one."""
    lines = output.splitlines()
    start = lines.index(title) + 1
    return lines[start : lines.index("", start)]


def test_the_demo_shows_tables_checks_and_an_answer_and_can_be_repeated(tmp_path: Path) -> None:
    started = utc_now().date()
    with new_instance() as instance:
        first = demo(tmp_path)
        assert (first.exit_code, first.stderr) == (0, "")
        assert first.output.startswith(SIMULATED_NOTICE)
        for table in ("tasks_v2 (fxci.tasks)", "task_runs_v1 (fxci.task_runs)"):
            rows = section(first.output, table)
            assert 1 <= len(rows) <= 2  # today may have none yet
            assert all(row.endswith(" rows") for row in rows)
        checks = section(first.output, "Checks")
        assert len(checks) > 10
        assert not any(line.split()[0] == "ERROR" for line in checks)
        assert "median_queue_seconds" in first.output

        # What was read is not read again, and what was built is built the same.
        second = demo(tmp_path)
        assert second.exit_code == 0
        if utc_now().date() == started:
            yesterday = section(first.output, "tasks_v2 (fxci.tasks)")[0]
            assert section(second.output, "tasks_v2 (fxci.tasks)")[0] == yesterday
            days = days_of(materialisations(instance, "tasks_v2"))
            # Each day twice, but the one before the first, which only the first run found stale.
            asked_for = {started, started - dt.timedelta(days=1)}
            assert [days.count(day.isoformat()) for day in asked_for] == [2, 2]
            assert len(set(days) - {day.isoformat() for day in asked_for}) <= 1


def test_the_demo_runs_in_the_sandbox_only(tmp_path: Path) -> None:
    settings = Settings(deployment="local", sandbox_dir=tmp_path)
    with pytest.raises(SettingsError, match="the demo runs in the sandbox only"):
        run_demo(settings)
