"""A server of Cloud Monitoring's API on the loopback interface, which answers by a script.

Here belongs a real gRPC server with the one method that is called. What it is asked and what comes
of its answers is asserted in the tests.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.cloud.monitoring_v3 import ListTimeSeriesRequest, ListTimeSeriesResponse, TimeSeries


@dataclass(frozen=True)
class Page:
    """An answer; `errors` are the texts, by gRPC's codes, of those within it."""

    series: Sequence[TimeSeries] = ()
    next_page_token: str = ""
    errors: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    code: grpc.StatusCode
    text: str = "so it is"


@dataclass(frozen=True)
class Silence:
    """No answer, for as long as the server is there."""


Reply = Page | Failure | Silence


class MonitoringServer:
    """Answers the first request with the first reply, and so on; the last one is for all that
    follow."""

    def __init__(self, *script: Reply) -> None:
        self.requests: list[ListTimeSeriesRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self._script = script
        self._closing = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(
            self._list_time_series,
            ListTimeSeriesRequest.deserialize,
            ListTimeSeriesResponse.serialize,
        )
        self._server.add_registered_method_handlers(
            "google.monitoring.v3.MetricService", {"ListTimeSeries": handler}
        )
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._closing.set()
        self._server.stop(None).wait()

    def _list_time_series(
        self,
        request: ListTimeSeriesRequest,
        context: Any,  # noqa: ANN401  (a grpc.ServicerContext, which has no types)
    ) -> ListTimeSeriesResponse:
        self.metadata.append(dict(context.invocation_metadata()))
        self.requests.append(request)
        reply = self._script[min(len(self.requests), len(self._script)) - 1]
        match reply:
            case Silence():
                self._closing.wait()
            case Failure(code, text):
                context.abort(code, text)
            case Page(series, next_page_token, errors):
                return ListTimeSeriesResponse(
                    time_series=series,
                    next_page_token=next_page_token,
                    execution_errors=[
                        {"code": code, "message": text} for code, text in errors.items()
                    ],
                )
        return ListTimeSeriesResponse()
