"""A Google Cloud Storage of the tests' own: gcp-storage-emulator on the loopback interface.

Here belongs what starts it, what it lacks of GCS, and the faults that it can be told to have. What
is asserted about the archive belongs in the tests.
"""

from __future__ import annotations

import io
import itertools
import json
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from gcp_storage_emulator.exceptions import NotFound  # type: ignore[import-untyped]
from gcp_storage_emulator.handlers import buckets  # type: ignore[import-untyped]
from gcp_storage_emulator.server import RequestHandler  # type: ignore[import-untyped]
from gcp_storage_emulator.storage import Storage  # type: ignore[import-untyped]

from fxci_assets.archive.gcs import GcsStore
from fxci_assets.archive.store import LocalStore, Store

BUCKET = "fxci-archive"


def store_at(location: str) -> Store:
    """The archive at a gs:// address, on the emulator that STORAGE_EMULATOR_HOST names, or else in
    a folder: for processes, which are given names only."""
    if location.startswith("gs://"):
        bucket, _, prefix = location.removeprefix("gs://").partition("/")
        return GcsStore(bucket, prefix)
    return LocalStore(Path(location))


@dataclass(frozen=True)
class Refusal:
    """An answer with an error, and nothing done."""

    status: int
    text: str


Fault = Refusal | Literal["silence", "lost answer", "damaged upload"]


class Emulator:
    """A server with one bucket, in memory. `faults` befall the next requests, one each;
    `authorizations` is what each request was sent with."""

    def __init__(self) -> None:
        self.faults: deque[Fault] = deque()
        self.authorizations: list[str | None] = []
        self.page_size = 1_000
        self.closing = threading.Event()
        # One at a time: what GCS does to an object is atomic.
        self.lock = threading.Lock()
        self._prefixes = itertools.count(1)
        for name in ("gcp_storage_emulator", "api"):  # they tell of each object that is not there
            logging.getLogger(name).setLevel(logging.CRITICAL)
        storage = _Storage(use_memory_fs=True)
        buckets.create_bucket(BUCKET, storage)
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, storage))
        self._server.emulator = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def location(self) -> str:
        """The address of a prefix with nothing under it."""
        return f"gs://{BUCKET}/archive-{next(self._prefixes)}"

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    emulator: Emulator

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no error of the server's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Storage(Storage):  # type: ignore[misc]
    def _write_config_to_file(self) -> None:
        """Else it writes a list of all objects for each one that changes."""


class _Handler(RequestHandler):  # type: ignore[misc]
    """What the emulator lacks: the precondition `ifGenerationMatch=0`, listings in pages, and to
    forget a request that is cut off."""

    server: _Server
    rfile: io.BufferedIOBase

    def do_GET(self) -> None:  # noqa: N802
        listing = urlsplit(self.path).path.endswith("/o")
        self._meet(self._list if listing else super().do_GET)

    def do_POST(self) -> None:  # noqa: N802
        self._meet(self._token if self.path == "/token" else self._upload)

    def do_DELETE(self) -> None:  # noqa: N802
        self._meet(super().do_DELETE)

    def _meet(self, handle: Callable[[], None]) -> None:
        """Have the fault that is next, or none."""
        emulator = self.server.emulator
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            return
        emulator.authorizations.append(self.headers.get("Authorization"))
        match emulator.faults.popleft() if emulator.faults else None:
            case Refusal(status, text):
                self._say({"error": {"code": status, "message": text}}, status)
                return
            case "silence":
                emulator.closing.wait()
                return
            case "lost answer":
                self.wfile = io.BytesIO()
            case "damaged upload":
                body = body.replace(b"octet-stream\r\n\r\n", b"octet-stream\r\n\r\n?")
        self.rfile = io.BytesIO(body)
        with emulator.lock:
            handle()

    def _upload(self) -> None:
        if self._asked("ifGenerationMatch") == "0" and self._asked("name") in self._objects():
            self._say({"error": {"code": 412, "message": "conditionNotMet"}}, 412)
        else:
            super().do_POST()

    def _list(self) -> None:
        prefix, delimiter = self._asked("prefix"), self._asked("delimiter")
        try:
            objects, folders = self.storage.get_file_list(self._bucket(), prefix, delimiter)
        except NotFound:
            self._say({"error": {"code": 404, "message": "no such bucket"}}, 404)
            return
        start = int(self._asked("pageToken") or 0)
        end = start + self.server.emulator.page_size
        names = sorted([*(found["name"] for found in objects), *folders])
        page = set(names[start:end])
        # What is empty is left out.
        answer: dict[str, object] = {
            "items": [{"name": found["name"]} for found in objects if found["name"] in page],
            "prefixes": [folder for folder in folders if folder in page],
            "nextPageToken": str(end) if end < len(names) else "",
        }
        self._say({key: value for key, value in answer.items() if value})

    def _token(self) -> None:
        """Google's OAuth, for a service account's key that names this address."""
        self._say({"access_token": "t0k3n", "token_type": "Bearer", "expires_in": 3_600})

    def _bucket(self) -> str:
        return urlsplit(self.path).path.rpartition("/b/")[2].removesuffix("/o")

    def _asked(self, parameter: str) -> str | None:
        return next(iter(parse_qs(urlsplit(self.path).query).get(parameter, ())), None)

    def _objects(self) -> dict[str, Any]:
        objects: dict[str, Any] = self.storage.objects.get(self._bucket(), {})
        return objects

    def _say(self, content: object, status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
