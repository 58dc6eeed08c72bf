"""`make demo`: the whole pipeline on simulated days, run as Dagster runs it, and what came of it.

Here belongs only what the demonstration prints. Everything it runs is what production runs: the
jobs of `fxci_assets.definitions`, in this process, recorded in the instance at DAGSTER_HOME, so
that `make dev` shows the same materialisations.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence

import click
import dagster as dg
import pyarrow as pa

from fxci_assets import deployments, printing
from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.definitions import build_defs
from fxci_assets.pipeline import Pipeline
from fxci_assets.sandbox import SIMULATED_NOTICE
from fxci_assets.settings import Settings, SettingsError
from fxci_assets.tables import TABLES
from fxci_assets.uptime_fetch import complete_at

# So that the UI lists the runs under the jobs of the code location.
_LOCATION = {".dagster/repository": "__repository__@fxci_assets"}

# What the runs log is in the UI; here it would bury the answer.
_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}

QUEUE_TIME = """\
SELECT
  IFNULL(tasks.tags.project, '(none)') AS project,
  COUNT(*) AS runs,
  COUNTIF(runs.reason_created IN ('retry', 'task-retry')) AS retries,
  APPROX_QUANTILES(TIMESTAMP_DIFF(runs.started, runs.scheduled, SECOND), 100)[OFFSET(50)]
    AS median_queue_seconds,
  APPROX_QUANTILES(TIMESTAMP_DIFF(runs.started, runs.scheduled, SECOND), 100)[OFFSET(90)]
    AS p90_queue_seconds
FROM fxci.task_runs AS runs
JOIN fxci.tasks AS tasks ON runs.task_id = tasks.task_id
WHERE runs.submission_date BETWEEN @first AND @last
  AND tasks.submission_date BETWEEN @first AND @last
GROUP BY 1
ORDER BY runs DESC
"""

DOLLARS = """\
SELECT
  workers.cloud_provider AS cloud,
  workers.billed AS billed,
  workers.busy AS busy,
  workers.idle AS idle,
  workers.never_claimed AS never_claimed,
  workers.unmetered AS unmetered,
  SAFE_DIVIDE(runs.cost, workers.billed) AS task_share
FROM (
  SELECT
    cloud_provider,
    SUM(billed_cost) AS billed,
    SUM(IF(status = 'used', busy_cost, 0)) AS busy,
    SUM(IF(status = 'used', idle_cost, 0)) AS idle,
    SUM(IF(status = 'never_claimed', billed_cost, 0)) AS never_claimed,
    SUM(IF(status = 'unmetered', billed_cost, 0)) AS unmetered
  FROM fxci.worker_utilization
  WHERE usage_date BETWEEN @first AND @last
  GROUP BY cloud_provider
) AS workers
LEFT JOIN (
  SELECT cloud_provider, SUM(run_cost) AS cost
  FROM fxci.task_run_costs
  WHERE submission_date BETWEEN @first AND @last
  GROUP BY cloud_provider
) AS runs
  ON runs.cloud_provider = workers.cloud_provider
ORDER BY cloud
"""


def run_demo(settings: Settings) -> Sequence[str]:
    """Drain, fetch, build and check the last days. Returns what went wrong, one line each."""
    if settings.deployment != "sandbox":
        raise SettingsError("the demo runs in the sandbox only: unset FXCI_DEPLOYMENT")
    click.echo(f"{SIMULATED_NOTICE}\n")
    defs = build_defs(settings)
    pipeline = deployments.pipeline(settings)
    today = pipeline.today()
    first = today - dt.timedelta(days=settings.sandbox_days)
    yesterday = _last_over(pipeline)
    failed: list[str] = []
    with dg.DagsterInstance.get() as instance:
        for step, job, tags in _steps(pipeline, first, today):
            click.echo(f"{step} ... ", nl=False)
            result = defs.resolve_job_def(job).execute_in_process(
                instance=instance,
                tags=_LOCATION | tags,
                run_config=_QUIET,
                raise_on_error=False,
            )
            click.echo("done" if result.success else "FAILED")
            if not result.success:
                failed.append(f"{step} failed; `make dev` shows the run {result.run_id}")
        checks = _checks(instance, defs)
    _show_rows(pipeline, first, today)
    _show_checks(checks)
    failed += [
        f"check {check.asset_check_key.name} of {check.asset_check_key.asset_key.path[-1]} "
        f"failed: {check.description}"
        for check in checks
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
    ]
    click.echo(f"\nQueue time by project, {_days(first, today)}:\n")
    printing.show(pipeline.warehouse.query(QUEUE_TIME, {"first": first, "last": today}), "table")
    if first <= yesterday:
        click.echo(f"\nWhere the dollars for workers went, {_days(first, yesterday)}:\n")
        printing.show(_dollars(pipeline, first, yesterday), "table")
    click.echo("\nLook at all of it in Dagster's UI: make dev, then http://127.0.0.1:3000/assets")
    return failed


Step = tuple[str, str, dict[str, str]]
"""What is said, the job, and its tags."""


def _steps(pipeline: Pipeline, first: dt.date, today: dt.date) -> Iterator[Step]:
    yield f"Drain the queues and build {_days(first, today)}", "ingest", _range(first, today)
    # The first messages of the first day are about runs of the day before.
    stale = [stale.day for stale in pipeline.stale(tables=TaskBuilder.tables)]
    if stale:
        yield (
            f"Build {_days(min(stale), max(stale))}, which late messages are about",
            "ingest",
            _range(min(stale), max(stale)),
        )
    yesterday = _last_over(pipeline)
    if first <= yesterday:
        days = _range(first, yesterday)
        yield f"Fetch the workers' uptime of {_days(first, yesterday)}", "uptime", days
        yield f"Read the bills of {_days(first, yesterday)}", "costs", days
    yield "Check the last days", "checks", {}


def _dollars(pipeline: Pipeline, first: dt.date, last: dt.date) -> pa.Table:
    """For each cloud: where what was billed went, and what share of it task runs were charged."""
    rows = pipeline.warehouse.query(DOLLARS, {"first": first, "last": last}).to_pandas()
    return pa.Table.from_pandas(rows.round(2), preserve_index=False)


def _last_over(pipeline: Pipeline) -> dt.date:
    """The last day that is over, and of which the uptime is complete."""
    yesterday = pipeline.today() - dt.timedelta(days=1)
    is_complete = pipeline.clock() >= complete_at(yesterday)
    return yesterday if is_complete else yesterday - dt.timedelta(days=1)


def _days(first: dt.date, last: dt.date) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _range(first: dt.date, last: dt.date) -> dict[str, str]:
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def _checks(instance: dg.DagsterInstance, defs: dg.Definitions) -> list[dg.AssetCheckEvaluation]:
    """The newest result of each check."""
    keys = sorted(defs.resolve_asset_graph().asset_check_keys)
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found: list[dg.AssetCheckEvaluation] = []
    for key in keys:
        record = records.get(key)
        event = record.event.dagster_event if record and record.event else None
        if event is not None and isinstance(event.event_specific_data, dg.AssetCheckEvaluation):
            found.append(event.event_specific_data)
    return found


def _show_rows(pipeline: Pipeline, first: dt.date, last: dt.date) -> None:
    """How many rows each table has on each day, by its view."""
    rows: dict[dt.date, dict[str, int]] = {}
    for table in TABLES:
        counted = pipeline.warehouse.query(
            f"SELECT {table.partition_column} AS day, COUNT(*) AS number_of_rows "
            f"FROM fxci.{table.view} WHERE {table.partition_column} BETWEEN @first AND @last "
            "GROUP BY 1",
            {"first": first, "last": last},
        )
        for row in counted.to_pylist():
            rows.setdefault(row["day"], {})[table.view] = row["number_of_rows"]
    click.echo("\nRows by day (fxci.tasks and so on):\n")
    lines = [
        {"day": day} | {table.view: rows[day].get(table.view, 0) for table in TABLES}
        for day in sorted(rows)
    ]
    printing.show(pa.Table.from_pylist(lines), "table")


def _show_checks(checks: Sequence[dg.AssetCheckEvaluation]) -> None:
    """How many passed, and which did not."""
    verdicts = Counter("passed" if check.passed else check.severity.value for check in checks)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    click.echo(f"\nChecks: {told}")
    for check in checks:
        if not check.passed:
            key = check.asset_check_key
            click.echo(f"  {check.severity.value}  {key.asset_key.path[-1]}: {key.name}")
            click.echo(f"        {check.description}")
