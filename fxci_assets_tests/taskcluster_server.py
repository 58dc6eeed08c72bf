"""A server of Taskcluster's queue on the loopback interface, with POST /tasks and /tasks/status.

Here belongs a real HTTP server that answers as the published schemas say, in pages without a stable
order, and that misbehaves by a script. What it is asked and what comes of its answers is asserted
in the tests.
"""

from __future__ import annotations

import functools
import json
import random
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ENDPOINTS = {
    "/api/queue/v1/tasks": ("tasks", "task"),
    "/api/queue/v1/tasks/status": ("statuses", "status"),
}


@dataclass(frozen=True)
class Page:
    """The answer, but of at most so many tasks."""

    size: int = 1_000


@dataclass(frozen=True)
class Refusal:
    """An error, as the queue words it."""

    status: int
    code: str = "InputError"
    message: str = "so it is"


@dataclass(frozen=True)
class Content:
    """Something else than an answer."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Silence:
    """No answer, for as long as the server is there."""


@dataclass(frozen=True)
class HangUp:
    """The connection is closed, after so many bytes of the answer's body."""

    after: int = 0


@dataclass(frozen=True)
class Trickle:
    """The answer, a byte at a time."""

    pause: float = 0.02


Reply = Page | Refusal | Content | Silence | HangUp | Trickle


@dataclass(frozen=True)
class Request:
    """What was asked."""

    path: str
    query: str
    ids: Sequence[str]
    headers: Mapping[str, str]
    connection: int
    """The same for requests over the same connection."""


class TaskclusterServer:
    """Knows some definitions and statuses, as JSON by task. Answers the first request with the
    first reply, and so on; the last one is for all that follow."""

    def __init__(
        self,
        *script: Reply,
        definitions: Mapping[str, bytes] | None = None,
        statuses: Mapping[str, bytes] | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self.known = {"tasks": dict(definitions or {}), "statuses": dict(statuses or {})}
        self._script = script or (Page(),)
        self._chance = random.Random(len(self.known["tasks"]))
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        # Its thread ends without waiting half a second for the next look at whether it should.
        serving = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        self.root_url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Request, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.requests.append(request)
            reply = self._script[min(len(self.requests), len(self._script)) - 1]
        match reply:
            case Silence():
                self._closing.wait()
                handler.close_connection = True
            case Refusal(status, code, message):
                error = {"code": code, "message": message, "requestInfo": {}}
                _send(handler, status, json.dumps(error).encode())
            case Content(body, status, headers):
                _send(handler, status, body, headers)
            case Page(size):
                _send(handler, 200, self._page(request, size))
            case HangUp(after):
                body = self._page(request, 1_000)
                _begin(handler, 200, len(body))
                handler.wfile.write(body[:after])
                handler.close_connection = True
            case Trickle(pause):
                body = self._page(request, 1_000)
                _begin(handler, 200, len(body))
                for position in range(len(body)):
                    if self._closing.wait(pause):
                        break
                    handler.wfile.write(body[position : position + 1])

    def _page(self, request: Request, size: int) -> bytes:
        """Any of the tasks that are there, in any order."""
        many, one = _ENDPOINTS[request.path]
        there = [id for id in dict.fromkeys(request.ids) if id in self.known[many]]
        self._chance.shuffle(there)
        # The bodies as they are, to the last digit.
        entries = b",".join(
            b'{"taskId":%s,"%s":%s}' % (json.dumps(id).encode(), one.encode(), self.known[many][id])
            for id in there[:size]
        )
        token = b',"continuationToken":"%d"' % size if len(there) > size else b""
        return b'{"%s":[%s]%s}' % (many.encode(), entries, token)


def _handler(server: TaskclusterServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else the body, written after the headers, would wait for these to be acknowledged.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert list(content) == ["taskIds"], "the schema has no more"
            headers, connection = dict(self.headers), self.client_address[1]
            request = Request(url.path, url.query, content["taskIds"], headers, connection)
            if url.path not in _ENDPOINTS:
                _send(self, 404, b"nothing here")
                return
            try:
                server.answer(request, self)
            except ConnectionError:  # the client did not wait
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _send(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
) -> None:
    _begin(handler, status, len(body), headers)
    handler.wfile.write(body)


def _begin(
    handler: BaseHTTPRequestHandler,
    status: int,
    length: int,
    headers: Mapping[str, str] | None = None,
) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(length), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()


@functools.cache
def knowing_nothing() -> TaskclusterServer:
    """One for all the tests to which it does not matter that it knows no task."""
    return TaskclusterServer()
