"""Taskcluster over HTTP: the official client against a real server, and what goes wrong there."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jsonschema
import pytest

from fxci_assets.resources import taskcluster_queue
from fxci_assets.resources.taskcluster import (
    MOST_IDS,
    NOBODY,
    AnswerTooLarge,
    AnswerUnusable,
    NoAnswer,
    Taskcluster,
    TaskclusterError,
    answers_of,
)
from fxci_assets.resources.taskcluster_queue import TaskclusterQueue
from fxci_assets_tests.events import task_id
from fxci_assets_tests.taskcluster_server import (
    Content,
    HangUp,
    Page,
    Refusal,
    Reply,
    Silence,
    TaskclusterServer,
    Trickle,
)

Serve = Callable[..., TaskclusterServer]

ONE, TWO, THREE = task_id(1), task_id(2), task_id(3)
NONE = task_id(999)


def bodies(*ids: str) -> dict[str, bytes]:
    return {id: b'{"retries": %d}' % number for number, id in enumerate(ids)}


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server with a script, and the definitions and statuses that it knows."""
    with contextlib.ExitStack() as servers:

        def start(*script: Reply, **known: Mapping[str, bytes]) -> TaskclusterServer:
            server = TaskclusterServer(*script, **known)
            servers.callback(server.close)
            return server

        yield start


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client does not pause before it asks again."""

    class Clock:
        @staticmethod
        def sleep(seconds: float) -> None:
            pass

    monkeypatch.setattr("taskcluster.utils.time", Clock)


def client(server: TaskclusterServer, **settings: float) -> TaskclusterQueue:
    return TaskclusterQueue(server.root_url, **settings)


class TestTheAnswer:
    def test_is_each_definition_byte_for_byte(self, serve: Serve) -> None:
        body = b'{"payload":  {"n": 1.10, "big": 1234567890123456789012, "\\u00e9": "\xc3\xa9"}}'
        queue: Taskcluster = client(serve(definitions={ONE: body}))
        assert queue.definitions([ONE]) == {ONE: body}

    def test_is_each_status(self, serve: Serve) -> None:
        server = serve(statuses={ONE: b'{"runs": []}'}, definitions={ONE: b"{}"})
        assert client(server).statuses([ONE, TWO]) == {ONE: b'{"runs": []}'}
        assert {request.path for request in server.requests} == {"/api/queue/v1/tasks/status"}

    def test_leaves_out_what_is_not_there_after_it_was_asked_for_once_more(
        self, serve: Serve
    ) -> None:
        server = serve(definitions=bodies(ONE, TWO))
        assert client(server).definitions([ONE, NONE, TWO]) == bodies(ONE, TWO)
        assert [list(request.ids) for request in server.requests] == [[ONE, NONE, TWO], [NONE]]

    def test_has_what_was_missing_at_first(self, serve: Serve) -> None:
        server = serve(Page(1), Page(), definitions=bodies(ONE, TWO, THREE))
        assert client(server).definitions([ONE, TWO, THREE]) == bodies(ONE, TWO, THREE)
        assert len(server.requests) == 2

    def test_is_whole_although_the_server_answers_in_pages(self, serve: Serve) -> None:
        """Which of the tasks are on a page is by chance: a continuation would miss some."""
        ids = [task_id(number) for number in range(MOST_IDS)]
        server = serve(Page(200), definitions=bodies(*ids[:-1]))
        assert client(server).definitions(ids) == bodies(*ids[:-1])
        assert {request.query for request in server.requests} == {""}
        assert [len(request.ids) for request in server.requests] == [500, 300, 100]

    def test_is_not_waited_for_where_pages_bring_nothing_more(self, serve: Serve) -> None:
        server = serve(Page(0), definitions=bodies(ONE))
        assert client(server).definitions([ONE]) == {}
        assert len(server.requests) == 2

    def test_of_nothing_is_nothing_and_needs_no_request(self, serve: Serve) -> None:
        server = serve()
        assert client(server).definitions([]) == {}
        assert server.requests == []

    def test_is_of_those_only_that_were_asked_for(self, serve: Serve) -> None:
        other = b'{"tasks": [{"taskId": "%s", "task": {}}]}' % TWO.encode()
        assert client(serve(Content(other))).definitions([ONE]) == {}

    def test_may_be_compressed(self, serve: Serve) -> None:
        body = b'{"tasks": [{"taskId": "%s", "task": {"a": "%s"}}]}' % (ONE.encode(), b"x" * 10**6)
        server = serve(Content(gzip.compress(body), headers={"Content-Encoding": "gzip"}))
        assert len(client(server).definitions([ONE])[ONE]) == 10**6 + 9

    def test_about_many_tasks_must_fit_in_memory(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(taskcluster_queue, "_MOST_BYTES", 100_000)
        large = dict.fromkeys((ONE, TWO), b'{"x": "%s"}' % (b"x" * 60_000))
        server = serve(definitions=large | {THREE: b'{"x": "%s"}' % (b"x" * 200_000)})
        with pytest.raises(AnswerTooLarge, match="about 2 tasks is larger than 100,000 bytes"):
            client(server).definitions([ONE, TWO])
        assert len(server.requests) == 1
        assert client(server).definitions([ONE])[ONE] == large[ONE]
        assert len(client(server).definitions([THREE])[THREE]) > 200_000

    def test_about_one_task_must_so_too_once_it_is_unpacked(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(taskcluster_queue, "_MOST_BYTES_OF_ONE", 1_000_000)
        bomb = gzip.compress(b"[" * 2_000_000)
        server = serve(Content(bomb, headers={"Content-Encoding": "gzip"}))
        with pytest.raises(AnswerTooLarge, match="about one task is larger than 1,000,000 bytes"):
            client(server).definitions([ONE])
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "hostile",
        [
            b'{"payload": %s}' % (b"[" * 5_000 + b"]" * 5_000),
            b'{"payload": "\\ud800"}',
            b'{"payload": "]}\\\\\\"", "n": 01}',
            b"nothing",
        ],
    )
    def test_is_what_it_is_of_the_others_whatever_is_said_of_one(
        self, serve: Serve, hostile: bytes
    ) -> None:
        known = {ONE: b'{ "a" : [1.10, "}"] }', TWO: hostile, THREE: b"{}"}
        server = serve(Page(2), Page(), definitions=known, statuses=known)
        assert client(server).definitions([ONE, TWO, THREE]) == known
        assert client(server).statuses([ONE, TWO, THREE]) == known
        assert [len(request.ids) for request in server.requests][:2] == [3, 1]


class TestTheRequest:
    def test_is_for_at_most_500_tasks(self, serve: Serve) -> None:
        server = serve()
        with pytest.raises(ValueError, match="501 tasks are asked for at once"):
            client(server).definitions([task_id(number) for number in range(501)])
        assert server.requests == []

    def test_carries_no_credentials(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login user password pass\n")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("TASKCLUSTER_CLIENT_ID", "client")
        monkeypatch.setenv("TASKCLUSTER_ACCESS_TOKEN", "token")
        server = serve(definitions=bodies(ONE))
        client(server).definitions([ONE])
        assert "Authorization" not in server.requests[0].headers

    def test_uses_one_connection(self, serve: Serve) -> None:
        server = serve(definitions=bodies(ONE))
        queue = client(server)
        for _ in range(3):
            queue.definitions([ONE])
        assert len({request.connection for request in server.requests}) == 1


@pytest.mark.usefixtures("quick")
class TestAskingAgain:
    @pytest.mark.parametrize(
        "failure",
        [
            Refusal(500, "InternalServerError"),
            Refusal(503),
            Content(b"<html>bad gateway</html>", 502),
            HangUp(),
            HangUp(10),
        ],
    )
    def test_a_passing_failure_is_no_failure(self, serve: Serve, failure: Reply) -> None:
        server = serve(failure, Page(), definitions=bodies(ONE))
        assert client(server).definitions([ONE]) == bodies(ONE)
        assert len(server.requests) == 2

    def test_once_and_no_more(self, serve: Serve) -> None:
        server = serve(Refusal(503, "Busy", "try later\n\n---\n\n* method: tasks"))
        with pytest.raises(TaskclusterError) as error:
            client(server).definitions([ONE])
        assert len(server.requests) == 2
        assert str(error.value) == (
            f"Taskcluster at {server.root_url}: 503 Service Unavailable, Busy: try later; it will "
            "be asked again the next time"
        )

    def test_of_no_task_it_does_until_the_queue_has_had_time_to_come_back(
        self, serve: Serve
    ) -> None:
        server = serve(*[Refusal(503)] * 6, Page(), definitions=bodies(ONE, TWO))
        [first, second] = answers_of(client(server).definitions, [ONE, TWO])
        assert {**first.answers, **second.answers} == bodies(ONE, TWO)
        server = serve(Refusal(503))
        with pytest.raises(NoAnswer):
            client(server).definitions([NOBODY])
        assert len(server.requests) == 6

    @pytest.mark.parametrize(
        ("reply", "raised"),
        [
            (Refusal(500), AnswerUnusable),
            (Refusal(502), NoAnswer),
            (Refusal(504), NoAnswer),
            (HangUp(), NoAnswer),
            (HangUp(10), NoAnswer),
            (Refusal(401), TaskclusterError),
            (Refusal(403), TaskclusterError),
            (Refusal(404), TaskclusterError),
            (Refusal(429), TaskclusterError),
        ],
    )
    def test_what_may_be_due_to_what_was_asked_for_is_told_from_a_refusal(
        self, serve: Serve, reply: Reply, raised: type[TaskclusterError]
    ) -> None:
        with pytest.raises(TaskclusterError) as error:
            client(serve(reply)).definitions([ONE])
        assert type(error.value) is raised

    def test_what_is_refused_is_not_asked_again(self, serve: Serve) -> None:
        server = serve(Refusal(400))
        with pytest.raises(TaskclusterError):
            client(server).definitions([ONE])
        assert len(server.requests) == 1


class TestTime:
    def test_a_silent_server_is_left_after_a_while(self, serve: Serve) -> None:
        server = serve(Silence())
        started = time.monotonic()
        with pytest.raises(NoAnswer, match=r"no whole answer within 0.2 s"):
            client(server, request_seconds=0.2).definitions([ONE])
        assert 0.1 < time.monotonic() - started < 2
        assert len(server.requests) == 1

    def test_an_answer_that_trickles_takes_no_longer(self, serve: Serve) -> None:
        server = serve(Trickle(), definitions={ONE: b'{"x": "%s"}' % (b"x" * 5_000)})
        started = time.monotonic()
        with pytest.raises(NoAnswer, match="no whole answer within"):
            client(server, request_seconds=0.2).definitions([ONE])
        assert time.monotonic() - started < 2
        assert len(server.requests) == 1

    def test_a_slow_answer_is_one(self, serve: Serve) -> None:
        server = serve(Trickle(0.001), definitions=bodies(ONE))
        assert client(server).definitions([ONE]) == bodies(ONE)

    def test_a_host_that_does_not_answer_at_all(self) -> None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))  # and does not listen
            queue = TaskclusterQueue(f"http://127.0.0.1:{deaf.getsockname()[1]}")
            with pytest.raises(NoAnswer, match=r"refused.*and the network") as error:
                queue.definitions([ONE])
        assert "\n" not in str(error.value)


class TestRefusals:
    @pytest.mark.parametrize(
        ("reply", "says"),
        [
            (Refusal(400), "400 Bad Request, InputError: so it is; it refuses the request itself"),
            (Refusal(401, "AuthenticationFailed"), "who has no credentials may not read tasks"),
            (Refusal(403, "InsufficientScopes"), "who has no credentials may not read tasks"),
            (Content(b"not here", 404), "404 Not Found; check FXCI_ETL_TASKCLUSTER_ROOTURL"),
            (Content(b"", 405), "405 Method Not Allowed; check FXCI_ETL_TASKCLUSTER_ROOTURL"),
            (Refusal(429, "TooManyRequests"), "asked too often"),
            (Content(b"", 301, {"Location": "https://example.com"}), "it leads elsewhere"),
            (Content(b"", 204), "it leads elsewhere"),
        ],
    )
    def test_say_in_one_line_what_to_do(self, serve: Serve, reply: Reply, says: str) -> None:
        server = serve(reply)
        with pytest.raises(TaskclusterError) as error:
            client(server).definitions([ONE])
        assert str(error.value).startswith(f"Taskcluster at {server.root_url}: ")
        assert says in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>welcome</html>",
            b"[]",
            b"{}",
            b'{"tasks": {}}',
            b'{"tasks": [{"task": {}}]}',
            b'{"tasks": [{"taskId": 7, "task": {}}]}',
            b'{"tasks": [{"taskId": "\xff", "task": {}}]}',
            b'{"tasks": [{"taskId": "x", "task": {}}',
            b'{"tasks": [{"taskId": "x", "task": {"\xed\xa0": "\\ud800"}}, {}]}',
            b'{"tasks": [' + b"[" * 100_000,
        ],
    )
    def test_an_answer_that_is_none(self, serve: Serve, body: bytes) -> None:
        with pytest.raises(AnswerUnusable, match="not what the queue documents"):
            client(serve(Content(body))).definitions([ONE])

    @pytest.mark.parametrize("root_url", ["", "firefox-ci-tc.services.mozilla.com", "ftp://x"])
    def test_a_root_url_that_is_none(self, root_url: str) -> None:
        with pytest.raises(
            TaskclusterError, match=r"FXCI_ETL_TASKCLUSTER_ROOTURL is .* should be a URL"
        ):
            TaskclusterQueue(root_url)


def test_the_server_of_the_tests_answers_as_the_published_schemas_say(serve: Serve) -> None:
    data = os.environ.get("FXCI_SAMPLE_DATA")
    if not data:
        pytest.skip("FXCI_SAMPLE_DATA does not name the folder of sample data")
    lines = (Path(data) / "taskcluster" / "task_definitions.ndjson").read_text().splitlines()
    # Which were recorded before there were task queues.
    known = {
        entry["taskId"]: json.dumps(
            entry["task"]
            | {"taskQueueId": f"{entry['task']['provisionerId']}/{entry['task']['workerType']}"}
        ).encode()
        for entry in map(json.loads, lines)
    }
    server = serve(Page(50), definitions=known)
    schema = json.loads((Path(data) / "schemas" / "tasks-response.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    answers: list[bytes] = []
    read = taskcluster_queue._read_definitions

    def validating(body: bytes) -> tuple[dict[str, bytes], bool]:
        answers.append(body)
        return read(body)

    queue = client(server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taskcluster_queue, "_read_definitions", validating)
        assert queue.definitions([*known, NONE]) == known
    assert len(answers) == 3
    for answer in answers:
        validator.validate(json.loads(answer))
