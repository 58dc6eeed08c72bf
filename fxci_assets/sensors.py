"""What happens because of the state of things: stale days, and queues that fill.

A sensor here only asks: it drains and builds nothing itself, because the daemon waits for it. What
is stale is decided by versions (`fxci_assets.freshness`), so that a lost event loses nothing.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dagster as dg

from fxci_assets import freshness
from fxci_assets.jobs import BLOCKING_CHECKS, from_the_archive, short_run
from fxci_assets.pipeline import Pipeline, StaleDay
from fxci_assets.resources.pulse import PulseSource
from fxci_assets.settings import Settings
from fxci_assets.tables import TASK_DEFINITIONS

REBUILD_TAG = "fxci/rebuild"
"""Tag of the runs that the sensor asks for; its value says which tables, day and inputs."""

_RUN_KEY_TAG = "dagster/run_key"

_UNFINISHED = [
    status
    for status in dg.DagsterRunStatus
    if status
    not in (
        dg.DagsterRunStatus.SUCCESS,
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELED,
    )
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A day whose stale tables are rebuilt by one run."""

    day: dt.date
    stale: tuple[StaleDay, ...]

    @property
    def tag(self) -> str:
        names = "+".join(stale.table.name for stale in self.stale)
        # Inputs of a derived day change with each drain: a version for each would give it new
        # attempts for ever.
        version = "derived" if self.derived else self.stale[0].input_version
        return f"{names}/{self.day}/{version}"

    @property
    def derived(self) -> bool:
        return self.stale[0].derived

    @property
    def built_at(self) -> dt.datetime | None:
        """When the last of the tables was built; None where one never was, which is not to wait
        for the others."""
        times = [stale.built_at for stale in self.stale if stale.built_at]
        return max(times) if len(times) == len(self.stale) else None


def wanted_days(stale: Iterable[StaleDay]) -> list[Wanted]:
    """The stale days, each once for tables with the same inputs, and once for all that are
    derived: these are built in the order in which they read each other."""
    groups: dict[tuple[dt.date, str], list[StaleDay]] = {}
    for one in stale:
        inputs = "derived" if one.derived else one.input_version
        groups.setdefault((one.day, inputs), []).append(one)
    return [Wanted(day, tuple(group)) for (day, _), group in groups.items()]


def _due(
    instance: dg.DagsterInstance, wanted: Wanted, now: dt.datetime, settings: Settings
) -> bool:
    if wanted.derived:
        interval = dt.timedelta(seconds=settings.rebuild.derived_days_seconds)
        return freshness.rested(wanted.built_at, now, interval) and freshness.rested(
            _last_attempt(instance, wanted), now, settings.rest
        )
    if any(stale.table == TASK_DEFINITIONS for stale in wanted.stale):
        # Today's too: a day of them is some hundred MB, and each drain adds to it.
        return freshness.rested(wanted.built_at, now, settings.rest)
    return freshness.due(wanted.day, wanted.built_at, now, settings.rest)


def _last_attempt(instance: dg.DagsterInstance, wanted: Wanted) -> dt.datetime | None:
    filters = dg.RunsFilter(tags={REBUILD_TAG: wanted.tag})
    newest = instance.get_run_records(filters, limit=1)
    return newest[0].create_timestamp if newest else None


def _attempts(instance: dg.DagsterInstance, wanted: Wanted) -> int:
    """How often it was tried since the day was last built. What failed before that does not
    count: its mark can make a day stale again long after another run has built it."""
    filters = dg.RunsFilter(tags={REBUILD_TAG: wanted.tag}, created_after=wanted.built_at)
    return instance.get_runs_count(filters)


def _next_number(instance: dg.DagsterInstance, wanted: Wanted) -> int:
    """Ends a run key that Dagster has not met: it silently skips one that it knows, and a count
    would come to a known one again where somebody deleted a run."""
    runs = instance.get_run_records(dg.RunsFilter(tags={REBUILD_TAG: wanted.tag}))
    keys = (record.dagster_run.tags.get(_RUN_KEY_TAG, "") for record in runs)
    numbers = (key.rpartition("/")[2] for key in keys)
    return 1 + max((int(number) for number in numbers if number.isdigit()), default=0)


def _under_way(instance: dg.DagsterInstance, wanted: Wanted) -> bool:
    filters = dg.RunsFilter(tags={REBUILD_TAG: wanted.tag}, statuses=_UNFINISHED)
    return instance.get_runs_count(filters) > 0


def given_up(
    pipeline: Pipeline, instance: dg.DagsterInstance, settings: Settings
) -> list[StaleDay]:
    """The stale days for which each attempt was made, and none is under way."""
    return [
        stale
        for wanted in wanted_days(pipeline.stale())
        if _attempts(instance, wanted) >= settings.rebuild.max_attempts
        and not _under_way(instance, wanted)
        for stale in wanted.stale
    ]


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
        costs = dg.RunsFilter(job_name="costs", statuses=_UNFINISHED)
        costs_under_way = context.instance.get_runs_count(costs) > 0
        requests: list[dg.RunRequest] = []
        waiting = abandoned = 0
        for wanted in wanted_days(pipeline.stale(since)):
            attempts = _attempts(context.instance, wanted)
            under_way = _under_way(context.instance, wanted)
            if attempts >= settings.rebuild.max_attempts and not under_way:
                abandoned += 1
                continue
            under_way = under_way or (wanted.derived and costs_under_way)
            if under_way or not _due(context.instance, wanted, now, settings):
                waiting += 1
                continue
            names = {stale.table.name for stale in wanted.stale}
            requests.append(
                dg.RunRequest(
                    run_key=f"{wanted.tag}/{_next_number(context.instance, wanted)}",
                    partition_key=wanted.day.isoformat(),
                    tags={REBUILD_TAG: wanted.tag, **short_run(settings)},
                    run_config=from_the_archive(names),
                    asset_selection=[dg.AssetKey(name) for name in sorted(names)],
                    # Without this list, all checks of the assets would run with them.
                    asset_check_keys=[
                        key for key in BLOCKING_CHECKS if key.asset_key.to_user_string() in names
                    ],
                )
            )
        if not requests:
            told = (f"{waiting} stale days wait for their time", f"{abandoned} were given up")
            reason = ", ".join(
                text for text, count in zip(told, (waiting, abandoned), strict=True) if count
            )
            reason = reason or "no day is stale"
            return dg.SensorResult(skip_reason=reason, cursor=today.isoformat())
        return dg.SensorResult(run_requests=requests, cursor=today.isoformat())

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
        filters = dg.RunsFilter(job_name="ingest", statuses=_UNFINISHED)
        if context.instance.get_runs_count(filters):
            return dg.SkipReason(f"{queue} has {depth:,} messages, and a drain is under way")
        return dg.RunRequest(partition_key=pipeline.today().isoformat())

    return [stale_days, queue_depth]
