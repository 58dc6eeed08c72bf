"""What messages did not tell is asked of the queue, once, and becomes rows like any other."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
from pathlib import Path

import jsonschema
import pytest

from fxci_assets import repair
from fxci_assets.archive import Archive
from fxci_assets.archive.quarantine import Accepted
from fxci_assets.archive.records import Gap
from fxci_assets.archive.store import LocalStore
from fxci_assets.builders.definitions import DefinitionsBuilder
from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.definitions_fetch import fetch_definitions
from fxci_assets.drain import DrainLimits, DrainReport, file_messages
from fxci_assets.pipeline import LOOK_BACK, Pipeline, Refused
from fxci_assets.pipeline import Clock as Now
from fxci_assets.quality import no_definition_is_gone, nothing_is_missing
from fxci_assets.repair import RepairReport, message_of, missing
from fxci_assets.resources import taskcluster
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.pulse import BatchLimits
from fxci_assets.resources.taskcluster import AnswerUnusable, Taskcluster, TaskclusterError
from fxci_assets.sandbox.firefox_ci import World
from fxci_assets.sandbox.source import SimulatedPulse
from fxci_assets.sandbox.taskcluster import SimulatedTaskcluster
from fxci_assets.tables import TASK_DEFINITIONS, TASK_RUNS, TASKS
from fxci_assets.takeover import Takeover
from fxci_assets_tests.definitions import MemoryQueue, definition
from fxci_assets_tests.events import DAY, FIRST_DAY, NEXT_DAY, body, message, run, task_id
from fxci_assets_tests.test_pipeline import Clock

ONE, TWO, THREE, FOUR = (task_id(number) for number in (1, 2, 3, 4))

TASKS_OF_DAY = "SELECT task_id, tags.kind FROM dataset.tasks_v2 WHERE submission_date = @day"
RUNS_OF_DAY = "SELECT task_id, run_id FROM dataset.task_runs_v1 WHERE submission_date = @day"


def make_pipeline(root: Path, clock: Now, first_day: dt.date = FIRST_DAY) -> Pipeline:
    return Pipeline(
        Archive.over(LocalStore(root / "archive"), "project.dataset"),
        LocalWarehouse(
            root / "warehouse", "project", "dataset", tables=[TASKS, TASK_RUNS, TASK_DEFINITIONS]
        ),
        first_day,
        DrainLimits(BatchLimits(messages=5_000), 100_000, 60),
        dt.timedelta(hours=1),
        builders=[TaskBuilder(), DefinitionsBuilder()],
        worker_projects=[],
        uptime_retention=dt.timedelta(days=40),
        clock=clock,
    )


def status(id: str, *runs: object, **fields: object) -> bytes:
    """A task's status as the queue answers it."""
    told = json.loads(body(id, runs, status=fields))["status"]
    return json.dumps(told).encode()


def retried(resolved: str = "2026-04-13T10:00:00Z") -> dict[str, object]:
    return run(0, resolved, state="exception", reasonResolved="worker-shutdown")


class Case:
    """A pipeline, a queue and the time: two days after the tasks were defined."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.clock.now = dt.datetime(2026, 4, 16, 12, tzinfo=dt.UTC)
        self.pipeline = make_pipeline(root, self.clock)
        self.queue = MemoryQueue()

    def define(self, *ids: str, **fields: object) -> None:
        """Tasks are defined, and their definitions fetched."""
        self.queue.known |= dict.fromkeys(ids, definition(**fields))  # type: ignore[arg-type]
        self.tell(*(body(id, []) for id in ids), name="task-defined")
        self.fetch()
        self.pipeline.rebuild_stale()

    def fetch(self) -> None:
        fetch_definitions(self.queue, self.pipeline.archive, FIRST_DAY, FIRST_DAY, 60, self.clock)

    def accept(self) -> None:
        """Somebody accepts all that is in quarantine."""
        for item in self.pipeline.in_quarantine():
            why = Accepted(self.clock(), "deleted on purpose")
            self.pipeline.archive.quarantine.accept(item.id, why)

    def tell(self, *bodies: bytes, name: str = "task-completed") -> None:
        """Messages come, and are built."""
        messages = [message(one, name) for one in bodies]
        file_messages(messages, self.clock(), self.pipeline.archive, FIRST_DAY, DrainReport())
        self.pipeline.rebuild_stale()

    def missing(self) -> list[tuple[str, str]]:
        return [
            (task.task_id, task.why) for task in missing(self.pipeline, FIRST_DAY, self.today())
        ]

    def today(self) -> dt.date:
        return self.clock().date()

    def repair(self) -> RepairReport:
        """Repair, and build."""
        report = repair.repair(self.pipeline, self.queue, FIRST_DAY, self.today())
        self.pipeline.rebuild_stale()
        return report

    def rows(self, sql: str, day: dt.date = DAY) -> list[tuple[object, ...]]:
        rows = self.pipeline.warehouse.query(f"{sql} ORDER BY 1, 2", {"day": day}).to_pylist()
        return [tuple(row.values()) for row in rows]

    def quarantined(self) -> list[tuple[str, str]]:
        items = self.pipeline.in_quarantine()
        return sorted((item.reason, item.routing_key.split(".")[1]) for item in items)

    def gap(self, name: str = "task-completed") -> Gap:
        """A queue was gone for an hour, on DAY, while tasks were defined."""
        since = dt.datetime(2026, 4, 13, 9, 30, tzinfo=dt.UTC)
        gap = Gap(f"queue/fxci/{name}", since, since + dt.timedelta(hours=1))
        self.pipeline.archive.queues.record_gap(gap)
        return gap

    def open_gaps(self) -> list[Gap]:
        return self.pipeline.archive.queues.open_gaps()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


class TestATaskWithoutARun:
    def test_is_missing_a_day_after_its_deadline(self, case: Case) -> None:
        case.define(ONE, TWO)
        case.tell(body(TWO, [run()]))
        deadline = dt.datetime(2026, 4, 14, 10, 0, 0, 123000, dt.UTC)
        case.clock.now = deadline + dt.timedelta(days=1)
        assert case.missing() == []
        case.clock.now += dt.timedelta(milliseconds=1)
        assert case.missing() == [(ONE, repair.NO_RUN)]
        found = nothing_is_missing(case.pipeline, FIRST_DAY, case.today())
        assert (found.passed, found.days) == (False, [DAY])
        assert found.summary.startswith("1 tasks of 2026-04-01 to 2026-04-15 lack their runs")
        assert found.cases == [{"task": ONE, "day": DAY, "why": repair.NO_RUN}]

    def test_gets_its_rows_with_the_tags_of_its_definition(self, case: Case) -> None:
        case.define(ONE)
        late = run(1, "2026-04-14T10:00:30Z", state="exception", reasonResolved="deadline-exceeded")
        case.queue.known_statuses = {ONE: status(ONE, retried(), late)}
        report = case.repair()
        assert report.days == [DAY, NEXT_DAY]
        assert report.describe() == (
            "missing: 1 tasks without a run, past their deadline; 1 filed under 2 days, 0 not "
            "resolved, 0 to quarantine; 0 definitions archived; 0 gaps closed, 0 left open"
        )
        assert case.rows(TASKS_OF_DAY) == [(ONE, "test")]
        assert case.rows(RUNS_OF_DAY) == [(ONE, 0)]
        assert case.rows(RUNS_OF_DAY, NEXT_DAY) == [(ONE, 1)]
        assert nothing_is_missing(case.pipeline, FIRST_DAY, case.today()).passed
        assert case.repair().found == {}
        assert len(case.queue.asked_statuses) == 1

    @pytest.mark.parametrize("resolved", ["2026-04-13T10:00:00Z", "2026-04-15T00:00:00Z"])
    def test_is_not_asked_for_while_a_day_is_still_to_be_built(
        self, case: Case, resolved: str
    ) -> None:
        case.define(ONE)
        late = message(body(ONE, [run(0, resolved)]))
        file_messages([late], case.clock(), case.pipeline.archive, FIRST_DAY, DrainReport())
        assert case.missing() == []
        case.pipeline.rebuild_stale()
        assert case.missing() == []

    def test_that_the_queue_does_not_know_goes_to_quarantine_once(self, case: Case) -> None:
        case.define(ONE)
        report = case.repair()
        assert (report.filed, report.quarantined) == (0, {"status-gone": 1})
        assert case.quarantined() == [("status-gone", ONE)]
        found = nothing_is_missing(case.pipeline, FIRST_DAY, case.today())
        assert found.passed
        assert found.summary.endswith("1 others it could not find")
        case.clock.now += dt.timedelta(days=1)
        case.repair()
        assert len(case.queue.asked_statuses) == 1

    def test_that_was_accepted_is_neither_counted_nor_asked_for(self, case: Case) -> None:
        case.define(ONE)
        case.repair()
        case.accept()
        found = nothing_is_missing(case.pipeline, FIRST_DAY, case.today())
        assert found.passed
        assert found.summary.endswith("0 others it could not find")
        assert case.repair().found == {}
        assert case.quarantined() == []

    @pytest.mark.parametrize(
        ("told", "reason"),
        [
            (b"[]", "status-unreadable"),
            (b'{"runs": "x"}', "status-unreadable"),
            (status(ONE, run(resolved="soon")), "resolved-unreadable"),
            (status(ONE, run(0, "2026-03-31T10:00:00Z")), "resolved-before-first-partition"),
            (status("../etc", run()), "task-id-invalid"),
        ],
    )
    def test_whose_status_cannot_be_used_is_in_quarantine_and_not_asked_for_again(
        self, case: Case, told: bytes, reason: str
    ) -> None:
        case.define(ONE)
        case.queue.known_statuses = {ONE: told}
        case.repair()
        case.repair()
        assert case.quarantined() == [(reason, ONE)]
        assert len(case.queue.asked_statuses) == 1

    def test_of_which_the_queue_answers_nothing_of_use_does_not_keep_others_from_their_rows(
        self, case: Case
    ) -> None:
        case.define(ONE, TWO)
        case.queue.known_statuses = {id: status(id, run()) for id in (ONE, TWO)}
        case.queue.unusable = {ONE: AnswerUnusable("500")}
        report = case.repair()
        assert (report.filed, report.unresolved, case.quarantined()) == (1, 1, [])
        assert case.missing() == [(ONE, repair.NO_RUN)]
        case.queue.unusable = {}
        assert case.repair().filed == 1
        assert case.missing() == []

    def test_that_is_not_resolved_stays_missing(self, case: Case) -> None:
        case.define(ONE)
        case.queue.known_statuses = {ONE: status(ONE, run(0, None))}
        report = case.repair()
        assert (report.unresolved, report.filed, case.quarantined()) == (1, 0, [])
        assert case.missing() == [(ONE, repair.NO_RUN)]

    def test_gets_its_rows_also_where_its_tags_are_not_to_be_had(self, case: Case) -> None:
        case.define(ONE, TWO)
        case.queue.known_statuses = {id: status(id, run()) for id in (ONE, TWO)}
        case.queue.known = {TWO: b"not JSON"}
        assert case.repair().filed == 2
        assert case.rows(TASKS_OF_DAY) == [(ONE, None), (TWO, None)]

    def test_gets_them_later_where_only_those_of_others_are_not_to_be_had(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is filed without tags stays so."""
        monkeypatch.setattr(taskcluster, "_MOST_ALONE", 0)
        case.define(ONE, TWO)
        case.queue.known_statuses = {id: status(id, run()) for id in (ONE, TWO)}
        case.queue.without_definition = {TWO: AnswerUnusable("500")}
        report = case.repair()
        assert (report.filed, report.unresolved, case.quarantined()) == (0, 2, [])
        monkeypatch.undo()
        report = case.repair()
        assert (report.filed, report.unresolved) == (2, 0)
        assert case.rows(TASKS_OF_DAY) == [(ONE, "test"), (TWO, None)]

    def test_is_asked_for_with_many_others(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(repair, "MOST_IDS", 2)
        ids = [task_id(number) for number in range(5)]
        case.define(*ids)
        case.queue.known_statuses = {id: status(id, run()) for id in ids}
        assert case.repair().filed == 5
        assert case.queue.asked_statuses == [ids[:2], ids[2:4], ids[4:]]
        assert case.missing() == []

    def test_stays_missing_where_the_queue_fails(self, case: Case) -> None:
        case.define(ONE)
        case.queue.fails = True
        with pytest.raises(TaskclusterError):
            case.repair()
        assert case.missing() == [(ONE, repair.NO_RUN)]


def test_tables_of_another_job_are_not_repaired(case: Case) -> None:
    """They are by the day of processing, so that runs seem to lack their tasks."""
    store = LocalStore(Path("/nowhere"))
    waiting = Takeover(case.pipeline.archive, case.pipeline.warehouse, store, {}, DAY, case.clock)
    pipeline = dataclasses.replace(case.pipeline, takeover=waiting)
    with pytest.raises(Refused, match="the tables are not taken over yet"):
        repair.repair(pipeline, case.queue, FIRST_DAY, case.today())
    assert case.queue.asked == []
    assert nothing_is_missing(pipeline, FIRST_DAY, case.today()).passed


class TestADefinition:
    def test_is_fetched_though_no_drain_looks_back_so_far(self, case: Case) -> None:
        case.tell(body(ONE, []), name="task-defined")
        case.clock.now += LOOK_BACK + dt.timedelta(days=1)
        case.queue.known = {ONE: definition()}
        assert case.pipeline.fetch_definitions(case.queue).asked == 0
        assert case.repair().definitions.archived == {DAY: 1}
        # Then it has no run, and the next repair asks for its status.
        assert case.missing() == [(ONE, repair.NO_RUN)]


class TestARunWithoutItsTask:
    def tell_of_the_second_run_only(self, case: Case, day: str = "2026-04-14") -> None:
        case.tell(body(ONE, [run(0, resolved="garbled"), run(1, f"{day}T10:00:00Z")]))

    def test_is_missing_and_gets_its_task_and_its_definition(self, case: Case) -> None:
        self.tell_of_the_second_run_only(case)
        assert case.rows(RUNS_OF_DAY, NEXT_DAY) == [(ONE, 1)]
        assert case.missing() == [(ONE, repair.NO_TASK)]
        assert nothing_is_missing(case.pipeline, FIRST_DAY, case.today()).days == [NEXT_DAY]
        case.queue.known = {ONE: definition()}
        case.queue.known_statuses = {ONE: status(ONE, run(0), run(1, "2026-04-14T10:00:00Z"))}
        report = case.repair()
        assert report.found == {repair.NO_TASK: 1}
        assert report.definitions.archived == {DAY: 1}
        assert case.rows(TASKS_OF_DAY) == [(ONE, "test")]
        assert case.missing() == []

    def test_is_not_looked_for_where_its_task_may_lie_before_the_first_day(
        self, case: Case
    ) -> None:
        self.tell_of_the_second_run_only(case, "2026-04-06")
        assert case.missing() == []

    def test_is_given_up_where_the_queue_tells_no_more(self, case: Case) -> None:
        self.tell_of_the_second_run_only(case)
        without_queue = {"taskQueueId": "none", "provisionerId": "a", "workerType": "b"}
        runs = (run(0), run(1, "2026-04-14T10:00:00Z"))
        case.queue.known_statuses = {ONE: status(ONE, *runs, **without_queue)}
        case.repair()
        assert ("task-incomplete", ONE) in case.quarantined()
        assert case.missing() == []


class TestAGap:
    def test_is_closed_when_what_was_lost_in_it_is_filed(self, case: Case) -> None:
        case.define(ONE, TWO, THREE, deadline="2026-04-18T10:00:00Z")
        case.tell(body(THREE, [run()]))
        gap = case.gap()
        assert case.missing() == []
        case.queue.known_statuses = {ONE: status(ONE, run()), TWO: status(TWO, run(0, None))}
        report = case.repair()
        assert (report.found, report.filed, report.unresolved) == ({repair.IN_A_GAP: 2}, 1, 1)
        assert (report.closed, case.open_gaps()) == ([gap], [])
        assert case.rows(RUNS_OF_DAY) == [(ONE, 0), (THREE, 0)]
        assert case.queue.asked_statuses == [[ONE, TWO]]

    def test_hides_the_run_after_one_that_was_retried(self, case: Case) -> None:
        again = run(1, "2026-04-13T10:20:00Z")
        case.tell(*(body(id, [retried(), run(1, None)]) for id in (ONE, TWO)))
        case.tell(body(THREE, [retried(), run(1, "2026-04-15T10:20:00Z")]))
        case.tell(body(FOUR, [retried(resolved="2026-04-13T11:00:00Z"), run(1, None)]))
        case.gap()
        case.queue.known_statuses = {
            ONE: status(ONE, retried(), again),
            TWO: status(TWO, retried(), run(1, None)),
        }
        report = case.repair()
        assert (report.filed, report.unresolved) == (1, 1)
        assert case.rows(RUNS_OF_DAY) == [
            (ONE, 0),
            (ONE, 1),
            (TWO, 0),
            (THREE, 0),
            (FOUR, 0),
        ]
        assert case.open_gaps() == []
        assert case.queue.asked_statuses == [[ONE, TWO]]

    def test_is_not_about_tasks_of_another_time(self, case: Case) -> None:
        case.define(ONE, created="2026-04-13T10:46:00Z", deadline="2026-04-18T10:00:00Z")
        case.gap()
        assert case.repair().found == {}

    def test_stays_open_while_a_day_is_still_to_be_built(self, case: Case) -> None:
        case.define(TWO, deadline="2026-04-18T10:00:00Z")
        gap = case.gap()
        late = [message(body(ONE, [run()]))]
        file_messages(late, case.clock(), case.pipeline.archive, FIRST_DAY, DrainReport())
        report = case.repair()
        assert report.left_open == {gap.id: "task_runs_v1 of 2026-04-13 is still to be built"}
        assert case.open_gaps() == [gap]
        assert case.quarantined() == [("status-gone", TWO)]
        assert case.repair().closed == [gap]
        assert case.queue.asked_statuses == [[TWO]]

    def test_stays_open_where_the_queue_fails(self, case: Case) -> None:
        case.define(ONE, deadline="2026-04-18T10:00:00Z")
        gap = case.gap()
        case.queue.fails = True
        with pytest.raises(TaskclusterError):
            case.repair()
        assert case.open_gaps() == [gap]

    def test_of_definitions_is_filled_from_the_runs_until_the_last_has_come(
        self, case: Case
    ) -> None:
        gap = case.gap("task-defined")
        case.tell(*(body(id, [run(scheduled="2026-04-13T09:45:00Z")]) for id in (ONE, TWO)))
        case.tell(body(THREE, [run(scheduled="2026-04-13T09:00:00Z")]))
        case.define(FOUR)
        case.tell(body(FOUR, [run(scheduled="2026-04-13T10:45:00Z")]))
        case.queue.asked.clear()
        case.queue.known = {ONE: definition()}
        report = case.repair()
        assert case.queue.asked == [[ONE, TWO]]
        assert report.definitions.archived == {DAY: 1}
        assert "the last come by 2026-04-19 10:30" in report.left_open[gap.id]
        case.repair()
        assert case.queue.asked == [[ONE, TWO], [TWO]]  # the other is pending
        case.clock.now = dt.datetime(2026, 4, 19, 10, 30, tzinfo=dt.UTC)
        assert case.repair().closed == [gap]
        assert case.queue.asked_statuses == []


def test_a_definition_that_never_shows_is_found(case: Case) -> None:
    case.define(ONE)
    case.queue.known = {}
    case.tell(body(TWO, []), name="task-defined")
    case.fetch()
    found = no_definition_is_gone(case.pipeline, FIRST_DAY)
    assert (found.passed, found.cases) == (True, [])
    assert found.summary == (
        "0 definitions were asked for since 2026-04-01 and not returned within 7 days; "
        "1 are pending, the oldest since 2026-04-16 12:00 UTC"
    )
    case.clock.now += dt.timedelta(days=7)
    case.fetch()
    found = no_definition_is_gone(case.pipeline, FIRST_DAY)
    assert (found.passed, found.cases) == (False, [{"task": TWO}])
    assert found.summary.endswith("0 are pending")
    case.accept()
    assert no_definition_is_gone(case.pipeline, FIRST_DAY).passed


def test_the_messages_of_repair_are_as_the_published_schemas_say() -> None:
    data = os.environ.get("FXCI_SAMPLE_DATA")
    if not data:
        pytest.skip("FXCI_SAMPLE_DATA does not name the folder of sample data")
    world = World(seed=3, tasks_per_day=400)
    ids = list(dict.fromkeys(told.task.task_id for told in world.occurrences(DAY)))
    queue = SimulatedTaskcluster(world, clock=lambda: dt.datetime(2026, 4, 15, tzinfo=dt.UTC))
    names = set()
    for id, told in queue.statuses(ids).items():
        made = message_of(id, told, b'{"kind": "test"}')
        if made is None:
            continue
        name = made.exchange.rpartition("/")[2]
        names.add(name)
        schema = json.loads((Path(data) / "schemas" / f"{name}-message.json").read_text())
        jsonschema.Draft7Validator(schema).validate(json.loads(made.body))
        assert made.routing_key.startswith(f"repair.{id}.")
        assert told in made.body
    assert names == {"task-completed", "task-failed", "task-exception"}


def test_a_simulated_firefox_ci_is_made_whole(tmp_path: Path) -> None:
    """Whose pulse loses one message in five hundred."""
    world = World(seed=5, tasks_per_day=400)
    now = dt.datetime(2026, 4, 17, 12, tzinfo=dt.UTC)
    pipeline = make_pipeline(tmp_path, lambda: now)
    pulse = SimulatedPulse(world, tmp_path / "position", history_days=3, clock=lambda: now)
    queue: Taskcluster = SimulatedTaskcluster(world, clock=lambda: now)
    pipeline.drain(pulse)
    fetched = fetch_definitions(queue, pipeline.archive, FIRST_DAY, FIRST_DAY, 60, pipeline.clock)
    assert sum(fetched.archived.values()) > 1_000
    pipeline.rebuild_stale()
    first, last = NEXT_DAY, now.date()
    assert not nothing_is_missing(pipeline, first, last).passed

    report = repair.repair(pipeline, queue, first, last)

    assert report.filed == sum(report.found.values()) > 0
    pipeline.rebuild_stale()
    assert nothing_is_missing(pipeline, first, last).passed
    # Worked out once more: what was created on the first day has ended in any case.
    runs = pipeline.warehouse.query(
        "SELECT task_id FROM dataset.task_runs_v1 WHERE submission_date >= @day AND run_id = 0",
        {"day": first},
    )
    defined = pipeline.warehouse.query(
        "SELECT taskId FROM dataset.task_definitions_v1 WHERE submission_date = @day",
        {"day": first},
    )
    assert set(defined["taskId"].to_pylist()) <= set(runs["task_id"].to_pylist())
