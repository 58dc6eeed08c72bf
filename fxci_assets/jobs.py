"""What is run together, and how long a run of it may take."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from fxci_assets.assets import pulse, tasks, views
from fxci_assets.assets.building import OWN_DAYS
from fxci_assets.builders.derived import DERIVED
from fxci_assets.pipeline import Pipeline
from fxci_assets.repair import repair
from fxci_assets.resources.taskcluster import Taskcluster
from fxci_assets.settings import Settings
from fxci_assets.tables import TABLES, TASK_DEFINITIONS, WORKER_METRICS, Table

if TYPE_CHECKING:
    # It has no public name.
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

MAX_RUNTIME_SECONDS_TAG = "dagster/max_runtime"

FETCHED = (TASK_DEFINITIONS, WORKER_METRICS)
"""The tables of what is fetched before it is built."""


def from_the_archive(names: Collection[str]) -> dict[str, object]:
    """Run config with which the tables of these names are built from what was fetched before."""
    fetched = [table.name for table in FETCHED if table.name in names]
    return {"ops": {name: {"config": {"fetch": False}} for name in fetched}}


_BUILDS_SECONDS = 600
"""For what an `ingest` builds when both of its bounds were used up. One that is ended half-way
leaves a stale day, as any that dies."""


def short_run(settings: Settings) -> Mapping[str, str]:
    """The tag of a run that keeps the queues from being drained while it lasts: it drains, or has
    today, of which there is one run at a time, or one of the few places of the queue of runs.

    Compose's launcher does not notice that a run's process is gone, with its code server: the run
    stays started until its time is over. By then Firefox-CI must not have filled a queue up to the
    8,000 messages at which PulseGuardian deletes it, which takes 53 minutes.
    """
    seconds = 2 * settings.drain.max_seconds + _BUILDS_SECONDS
    return _ended_after(min(seconds, settings.rebuild.run_limit_seconds))


def _ended_after(seconds: float) -> Mapping[str, str]:
    # Dagster takes 0 for no limit.
    return {MAX_RUNTIME_SECONDS_TAG: str(math.ceil(seconds))}


BLOCKING_CHECKS = tuple(dg.AssetCheckKey(dg.AssetKey(table.name), OWN_DAYS) for table in TABLES)


def _with_own_checks(tables: Sequence[Table], *others: str) -> dg.AssetSelection:
    """Tables and the checks of a run's own days; without the checks over the last days, which have
    a job and an hour of their own."""
    names = {table.name for table in tables}
    assets = dg.AssetSelection.assets(*sorted(names), *others)
    own = (key for key in BLOCKING_CHECKS if key.asset_key.to_user_string() in names)
    return (assets - dg.AssetSelection.all_asset_checks()) | dg.AssetSelection.checks(*own)


def default_jobs(
    settings: Settings, checks: dg.AssetChecksDefinition
) -> Sequence["dg.JobDefinition | UnresolvedAssetJobDefinition"]:
    # A run that lives longer is ended; by then, its rebuilds count as dead. What is started in the
    # UI without a job has the instance's own limit.
    tags = _ended_after(settings.rebuild.run_limit_seconds)
    jobs: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
        dg.define_asset_job(
            "ingest",
            selection=_with_own_checks([*tasks.TABLES, TASK_DEFINITIONS], pulse.KEY),
            config={"ops": {TASK_DEFINITIONS.name: {"config": {"only_rested": True}}}},
            tags=short_run(settings),
            description="Drain the queues, fetch what was defined, then build the day: by its "
            "schedule, today.",
        ),
        dg.define_asset_job(
            "uptime",
            selection=_with_own_checks([WORKER_METRICS]),
            tags=tags,
            description="Fetch days of uptime from Cloud Monitoring, and build them.",
        ),
        dg.define_asset_job(
            "costs",
            selection=_with_own_checks([derived.table for derived in DERIVED]),
            tags=tags,
            description="Read the bills of days again, and build what follows from them.",
        ),
        dg.define_asset_job(
            "rebuild",
            selection=_with_own_checks(TABLES),
            config=from_the_archive([table.name for table in TABLES]),
            tags=tags,
            description="Build days anew. Nothing is drained or fetched; bills are read again.",
        ),
        dg.define_asset_job(
            "checks",
            selection=dg.AssetSelection.checks(checks),
            tags=tags,
            description="All checks over the last days.",
        ),
        _repair_job(settings, tags),
    ]
    if settings.bigquery.view_dataset is not None:
        jobs.append(
            dg.define_asset_job(
                "public_views",
                selection=dg.AssetSelection.assets(views.KEY),
                description="Make the queries of the public views those of this code.",
            )
        )
    return jobs


def _repair_job(settings: Settings, tags: Mapping[str, str]) -> dg.JobDefinition:
    """No asset: what it files is archived like messages, and days become stale by it."""

    @dg.op(name="ask_the_queue")
    def ask_the_queue(
        context: dg.OpExecutionContext,
        pipeline: dg.ResourceParam[Pipeline],
        taskcluster: dg.ResourceParam[Taskcluster],
    ) -> None:
        today = pipeline.today()
        context.log.info(repair(pipeline, taskcluster, settings.window(today), today).describe())

    @dg.job(
        name="repair",
        tags=tags,
        description="Ask the queue for what messages did not tell of the last days, and file it.",
    )
    def repair_job() -> None:
        ask_the_queue()

    return repair_job
