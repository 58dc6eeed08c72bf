"""The job of all checks over the last days, run for real."""

import dagster as dg

from fxci_assets import deployments
from fxci_assets.builders.derived import DERIVED
from fxci_assets.tables import (
    AZURE_FXCI,
    AZURE_FXCI_LOOKUP,
    AZURE_TASKCLUSTER,
    AZURE_TASKCLUSTER_LOOKUP,
    GCP,
    TABLES,
    TASK_RUN_COSTS,
    WORKER_COSTS,
    WORKER_METRICS,
)
from fxci_assets_tests.dagster_instance import WORKER, ZONE, Project, checked, completed, on_worker
from fxci_assets_tests.events import DAY, body, message, run, task_id
from fxci_assets_tests.sql.small import cost, instance_hour, machine_day

OF_EVERY_TABLE = {
    "key_is_unique": "ERROR",
    "no_day_was_given_up": "ERROR",
    "values_are_in_their_domain": "ERROR",
}

ALL = {
    f"{table.name}:{name}": severity
    for table in TABLES
    for name, severity in OF_EVERY_TABLE.items()
} | {
    "pulse_events:no_gap_is_open": "ERROR",
    "pulse_events:quarantine_is_quiet": "WARN",
    "task_run_costs_v1:runs_cost_no_more_than_workers": "WARN",
    "task_run_costs_v1:runs_resolved_before_started": "WARN",
    "task_definitions_v1:conflicting_definitions": "WARN",
    "task_definitions_v1:definitions_too_large": "WARN",
    "task_definitions_v1:no_definition_is_gone": "WARN",
    "task_definitions_v1:unusable_definitions": "WARN",
    "task_runs_v1:conflicting_runs": "WARN",
    "task_runs_v1:data_is_recent": "ERROR",
    "task_runs_v1:exceptions_are_few": "WARN",
    "task_runs_v1:nothing_is_missing": "WARN",
    "tasks_v2:conflicting_tasks": "WARN",
    "tasks_v2:tasks_match_runs": "ERROR",
    "tasks_v2:tasks_without_tags": "WARN",
    "worker_costs_v1:bill_is_complete": "WARN",
    "worker_costs_v1:subscriptions_in_both_exports": "ERROR",
    "worker_metrics_v1:points_of_other_days": "WARN",
    "worker_metrics_v1:projects_without_series": "WARN",
    "worker_metrics_v1:no_day_is_missing": "ERROR",
    "worker_metrics_v1:unusable_series": "WARN",
    "worker_utilization_v1:azure_zones_of_no_worker_group": "WARN",
    "worker_utilization_v1:costs_add_up": "ERROR",
    "worker_utilization_v1:runs_on_workers_of_two_projects": "WARN",
}


def check(project: Project, instance: dg.DagsterInstance) -> dict[str, dg.AssetCheckEvaluation]:
    run = project.execute("checks", instance=instance)
    assert run.success
    return checked(instance, run.run_id)


def failed(found: dict[str, dg.AssetCheckEvaluation]) -> list[str]:
    return sorted(name for name, evaluation in found.items() if not evaluation.passed)


def costs_are_built(project: Project) -> None:
    project.pipeline.archive_uptime(project.monitoring, DAY)
    project.pipeline.rebuild([WORKER_METRICS, *(derived.table for derived in DERIVED)], DAY)


def test_all_pass_on_good_data(project: Project, instance: dg.DagsterInstance) -> None:
    project.drain(completed(1, "2026-04-14T05:30:00Z"), on_worker(2))
    project.pipeline.rebuild_stale()
    project.bill_workers(2.0)
    costs_are_built(project)
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
        "task_runs_v1:nothing_is_missing",
        "tasks_v2:key_is_unique",
        "tasks_v2:tasks_match_runs",
        "tasks_v2:values_are_in_their_domain",
    ]
    description = found["tasks_v2:key_is_unique"].description
    assert description is not None
    assert description.startswith("this could not be checked: QueryError: ")
    assert rows.name in description


def test_what_is_wrong_with_costs_is_found(project: Project, instance: dg.DagsterInstance) -> None:
    project.drain(completed(1, "2026-04-14T05:30:00Z"), on_worker(2))
    project.pipeline.rebuild_stale()
    project.bill(GCP, instance_hour(WORKER))
    for export, lookup in (
        (AZURE_FXCI, AZURE_FXCI_LOOKUP),
        (AZURE_TASKCLUSTER, AZURE_TASKCLUSTER_LOOKUP),
    ):
        project.bill(export, machine_day(resourceLocation=ZONE))
        project.bill(lookup, {"sourceDataId": "current"})
    costs_are_built(project)
    # What nobody builds.
    project.write(WORKER_COSTS, DAY, cost(WORKER, 5.0) | {"usage_start_date": DAY})
    dear = {"task_id": task_id(2), "run_id": 0, "submission_date": DAY, "run_duration": 3_600}
    worker = {"cloud_provider": "gcp", "worker_zone": ZONE, "worker_instance_id": WORKER}
    whole = {"attribution_worker_cost": 1.0, "attribution_worker_uptime": 7_200.0}
    project.write(TASK_RUN_COSTS, DAY, dear | worker | whole | {"run_cost": 1.5})

    found = check(project, instance)
    assert {name: found[name].severity.value for name in failed(found)} == {
        "task_run_costs_v1:runs_cost_no_more_than_workers": "WARN",
        "worker_costs_v1:bill_is_complete": "WARN",
        "worker_costs_v1:subscriptions_in_both_exports": "ERROR",
        "worker_utilization_v1:costs_add_up": "ERROR",
    }
    assert {found[name].metadata["bad_days"].value for name in failed(found)} == {"2026-04-13"}
