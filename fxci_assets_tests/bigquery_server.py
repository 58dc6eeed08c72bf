"""A server of BigQuery's REST API on the loopback interface, for Google's own client.

Here belong requests and answers, jobs, and what goes wrong on the way by a script. What is done
with tables is `bigquery_tables`. What is asserted belongs in the tests.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

from fxci_assets_tests.bigquery_tables import (
    Answer,
    JobFailed,
    Refused,
    Resource,
    Tables,
    not_found,
    only,
    unknown,
)


@dataclass(frozen=True)
class Refusal:
    """An error instead of what was asked for. Without a reason it is as a proxy answers."""

    status: int
    reason: str | None = None
    message: str = "so it is"


@dataclass(frozen=True)
class Lost:
    """What was asked for is done, and the answer does not arrive."""


@dataclass(frozen=True)
class Failure:
    """A job that is made, does nothing, and ends with an error."""

    reason: str
    message: str = "so it is"


@dataclass(frozen=True)
class Unfinished:
    """A job that is said to run on for some looks at it."""

    looks: int


Fault = Refusal | Lost | Failure | Unfinished | None
"""None is none: a request between two that go wrong."""


class Asked(NamedTuple):
    """A request: its operation, and what of it was JSON."""

    operation: str
    body: Resource


@dataclass
class _Job:
    resource: Resource
    answer: Answer | None = None
    looks: int = 0


class _Lost(Exception):
    """Ends a request without an answer."""


_PROJECT = r"/bigquery/v2/projects/(?P<project>[^/]+)"
_TABLE = r"/datasets/(?P<dataset>[^/]+)/tables/(?P<table>[^/]+)"
_ROUTES = {
    ("POST", rf"{_PROJECT}/datasets"): "datasets.insert",
    ("GET", rf"{_PROJECT}/datasets/(?P<dataset>[^/]+)"): "datasets.get",
    ("DELETE", rf"{_PROJECT}/datasets/(?P<dataset>[^/]+)"): "datasets.delete",
    ("POST", rf"{_PROJECT}/datasets/(?P<dataset>[^/]+)/tables"): "tables.insert",
    ("GET", rf"{_PROJECT}{_TABLE}"): "tables.get",
    ("PATCH", rf"{_PROJECT}{_TABLE}"): "tables.patch",
    ("DELETE", rf"{_PROJECT}{_TABLE}"): "tables.delete",
    ("GET", rf"{_PROJECT}{_TABLE}/data"): "tabledata.list",
    ("POST", rf"{_PROJECT}/jobs"): "jobs.insert",
    ("GET", rf"{_PROJECT}/jobs/(?P<job>[^/]+)"): "jobs.get",
    ("POST", rf"{_PROJECT}/jobs/(?P<job>[^/]+)/cancel"): "jobs.cancel",
    ("GET", rf"{_PROJECT}/queries/(?P<job>[^/]+)"): "jobs.getQueryResults",
    ("POST", rf"/upload{_PROJECT}/jobs"): "jobs.upload",
    ("PUT", rf"/upload{_PROJECT}/jobs"): "jobs.upload",
}

_LABEL = re.compile(r"[a-z0-9_-]{0,63}")


class BigQueryServer:
    """One project. Requests are answered one after the other."""

    def __init__(self, project: str = "project") -> None:
        self.project = project
        self.tables = Tables(project)
        self.asked: list[Asked] = []
        self.page_rows = 1_000
        """How many rows an answer has at most."""
        self._jobs: dict[str, _Job] = {}
        self._uploads: dict[str, tuple[Resource, Resource | None]] = {}
        self._faults: dict[str, list[Fault]] = {}
        self._lock = threading.Lock()
        self._http = _Http(self)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self.tables.close()

    def script(self, operation: str, *faults: Fault) -> None:
        """What goes wrong with the next requests for an operation, one after the other."""
        self._faults.setdefault(operation, []).extend(faults)

    def forget(self) -> None:
        """What was asked, the jobs, and what of the script was not used."""
        self.asked.clear()
        self._jobs.clear()
        self._uploads.clear()
        self._faults.clear()

    def operations(self) -> list[str]:
        return [asked.operation for asked in self.asked]

    def configurations(self, kind: str) -> list[Resource]:
        """Of all jobs of a kind that were asked for."""
        bodies = (asked.body.get("configuration", {}) for asked in self.asked)
        return [body for body in bodies if kind in body]

    def jobs(self, kind: str) -> list[Resource]:
        """The jobs of a kind that were made."""
        found = (job.resource for job in self._jobs.values())
        return [job for job in found if kind in job["configuration"]]

    # --- requests

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], Resource]:
        """The status, headers and body of an answer. Raises _Lost."""
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        path = urllib.parse.unquote(url.path)
        with self._lock:
            try:
                for (route_method, pattern), operation in _ROUTES.items():
                    found = re.fullmatch(pattern, path)
                    if found and route_method == method:
                        if found["project"] != self.project:
                            raise unknown(f"the project {found['project']}")
                        return self._do(operation, found.groupdict(), query, headers, body)
                raise unknown(f"{method} {path}")
            except Refused as error:
                return _error(error.status, error.reason, error.message)
            except _Lost:
                raise
            except Exception as error:
                # Without an answer the client would try again for minutes.
                return _error(501, "notImplemented", f"the tests' server failed: {error!r}")

    def _do(
        self,
        operation: str,
        path: dict[str, str],
        query: dict[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> tuple[int, dict[str, str], Resource]:
        script = self._faults.get(operation)
        fault = script.pop(0) if script else None
        if operation == "jobs.upload":
            given, data = self._uploaded(query, headers, body)
        else:
            given, data = json.loads(body or b"{}"), None
        self.asked.append(Asked(operation, given))
        if isinstance(fault, Refusal):
            return _error(fault.status, fault.reason, fault.message)
        extra: dict[str, str] = {}
        if operation == "jobs.upload" and data is None:
            # A resumable upload has begun; its bytes come with another request.
            id = f"upload-{len(self._uploads)}"
            self._check_unused(given)
            self._uploads[id] = (given, None)
            extra["Location"] = (
                f"{self.url}/upload/bigquery/v2/projects/{self.project}/jobs?id={id}"
            )
            answer: Resource = {}
        elif operation in ("jobs.upload", "jobs.insert"):
            known = self._uploads.get(query.get("id", ""))
            if known is not None and known[1] is not None:
                answer = known[1]
            else:
                answer = self._make_job(given, data, fault)
                if known is not None:
                    self._uploads[query["id"]] = (given, answer)
        else:
            answer = self._other(operation, path, query, headers, given)
        if isinstance(fault, Lost):
            raise _Lost
        return 200, extra, answer

    def _other(
        self,
        operation: str,
        path: dict[str, str],
        query: dict[str, str],
        headers: Mapping[str, str],
        given: Resource,
    ) -> Resource:
        tables = self.tables
        match operation:
            case "datasets.insert":
                return tables.create_dataset(given)
            case "datasets.get":
                return tables.dataset(path["dataset"])
            case "datasets.delete":
                tables.delete_dataset(path["dataset"])
            case "tables.insert":
                return tables.create_table(path["dataset"], given)
            case "tables.get":
                return tables.table(path["dataset"], path["table"])
            case "tables.patch":
                if_match = headers.get("if-match")
                return tables.patch_table(path["dataset"], path["table"], given, if_match)
            case "tables.delete":
                tables.delete_table(path["dataset"], path["table"])
            case "tabledata.list":
                return self._partition_ids(path["dataset"], path["table"], query)
            case "jobs.get":
                return self._look_at(path["job"], query)
            case "jobs.cancel":
                job = self._known(path["job"], query)
                job.resource["status"] = _status(
                    JobFailed("stopped", "Job execution was cancelled")
                )
                return {"job": job.resource}
            case "jobs.getQueryResults":
                return self._results(path["job"], query)
        return {}

    def _partition_ids(self, dataset: str, table: str, query: dict[str, str]) -> Resource:
        name, _, decorator = table.partition("$")
        if decorator != "__PARTITIONS_SUMMARY__" or query.get("selectedFields") != "partition_id":
            raise unknown(f"the rows of {table}")
        ids = self.tables.partitions(dataset, name)
        return {"totalRows": str(len(ids)), "rows": [{"f": [{"v": id}]} for id in ids]}

    # --- jobs

    def _uploaded(
        self, query: dict[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[Resource, bytes | None]:
        """The job that is asked for, and its bytes if these are here."""
        if "id" in query:
            given, _ = self._uploads[query["id"]]
            sent = re.fullmatch(r"bytes 0-\d+/(\d+)", headers["content-range"])
            if sent is None or int(sent[1]) != len(body):
                raise unknown("an upload in pieces")
            return given, body
        if query.get("uploadType") == "resumable":
            return json.loads(body), None
        if query.get("uploadType") != "multipart":
            raise unknown(f"the upload {query.get('uploadType')}")
        found = re.search(r'boundary="?([^";]+)', headers["content-type"])
        assert found is not None
        boundary = b"--" + found[1].encode()
        _, metadata, content, _ = body.split(boundary)
        bare = [part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in (metadata, content)]
        return json.loads(bare[0]), bare[1]

    def _check_unused(self, given: Resource) -> None:
        id = given["jobReference"]["jobId"]
        if id in self._jobs:
            raise Refused(409, "duplicate", f"Already Exists: Job {self.project}:US.{id}")

    def _make_job(self, given: Resource, data: bytes | None, fault: Fault) -> Resource:
        configuration = given["configuration"]
        only("a job", given, "jobReference", "configuration")
        only("a configuration", configuration, "load", "query", "labels", "jobTimeoutMs", "dryRun")
        for key, value in configuration.get("labels", {}).items():
            if not (re.match(r"[a-z]", key) and _LABEL.fullmatch(key) and _LABEL.fullmatch(value)):
                raise Refused(400, "invalid", f"Label {key}: {value} has invalid characters")
        if configuration.get("dryRun"):
            return self._dry_run(given)
        self._check_unused(given)
        id = given["jobReference"]["jobId"]
        reference = {**given["jobReference"], "location": self._location(configuration)}
        statistics = {"creationTime": _now(), "startTime": _now()}
        resource = {**given, "jobReference": reference, "statistics": statistics}
        job = self._jobs[id] = _Job(resource)
        if isinstance(fault, Unfinished):
            job.looks = fault.looks
        try:
            if isinstance(fault, Failure):
                raise JobFailed(fault.reason, fault.message)
            self._execute(job, data)
            job.resource["status"] = {"state": "DONE"}
        except JobFailed as error:
            job.resource["status"] = _status(error)
        except Exception:
            del self._jobs[id]
            raise
        statistics["endTime"] = _now()
        return self._shown(job)

    def _execute(self, job: _Job, data: bytes | None) -> None:
        configuration, statistics = job.resource["configuration"], job.resource["statistics"]
        if "load" in configuration:
            assert data is not None
            statistics["load"] = self.tables.load(configuration["load"], data)
            return
        job.answer = answer = self.tables.query(configuration["query"], dry_run=False)
        statistics["totalSlotMs"] = "7"
        statistics["query"] = {
            "schema": {"fields": answer.fields},
            "statementType": "SELECT",
            "totalBytesProcessed": str(answer.bytes),
            "totalBytesBilled": str(answer.billed),
            "totalSlotMs": "7",
        }

    def _dry_run(self, given: Resource) -> Resource:
        """It leaves no job behind, and what is wrong is the answer."""
        try:
            answer = self.tables.query(given["configuration"]["query"], dry_run=True)
        except JobFailed as error:
            raise Refused(400, error.reason, error.message) from error
        query = {"schema": {"fields": answer.fields}, "totalBytesProcessed": str(answer.bytes)}
        return {**given, "status": {"state": "DONE"}, "statistics": {"query": query}}

    def _location(self, configuration: Resource) -> str:
        for part in (configuration.get("load"), configuration.get("query")):
            destination = (part or {}).get("destinationTable")
            if destination is not None:
                return self.tables.location(destination["datasetId"])
        return "US"

    def _shown(self, job: _Job) -> Resource:
        return {**job.resource, "status": {"state": "RUNNING"}} if job.looks else job.resource

    def _known(self, id: str, query: dict[str, str]) -> _Job:
        job = self._jobs.get(id)
        # Outside of the multi-regions a job is known by its location only.
        if job is None or query.get("location", "US") != job.resource["jobReference"]["location"]:
            raise not_found(f"Job {self.project}:{id}")
        return job

    def _look_at(self, id: str, query: dict[str, str]) -> Resource:
        job = self._known(id, query)
        job.looks = max(0, job.looks - 1)
        return self._shown(job)

    def _results(self, id: str, query: dict[str, str]) -> Resource:
        answer = self._known(id, query).answer
        assert answer is not None
        first = int(query.get("pageToken", 0))
        last = first + min(int(query.get("maxResults", self.page_rows)), self.page_rows)
        result: Resource = {
            "jobReference": {"projectId": self.project, "jobId": id},
            "jobComplete": True,
            "schema": {"fields": answer.fields},
            "totalRows": str(len(answer.rows)),
        }
        if last > first:
            if query.get("formatOptions.useInt64Timestamp") != "True":
                raise unknown("times that are not whole microseconds")
            result["rows"] = answer.rows[first:last]
            if last < len(answer.rows):
                result["pageToken"] = str(last)
        return result


def _status(error: JobFailed) -> Resource:
    told = {"reason": error.reason, "message": error.message}
    return {"state": "DONE", "errorResult": told, "errors": [told]}


def _now() -> str:
    return str(int(1_000 * time.time()))


def _error(status: int, reason: str | None, message: str) -> tuple[int, dict[str, str], Resource]:
    error: Resource = {"code": status, "message": message}
    if reason is not None:
        error["errors"] = [{"reason": reason, "message": message, "domain": "global"}]
    return status, {}, {"error": error}


class _Http(http.server.ThreadingHTTPServer):
    def __init__(self, api: BigQueryServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer is one packet, or the next request would wait for an acknowledgement.
    wbufsize = 1 << 16

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        api = cast(_Http, self.server).api
        given = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, headers, answer = api.answer(self.command, self.path, given, body)
        except _Lost:
            self.close_connection = True
            return
        content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass
