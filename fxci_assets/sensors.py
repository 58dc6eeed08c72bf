"""What happens because of the state of things: stale days, and queues that fill.

A sensor here only asks: it drains and builds nothing itself, because the daemon waits for it. What
is stale is decided by versions (`fxci_assets.freshness`), so that a lost event loses nothing; how
often a day was tried, by `fxci_assets.attempts`.
"""

import datetime as dt
from collections.abc import Sequence

import dagster as dg

from fxci_assets import freshness
from fxci_assets.attempts import REBUILD_TAG, UNFINISHED, Attempts, RebuildRequest, requests_for
from fxci_assets.jobs import BLOCKING_CHECKS, from_the_archive, short_run
from fxci_assets.pipeline import Pipeline
from fxci_assets.resources.pulse import PulseSource
from fxci_assets.settings import Settings
from fxci_assets.tables import TASK_DEFINITIONS


def _due(request: RebuildRequest, attempts: Attempts, now: dt.datetime, settings: Settings) -> bool:
    if request.derived:
        interval = dt.timedelta(seconds=settings.rebuild.derived_days_seconds)
        return freshness.rested(request.built_at, now, interval) and freshness.rested(
            attempts.newest(), now, settings.rest
        )
    if any(stale.table == TASK_DEFINITIONS for stale in request.stale):
        # Today's too: a day of them is some hundred MB, and each drain adds to it.
        return freshness.rested(request.built_at, now, settings.rest)
    return freshness.due(request.day, request.built_at, now, settings.rest)


def default_sensors(settings: Settings) -> Sequence[dg.SensorDefinition]:
    """Running in the sandbox; elsewhere somebody turns them on."""
    running = settings.deployment == "sandbox"
    status = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name="stale_days",
        job_name="rebuild",
        minimum_interval_seconds=120,
        default_status=status,
        description=(
            "Asks for the days whose inputs are not those they were built from, of the last "
            f"{settings.rebuild.window_days} days at each tick and of all days once a day."
        ),
    )
    def stale_days(
        context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.SensorResult | dg.SkipReason:
        now = pipeline.clock()
        today = now.date()
        # The cursor is the day on which all days were last looked at.
        everything = context.cursor != today.isoformat()
        since = None if everything else settings.window(today)
        # Such a run builds one table after the other on all its days; until it is done, a day of
        # one is stale because of what it has already built of another.
        costs = dg.RunsFilter(job_name="costs", statuses=UNFINISHED)
        costs_under_way = context.instance.get_runs_count(costs) > 0
        runs: list[dg.RunRequest] = []
        waiting = abandoned = 0
        for request in requests_for(pipeline.stale(since)):
            attempts = Attempts(context.instance, request)
            if attempts.used_up(settings.rebuild.max_attempts):
                abandoned += 1
                continue
            under_way = attempts.under_way() or (request.derived and costs_under_way)
            if under_way or not _due(request, attempts, now, settings):
                waiting += 1
                continue
            names = {stale.table.name for stale in request.stale}
            runs.append(
                dg.RunRequest(
                    run_key=attempts.next_run_key(),
                    partition_key=request.day.isoformat(),
                    tags={REBUILD_TAG: request.tag, **short_run(settings)},
                    run_config=from_the_archive(names),
                    asset_selection=[dg.AssetKey(name) for name in sorted(names)],
                    # Without this list, all checks of the assets would run with them.
                    asset_check_keys=[
                        key for key in BLOCKING_CHECKS if key.asset_key.to_user_string() in names
                    ],
                )
            )
        if not runs:
            told = (f"{waiting} stale days wait for their time", f"{abandoned} were given up")
            reason = ", ".join(
                text for text, count in zip(told, (waiting, abandoned), strict=True) if count
            )
            reason = reason or "no day is stale"
            return dg.SensorResult(skip_reason=reason, cursor=today.isoformat())
        return dg.SensorResult(run_requests=runs, cursor=today.isoformat())

    @dg.sensor(
        name="queue_depth",
        job_name="ingest",
        minimum_interval_seconds=60,
        default_status=status,
        description=(
            "Asks for a drain when a queue is half way to the depth at which PulseGuardian warns "
            f"({settings.drain.queue_warning:,} messages; it deletes a queue at 8,000)."
        ),
    )
    def queue_depth(
        context: dg.SensorEvaluationContext,
        pipeline: dg.ResourceParam[Pipeline],
        pulse: dg.ResourceParam[PulseSource],
    ) -> dg.RunRequest | dg.SkipReason:
        queue, depth = max(pulse.depth().items(), key=lambda item: item[1], default=("", 0))
        if depth < settings.drain.queue_warning / 2:
            return dg.SkipReason(f"the fullest queue has {depth:,} messages")
        filters = dg.RunsFilter(job_name="ingest", statuses=UNFINISHED)
        if context.instance.get_runs_count(filters):
            return dg.SkipReason(f"{queue} has {depth:,} messages, and a drain is under way")
        return dg.RunRequest(partition_key=pipeline.today().isoformat())

    return [stale_days, queue_depth]
