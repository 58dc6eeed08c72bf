"""The job that asks the queue for what messages did not tell. What that is, is `repair`."""

from collections.abc import Sequence

import dagster as dg

from fxci_assets.pipeline import Pipeline
from fxci_assets.repair import repair
from fxci_assets.resources.taskcluster import Taskcluster
from fxci_assets.settings import Settings


def repair_jobs(settings: Settings) -> Sequence[dg.JobDefinition]:
    @dg.op(name="ask_the_queue")
    def ask_the_queue(
        context: dg.OpExecutionContext,
        pipeline: dg.ResourceParam[Pipeline],
        taskcluster: dg.ResourceParam[Taskcluster],
    ) -> None:
        today = pipeline.today()
        first = max(pipeline.floor(), settings.window(today))
        context.log.info(repair(pipeline, taskcluster, first, today).describe())

    @dg.job(
        name="repair",
        description="Ask the queue for what messages did not tell of the last days, and file it.",
    )
    def repair_job() -> None:
        ask_the_queue()

    return [repair_job]
