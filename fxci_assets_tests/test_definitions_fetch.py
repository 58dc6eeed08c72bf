"""Each definition is fetched before the queue forgets it, whoever dies and however many try."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxci_assets import definitions_fetch
from fxci_assets.archive import Archive
from fxci_assets.archive.store import LocalStore, Store
from fxci_assets.builders.definitions import DefinitionsBuilder
from fxci_assets.definitions_fetch import DefinitionsReport, fetch_definitions, fetch_named
from fxci_assets.drain import DrainReport, file_messages
from fxci_assets.pipeline import Pipeline
from fxci_assets.resources import taskcluster
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.taskcluster import (
    MOST_IDS,
    NOBODY,
    AnswerTooLarge,
    AnswerUnusable,
    TaskclusterError,
)
from fxci_assets.resources.taskcluster_queue import TaskclusterQueue
from fxci_assets.tables import TASK_DEFINITIONS
from fxci_assets.taskcluster.definitions import DefinitionsOfDay
from fxci_assets_tests.definitions import MemoryQueue, by_task, definition
from fxci_assets_tests.events import DAY, FIRST_DAY, NEXT_DAY, RECEIVED, body, message, run, task_id
from fxci_assets_tests.taskcluster_server import Refusal, TaskclusterServer
from fxci_assets_tests.test_pipeline import Clock, make_pipeline

ONE, TWO, THREE, FOUR = (task_id(number) for number in (1, 2, 3, 4))
HOUR, WEEK = dt.timedelta(hours=1), dt.timedelta(days=7)


class Files:
    """A `Store` in memory, whose operations can be watched."""

    def __init__(self, content: dict[str, bytes] | None = None) -> None:
        self.content: dict[str, bytes] = {} if content is None else content
        self.before: Callable[[str], None] = lambda operation: None

    def create(self, path: str, data: bytes) -> None:
        self.before("create")
        if path in self.content:
            raise FileExistsError(path)
        self.content[path] = data

    def replace(self, path: str, data: bytes) -> None:
        self.before("replace")
        self.content[path] = data

    def read(self, path: str) -> bytes:
        self.before("read")
        try:
            return self.content[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def files(self, folder: str) -> list[str]:
        self.before("files")
        return sorted(
            PurePosixPath(path).name
            for path in list(self.content)
            if str(PurePosixPath(path).parent) == folder
        )

    def folders(self, folder: str) -> list[str]:
        self.before("folders")
        within = [path for path in list(self.content) if path.startswith(f"{folder}/")]
        rests = (PurePosixPath(path).relative_to(folder).parts for path in within)
        return sorted({parts[0] for parts in rests if len(parts) > 1})

    def remove(self, path: str) -> None:
        self.before("remove")
        self.content.pop(path, None)

    def uri(self, path: str) -> str:
        return f"memory:{path}"


class Fetching:
    """An archive, a queue and the time."""

    def __init__(self, store: Store | None = None, queue: MemoryQueue | None = None) -> None:
        self.archive = Archive.over(store or Files(), "project.dataset")
        self.queue = queue or MemoryQueue()
        self.clock = Clock()

    def tell(self, *ids: str, name: str = "task-defined") -> None:
        """Messages about tasks come, and are filed."""
        messages = [message(body(id, [run()]), name) for id in ids]
        file_messages(messages, self.clock(), self.archive, FIRST_DAY, DrainReport())

    def fetch(self, *, since: dt.date = FIRST_DAY, seconds: float = 60.0) -> DefinitionsReport:
        return fetch_definitions(self.queue, self.archive, FIRST_DAY, since, seconds, self.clock)

    def archived(self) -> list[tuple[dt.date, str]]:
        """Each definition, as often as it is there."""
        files = self.archive.definitions
        return sorted(
            (day, id)
            for day in files.days()
            for part in files.read(day, files.files(day))
            for id in part["task_id"].to_pylist()
        )

    def pending(self) -> Mapping[str, dt.datetime]:
        return self.archive.definitions.pending().since

    def quarantined(self) -> list[tuple[str, str]]:
        items = self.archive.quarantine.entries()
        return sorted((item.reason, item.routing_key) for item in items)


@pytest.fixture
def fetching() -> Fetching:
    return Fetching()


class TestWhatIsFetched:
    def test_is_filed_under_the_day_of_creation(self, fetching: Fetching) -> None:
        fetching.queue.known = {ONE: definition(), TWO: definition("2026-04-14T01:00:00Z")}
        fetching.tell(ONE, TWO)
        report = fetching.fetch()
        assert fetching.archived() == [(DAY, ONE), (NEXT_DAY, TWO)]
        assert report.archived == {DAY: 1, NEXT_DAY: 1}
        assert report.describe().startswith(
            "2 definitions asked for, 2 archived under 2 days, 0 pending, 0 to quarantine, in 0."
        )

    def test_is_fetched_once_however_often_it_is_told(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE, TWO))
        fetching.tell(ONE, ONE)
        fetching.fetch()
        fetching.tell(ONE, TWO)
        fetching.tell(TWO)
        fetching.fetch()
        fetching.clock.now += dt.timedelta(days=1)
        fetching.tell(TWO)
        fetching.fetch()
        assert fetching.queue.asked == [[ONE], [TWO]]
        assert fetching.archived() == [(DAY, ONE), (DAY, TWO)]

    def test_is_fetched_once_where_files_tell_of_it_that_are_looked_at_one_after_the_other(
        self, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(definitions_fetch, "_TOGETHER", 1)
        fetching.tell(ONE)
        fetching.tell(ONE)
        fetching.fetch()
        assert fetching.queue.asked == [[ONE]]

    def test_is_fetched_again_where_it_is_told_again_days_later(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE))
        fetching.tell(ONE)
        fetching.fetch()
        fetching.clock.now += dt.timedelta(days=2)
        fetching.tell(ONE)
        fetching.fetch()
        assert fetching.archived() == [(DAY, ONE), (DAY, ONE)]

    def test_is_what_messages_tell_was_defined_and_no_other_message(
        self, fetching: Fetching
    ) -> None:
        fetching.tell(ONE, name="task-completed")
        fetching.fetch()
        assert fetching.queue.asked == []

    def test_is_not_looked_for_in_messages_of_before(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE))
        fetching.tell(ONE)
        fetching.fetch(since=RECEIVED.date() + dt.timedelta(days=1))
        assert fetching.queue.asked == []
        fetching.fetch(since=RECEIVED.date())
        assert fetching.archived() == [(DAY, ONE)]

    def test_is_asked_for_in_full_requests(
        self, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = [task_id(number) for number in range(1_200)]
        fetching.queue.known = dict(by_task(*ids))
        for start in range(0, 1_200, 100):
            fetching.tell(*ids[start : start + 100])
        fetching.fetch()
        assert [len(asked) for asked in fetching.queue.asked] == [500, 500, 200]
        assert len(fetching.archive.definitions.files(DAY)) == 1

    def test_is_written_before_it_is_too_much_to_hold(
        self, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(definitions_fetch, "_FILE_BYTES", 100_000)
        ids = [task_id(number) for number in range(1_200)]
        fetching.queue.known = dict(by_task(*ids))
        fetching.tell(*ids)
        fetching.fetch()
        assert len(fetching.archive.definitions.files(DAY)) == 3
        assert fetching.archived() == [(DAY, id) for id in ids]

    def test_is_asked_for_in_halves_where_it_is_too_large(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE, TWO, FOUR))
        fetching.queue.known[THREE] = definition(payload={"x": "y" * 1_500_000})
        fetching.tell(ONE, TWO, THREE, FOUR)
        fetching.fetch()
        assert sorted(map(len, fetching.queue.asked)) == [1, 1, 2, 2, 4]
        assert [id for _, id in fetching.archived()] == [ONE, TWO, THREE, FOUR]

    def test_may_be_named(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE))
        report = DefinitionsReport(pending=1)
        fetch_named(fetching.queue, fetching.archive, FIRST_DAY, [ONE, TWO], fetching.clock, report)
        assert fetching.archived() == [(DAY, ONE)]
        assert (report.pending, fetching.pending()) == (2, {TWO: RECEIVED})

    def test_is_what_was_begun_when_the_time_is_used_up(
        self, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(definitions_fetch, "_TOGETHER", 1)
        fetching.queue.known = dict(by_task(ONE, TWO))
        fetching.tell(ONE)
        fetching.tell(TWO)
        report = fetching.fetch(seconds=0)
        assert (len(fetching.archived()), report.ended) == (1, False)
        assert "the time is used up" in report.describe()
        fetching.fetch()
        assert len(fetching.archived()) == 2


class TestWhatIsNotReturned:
    def test_is_pending_and_asked_for_again_until_it_is(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE))
        fetching.tell(ONE, TWO)
        assert fetching.fetch().pending == 1
        fetching.clock.now += HOUR
        fetching.fetch()
        assert fetching.pending() == {TWO: RECEIVED}
        fetching.queue.known = dict(by_task(TWO))
        assert fetching.fetch().pending == 0
        assert fetching.archived() == [(DAY, ONE), (DAY, TWO)]
        fetching.fetch()
        assert fetching.queue.asked == [[ONE, TWO], [TWO], [TWO]]

    def test_is_not_asked_for_twice_at_once(self, fetching: Fetching) -> None:
        fetching.tell(ONE)
        fetching.fetch()
        assert fetching.queue.asked == [[ONE]]

    def test_is_gone_after_a_week(self, fetching: Fetching) -> None:
        fetching.tell(ONE)
        fetching.fetch()
        fetching.clock.now += WEEK - dt.timedelta(seconds=1)
        fetching.fetch()
        assert (fetching.quarantined(), len(fetching.pending())) == ([], 1)
        fetching.clock.now += dt.timedelta(seconds=1)
        report = fetching.fetch()
        assert report.quarantined == {"definition-gone": 1}
        assert (fetching.quarantined(), fetching.pending()) == ([("definition-gone", ONE)], {})
        [item] = fetching.archive.quarantine.entries()
        assert (json.loads(fetching.archive.quarantine.body(item)), item.received_at) == (
            {"taskId": ONE},
            RECEIVED,
        )
        fetching.fetch()
        assert len(fetching.queue.asked) == 3

    def test_is_not_even_asked_for_where_it_can_be_no_task(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE))
        fetching.archive.definitions.add_pending(dict.fromkeys(("\0", ONE), RECEIVED))
        fetching.fetch()
        assert fetching.queue.asked == [[ONE]]
        fetching.clock.now += WEEK
        fetching.fetch()
        assert fetching.quarantined() == [("definition-gone", "\0")]

    def test_is_not_gone_where_it_is_returned_after_a_week(self, fetching: Fetching) -> None:
        fetching.tell(ONE)
        fetching.fetch()
        fetching.clock.now += 2 * WEEK
        fetching.queue.known = dict(by_task(ONE))
        fetching.fetch()
        assert (fetching.archived(), fetching.quarantined()) == ([(DAY, ONE)], [])


class TestWhatCannotBeUsed:
    def test_goes_to_quarantine(self, fetching: Fetching) -> None:
        fetching.queue.known = {ONE: b"[]", TWO: definition("1999-01-01T00:00:00Z")}
        fetching.queue.known |= {THREE: b'{"created": "%s"}' % b"2026-04-13T10:00:00Z"}
        fetching.tell(ONE, TWO, THREE)
        report = fetching.fetch()
        assert fetching.quarantined() == [
            ("created-before-first-partition", TWO),
            ("not-an-object", ONE),
        ]
        assert report.quarantined == {"created-before-first-partition": 1, "not-an-object": 1}
        # What else is wrong with it the build finds out.
        assert fetching.archived() == [(DAY, THREE)]
        assert fetching.pending() == {}

    def test_is_a_message_about_no_task_as_well(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE))
        fetching.tell("../etc", ONE)
        fetching.fetch()
        assert fetching.queue.asked == [[ONE]]
        [item] = fetching.archive.quarantine.entries()
        assert (item.reason, item.exchange) == (
            "task-id-invalid",
            "exchange/taskcluster-queue/v1/task-defined",
        )
        assert json.loads(fetching.archive.quarantine.body(item))["status"]["taskId"] == "../etc"


class TestAnAnswerOfNoUseAboutOneTask:
    """Anyone who may create a task must not stop the fetching of everybody's definitions."""

    def test_leaves_the_task_pending_and_the_others_archived(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE, TWO, THREE, FOUR))
        fetching.queue.unusable = {TWO: AnswerUnusable("500")}
        fetching.tell(ONE, TWO, THREE)
        fetching.fetch()
        fetching.tell(FOUR)
        fetching.fetch()
        assert fetching.archived() == [(DAY, ONE), (DAY, THREE), (DAY, FOUR)]
        assert (fetching.pending(), fetching.quarantined()) == ({TWO: RECEIVED}, [])
        fetching.queue.unusable = {}
        assert fetching.fetch().archived == {DAY: 1}
        assert fetching.pending() == {}

    def test_is_gone_after_a_week(self, fetching: Fetching) -> None:
        fetching.queue.unusable = {TWO: AnswerUnusable("500")}
        fetching.tell(TWO)
        fetching.fetch()
        fetching.clock.now += WEEK
        fetching.fetch()
        assert (fetching.pending(), fetching.quarantined()) == ({}, [("definition-gone", TWO)])

    def test_costs_no_other_its_definition_however_many_have_none(
        self, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(taskcluster, "_MOST_ALONE", 2)
        monkeypatch.setattr(taskcluster, "MOST_IDS", 20)
        monkeypatch.setattr(taskcluster.CHANCE, "sample", random.Random(1).sample)
        ids = [task_id(number) for number in range(100)]
        bad = ids[::10]
        fetching.queue.known = dict(by_task(*ids))
        fetching.queue.unusable = dict.fromkeys(bad, AnswerUnusable("500"))
        fetching.tell(*ids)
        left = [fetching.fetch().pending for _ in range(40)]
        assert (left[0] > 50, left[-1]) == (True, len(bad))
        assert {id for _, id in fetching.archived()} == {*ids} - {*bad}
        fetching.clock.now += WEEK
        for _ in range(40):
            fetching.fetch()
        assert fetching.quarantined() == [("definition-gone", id) for id in bad]

    def test_is_no_reason_to_give_up_a_task_that_was_only_asked_for_with_it(
        self, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(taskcluster, "_MOST_ALONE", 0)
        fetching.queue.known = dict(by_task(ONE, TWO))
        fetching.queue.unusable = {TWO: AnswerUnusable("500")}
        fetching.tell(ONE, TWO)
        fetching.fetch()
        fetching.clock.now += 2 * WEEK
        report = fetching.fetch()
        assert (report.pending, fetching.pending()) == (2, dict.fromkeys((ONE, TWO), RECEIVED))
        monkeypatch.undo()
        fetching.fetch()
        assert fetching.archived() == [(DAY, ONE)]
        assert fetching.quarantined() == [("definition-gone", TWO)]

    def test_that_is_too_large_is_in_quarantine_without_its_body(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE, TWO))
        fetching.queue.unusable = {TWO: AnswerTooLarge("large")}
        fetching.tell(ONE, TWO)
        report = fetching.fetch()
        assert report.quarantined == {"definition-too-large": 1}
        assert (fetching.archived(), fetching.pending()) == ([(DAY, ONE)], {})
        [entry] = fetching.archive.quarantine.entries()
        assert json.loads(fetching.archive.quarantine.body(entry)) == {"taskId": TWO}

    def test_is_the_queue_s_own_where_it_answers_about_no_task_either(
        self, fetching: Fetching
    ) -> None:
        fetching.queue.unusable = dict.fromkeys((ONE, TWO, NOBODY), AnswerUnusable("<html>"))
        fetching.tell(ONE, TWO)
        with pytest.raises(TaskclusterError, match="<html>"):
            fetching.fetch()
        assert (fetching.pending(), fetching.quarantined()) == ({}, [])
        fetching.queue.unusable = {}
        fetching.queue.known = dict(by_task(ONE, TWO))
        fetching.fetch()
        assert fetching.archived() == [(DAY, ONE), (DAY, TWO)]

    @pytest.mark.parametrize(
        ("hostile", "reason"),
        [
            (definition(payload="x").replace(b'"x"', b"[" * 1_000 + b"]" * 1_000), "too-deep"),
            (definition(payload={"x": "\ud800"}), "unreadable"),
        ],
    )
    def test_over_http(self, tmp_path: Path, hostile: bytes, reason: str) -> None:
        fetching = Fetching(LocalStore(tmp_path))
        fetching.tell(ONE, TWO, THREE)
        known = {**by_task(ONE, THREE), TWO: hostile}
        with contextlib.closing(TaskclusterServer(definitions=known)) as server:
            queue = TaskclusterQueue(server.root_url)
            fetch_definitions(queue, fetching.archive, FIRST_DAY, FIRST_DAY, 60, fetching.clock)
        assert fetching.archived() == [(DAY, ONE), (DAY, THREE)]
        [(found, task)] = fetching.quarantined()
        assert (found.removeprefix("definition-"), task) == (reason, TWO)
        [entry] = fetching.archive.quarantine.entries()
        assert fetching.archive.quarantine.body(entry) == hostile


class TestAQueueThatIsAskedForTooMuch:
    def test_is_asked_for_less(self, fetching: Fetching) -> None:
        ids = [task_id(number) for number in range(50)]
        fetching.queue.known = dict(by_task(*ids))
        fetching.queue.most_at_once = 10
        fetching.tell(*ids)
        assert fetching.fetch().pending == 0
        assert fetching.archived() == [(DAY, id) for id in ids]


class TestAQueueThatFails:
    def test_leaves_everything_to_the_next_fetch(self, fetching: Fetching) -> None:
        fetching.queue.known = dict(by_task(ONE))
        fetching.tell(ONE, TWO)
        fetching.fetch()
        fetching.tell(THREE)
        fetching.queue.known = dict(by_task(TWO, THREE))
        fetching.queue.fails = True
        for _ in range(2):
            with pytest.raises(TaskclusterError, match="no answer"):
                fetching.fetch()
        assert fetching.pending() == {TWO: RECEIVED}
        fetching.queue.fails = False
        fetching.fetch()
        assert fetching.archived() == [(DAY, ONE), (DAY, TWO), (DAY, THREE)]

    def test_keeps_what_was_answered_before_in_the_same_request(self, fetching: Fetching) -> None:
        """Which is asked for again all the same, and archived twice to no harm."""
        many = [task_id(number) for number in range(MOST_IDS + 1)]
        fetching.queue.known = dict(by_task(*many))
        fetching.queue.fails_from = 2
        fetching.tell(*many)
        with pytest.raises(TaskclusterError, match="no answer"):
            fetching.fetch()
        assert fetching.archived() == [(DAY, id) for id in many[:MOST_IDS]]
        fetching.queue.fails_from = None
        fetching.fetch()
        assert {id for _, id in fetching.archived()} == set(many)

    def test_keeps_what_was_fetched_before(
        self, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(definitions_fetch, "_TOGETHER", 1)
        fetching.tell(ONE)
        fetching.tell(TWO)
        answers: Iterator[Mapping[str, bytes]] = iter([by_task(ONE, TWO)])

        def once(ids: Sequence[str]) -> Mapping[str, bytes]:
            for known in answers:
                return {id: known[id] for id in ids}
            raise TaskclusterError("no answer")

        monkeypatch.setattr(fetching.queue, "definitions", once)
        with pytest.raises(TaskclusterError):
            fetching.fetch()
        assert len(fetching.archived()) == 1

    def test_over_http(self, tmp_path: Path) -> None:
        ids = [task_id(number) for number in range(1_001)]
        fetching = Fetching(LocalStore(tmp_path))
        fetching.tell(*ids)
        with contextlib.closing(TaskclusterServer(Refusal(404))) as server:
            queue = TaskclusterQueue(server.root_url)
            with pytest.raises(TaskclusterError, match=r"404.*check FXCI_ETL_TASKCLUSTER_ROOTURL"):
                fetch_definitions(queue, fetching.archive, FIRST_DAY, FIRST_DAY, 60, fetching.clock)
        assert (fetching.archived(), fetching.pending()) == ([], {})
        with contextlib.closing(TaskclusterServer(definitions=by_task(*ids[:-1]))) as server:
            queue = TaskclusterQueue(server.root_url)
            fetch_definitions(queue, fetching.archive, FIRST_DAY, FIRST_DAY, 60, fetching.clock)
        assert fetching.archived() == [(DAY, id) for id in ids[:-1]]
        assert list(fetching.pending()) == ids[-1:]


def rows(fetching: Fetching) -> list[tuple[str, object]]:
    """The table, of all days: its ids and the days they are on."""
    files = fetching.archive.definitions
    return sorted(
        (id, day)
        for day in files.days()
        for batch in DefinitionsOfDay(day, files.read(day, files.files(day))).batches(
            TASK_DEFINITIONS
        )
        for id in batch.column("taskId").to_pylist()
    )


def eventful() -> Fetching:
    """Something of each kind: two files of messages to look at, one task that is known, one that
    is pending, one that is gone, one whose definition cannot be used, and one without any."""
    fetching = Fetching()
    fetching.queue.known = {ONE: definition(), FOUR: definition("2026-04-14T01:00:00Z")}
    fetching.tell(ONE, TWO, task_id(5))
    fetching.fetch()
    fetching.clock.now += WEEK
    fetching.archive.definitions.add_pending({task_id(6): RECEIVED + HOUR})
    fetching.tell(ONE, THREE, FOUR)
    fetching.clock.now += dt.timedelta(seconds=1)  # so that files have the same order each time
    fetching.tell(FOUR, task_id(7), task_id(8))
    fetching.queue.known |= {TWO: definition(), THREE: definition(), task_id(7): b"[]"}
    return fetching


def assert_settled(fetching: Fetching) -> None:
    """As it must be in the end, whatever happened on the way."""
    assert rows(fetching) == [(ONE, DAY), (TWO, DAY), (THREE, DAY), (FOUR, NEXT_DAY)]
    assert set(fetching.pending()) == {task_id(6), task_id(8)}
    assert fetching.pending()[task_id(6)] == RECEIVED + HOUR
    assert fetching.quarantined() == [
        ("definition-gone", task_id(5)),
        ("not-an-object", task_id(7)),
    ]


def store_of(fetching: Fetching) -> Files:
    store = fetching.archive.definitions._store
    assert isinstance(store, Files)
    return store


class Died(Exception):
    """A process ended here."""


def test_one_that_dies_anywhere_is_made_good_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(definitions_fetch, "_TOGETHER", 1)
    undisturbed = eventful()
    undisturbed.fetch()
    assert_settled(undisturbed)
    for number in itertools.count():
        fetching = eventful()
        left = itertools.count(number, -1)

        def dying(operation: str, left: Iterator[int] = left) -> None:
            if operation in ("create", "replace", "remove") and next(left) <= 0:
                raise Died

        store = store_of(fetching)
        store.before = dying
        with contextlib.suppress(Died):
            fetching.fetch()
            break
        store.before = lambda operation: None
        fetching.fetch()
        assert_settled(fetching)
    assert number > 8  # so many changes it makes, and died before each


class Turns:
    """Lets one process run at a time. Before each of its steps it is decided, by a list of
    processes, which one goes on; when the list is used up, whichever runs goes on to its end."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = list(order)
        self._alive = {0, 1}
        self._turn = 0
        self._changed = threading.Condition()

    def begin(self, process: int) -> None:
        with self._changed:
            self._wait(process)

    def step(self, process: int) -> None:
        with self._changed:
            if self._order:
                self._give_to(self._order.pop(0))
            self._wait(process)

    def end(self, process: int) -> None:
        with self._changed:
            self._alive.discard(process)
            self._give_to(1 - process)

    def _give_to(self, process: int) -> None:
        if process in self._alive:
            self._turn = process
            self._changed.notify_all()

    def _wait(self, process: int) -> None:
        if not self._changed.wait_for(lambda: self._turn == process, timeout=10):
            raise TimeoutError


@settings(max_examples=60, deadline=None)
@given(
    order=st.lists(st.integers(0, 1), max_size=150),
    dies_after=st.none() | st.integers(0, 30),
)
def test_two_at_once_do_no_harm_in_any_order_of_their_steps(
    order: list[int], dies_after: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(definitions_fetch, "_TOGETHER", 1)
        patch.setattr("fxci_assets.archive.store._AT_ONCE", 1)
        fetching = eventful()
        content = store_of(fetching).content
        turns = Turns(order)

        def process(number: int) -> None:
            own = Files(content)
            steps = itertools.count()

            def step(operation: str) -> None:
                turns.step(number)
                if number == 1 and next(steps) == dies_after:
                    raise Died

            own.before = step
            twin = Fetching(own, fetching.queue)
            twin.clock = fetching.clock
            turns.begin(number)
            with contextlib.suppress(Died):
                twin.fetch()
            turns.end(number)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(process, (0, 1)))
        fetching.fetch()
        assert_settled(fetching)


# The table


def pipeline(tmp_path: Path, clock: Callable[[], dt.datetime]) -> Pipeline:
    made = make_pipeline(tmp_path, clock)
    warehouse = LocalWarehouse(
        tmp_path / "warehouse", "project", "dataset", tables=[TASK_DEFINITIONS]
    )
    return replace(made, warehouse=warehouse, builders=[DefinitionsBuilder()])


def test_what_was_fetched_becomes_rows_of_its_day(tmp_path: Path) -> None:
    clock = Clock()
    built = pipeline(tmp_path, clock)
    fetching = Fetching(LocalStore(tmp_path / "archive"))
    fetching.queue.known = {
        ONE: definition(priority="high"),
        TWO: definition("2026-04-14T01:00:00Z"),
        THREE: definition(payload=None),
    }
    fetching.tell(ONE, TWO, THREE)
    fetching.fetch()
    [first, second] = built.rebuild_stale()
    assert [(made.day, made.rows, made.repeats) for made in (first, second)] == [
        (DAY, 1, 0),
        (NEXT_DAY, 1, 0),
    ]
    assert first.counts["unusable_definitions"].count == 1
    rows = built.warehouse.query(
        "SELECT taskId, priority, payload, scopes FROM dataset.task_definitions_v1 "
        "WHERE submission_date = @day",
        {"day": DAY},
    )
    assert rows.to_pylist() == [
        {"taskId": ONE, "priority": "high", "payload": '{"command": ["true"]}', "scopes": []}
    ]
    assert built.stale() == []
    assert [item.reason for item in built.in_quarantine()] == ["definition-incomplete"]


def test_a_second_answer_about_a_task_changes_no_row(tmp_path: Path) -> None:
    clock = Clock()
    built = pipeline(tmp_path, clock)
    fetching = Fetching(LocalStore(tmp_path / "archive"))
    fetching.queue.known = {ONE: definition(priority="low")}
    fetching.tell(ONE)
    fetching.fetch()
    [before] = built.rebuild_stale()
    fetching.queue.known = {ONE: definition(priority="highest")}
    fetching.clock.now += dt.timedelta(days=3)
    fetching.tell(ONE)
    fetching.fetch()
    [after] = built.rebuild_stale()
    assert before.data_version == after.data_version
    assert before.input_version != after.input_version
    assert after.repeats == 1
