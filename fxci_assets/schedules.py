"""What happens by the clock, UTC."""

from collections.abc import Sequence

import dagster as dg

from fxci_assets.pipeline import Pipeline
from fxci_assets.settings import Settings


def default_schedules(settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """Running in the sandbox; elsewhere somebody turns them on."""
    running = settings.deployment == "sandbox"
    status = dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name="drain_every_ten_minutes",
        cron_schedule="*/10 * * * *",
        job_name="ingest",
        default_status=status,
        description="The fallback of the sensor queue_depth, which asks for a drain earlier.",
    )
    def drain_every_ten_minutes(
        context: dg.ScheduleEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.RunRequest:
        # An explicit day: a schedule made from the partitioned job would ask for yesterday.
        return dg.RunRequest(partition_key=pipeline.today().isoformat())

    @dg.schedule(
        name="checks_every_hour",
        cron_schedule="40 * * * *",
        job_name="checks",
        default_status=status,
        description="All checks over the last days.",
    )
    def checks_every_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest()

    return [drain_every_ten_minutes, checks_every_hour]
