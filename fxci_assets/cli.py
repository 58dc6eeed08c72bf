"""`fxci-etl`: the pipeline for people and cron.

Here belong the commands and how their results are shown; what they all share is
`fxci_assets.command_line`. What a command does is a function of the pipeline or a resource; these
are imported by the command that needs them, so that help is quick, and Dagster is imported by none
but `sandbox demo`.
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fxci_assets import texts
from fxci_assets.command_line import (
    DAY,
    Context,
    Group,
    Progress,
    TakesSql,
    command,
    common,
    example_of,
    fail_with,
    one_line,
    say,
)

if TYPE_CHECKING:
    from fxci_assets.archive.quarantine import Entry
    from fxci_assets.drain import DrainReport
    from fxci_assets.pipeline import Pipeline, Rebuilt
    from fxci_assets.settings import Settings

# By name, because this module is also run as __main__.
_log = logging.getLogger("fxci_assets.cli")


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example_of("fxci-etl status"),
)
@common
@click.version_option(package_name="fxci-assets")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Firefox-CI's tables: drain pulse, rebuild days, look at what there is."""
    ctx.ensure_object(Context)


@main.group(epilog=example_of("fxci-etl pulse drain"))
@common
def pulse() -> None:
    """Messages from Taskcluster's pulse."""


@command(pulse, "drain", example="fxci-etl pulse drain -v")
def pulse_drain(context: Context) -> None:
    """Move all waiting messages to the archive, then rebuild the stale days of their tables.

    The definitions of tasks are fetched in between. Ends when the queues are empty, or at the
    bounds that [drain] sets. What is already archived is rebuilt even where pulse or Taskcluster
    cannot be reached. In production, the first drain takes the tables over.
    """
    from fxci_assets import memory

    failed: list[str] = []
    report: DrainReport | None = None
    shown = Shown()
    with memory.small():
        from fxci_assets import dagster_events, deployments
        from fxci_assets.builders.tasks import TaskBuilder
        from fxci_assets.tables import TASK_DEFINITIONS

        source = deployments.pulse(context.settings)
        pipeline = deployments.pipeline(context.settings)
        notice(context.settings)
        try:
            with Progress() as progress:
                report = pipeline.drain(source, lambda so_far: progress(so_far.rate()))
            say(report.describe())
        except Exception as error:
            _log.info("the drain failed", exc_info=True)
            failed.append(one_line(error))
        try:
            pipeline.forget()
        except Exception as error:
            _log.info("what was kept for long enough could not be removed", exc_info=True)
            failed.append(one_line(error))
        try:
            # Whatever comes of it, what was waiting is safe, and no queue overflows.
            pipeline.take_over()
        except Exception as error:
            _log.info("the tables could not be taken over", exc_info=True)
            failed.append(one_line(error))
        try:
            taskcluster = deployments.taskcluster(context.settings)
            say(pipeline.fetch_definitions(taskcluster).describe())
        except Exception as error:
            _log.info("the definitions could not be fetched", exc_info=True)
            failed.append(one_line(error))
        try:
            # The others have schedules of their own, and DuckDB is not for a small container.
            pipeline.rebuild_stale(shown, [*TaskBuilder.tables, TASK_DEFINITIONS])
        except Exception as error:
            failed.append(one_line(error))
    if report is not None:
        failed += [gap.describe() for gap in report.gaps]
    dagster_events.report(report, shown.rebuilt)
    fail_with(failed)


class Shown:
    """What was rebuilt: a line each, and kept for Dagster."""

    def __init__(self) -> None:
        self.rebuilt: list[Rebuilt] = []

    def __call__(self, made: Rebuilt) -> None:
        self.rebuilt.append(made)
        repeats = "" if made.repeats is None else f", {made.repeats:,} repeats dropped"
        say(f"{made.table.name} {made.day}: {made.rows:,} rows{repeats}, {made.seconds:.1f} s")


def notice(settings: Settings) -> None:
    """Simulated data is called so wherever it is shown."""
    if settings.deployment == "sandbox":
        from fxci_assets.sandbox import SIMULATED_NOTICE

        say(SIMULATED_NOTICE, err=True)


@command(main, "repair", example="fxci-etl repair")
def repair(context: Context) -> None:
    """Ask the queue for what messages did not tell of the last days, and file it.

    Tasks whose deadline has passed without a run, runs without their task, and the time of each
    open gap, which is closed. Their days are rebuilt by the next drain, or by the sensor.
    """
    from fxci_assets import deployments
    from fxci_assets.repair import repair

    settings = context.settings
    source = deployments.taskcluster(settings)
    pipeline = deployments.pipeline(settings)
    notice(settings)
    today = pipeline.today()
    say(repair(pipeline, source, settings.window(today), today).describe())


@main.group(epilog=example_of("fxci-etl metric export --date 2026-04-13"))
@common
def metric() -> None:
    """Uptime of the GCP workers, from Cloud Monitoring."""


@command(metric, "export", example="fxci-etl metric export --date 2026-04-13 --dry-run")
@click.option("--date", type=DAY, metavar="YYYY-MM-DD", help="The day, UTC; else yesterday.")
@click.option("--dry-run", is_flag=True, help="Print the records, and write nothing.")
def metric_export(context: Context, date: dt.datetime | None, dry_run: bool) -> None:
    """Fetch a day's uptime and build worker_metrics_v1 of it.

    A day is complete ten minutes after it ended. One that Cloud Monitoring has begun to forget is
    built from what was archived of it.
    """
    from fxci_assets import dagster_events, deployments, printing
    from fxci_assets.tables import WORKER_METRICS

    source = deployments.monitoring(context.settings)
    pipeline = deployments.pipeline(context.settings)
    day = date.date() if date else pipeline.today() - dt.timedelta(days=1)
    notice(context.settings)
    if dry_run:
        printing.show(pipeline.uptime_rows(source, day), "json")
        return
    pipeline.archive_uptime(source, day)
    shown = Shown()
    try:
        pipeline.rebuild_each({day: [WORKER_METRICS]}, shown)
    finally:
        dagster_events.report(None, shown.rebuilt)


@main.group(epilog=example_of("fxci-etl billing load gcp export-*.parquet"))
@common
def billing() -> None:
    """The clouds' billing exports, loaded by hand."""


@command(billing, "load", example="fxci-etl billing load gcp export-*.parquet")
@click.argument("source")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
def billing_load(context: Context, source: str, files: tuple[Path, ...]) -> None:
    """Load Parquet files of an export, as bq extract writes them, into the local warehouse.

    Their rows replace those of the same days. The deployment local needs each of the exports
    before it can build a table of costs; in the sandbox, the simulator fills them.
    """
    from fxci_assets import deployments
    from fxci_assets.resources.billing import load
    from fxci_assets.settings import SettingsError
    from fxci_assets.tables import BILLING

    known = {one.name: one for one in BILLING}
    if source not in known:
        raise click.UsageError(f"no export {source}; there are {', '.join(known)}")
    if context.settings.deployment == "sandbox":
        raise SettingsError("the sandbox has simulated bills: set FXCI_DEPLOYMENT=local")
    days = load(deployments.local_warehouse(context.settings).fill, known[source], files)
    has_days = known[source].partition_column is not None
    say(f"{source}: {len(days):,} days" if has_days else f"{source}: all rows")


@command(main, "rebuild", example="fxci-etl rebuild --from 2026-04-01 --to 2026-04-07 task_runs_v1")
@click.option(
    "--from", "first", type=DAY, metavar="YYYY-MM-DD", required=True, help="The first day, UTC."
)
@click.option(
    "--to", "last", type=DAY, metavar="YYYY-MM-DD", required=True, help="The last day, UTC."
)
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
def rebuild(context: Context, first: dt.datetime, last: dt.datetime, tables: tuple[str]) -> None:
    """Build days of tables anew, from the archive and from other tables.

    Of all tables if none is named, as far as their inputs are there. Days that cannot be built keep
    the rows they have. Nothing is read from pulse or Cloud Monitoring; bills are read again.
    """
    from fxci_assets import memory

    if last < first:
        raise click.UsageError("--to is before --from")
    days = [first.date() + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    shown = Shown()
    with memory.small():
        from fxci_assets import dagster_events, deployments
        from fxci_assets.pipeline import Refused
        from fxci_assets.tables import TABLES

        known = {table.name: table for table in TABLES}
        for name in tables:
            if name not in known:
                raise click.UsageError(f"no table {name}; there are {', '.join(known)}")
        wanted = [known[name] for name in tables] or list(TABLES)
        pipeline = deployments.pipeline(context.settings)
        if days[-1] > pipeline.today():
            raise Refused(f"{days[-1]} has not begun")  # nor are the days before it built
        notice(context.settings)
        try:
            # Unless it was asked for, what cannot be built yet is no failure.
            pipeline.rebuild_each(dict.fromkeys(days, wanted), shown, leave_unready=not tables)
        finally:
            dagster_events.report(None, shown.rebuilt)


@command(main, "status", example="fxci-etl status")
def status(context: Context) -> None:
    """Queue depths, the newest event, stale days, pending definitions, quarantine and gaps.

    What cannot be found out is named, and the rest is shown all the same.
    """
    from fxci_assets import deployments

    settings = context.settings
    pipeline = deployments.pipeline(settings)
    notice(settings)
    click.echo(f"deployment     {settings.deployment} ({pipeline.warehouse.target})")
    failed: list[str] = []
    # Generators: nothing of them runs, or fails, before its turn.
    for name, lines in (
        ("queues", _queues(settings)),
        ("newest event", _newest_event(pipeline)),
        ("stale days", _stale_days(pipeline)),
        ("definitions", _pending_definitions(pipeline)),
        ("quarantine", _in_quarantine(pipeline)),
        ("gaps", _open_gaps(pipeline)),
    ):
        try:
            found = list(lines)
        except Exception as error:
            _log.info("%s: unknown", name, exc_info=True)
            failed.append(f"{name}: {one_line(error)}")
            found = [(name, "unknown")]
        for label, content in found:
            click.echo(f"{label:<14} {texts.visible(content)}")
    fail_with(failed)


Lines = Iterator[tuple[str, str]]


def _queues(settings: Settings) -> Lines:
    from fxci_assets import deployments

    source = deployments.pulse(settings)
    depths = source.depth()
    for queue in source.queues:
        # One that was never drained has lost nothing, so that is no error.
        waits = f"{depths[queue]:,} waiting" if queue in depths else "not there"
        yield "queue", f"{queue}: {waits}"


def _newest_event(pipeline: Pipeline) -> Lines:
    newest = pipeline.newest_event()
    yield "newest event", f"{newest:%Y-%m-%d %H:%M:%S} UTC" if newest else "none"


def _stale_days(pipeline: Pipeline) -> Lines:
    found = pipeline.stale_or_waiting()
    stale = [day for day in found if day.refusal is None]
    for day in stale[:20]:
        yield "stale", f"{day.table.name} {day.day}: {day.reason}"
    if len(stale) > 20:
        yield "stale", f"and {len(stale) - 20:,} more"
    yield "stale days", f"{len(stale):,}"
    waiting = [day for day in found if day.refusal is not None]
    for day in waiting[:20]:
        yield "waiting", f"{day.table.name} {day.day}: {day.refusal}"
    if waiting:
        yield "waiting days", f"{len(waiting):,}"


def _pending_definitions(pipeline: Pipeline) -> Lines:
    since = pipeline.archive.definitions.pending().since
    oldest = f", the oldest since {min(since.values()):%Y-%m-%d %H:%M:%S} UTC" if since else ""
    yield "definitions", f"{len(since):,} pending{oldest}"


def _in_quarantine(pipeline: Pipeline) -> Lines:
    reasons = Counter(item.reason for item in pipeline.in_quarantine())
    for reason, count in sorted(reasons.items()):
        yield "quarantine", f"{reason}: {count:,}"
    yield "in quarantine", f"{reasons.total():,}"


def _open_gaps(pipeline: Pipeline) -> Lines:
    gaps = pipeline.archive.queues.open_gaps()
    for gap in gaps:
        yield "gap", f"{gap.id} until {gap.found_at:%Y-%m-%d %H:%M:%S} UTC"
    yield "open gaps", f"{len(gaps):,}"


@command(
    main,
    "query",
    example='fxci-etl query "SELECT state, COUNT(*) AS runs FROM fxci.task_runs '
    "WHERE submission_date = '2026-04-13' GROUP BY state\"",
    cls=TakesSql,
)
@click.option(
    "--format", "format_", type=click.Choice(["table", "csv", "json"]), default="table",
    help="How the rows are printed.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="ROWS", help="Print no more rows than this."
)
@click.option("--dry-run", is_flag=True, help="Say how many bytes it would process, and no more.")
@click.argument("sql")
def query(context: Context, sql: str, format_: str, limit: int | None, dry_run: bool) -> None:
    """Answer a question in BigQuery's SQL.

    Tables are fxci.tasks, fxci_derived.tasks_v2 and so on, with or without a project. Each needs
    a filter on its partition column. In BigQuery, a query that would be billed for more than
    bigquery.maximum_bytes_billed is refused.
    """
    from fxci_assets import deployments, printing

    warehouse = deployments.warehouse(context.settings)
    notice(context.settings)
    if dry_run:
        say(f"{warehouse.dry_run(sql):,} bytes")
        return
    most = context.settings.bigquery.maximum_bytes_billed
    rows = warehouse.query(sql, maximum_bytes_billed=most)
    printing.show(rows if limit is None else rows.slice(0, limit), format_)
    if limit is not None and len(rows) > limit:
        say(f"{len(rows) - limit:,} more rows are not shown", err=True)


@main.group(epilog=example_of("fxci-etl quarantine list"))
@common
def quarantine() -> None:
    """Messages and time series that could not be used."""


@command(quarantine, "list", example="fxci-etl quarantine list --all")
@click.option("--all", "all_", is_flag=True, help="Those that were replayed or accepted, too.")
def quarantine_list(context: Context, all_: bool) -> None:
    """The messages in quarantine, with their ids and reasons."""
    from fxci_assets import deployments

    notice(context.settings)
    items = deployments.archive(context.settings).quarantine
    settled: dict[str, str] = {}
    if all_:
        settled |= {
            id: f"  accepted: {texts.visible(of.why)}" for id, of in items.accepted().items()
        }
        settled |= dict.fromkeys(items.replayed_ids(), "  replayed")
    found = False
    for item in items.entries() if all_ else items.open_entries():
        found = True
        click.echo(
            f"{item.id}  {item.received_at:%Y-%m-%d %H:%M:%S}  {item.reason:<32}  "
            f"{item.size:>9,} bytes  {texts.visible(item.exchange.rpartition('/')[2])}"
            f"{settled.get(item.id, '')}"
        )
    if not found:
        say("nothing is in quarantine", err=True)


@command(quarantine, "show", example="fxci-etl quarantine show 1f0c9d37 > body.json")
@click.argument("id")
def quarantine_show(context: Context, id: str) -> None:
    """A message's body, as received; what is known of it goes to standard error.

    On a terminal, control characters in it are spelled out. The beginning of an ID is enough.
    """
    from fxci_assets import deployments

    notice(context.settings)
    items = deployments.archive(context.settings).quarantine
    [item] = find_items(items.entries(), [id])
    click.echo(
        f"id {item.id}\nreason {item.reason}\nreceived {item.received_at:%Y-%m-%d %H:%M:%S} UTC\n"
        f"exchange {texts.visible(item.exchange)}\n"
        f"routing key {texts.visible(item.routing_key)}",
        err=True,
    )
    body = items.body(item)
    if sys.stdout.isatty():
        click.echo(texts.visible_lines(body.decode(errors="backslashreplace")))
        return
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


@command(quarantine, "replay", example="fxci-etl quarantine replay 1f0c9d37 --body mended.json")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--body", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The mended body; with one ID only.",
)  # fmt: skip
def quarantine_replay(context: Context, ids: tuple[str], body: Path | None) -> None:
    """File messages like new ones, as they are or mended, and mark them replayed.

    The days they are filed under are rebuilt by the next drain or sensor tick.
    """
    from fxci_assets import deployments

    if body is not None and len(ids) != 1:
        raise click.UsageError("--body goes with one ID")
    pipeline = deployments.pipeline(context.settings)
    notice(context.settings)
    items = find_items(pipeline.archive.quarantine.entries(), ids)
    failed: list[str] = []
    for item in items:
        try:
            days = pipeline.replay(item, body.read_bytes() if body else None)
        except Exception as error:
            failed.append(one_line(error))
            continue
        say(f"{item.id} filed under {', '.join(day.isoformat() for day in days)}")
    fail_with(failed)


@command(
    quarantine, "accept", example='fxci-etl quarantine accept 1f0c9d37 --why "the task was deleted"'
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--why", required=True, help="Why it does no harm that they cannot be used.")
def quarantine_accept(context: Context, ids: tuple[str], why: str) -> None:
    """Take messages off the list, unused; no check of the quarantine counts them any more.

    They are kept, and can still be shown and replayed. What a build counts, it counts all the same.
    """
    from fxci_assets import deployments
    from fxci_assets.archive.quarantine import Accepted
    from fxci_assets.pipeline import utc_now

    notice(context.settings)
    items = deployments.archive(context.settings).quarantine
    for item in find_items(items.entries(), ids):
        items.accept(item.id, Accepted(utc_now(), why))
        say(f"{item.id} accepted")


def find_items(items: Iterable[Entry], ids: Sequence[str]) -> list[Entry]:
    """The items whose ids begin as given."""
    known = list(items)
    found: list[Entry] = []
    for id in ids:
        matching = [item for item in known if id and item.id.startswith(id)]
        if len(matching) != 1:
            what = "no item" if not matching else f"{len(matching)} items"
            raise click.UsageError(f"{what} in quarantine with an id that begins {id}")
        found += matching
    return found


@main.group(epilog=example_of("fxci-etl gaps list"))
@common
def gaps() -> None:
    """Times in which a queue was gone, so that messages are missing."""


@command(gaps, "list", example="fxci-etl gaps list")
def gaps_list(context: Context) -> None:
    """The gaps that are open."""
    from fxci_assets import deployments

    notice(context.settings)
    open_gaps = deployments.archive(context.settings).queues.open_gaps()
    for gap in open_gaps:
        click.echo(f"{gap.id}  until {gap.found_at:%Y-%m-%d %H:%M:%S} UTC")
    if not open_gaps:
        say("no gap is open", err=True)


@command(
    gaps,
    "close",
    example="fxci-etl gaps close queue/fxci/task-failed@2026-04-13T10:00:00.000000Z "
    '--why "nothing failed then"',
)
@click.argument("id")
@click.option("--why", required=True, help="Why nothing is missing any more.")
def gaps_close(context: Context, id: str, why: str) -> None:
    """Close a gap by hand; its check passes again."""
    from fxci_assets import deployments
    from fxci_assets.pipeline import utc_now

    notice(context.settings)
    queues = deployments.archive(context.settings).queues
    matching = [gap for gap in queues.open_gaps() if gap.id == id]
    if not matching:
        raise click.UsageError(f"no open gap {id}")
    queues.close_gap(matching[0], utc_now(), why)
    click.echo(f"{id} closed")


@main.group(epilog=example_of("fxci-etl sandbox publish"))
@common
def sandbox() -> None:
    """A simulated Firefox-CI, to try everything on."""


@command(sandbox, "publish", example="fxci-etl sandbox publish --date 2026-04-13 --tasks 5000")
@click.option(
    "--date", "day", type=DAY, metavar="YYYY-MM-DD",
    help="The simulated day, UTC; yesterday by default.",
)  # fmt: skip
@click.option("--tasks", type=click.IntRange(min=1), help="Tasks a day, instead of the setting's.")
@click.option(
    "--host", default="127.0.0.1", envvar="FXCI_ETL_PULSE_HOST", show_default=True,
    help="The broker: this machine, nothing else.",
)  # fmt: skip
@click.option(
    "--port", default=5672, envvar="FXCI_ETL_PULSE_PORT", show_default=True,
    help="Its port without TLS.",
)  # fmt: skip
@click.option(
    "--user", default="guest", envvar="FXCI_ETL_PULSE_USER", show_default=True,
    help="A user who may declare; the queues are named after it.",
)  # fmt: skip
@click.option(
    "--password", default="guest", envvar="FXCI_ETL_PULSE_PASSWORD",
    help="The user's password; better given in FXCI_ETL_PULSE_PASSWORD.",
)  # fmt: skip
def sandbox_publish(
    context: Context,
    day: dt.datetime | None,
    tasks: int | None,
    host: str,
    port: int,
    user: str,
    password: str,
) -> None:
    """Publish a simulated day on a broker on loopback, for `pulse drain` to read."""
    from fxci_assets.pipeline import utc_now
    from fxci_assets.sandbox.publish import publish_day

    settings = context.settings
    notice(settings)
    counts = publish_day(
        day.date() if day else utc_now().date() - dt.timedelta(days=1),
        tasks or settings.sandbox_tasks_per_day,
        settings.sandbox_seed,
        host=host,
        port=port,
        user=user,
        password=password,
    )
    for queue, count in counts.items():
        say(f"{queue}: {count:,} messages")


@command(sandbox, "demo", example="fxci-etl sandbox demo")
def sandbox_demo(context: Context) -> None:
    """Run the whole pipeline on simulated days through Dagster, and show what came of it."""
    from fxci_assets.sandbox.demo import run_demo

    fail_with(run_demo(context.settings))


if __name__ == "__main__":
    main()
