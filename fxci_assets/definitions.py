"""The table of contents: everything Dagster knows of this project.

`build_defs` assembles; each list has a module of its own. Loading this touches no network and no
disk, and needs no credentials.
"""

from collections.abc import Mapping

import dagster as dg

from fxci_assets import deployments
from fxci_assets.assets.definitions import task_definitions
from fxci_assets.assets.derived import derived_tables
from fxci_assets.assets.pulse import pulse_events
from fxci_assets.assets.sources import sources
from fxci_assets.assets.tasks import task_tables
from fxci_assets.assets.views import views
from fxci_assets.assets.workers import worker_metrics
from fxci_assets.checks import window_checks
from fxci_assets.jobs import default_jobs
from fxci_assets.partitions import daily
from fxci_assets.pipeline import Pipeline
from fxci_assets.schedules import default_schedules
from fxci_assets.sensors import default_sensors
from fxci_assets.settings import Settings, load


def default_resources(settings: Settings) -> dict[str, object]:
    """One for each outside system, of the kind that the deployment uses."""
    in_bigquery = settings.deployment == "production"

    def pipeline(context: dg.InitResourceContext) -> Pipeline:
        clients = context.resources.bigquery.get_client if in_bigquery else None
        # A tick of the daemon, which writes nothing, is no run.
        labels = {"run": context.run.run_id} if context.run else {}
        return deployments.pipeline(settings, clients=clients, labels=labels)

    return {
        "pipeline": dg.ResourceDefinition(
            pipeline, required_resource_keys={"bigquery"} if in_bigquery else set()
        ),
        "pulse": dg.ResourceDefinition(lambda _: deployments.pulse(settings)),
        "monitoring": dg.ResourceDefinition(lambda _: deployments.monitoring(settings)),
        "taskcluster": dg.ResourceDefinition(lambda _: deployments.taskcluster(settings)),
        **({"bigquery": deployments.bigquery_resource(settings)} if in_bigquery else {}),
    }


def build_defs(settings: Settings, resources: Mapping[str, object] | None = None) -> dg.Definitions:
    """All definitions for some settings; `resources` replaces some of the default ones."""
    partitions = daily(settings)
    checks = window_checks(settings)
    return dg.Definitions(
        assets=[
            *sources(settings),
            pulse_events(settings, partitions),
            task_tables(settings, partitions),
            task_definitions(settings, partitions),
            worker_metrics(settings, partitions),
            *derived_tables(settings, partitions),
            *views(settings),
        ],
        asset_checks=[checks],
        jobs=default_jobs(settings, checks),
        schedules=default_schedules(settings),
        sensors=default_sensors(settings),
        resources=default_resources(settings) | dict(resources or {}),
        # A run has a few steps; a process for each would cost more than they do.
        executor=dg.in_process_executor,
    )


defs = build_defs(load())
