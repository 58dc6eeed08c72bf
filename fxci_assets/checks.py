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
from fxci_assets.attempts import given_up
from fxci_assets.pipeline import Pipeline, StaleDay
from fxci_assets.quality import Finding
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
class Scope:
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
    find: Callable[[Scope], Finding]


def _checks_of(table: Table) -> list[Check]:
    """What the table's spec asks for."""

    def key_is_unique(scope: Scope) -> Finding:
        return quality.key_is_unique(scope.pipeline, table, scope.first, scope.last)

    def values_are_in_their_domain(scope: Scope) -> Finding:
        return quality.values_are_in_their_domain(scope.pipeline, table, scope.first, scope.last)

    def no_day_was_given_up(scope: Scope) -> Finding:
        return quality.no_day_was_given_up(table, scope.given_up())

    def nothing_was(counted: Counted) -> Callable[[Scope], Finding]:
        return lambda scope: quality.nothing_was_counted(
            scope.pipeline, table, counted, scope.first, scope.last
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
            lambda scope: quality.tasks_match_runs(scope.pipeline, scope.first, scope.last),
        ),
        Check(
            TASK_RUNS.name,
            "exceptions_are_few",
            f"On no day are more than {bounds.exception_share:.0%} of the runs exceptions.",
            WARN,
            lambda scope: quality.exceptions_are_few(
                scope.pipeline, scope.first, scope.last, bounds.exception_share
            ),
        ),
        Check(
            TASK_RUNS.name,
            "data_is_recent",
            "The newest run was resolved not long ago.",
            ERROR,
            lambda scope: quality.data_is_recent(
                scope.pipeline, dt.timedelta(seconds=bounds.data_age_seconds)
            ),
        ),
        Check(
            WORKER_METRICS.name,
            "no_day_is_missing",
            "Each day that is over is there: what is not fetched is forgotten.",
            ERROR,
            lambda scope: quality.no_day_is_missing(
                scope.pipeline, WORKER_METRICS, scope.first, scope.last - dt.timedelta(days=1)
            ),
        ),
        Check(
            WORKER_COSTS.name,
            "bill_is_complete",
            "GCP has billed each hour of the day, and the hours in which workers were up.",
            WARN,
            lambda scope: quality.bill_is_complete(
                scope.pipeline, scope.first, scope.last, bounds.bill_share
            ),
        ),
        Check(
            WORKER_UTILIZATION.name,
            "costs_add_up",
            f"Each dollar in {WORKER_COSTS.name} is in {WORKER_UTILIZATION.name}, once.",
            ERROR,
            lambda scope: quality.costs_add_up(scope.pipeline, scope.first, scope.last),
        ),
        Check(
            TASK_RUN_COSTS.name,
            "runs_cost_no_more_than_workers",
            "The runs of a worker cost no more than it did, unless they overlap.",
            WARN,
            lambda scope: quality.runs_cost_no_more_than_workers(
                scope.pipeline, scope.first, scope.last
            ),
        ),
        Check(
            TASK_RUNS.name,
            "nothing_is_missing",
            "Each task that was defined has a run once its deadline has passed, and each run its "
            "task.",
            WARN,
            lambda scope: quality.nothing_is_missing(scope.pipeline, scope.first, scope.last),
        ),
        Check(
            TASK_DEFINITIONS.name,
            "no_definition_is_gone",
            "The queue has returned the definition of each task of which messages told.",
            WARN,
            lambda scope: quality.no_definition_is_gone(scope.pipeline, scope.first),
        ),
        Check(
            pulse.KEY,
            "quarantine_is_quiet",
            f"Within 24 hours at most {bounds.quarantine_per_day} messages came to quarantine "
            "and stayed there.",
            WARN,
            lambda scope: quality.quarantine_is_quiet(
                scope.pipeline, scope.first, bounds.quarantine_per_day
            ),
        ),
        Check(
            pulse.KEY,
            "no_gap_is_open",
            "No queue was gone for a time in which messages are missing.",
            ERROR,
            lambda scope: quality.no_gap_is_open(scope.pipeline),
        ),
    ]


def _find(check: Check, scope: Scope) -> Finding:
    """A check that cannot be made has failed, and does not keep the others from being made."""
    try:
        return check.find(scope)
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
        scope = Scope(pipeline, first, last, abandoned)
        for key in sorted(context.selected_asset_check_keys):
            check = checks[key]
            finding = _find(check, scope)
            yield check_result(finding, check.asset, check.name, check.severity)

    return checks_of_the_last_days
