"""What the command line tells Dagster, where there is a Dagster to tell."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fxci_assets import dagster_events
from fxci_assets_tests.dagster_instance import Project, completed, materialisations, new_instance


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.arrive(completed(1), completed(2, "2026-04-14T01:00:00Z"))
    return project


def test_with_a_home_each_day_is_reported_without_a_run(project: Project) -> None:
    drained = project.pipeline.drain(project.pulse)
    rebuilt = project.pipeline.rebuild_stale()
    with new_instance() as instance:
        dagster_events.report(drained, rebuilt)
        assert [
            (asset, event.day, event.metadata[count])
            for asset, count in (
                ("pulse_events", "filed"),
                ("tasks_v2", "dagster/partition_row_count"),
                ("task_runs_v1", "dagster/partition_row_count"),
            )
            for event in materialisations(instance, asset)
        ] == [
            ("pulse_events", "2026-04-13", 1),
            ("pulse_events", "2026-04-14", 1),
            ("tasks_v2", "2026-04-13", 1),
            ("tasks_v2", "2026-04-14", 1),
            ("task_runs_v1", "2026-04-13", 1),
            ("task_runs_v1", "2026-04-14", 1),
        ]
        assert instance.get_runs_count() == 0


def test_a_dagster_that_cannot_be_reached_is_logged_and_no_more(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(project.root / "not there"))
    with caplog.at_level(logging.ERROR, "fxci_assets"):
        dagster_events.report(project.pipeline.drain(project.pulse), [])
    assert "Dagster could not be told what was done" in caplog.text


def test_without_a_home_a_drain_and_rebuild_never_import_dagster(tmp_path: Path) -> None:
    program = (
        "import sys; from fxci_assets.cli import main; "
        "main(['pulse', 'drain'], standalone_mode=False); "
        "sys.exit('dagster' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment
        | {
            "FXCI_DEPLOYMENT": "sandbox",
            "FXCI_SANDBOX_DIR": str(tmp_path),
            "FXCI_SANDBOX_TASKS_PER_DAY": "50",
            "FXCI_SANDBOX_DAYS": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "messages received" in done.stdout
    assert "tasks_v2" in done.stdout
