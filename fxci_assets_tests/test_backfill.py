"""Backfills, launched as the UI launches them."""

import datetime as dt
from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus

from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets_tests.dagster_instance import (
    Project,
    completed,
    days_of,
    materialisations,
    running,
)
from fxci_assets_tests.events import DAY, NEXT_DAY, task_id

DAYS = [dt.date(2026, 4, 12), DAY, NEXT_DAY]


def test_a_backfill_of_three_days_is_one_run_that_builds_each(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.drain(*(completed(n, f"{day}T01:00:00Z") for n, day in enumerate(DAYS)))
    with running(project) as daemon:
        status = daemon.backfill([table.name for table in TaskBuilder.tables], DAYS)
        assert status is BulkActionStatus.COMPLETED_SUCCESS
        [run] = daemon.instance.get_runs()
        assert run.status is dg.DagsterRunStatus.SUCCESS
        for table in TaskBuilder.tables:
            events = materialisations(daemon.instance, table.name)
            assert days_of(events) == ["2026-04-12", "2026-04-13", "2026-04-14"]
            assert [project.ids(table, day) for day in DAYS] == [[task_id(n)] for n in range(3)]
    assert project.pipeline.stale() == []
