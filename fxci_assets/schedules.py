"""What happens by the clock, UTC."""

import datetime as dt
from collections.abc import Sequence

import dagster as dg

from fxci_assets.builders.derived import DERIVED
from fxci_assets.pipeline import Pipeline
from fxci_assets.settings import Settings
from fxci_assets.tables import WORKER_USAGE

NIGHTS = 7
"""Days back to which uptime is fetched that failed to be fetched before."""

DAILY_BILLS = 4
"""Days whose bills are read again each day: yesterday's is usually complete by 18:00, and the three
before it change most."""

WEEKLY_BILLS = 35
"""Days whose bills are read again each week: a bill may change for a month."""


def _yesterday(pipeline: Pipeline) -> dt.date | dg.SkipReason:
    day = pipeline.today() - dt.timedelta(days=1)
    if day < pipeline.floor():
        return dg.SkipReason(f"the first day that is built, {pipeline.floor()}, is not over")
    return day


def costs_of(pipeline: Pipeline, days: int) -> list[dg.RunRequest] | dg.SkipReason:
    """Asks for the costs of the days up to yesterday, in one run for days that follow each other.
    The tables that read no bill are built only where something changed for them.

    Not of days whose usage could not be built: costs without it would keep the run costs of the 30
    days after them from being built.
    """
    last = _yesterday(pipeline)
    if isinstance(last, dg.SkipReason):
        return last
    first = max(last - dt.timedelta(days=days - 1), pipeline.floor())
    wanted = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    ready = pipeline.ready(WORKER_USAGE, wanted)
    if not ready:
        return dg.SkipReason(f"the uptime of no day from {first} to {last} is known")
    return [_costs_of(ends[0], ends[-1]) for ends in _stretches(ready)]


def _stretches(days: Sequence[dt.date]) -> list[list[dt.date]]:
    """The days, ascending, cut where one is missing."""
    stretches: list[list[dt.date]] = []
    for day in days:
        if stretches and day - stretches[-1][-1] == dt.timedelta(days=1):
            stretches[-1].append(day)
        else:
            stretches.append([day])
    return stretches


def _costs_of(first: dt.date, last: dt.date) -> dg.RunRequest:
    only_stale = {
        derived.table.name: {"config": {"only_stale": True}}
        for derived in DERIVED
        if not derived.bills
    }
    return dg.RunRequest(
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
        },
        run_config={"ops": only_stale},
    )


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

    checks_every_hour = dg.ScheduleDefinition(
        name="checks_every_hour",
        cron_schedule="40 * * * *",
        job_name="checks",
        default_status=status,
        description="All checks over the last days.",
    )

    @dg.schedule(
        name="uptime_every_night",
        cron_schedule="30 0 * * *",
        job_name="uptime",
        default_status=status,
        description="Yesterday's uptime, from Cloud Monitoring, and that of the last days which no "
        "night has brought.",
    )
    def uptime_every_night(
        context: dg.ScheduleEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        last = _yesterday(pipeline)
        if isinstance(last, dg.SkipReason):
            return last
        fetched = set(pipeline.archive.uptime.days())
        days = [last - dt.timedelta(days=n) for n in range(NIGHTS)]
        return [
            dg.RunRequest(partition_key=day.isoformat())
            for day in days
            if day == last or (day >= pipeline.floor() and day not in fetched)
        ]

    @dg.schedule(
        name="costs_every_day",
        cron_schedule="0 18 * * *",
        job_name="costs",
        default_status=status,
        description=f"The bills of the last {DAILY_BILLS} days, and what follows from them.",
    )
    def costs_every_day(
        context: dg.ScheduleEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        return costs_of(pipeline, DAILY_BILLS)

    @dg.schedule(
        name="costs_every_week",
        cron_schedule="0 20 * * 0",
        job_name="costs",
        default_status=status,
        description=f"The bills of the last {WEEKLY_BILLS} days, and what follows from them.",
    )
    def costs_every_week(
        context: dg.ScheduleEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        return costs_of(pipeline, WEEKLY_BILLS)

    repair_every_day = dg.ScheduleDefinition(
        name="repair_every_day",
        cron_schedule="20 5 * * *",
        job_name="repair",
        default_status=status,
        description="What messages did not tell of the last days is asked of the queue.",
    )

    schedules = [
        drain_every_ten_minutes,
        checks_every_hour,
        uptime_every_night,
        costs_every_day,
        costs_every_week,
        repair_every_day,
    ]
    if settings.bigquery.view_dataset is not None:
        views_every_day = dg.ScheduleDefinition(
            name="views_every_day",
            cron_schedule="10 4 * * *",
            job_name="public_views",
            default_status=status,
            description="The public views are made again, should the code or somebody else have "
            "changed them.",
        )
        schedules.append(views_every_day)
    return schedules
