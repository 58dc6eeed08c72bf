"""Checks over the last days, beside the blocking ones that a run makes of its own days.

They run hourly, name the bad days and block nothing: a check that looks at one day alone would
turn green on the next good one. What is asked is `fxci_assets.quality`; which tables and columns
it is asked of comes from the specs.
"""

import datetime as dt
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import dagster as dg

from fxci_assets import quality
from fxci_assets.assets import pulse
from fxci_assets.assets.specs import check_result
from fxci_assets.pipeline import Pipeline, StaleDay
from fxci_assets.quality import Finding
from fxci_assets.sensors import given_up
from fxci_assets.settings import Settings
from fxci_assets.tables import (
    TABLES,
    TASK_DEFINITIONS,
    TASK_RUN_COSTS,
    TASK_RUNS,
    TASKS,
    WORKER_COSTS,
    WORKER_METRICS,
    WORKER_UTILIZATION,
    Counted,
    Table,
)

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dataclass(frozen=True, slots=True)
class Asked:
    """What a check is given: the pipeline, the days it looks at, and the stale days that were given
    up, which are found out for the first check that asks."""

    pipeline: Pipeline
    first: dt.date
    last: dt.date
    given_up: Callable[[], list[StaleDay]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one asset."""

    asset: str
    name: str
    description: str
    severity: dg.AssetCheckSeverity
    find: Callable[[Asked], Finding]


def _checks_of(table: Table) -> list[Check]:
    """What the table's spec asks for."""

    def key_is_unique(asked: Asked) -> Finding:
        return quality.key_is_unique(asked.pipeline, table, asked.first, asked.last)

    def values_are_in_their_domain(asked: Asked) -> Finding:
        return quality.values_are_in_their_domain(asked.pipeline, table, asked.first, asked.last)

    def no_day_was_given_up(asked: Asked) -> Finding:
        return quality.no_day_was_given_up(table, asked.given_up())

    def nothing_was(counted: Counted) -> Callable[[Asked], Finding]:
        return lambda asked: quality.nothing_was_counted(
            asked.pipeline, table, counted, asked.first, asked.last
        )

    key, conditions = ", ".join(table.key), quality.conditions(table).values()
    domain = "; ".join(f"`{condition}`" for condition in conditions)
    return [
        Check(
            table.name,
            "key_is_unique",
            f"No two rows have the same {key}, also across days.",
            ERROR,
            key_is_unique,
        ),
        Check(
            table.name,
            "values_are_in_their_domain",
            f"Each row is as the table's spec says: {domain}",
            ERROR,
            values_are_in_their_domain,
        ),
        Check(
            table.name,
            "no_day_was_given_up",
            "No stale day has used up its attempts to be rebuilt.",
            ERROR,
            no_day_was_given_up,
        ),
        *(
            Check(
                table.name,
                counted.name,
                counted.description,
                ERROR if counted.severe else WARN,
                nothing_was(counted),
            )
            for counted in table.counted
        ),
    ]


def all_checks(settings: Settings) -> list[Check]:
    """Every check: of each table by its spec, and those between tables and of the archive."""
    bounds = settings.checks
    return [
        *(check for table in TABLES for check in _checks_of(table)),
        Check(
            TASKS.name,
            "tasks_match_runs",
            f"On each day there is a task for each run 0 in {TASK_RUNS.name}, and no other.",
            ERROR,
            lambda asked: quality.tasks_match_runs(asked.pipeline, asked.first, asked.last),
        ),
        Check(
            TASK_RUNS.name,
            "exceptions_are_few",
            f"On no day are more than {bounds.exception_share:.0%} of the runs exceptions.",
            WARN,
            lambda asked: quality.exceptions_are_few(
                asked.pipeline, asked.first, asked.last, bounds.exception_share
            ),
        ),
        Check(
            TASK_RUNS.name,
            "data_is_recent",
            "The newest run was resolved not long ago.",
            ERROR,
            lambda asked: quality.data_is_recent(
                asked.pipeline, dt.timedelta(seconds=bounds.data_age_seconds)
            ),
        ),
        Check(
            WORKER_METRICS.name,
            "no_day_is_missing",
            "Each day that is over is there: what is not fetched is forgotten.",
            ERROR,
            lambda asked: quality.no_day_is_missing(
                asked.pipeline, WORKER_METRICS, asked.first, asked.last - dt.timedelta(days=1)
            ),
        ),
        Check(
            WORKER_COSTS.name,
            "bill_is_complete",
            "GCP has billed each hour of the day, and the hours in which workers were up.",
            WARN,
            lambda asked: quality.bill_is_complete(
                asked.pipeline, asked.first, asked.last, bounds.bill_share
            ),
        ),
        Check(
            WORKER_UTILIZATION.name,
            "costs_add_up",
            f"Each dollar in {WORKER_COSTS.name} is in {WORKER_UTILIZATION.name}, once.",
            ERROR,
            lambda asked: quality.costs_add_up(asked.pipeline, asked.first, asked.last),
        ),
        Check(
            TASK_RUN_COSTS.name,
            "runs_cost_no_more_than_workers",
            "The runs of a worker cost no more than it did, unless they overlap.",
            WARN,
            lambda asked: quality.runs_cost_no_more_than_workers(
                asked.pipeline, asked.first, asked.last
            ),
        ),
        Check(
            TASK_RUNS.name,
            "nothing_is_missing",
            "Each task that was defined has a run once its deadline has passed, and each run its "
            "task.",
            WARN,
            lambda asked: quality.nothing_is_missing(asked.pipeline, asked.first, asked.last),
        ),
        Check(
            TASK_DEFINITIONS.name,
            "no_definition_is_gone",
            "The queue has returned the definition of each task of which messages told.",
            WARN,
            lambda asked: quality.no_definition_is_gone(asked.pipeline, asked.first),
        ),
        Check(
            pulse.KEY,
            "quarantine_is_quiet",
            f"Within 24 hours at most {bounds.quarantine_per_day} messages came to quarantine "
            "and stayed there.",
            WARN,
            lambda asked: quality.quarantine_is_quiet(
                asked.pipeline, asked.first, bounds.quarantine_per_day
            ),
        ),
        Check(
            pulse.KEY,
            "no_gap_is_open",
            "No queue was gone for a time in which messages are missing.",
            ERROR,
            lambda asked: quality.no_gap_is_open(asked.pipeline),
        ),
    ]


def _find(check: Check, asked: Asked) -> Finding:
    """A check that cannot be made has failed, and does not keep the others from being made."""
    try:
        return check.find(asked)
    except Exception as error:
        return Finding(False, f"this could not be checked: {type(error).__name__}: {error}")


def window_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """All checks as one definition, of which any can be selected."""
    checks: Mapping[dg.AssetCheckKey, Check] = {
        dg.AssetCheckKey(dg.AssetKey(check.asset), check.name): check
        for check in all_checks(settings)
    }

    @dg.multi_asset_check(
        name="checks_of_the_last_days",
        specs=[
            dg.AssetCheckSpec(check.name, asset=check.asset, description=check.description)
            for check in checks.values()
        ],
        can_subset=True,
    )
    def checks_of_the_last_days(
        context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[dg.AssetCheckResult]:
        # About a dozen checks ask what is recorded of the same days.
        records = pipeline.archive.builds.remembering()
        pipeline = replace(pipeline, archive=replace(pipeline.archive, builds=records))
        last = pipeline.today()
        first = max(pipeline.floor(), settings.window(last))
        abandoned = functools.cache(lambda: given_up(pipeline, context.instance, settings))
        asked = Asked(pipeline, first, last, abandoned)
        for key in sorted(context.selected_asset_check_keys):
            check = checks[key]
            finding = _find(check, asked)
            yield check_result(finding, check.asset, check.name, check.severity)

    return checks_of_the_last_days
