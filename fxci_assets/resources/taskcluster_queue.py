"""Taskcluster's queue over HTTP, by the official client.

Here belongs what the API and the network do to us: deadlines, what is asked again, answers that
are none, and what a refusal means. What a definition or a status says does not belong here.

Everything that is asked is public: no credentials are needed, and none are sent.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import requests as _requests
import taskcluster as _taskcluster  # type: ignore[import-untyped]
import taskcluster.utils as _utils  # type: ignore[import-untyped]
import urllib3 as _urllib3

from fxci_assets import flat_json
from fxci_assets.resources.taskcluster import (
    MOST_IDS,
    NOBODY,
    AnswerTooLarge,
    AnswerUnusable,
    NoAnswer,
    TaskclusterError,
)
from fxci_assets.settings import variable
from fxci_assets.taskcluster.messages import DECODE_ERRORS
from fxci_assets.texts import one_line

_ROOT_URL = variable("taskcluster", "rooturl")

_CHUNK = 1 << 16

_MOST_BYTES = 64_000_000
"""Of one answer about several tasks. Usually 500 definitions have 2 MB, but there are some of
9 MB each, and an answer must fit in memory as a whole."""

_MOST_BYTES_OF_ONE = 100_000_000
"""Of the answer about one task, also unpacked: two MB of gzip can be two GB. No definition that is
known is a tenth of it, and one that is larger would not fit into a row of BigQuery either."""

_RETRIES = 1
"""After a 5xx or a lost connection. What fails again is soon asked for in halves or by the next
fetch, and each of the many failures on the way to one task costs this anew."""

_RETRIES_FOR_NOBODY = 5
"""Of the question that tells a queue which is down from one that was asked for too much. They take
5.5 s: one that is back by then has failed nobody."""

Read = Callable[[bytes], tuple[dict[str, bytes], bool]]
"""An answer's body to what it says of each task, and whether it is only a part."""


class TaskclusterQueue:
    """Implements `Taskcluster`. Connects at the first request, and not before.

    A request with its whole answer has `request_seconds`, and is not made again after them. One
    that fails sooner, by a lost connection or a 5xx, is made again by the client.
    """

    def __init__(self, root_url: str, *, request_seconds: float = 60.0) -> None:
        if not root_url.startswith(("https://", "http://")):
            raise TaskclusterError(f"{_ROOT_URL} is {root_url!r}, and should be a URL")
        self._where = f"Taskcluster at {root_url}"
        self._client = _taskcluster.Queue({"rootUrl": root_url})
        self._session = _Session(request_seconds)

    def definitions(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        return self._found("tasks", ids, _read_definitions)

    def statuses(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        return self._found("statuses", ids, _read_statuses)

    def _found(self, method: str, ids: Sequence[str], read: Read) -> dict[str, bytes]:
        """What is said of the tasks that are there.

        The pages of an answer have no stable order, so that a continuation may repeat some tasks
        and pass over others: it is never followed. What is missing is asked for once more, and
        again for as long as the answers say that they are parts, and bring more.
        """
        if len(ids) > MOST_IDS:
            raise ValueError(f"{len(ids)} tasks are asked for at once, and {MOST_IDS} can be")
        found: dict[str, bytes] = {}
        missing = list(ids)
        is_first = True
        while missing:
            body = self._ask(method, missing)
            try:
                entries, is_part = read(body)
            except DECODE_ERRORS as error:
                raise AnswerUnusable(
                    f"{self._where}: the answer is not what the queue documents ({error}); check "
                    f"{_ROOT_URL}"
                ) from error
            brought = {id: entries[id] for id in missing if id in entries}
            found |= brought
            missing = [id for id in missing if id not in brought]
            if not is_first and not (is_part and brought):
                break
            is_first = False
        return found

    def _ask(self, method: str, ids: Sequence[str]) -> bytes:
        """The body of the queue's answer about some tasks."""
        # The client's own way to call a method ignores the session that it is given, so that it
        # can have no timeout; nor does it give the answer's bytes, and 1.10 would become 1.1.
        payload = {"taskIds": list(ids)}
        most_bytes = _MOST_BYTES_OF_ONE if len(ids) == 1 else _MOST_BYTES
        self._session.most_bytes = most_bytes
        try:
            response: _requests.Response = _utils.makeHttpRequest(
                "post",
                self._client.buildUrl(method, payload),
                _utils.dumpJson(payload),
                {"Content-Type": "application/json"},
                _RETRIES_FOR_NOBODY if ids == [NOBODY] else _RETRIES,
                session=self._session,
            )
        except _TooLarge as error:
            about = "one task" if len(ids) == 1 else f"{len(ids)} tasks"
            raise AnswerTooLarge(
                f"{self._where}: the answer about {about} is larger than {most_bytes:,} bytes"
            ) from error
        except _OutOfTime as error:
            raise NoAnswer(f"{self._where}: {error}") from error
        except _requests.RequestException as error:
            raise NoAnswer(
                f"{self._where}: {_said(error)}; check {_ROOT_URL} and the network"
            ) from error
        if response.status_code == 500:
            # The queue checks all of what it answers against its own schema, and where one task
            # does not match it answers with this (taskcluster/taskcluster,
            # libraries/api/src/middleware/schema.js).
            raise AnswerUnusable(f"{self._where}: {_refusal(response)}")
        if response.status_code > 500:
            raise NoAnswer(f"{self._where}: {_refusal(response)}")
        if response.status_code != 200:
            raise TaskclusterError(f"{self._where}: {_refusal(response)}")
        body: bytes = response.raw.getvalue()  # the session's; response.content would copy it
        return body


class _TooLarge(Exception):
    """Not a RequestException: to ask again would not help."""


class _OutOfTime(Exception):
    """Not a RequestException: what took so long once would again."""


class _Session(_requests.Session):
    """Bounds what requests leaves open: its timeout is for each read from the network, so that a
    server which goes on sending a byte now and then would be listened to for ever."""

    def __init__(self, request_seconds: float) -> None:
        super().__init__()
        # Else a .netrc would be looked into for credentials.
        self.auth = _as_it_is
        self.request_seconds = request_seconds
        self.most_bytes = _MOST_BYTES

    def request(self, *args: Any, **options: Any) -> _requests.Response:  # noqa: ANN401
        ends = time.monotonic() + self.request_seconds
        try:
            options |= {"stream": True, "timeout": self.request_seconds}
            response = super().request(*args, **options)
            response.raw = io.BytesIO(self._body(response, ends))
        except _requests.Timeout as error:
            raise _OutOfTime(f"no whole answer within {self.request_seconds:g} s") from error
        return response

    def _body(self, response: _requests.Response, ends: float) -> bytes:
        body = bytearray()
        try:
            while part := response.raw.read1(_CHUNK, decode_content=True):
                body += part
                if len(body) > self.most_bytes:
                    raise _TooLarge
                if time.monotonic() > ends:
                    raise _requests.ReadTimeout
        except _urllib3.exceptions.TimeoutError as error:
            raise _requests.ReadTimeout from error
        except _urllib3.exceptions.HTTPError as error:
            raise _requests.ConnectionError(error) from error
        finally:
            # If it was not read to its end, the connection is of no more use.
            response.raw.close()
        return bytes(body)


def _as_it_is(request: _requests.PreparedRequest) -> _requests.PreparedRequest:
    return request


def _refusal(response: _requests.Response) -> str:
    """What an answer that is none says, and what to do about it."""
    status = response.status_code
    said = f"{status} {response.reason}"
    try:
        error = msgspec.json.decode(response.content, type=_Error)
    except DECODE_ERRORS:
        pass
    else:
        # The request follows, behind a line of dashes.
        said += f", {error.code}: {one_line(error.message.partition('---')[0])}"
    if status < 400:
        return f"{said}; check {_ROOT_URL}: it leads elsewhere"
    if status in (401, 403):
        return f"{said}; there, who has no credentials may not read tasks (scopes queue:get-task:*)"
    if status in (404, 405):
        return f"{said}; check {_ROOT_URL}: there is no queue behind it"
    if status == 429:
        return f"{said}; it was asked too often, and will be asked again the next time"
    if status < 500:
        return f"{said}; it refuses the request itself: its API may have changed"
    return f"{said}; it will be asked again the next time"


class _Error(msgspec.Struct):
    """A refusal, as Taskcluster's services word it."""

    code: str
    message: str


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


class _Definition(msgspec.Struct):
    taskId: str  # noqa: N815 - the queue's own name
    task: msgspec.Raw


class _Definitions(msgspec.Struct):
    tasks: list[_Definition]
    continuationToken: str | None = None  # noqa: N815


class _Status(msgspec.Struct):
    taskId: str  # noqa: N815
    status: msgspec.Raw


class _Statuses(msgspec.Struct):
    statuses: list[_Status]
    continuationToken: str | None = None  # noqa: N815


def _read_definitions(body: bytes) -> tuple[dict[str, bytes], bool]:
    try:
        answer = msgspec.json.decode(body, type=_Definitions)
    except DECODE_ERRORS as error:
        return _read_flatly(body, b"tasks", b"task", error)
    tasks = {entry.taskId: bytes(entry.task) for entry in answer.tasks}
    return tasks, answer.continuationToken is not None


def _read_statuses(body: bytes) -> tuple[dict[str, bytes], bool]:
    try:
        answer = msgspec.json.decode(body, type=_Statuses)
    except DECODE_ERRORS as error:
        return _read_flatly(body, b"statuses", b"status", error)
    statuses = {entry.taskId: bytes(entry.status) for entry in answer.statuses}
    return statuses, answer.continuationToken is not None


def _read_flatly(
    body: bytes, many: bytes, one: bytes, error: Exception
) -> tuple[dict[str, bytes], bool]:
    """An answer that cannot be decoded, which may be due to what is said of one task: also what is
    passed over fails above some thousand levels, or for half of a surrogate pair, and whoever
    creates a task can put these in. What is said of each is judged by whoever uses it.

    Raises the error where this is no answer about tasks at all.
    """
    found: dict[str, bytes] = {}
    try:
        answer = {name: start for name, start, _ in flat_json.members(body)}
        for start, _ in flat_json.elements(body, answer[many]):
            entry = {name: body[begin:end] for name, begin, end in flat_json.members(body, start)}
            found[msgspec.json.decode(entry[b"taskId"], type=str)] = entry[one]
        token = answer.get(b"continuationToken")
    except (ValueError, KeyError, *DECODE_ERRORS):
        raise error from None
    return found, token is not None and not body.startswith(b"null", token)
