"""The job of all checks over the last days, run for real."""

import dagster as dg

from fxci_assets import deployments
from fxci_assets_tests.dagster_instance import Project, checked, completed
from fxci_assets_tests.events import DAY, body, message, run, task_id

ALL = {
    "pulse_events:no_gap_is_open": "ERROR",
    "pulse_events:quarantine_is_quiet": "WARN",
    "task_runs_v1:conflicting_runs": "WARN",
    "task_runs_v1:data_is_recent": "ERROR",
    "task_runs_v1:exceptions_are_few": "WARN",
    "task_runs_v1:key_is_unique": "ERROR",
    "task_runs_v1:no_day_was_given_up": "ERROR",
    "task_runs_v1:values_are_in_their_domain": "ERROR",
    "tasks_v2:conflicting_tasks": "WARN",
    "tasks_v2:key_is_unique": "ERROR",
    "tasks_v2:no_day_was_given_up": "ERROR",
    "tasks_v2:tasks_match_runs": "ERROR",
    "tasks_v2:tasks_without_tags": "WARN",
    "tasks_v2:values_are_in_their_domain": "ERROR",
}


def check(project: Project, instance: dg.DagsterInstance) -> dict[str, dg.AssetCheckEvaluation]:
    run = project.execute("checks", instance=instance)
    assert run.success
    return checked(instance, run.run_id)


def failed(found: dict[str, dg.AssetCheckEvaluation]) -> list[str]:
    return sorted(name for name, evaluation in found.items() if not evaluation.passed)


def test_all_pass_on_good_data(project: Project, instance: dg.DagsterInstance) -> None:
    project.drain(completed(1, "2026-04-14T05:30:00Z"), completed(2))
    project.pipeline.rebuild_stale()
    found = check(project, instance)
    assert failed(found) == []
    assert {name: evaluation.severity.value for name, evaluation in found.items()} == ALL
    assert not any(evaluation.blocking for evaluation in found.values())


def test_a_check_that_fails_shows_the_days_and_the_cases(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.drain(
        completed(1, "2026-04-14T05:30:00Z"), message(body(task_id(2), [run()])), message(b"{")
    )
    project.pipeline.rebuild_stale()
    found = check(project, instance)
    assert failed(found) == ["tasks_v2:tasks_without_tags"]
    evaluation = found["tasks_v2:tasks_without_tags"]
    assert evaluation.metadata["bad_days"].value == "2026-04-13"
    cases = evaluation.metadata["cases"]
    assert isinstance(cases, dg.TableMetadataValue)
    assert [case.data for case in cases.records] == [{"day": "2026-04-13", "case": task_id(2)}]


def test_a_check_that_cannot_be_made_fails_and_the_others_are_made(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.drain(completed(1, "2026-04-14T05:30:00Z"), completed(2))
    project.pipeline.rebuild_stale()
    warehouse = deployments.state_folder(project.settings) / "warehouse"
    [rows] = warehouse.glob(f"*/tasks_v2/submission_date={DAY}/*.parquet")
    rows.write_bytes(b"damaged")
    found = check(project, instance)
    assert sorted(found) == sorted(ALL)
    assert failed(found) == [
        "tasks_v2:key_is_unique",
        "tasks_v2:tasks_match_runs",
        "tasks_v2:values_are_in_their_domain",
    ]
    description = found["tasks_v2:key_is_unique"].description
    assert description is not None
    assert description.startswith("this could not be checked: QueryError: ")
    assert rows.name in description
