"""Materialising `worker_metrics_v1`: a day is fetched, archived and built, or left as it is."""

import datetime as dt

import dagster as dg
import pytest

from fxci_assets.tables import WORKER_METRICS
from fxci_assets_tests.dagster_instance import (
    WORKER,
    Project,
    checked,
    days_of,
    failures,
    materialisations,
    up,
)
from fxci_assets_tests.events import DAY, NEXT_DAY, RECEIVED
from fxci_assets_tests.sql.small import LEVEL_1, LEVEL_3

TWO_DAYS_BEFORE, DAY_BEFORE = dt.date(2026, 4, 11), dt.date(2026, 4, 12)
BOTH = [(LEVEL_1, DAY), (LEVEL_3, DAY)]
FROM_THE_ARCHIVE = {WORKER_METRICS.name: {"fetch": False}}


def uptimes(project: Project, day: dt.date = DAY) -> dict[str, float]:
    rows = project.pipeline.warehouse.query(
        "SELECT project, uptime FROM fxci.worker_metrics WHERE submission_date = @day",
        {"day": day},
    )
    return {row["project"]: row["uptime"] for row in rows.to_pylist()}


def archived(project: Project, day: dt.date = DAY) -> int:
    return len(project.pipeline.archive.uptime.files(day))


def test_a_day_is_fetched_archived_and_built(
    project: Project, instance: dg.DagsterInstance
) -> None:
    done = project.execute("uptime", DAY, instance=instance)
    assert done.success
    assert project.monitoring.asked == BOTH
    assert archived(project) == 1
    assert uptimes(project) == {LEVEL_1: 7_200, LEVEL_3: 7_200}
    [event] = materialisations(instance, "worker_metrics_v1")
    assert event.day == "2026-04-13"
    assert event.metadata["dagster/partition_row_count"] == 2
    assert event.metadata["projects_without_series"] == 0
    assert {c.check_name: c.passed for c in done.get_asset_check_evaluations()} == {
        "rows_are_valid": True
    }
    assert project.pipeline.stale(tables=[WORKER_METRICS]) == []


def test_a_day_is_refused_until_ten_minutes_after_it_ended(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.now = dt.datetime(2026, 4, 14, 0, 9, 59, 999_999, dt.UTC)
    project.fetched(up(60))
    project.pipeline.rebuild([WORKER_METRICS], DAY)
    early = project.execute("uptime", DAY, instance=instance)
    assert not early.success
    assert (
        "not fetched: 2026-04-13 "
        "(the uptime of 2026-04-13 is complete from 2026-04-14 00:10 UTC on)\n"
    ) in failures(early)
    assert project.monitoring.asked == []
    assert uptimes(project) == {LEVEL_1: 60}
    assert materialisations(instance, "worker_metrics_v1") == []

    project.now = dt.datetime(2026, 4, 14, 0, 10, tzinfo=dt.UTC)
    assert project.execute("uptime", DAY, instance=instance).success
    assert uptimes(project) == {LEVEL_1: 7_200, LEVEL_3: 7_200}


@pytest.mark.parametrize("answer", ["an error of one project", "nothing in any project"])
def test_a_fetch_that_is_not_whole_leaves_the_archive_and_the_stored_day_alone(
    project: Project, instance: dg.DagsterInstance, answer: str
) -> None:
    assert project.execute("uptime", DAY, instance=instance).success
    if answer == "nothing in any project":
        project.monitoring.answers = {asked: [] for asked in BOTH}
        error = (
            f"Cloud Monitoring has no uptime for 2026-04-13 in any of {LEVEL_1}, {LEVEL_3}: it may "
            "have forgotten the day, or these are not the projects of the workers"
        )
    else:
        project.monitoring.answers[LEVEL_1, DAY] = [up(60)]
        project.monitoring.down = {(LEVEL_3, DAY)}
        error = f"Cloud Monitoring does not answer for {LEVEL_3}"
    failed = project.execute("uptime", DAY, instance=instance)
    assert not failed.success
    assert f"not fetched: 2026-04-13 ({error})\n" in failures(failed)
    assert archived(project) == 1
    assert uptimes(project) == {LEVEL_1: 7_200, LEVEL_3: 7_200}
    assert len(materialisations(instance, "worker_metrics_v1")) == 1


def test_a_project_without_any_worker_is_written_and_named_by_a_check(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.monitoring.answers[LEVEL_3, DAY] = []
    assert project.execute("uptime", DAY, instance=instance).success
    assert uptimes(project) == {LEVEL_1: 7_200}
    [event] = materialisations(instance, "worker_metrics_v1")
    assert event.metadata["projects_without_series"] == 1

    run = project.execute("checks", instance=instance)
    check = checked(instance, run.run_id)["worker_metrics_v1:projects_without_series"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    cases = check.metadata["cases"]
    assert isinstance(cases, dg.TableMetadataValue)
    assert [case.data for case in cases.records] == [{"day": "2026-04-13", "case": LEVEL_3}]


def test_a_day_that_may_be_forgotten_is_built_from_the_archive_and_not_asked_for(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.fetched(up(60))
    project.now = RECEIVED + dt.timedelta(days=40)
    done = project.execute("uptime", DAY, NEXT_DAY, instance=instance)
    assert project.monitoring.asked == [(LEVEL_1, NEXT_DAY), (LEVEL_3, NEXT_DAY)]
    assert done.success
    assert (archived(project), archived(project, NEXT_DAY)) == (1, 1)
    assert uptimes(project) == {LEVEL_1: 60}
    assert uptimes(project, NEXT_DAY) == {LEVEL_1: 7_200, LEVEL_3: 7_200}


def test_a_day_that_may_be_forgotten_and_was_never_archived_is_refused(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.now = RECEIVED + dt.timedelta(days=40)
    done = project.execute("uptime", DAY, instance=instance)
    assert not done.success
    assert "the uptime of 2026-04-13 was never fetched" in failures(done)
    assert project.monitoring.asked == []
    assert project.pipeline.warehouse.partitions(WORKER_METRICS) == []


def test_a_run_can_be_told_to_read_the_archive_only(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.fetched(up(60))
    done = project.execute("uptime", DAY, instance=instance, config=FROM_THE_ARCHIVE)
    assert done.success
    assert project.monitoring.asked == []
    assert archived(project) == 1
    assert uptimes(project) == {LEVEL_1: 60}


def test_of_a_range_the_days_that_can_be_fetched_are_built_and_reported(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.monitoring.down = {(LEVEL_1, DAY_BEFORE)}
    project.monitoring.answers[LEVEL_1, DAY] = [up(90, worker=WORKER)]
    done = project.execute("uptime", TWO_DAYS_BEFORE, NEXT_DAY, instance=instance)
    assert not done.success
    assert (
        f"not fetched: 2026-04-12 (Cloud Monitoring does not answer for {LEVEL_1}); "
        "2026-04-14 (the uptime of 2026-04-14 is complete from 2026-04-15 00:10 UTC on)\n"
    ) in failures(done)
    assert days_of(materialisations(instance, "worker_metrics_v1")) == ["2026-04-11", "2026-04-13"]
    assert uptimes(project) == {LEVEL_1: 90, LEVEL_3: 7_200}
    assert project.pipeline.warehouse.partitions(WORKER_METRICS) == [TWO_DAYS_BEFORE, DAY]
