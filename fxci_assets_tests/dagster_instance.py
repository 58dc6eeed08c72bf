"""The project in a Dagster instance of its own: real runs, ticks and backfills in this process,
at the time that a test sets, over sources in memory, or the simulator, and a folder of the test.

What a test arranges or reads in more than one module is here; what it asserts is not.
"""

import contextlib
import dataclasses
import datetime as dt
import functools
import json
import logging
import shutil
import sys
import tempfile
import types
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.external import RemoteRepository
from dagster._core.scheduler.instigation import InstigatorTick
from dagster._core.test_utils import (
    create_run_for_test,
    create_test_daemon_workspace_context,
    freeze_time,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import (
    consume_new_runs_for_automatic_reexecution,
)
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.monitoring import execute_run_monitoring_iteration
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import ScheduleIterationTimes, launch_scheduled_runs
from dagster_graphql.client.query import LAUNCH_PARTITION_BACKFILL_MUTATION
from dagster_graphql.test.utils import execute_dagster_graphql

from fxci_assets import deployments
from fxci_assets.archive.uptime import Fetch
from fxci_assets.builders import all_builders
from fxci_assets.definitions import build_defs
from fxci_assets.pipeline import Pipeline
from fxci_assets.resources.billing import BillingExports
from fxci_assets.resources.monitoring import MonitoringError
from fxci_assets.resources.pulse import Message
from fxci_assets.sandbox.firefox_ci import World
from fxci_assets.sandbox.source import SimulatedPulse
from fxci_assets.settings import Settings
from fxci_assets.tables import GCP, Source, Table, arrow_schema
from fxci_assets_tests.definitions import MemoryQueue
from fxci_assets_tests.events import DAY, FIRST_DAY, RECEIVED, body, message, run, task_id
from fxci_assets_tests.pulse import MemoryPulse
from fxci_assets_tests.sql.small import LEVEL_1, LEVEL_3, Small, instance_hour

_log = logging.getLogger("daemon")

WORKER, OTHER_WORKER = "7732042218797547089", "1000000000000000003"
ZONE = "us-central1-b"


def midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def completed(
    number: int, resolved: str = "2026-04-13T10:00:00Z", queue: str = "gecko-t/t-linux"
) -> Message:
    """A task whose only run completed."""
    status = {"taskQueueId": queue}
    return message(body(task_id(number), [run(0, resolved)], {"kind": "test"}, status))


def on_worker(
    number: int, day: dt.date = DAY, *, started: str | None = None, resolved: str | None = None
) -> Message:
    """A task that ran on WORKER: for an hour of a day, where nothing else is said."""
    only = run(
        0,
        resolved or f"{day}T10:00:00Z",
        scheduled=f"{day - dt.timedelta(days=1)}T00:00:00Z",
        started=started or f"{day}T09:00:00Z",
        workerGroup=ZONE,
        workerId=WORKER,
    )
    return message(body(task_id(number), [only], {"kind": "test"}))


def up(seconds: float, day: dt.date = DAY, worker: str = WORKER) -> bytes:
    """A time series of a worker that was up for so long on a day."""
    end = f"{day + dt.timedelta(days=1)}T00:00:00Z"
    return json.dumps(
        {
            "resource": {"labels": {"zone": ZONE, "instance_id": worker}},
            "points": [{"interval": {"endTime": end}, "value": {"doubleValue": seconds}}],
        }
    ).encode()


class MemoryMonitoring:
    """A Cloud Monitoring that has one worker in each project, up for two hours of each day, or
    what a test puts there; implements `Monitoring`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dt.date]] = []
        self.answers: dict[tuple[str, dt.date], list[bytes]] = {}
        self.down: set[tuple[str, dt.date]] = set()
        """Of what there is an error."""

    def uptime(self, project: str, day: dt.date) -> list[bytes]:
        self.asked.append((project, day))
        if (project, day) in self.down:
            raise MonitoringError(f"Cloud Monitoring does not answer for {project}")
        worker = WORKER if project == LEVEL_1 else OTHER_WORKER
        return self.answers.get((project, day), [up(7_200, day, worker)])


class Project:
    """The definitions over test objects, or with `simulated` over the simulator. `now` is the time
    of the pipeline, of the simulator and of Dagster."""

    def __init__(
        self,
        root: Path,
        now: dt.datetime = RECEIVED,
        settings: Settings | None = None,
        *,
        simulated: bool = False,
    ) -> None:
        self.root = root
        self.now = now
        self.settings = settings or Settings(start_date=FIRST_DAY, sandbox_dir=root)
        self.pulse = MemoryPulse()
        self.monitoring = MemoryMonitoring()
        self.taskcluster = MemoryQueue()
        if simulated:
            self.pipeline = deployments.pipeline(self.settings, self._clock)
            world = World(self.settings.sandbox_seed, self.settings.sandbox_tasks_per_day)
            sources: dict[str, object] = {
                "pulse": SimulatedPulse(
                    world,
                    root / "position.json",
                    history_days=self.settings.sandbox_days,
                    clock=self._clock,
                ),
                "monitoring": deployments.monitoring(self.settings, self._clock),
            }
        else:
            self.pipeline = Pipeline.of(
                self.settings,
                deployments.archive(self.settings),
                deployments.warehouse(self.settings),
                all_builders(self.settings, BillingExports()),
                self._clock,
            )
            sources = {
                "pulse": self.pulse,
                "monitoring": self.monitoring,
                "taskcluster": self.taskcluster,
            }
        self.defs = build_defs(self.settings, {"pipeline": self.pipeline, **sources})

    def _clock(self) -> dt.datetime:
        return self.now

    def arrive(self, *messages: Message) -> None:
        """Messages wait in the queue, to be received now."""
        self.pulse.waiting += messages
        self.pulse.received_at = self.now

    def drain(self, *messages: Message) -> None:
        """Messages are archived, and nobody tells Dagster."""
        self.arrive(*messages)
        self.pipeline.drain(self.pulse)

    def damage(self, day: dt.date) -> None:
        """The newest file of a day in the archive cannot be read any more."""
        folder = deployments.state_folder(self.settings) / f"archive/pulse_events/date={day}"
        max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns).write_bytes(b"damaged")

    def write(self, table: Table, day: dt.date, *rows: Mapping[str, object]) -> None:
        """Put rows into the warehouse, whatever the archive says."""
        batch = pa.RecordBatch.from_pylist(list(rows), arrow_schema(table))
        self.pipeline.warehouse.write_partition(table, day, [batch])

    def fetched(self, *series: bytes, day: dt.date = DAY) -> None:
        """A fetch of a day's uptime is archived, and nobody tells Dagster."""
        self.pipeline.archive.uptime.write(day, Fetch(self.now, {LEVEL_1: series, LEVEL_3: []}))

    def bill(self, source: Source, *rows: Mapping[str, object], day: dt.date = DAY) -> None:
        """What an export has of a day, or all it has where it has no days."""
        Small(self.root, self.settings).bill(source, *rows, day=day)

    def bill_workers(self, dollars: float, day: dt.date = DAY) -> None:
        """The bill of Google's for a day: so much for each of the two workers, in 24 hours."""
        self.bill(
            GCP,
            *(
                instance_hour(worker, dollars / 24, project=project, start=midnight(day) + hour)
                for worker, project in ((WORKER, LEVEL_1), (OTHER_WORKER, LEVEL_3))
                for hour in (dt.timedelta(hours=n) for n in range(24))
            ),
            day=day,
        )

    def ids(self, table: Table, day: dt.date) -> list[str]:
        """The tasks in the rows of a day, in order."""
        rows = self.pipeline.warehouse.query(
            f"SELECT task_id FROM fxci.{table.view} WHERE submission_date = @day ORDER BY task_id",
            {"day": day},
        )
        found: list[str] = rows["task_id"].to_pylist()
        return found

    def execute(
        self,
        job: str,
        first: dt.date | None = None,
        last: dt.date | None = None,
        *,
        instance: dg.DagsterInstance,
        only: Sequence[str] | None = None,
        config: Mapping[str, Mapping[str, object]] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job, of a day or of a range of days, as its launch in the UI would; `config` is by
        table, else the job's."""
        definition = self.defs.resolve_job_def(job)
        tags: dict[str, str] = {}
        run_config: Mapping[str, Any] = {}
        if first is not None:
            tags = {
                "dagster/asset_partition_range_start": first.isoformat(),
                "dagster/asset_partition_range_end": (last or first).isoformat(),
            }
            run_config = definition.get_run_config_for_partition_key(first.isoformat())
        ops = run_config.get("ops", {})
        if config is not None:
            ops = {name: {"config": given} for name, given in config.items()}
        with freeze_time(self.now):
            return definition.execute_in_process(
                instance=instance,
                tags=tags,
                run_config={"ops": {name: op for name, op in ops.items() if name in (only or ops)}},
                raise_on_error=False,
                asset_selection=[dg.AssetKey(name) for name in only] if only else None,
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A materialisation, as it stands in the event log."""

    day: str | None
    metadata: Mapping[str, object]


def materialisations(instance: dg.DagsterInstance, asset: str) -> list[Event]:
    """All of an asset, by day, and oldest first within a day."""
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=1_000).records
    found = []
    for record in reversed(records):
        made = record.asset_materialization
        assert made is not None
        metadata = {name: value.value for name, value in made.metadata.items()}
        found.append(Event(made.partition, metadata))
    return sorted(found, key=lambda event: event.day or "")


def checked(instance: dg.DagsterInstance, run_id: str) -> dict[str, dg.AssetCheckEvaluation]:
    """The results of the checks that a run made, by `asset:check`."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = {}
    for entry in entries:
        assert entry.dagster_event is not None
        check = entry.dagster_event.asset_check_evaluation_data
        found[check.asset_check_key.to_user_string()] = check
    return found


def days_of(events: Sequence[Event]) -> list[str | None]:
    return [event.day for event in events]


def failures(run: dg.ExecuteInProcessResult) -> str:
    """What a run and its steps failed with, and what caused that."""
    errors = [event.step_failure_data.error for event in run.get_step_failure_events()]
    errors += [
        event.job_failure_data.error
        for event in run.all_events
        if event.event_type is dg.DagsterEventType.RUN_FAILURE
    ]
    texts = []
    while errors:
        error = errors.pop(0)
        if error is not None:
            texts.append(error.message)
            errors.append(error.cause)
    return "\n".join(texts)


class Daemon:
    """The daemon's loops, one iteration at a time. Runs are executed within the iteration."""

    def __init__(
        self, project: Project, instance: dg.DagsterInstance, workspace: WorkspaceProcessContext
    ) -> None:
        self.instance = instance
        self._project = project
        self._workspace = workspace
        self._schedule_times: dict[str, ScheduleIterationTimes] = {}

    def tick_sensors(self) -> None:
        """Each sensor that is running and due; a sensor is due when its interval has passed."""
        with freeze_time(self._project.now):
            _raise_first(
                execute_sensor_iteration(
                    self._workspace,
                    _log,
                    threadpool_executor=None,
                    submit_threadpool_executor=None,
                )
            )

    def tick_schedules(self) -> None:
        """Each schedule whose time has passed since the last call; the first one starts them."""
        with freeze_time(self._project.now):
            _raise_first(
                launch_scheduled_runs(
                    self._workspace,
                    _log,
                    end_datetime_utc=self._project.now,
                    iteration_times=self._schedule_times,
                )
            )

    def stop(self, *schedules: str) -> None:
        """These do not tick any more."""
        for name in schedules:
            schedule = self._repository().get_schedule(name)
            self.instance.stop_schedule(
                schedule.get_remote_origin_id(), schedule.selector_id, schedule
            )

    def backfill(self, assets: Sequence[str], days: Sequence[dt.date]) -> BulkActionStatus:
        """Launch a backfill as the UI does, and run it to its end."""
        with freeze_time(self._project.now):
            launched = execute_dagster_graphql(
                self._workspace.create_request_context(),
                LAUNCH_PARTITION_BACKFILL_MUTATION,
                variables={
                    "backfillParams": {
                        "partitionNames": [day.isoformat() for day in days],
                        "assetSelection": [{"path": [name]} for name in assets],
                    }
                },
            ).data["launchPartitionBackfill"]
            backfill_id = launched["backfillId"]
            while True:
                backfill = self.instance.get_backfill(backfill_id)
                assert backfill is not None
                if backfill.status is not BulkActionStatus.REQUESTED:
                    return backfill.status
                _raise_first(execute_backfill_iteration(self._workspace, _log))

    def monitor_runs(self) -> None:
        """End the runs whose time is over."""
        with freeze_time(self._project.now):
            _raise_first(execute_run_monitoring_iteration(self._workspace, _log))

    def try_again(self, run: dg.DagsterRun) -> None:
        """As the daemon does with a run whose process went away, if retries are configured."""
        self.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
        records = self.instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
        with freeze_time(self._project.now):
            _raise_first(consume_new_runs_for_automatic_reexecution(self._workspace, records, _log))

    def ticks(self, name: str) -> list[InstigatorTick]:
        """Those of a sensor or a schedule, newest first."""
        repository = self._repository()
        instigator = (
            repository.get_sensor(name)
            if repository.has_sensor(name)
            else repository.get_schedule(name)
        )
        return list(
            self.instance.get_ticks(instigator.get_remote_origin_id(), instigator.selector_id)
        )

    def put_run(self, job: str, status: dg.DagsterRunStatus, tags: Mapping[str, str]) -> str:
        """A run that is in some state and does not leave it by itself. Returns its id."""
        origin = self._repository().get_full_job(job).get_remote_origin()
        run: dg.DagsterRun = create_run_for_test(
            self.instance, job, status=status, tags=tags, remote_job_origin=origin
        )
        return run.run_id

    def start_dead(self, job: str) -> None:
        """A run that has started, and whose process is gone."""
        tags = self._project.defs.resolve_job_def(job).run_tags
        run_id = self.put_run(job, dg.DagsterRunStatus.STARTING, tags)
        started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job)
        with freeze_time(self._project.now):
            self.instance.report_dagster_event(started, run_id)

    def runs(self, job: str) -> list[dg.DagsterRun]:
        """Those of a job, oldest first."""
        return list(reversed(self.instance.get_runs(dg.RunsFilter(job_name=job))))

    def _repository(self) -> RemoteRepository:
        [entry] = self._workspace.create_request_context().get_code_location_entries().values()
        assert entry.code_location is not None, entry.load_error
        [repository] = entry.code_location.get_repositories().values()
        return repository


def _raise_first(iteration: object) -> None:
    """Run an iteration to its end; a loop of the daemon yields its errors and goes on."""
    assert isinstance(iteration, Iterator)
    errors = [error for error in iteration if error]
    assert not errors, errors


@contextlib.contextmanager
def running(project: Project) -> Iterator[Daemon]:
    """A daemon for the project's definitions, with an instance that is gone afterwards."""
    # In one process Dagster loads each module once, so every project is a module of its own.
    name = f"project_{uuid.uuid4().hex}"
    module = types.ModuleType(name)
    module.defs = project.defs  # type: ignore[attr-defined]
    sys.modules[name] = module
    origin = LoadableTargetOrigin(executable_path=sys.executable, module_name=name)
    target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin, location_name="test"))
    try:
        with (
            new_instance() as instance,
            create_test_daemon_workspace_context(target, instance) as workspace,
        ):
            yield Daemon(project, instance, workspace)
    finally:
        del sys.modules[name]


@contextlib.contextmanager
def new_instance() -> Iterator[dg.DagsterInstance]:
    """An instance on disk, at DAGSTER_HOME, that executes runs where they are launched.

    Dagster reads all of its migrations for each database that it makes, by default one for each
    run: half of the time of a test. So there is one for all runs, made once and copied.
    """
    with tempfile.TemporaryDirectory() as home:
        shutil.copytree(_empty_home().name, home, dirs_exist_ok=True)
        with _instance_at(home) as instance:
            yield instance


@functools.cache
def _empty_home() -> tempfile.TemporaryDirectory[str]:
    home = tempfile.TemporaryDirectory()
    with _instance_at(home.name) as instance:
        instance.get_runs_count()
    return home


@contextlib.contextmanager
def _instance_at(home: str) -> Iterator[dg.DagsterInstance]:
    events = {
        "module": "dagster._core.storage.event_log",
        "class": "ConsolidatedSqliteEventLogStorage",
        "config": {"base_dir": f"{home}/events"},
    }
    with dg.instance_for_test(
        overrides={"event_log_storage": events},
        temp_dir=home,
        synchronous_run_launcher=True,
        synchronous_run_coordinator=True,
    ) as instance:
        yield instance
