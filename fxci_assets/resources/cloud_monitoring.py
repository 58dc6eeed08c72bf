"""Cloud Monitoring over Google's API, version 3.

Here belongs what the API and the network do to us: credentials, pages, deadlines, what is asked
again and what a refusal means. What the time series say does not belong here.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc  # type: ignore[import-untyped]
import msgspec
from google.api_core import exceptions as _errors
from google.api_core.retry import Retry as _Retry
from google.auth.credentials import AnonymousCredentials as _AnonymousCredentials
from google.cloud import monitoring_v3 as _v3
from google.cloud.monitoring_v3.services.metric_service.transports import (
    MetricServiceGrpcTransport as _Transport,
)
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]

from fxci_assets.resources.google_credentials import CredentialsError, credentials
from fxci_assets.resources.monitoring import UPTIME, MonitoringError
from fxci_assets.settings import variable
from fxci_assets.texts import one_line

_log = logging.getLogger(__name__)

_DAY = dt.timedelta(days=1)

_CREDENTIALS, _PROJECTS = variable("monitoring", "credentials"), variable("monitoring", "projects")

_TRANSIENT = (
    _errors.ServiceUnavailable,
    _errors.ResourceExhausted,
    _errors.DeadlineExceeded,
    _errors.InternalServerError,
    _errors.Aborted,
    _errors.Unknown,
)
"""Errors after which a request is made again. It only reads, so that to repeat it is safe.

Google names UNAVAILABLE and RESOURCE_EXHAUSTED (the quota is by the minute) as worth a repetition
(https://cloud.google.com/monitoring/api/troubleshooting). DEADLINE_EXCEEDED is our own deadline on
a slow answer; INTERNAL, ABORTED and UNKNOWN are what gRPC makes of a stream that a proxy or a
server on the way broke off (https://grpc.github.io/grpc/core/md_doc_statuscodes.html)."""

_NOT_LOGGED_IN = "Getting metadata from plugin failed with error: "
"""How gRPC begins its UNAVAILABLE where the credentials gave no token. google-auth has repetitions
of its own, so that what is left is mostly for a person to do: to log in anew."""

_LONGEST_PAUSE = 30.0
"""Seconds between two attempts, at most."""


@dataclass(frozen=True, slots=True)
class CloudMonitoring:
    """Implements `Monitoring`. Connects at each call, and not before.

    `credentials` is the base64 of a service account's key in JSON; None is the environment's
    default credentials. Each request, one page, has `request_seconds`. One that fails for a passing
    reason is made again after a pause of up to `first_pause` seconds, doubled each time, until
    `retry_seconds` after the call began.
    """

    credentials: str | None = field(default=None, repr=False)
    request_seconds: float = 60.0
    retry_seconds: float = 600.0
    first_pause: float = 1.0
    stand_in_port: int | None = None
    """For tests: the port of 127.0.0.1 on which a server stands in for Google's, without TLS or
    credentials. That no host can be named keeps our requests on this machine, whatever is set."""

    def __post_init__(self) -> None:
        if self.credentials is not None and self.stand_in_port is not None:
            raise ValueError("credentials are not sent in clear text, not even on this machine")

    def uptime(self, project: str, day: dt.date) -> list[bytes]:
        where = _where(project)
        try:
            client = self._client()
        except CredentialsError as error:
            # What the setting holds is not about one project.
            said = f"{error}" if self.credentials is not None else f"{where}: {error}"
            raise MonitoringError(said) from None
        with client:
            try:
                return [_as_json(series) for series in self._series(client, project, day)]
            except _errors.RetryError as error:
                raise MonitoringError(
                    f"{where}: {_said(error.cause)} (given up after {self.retry_seconds:g} s)"
                ) from error
            except _errors.GoogleAPICallError as error:
                raise MonitoringError(f"{where}: {_explained(error)}") from error

    def _client(self) -> _v3.MetricServiceClient:
        if self.stand_in_port is not None:
            return _v3.MetricServiceClient(
                transport=_Transport(
                    host=f"127.0.0.1:{self.stand_in_port}",
                    credentials=_AnonymousCredentials(),  # type: ignore[no-untyped-call]
                    channel=_clear_text_channel,
                )
            )
        return _v3.MetricServiceClient(credentials=credentials(self.credentials, _CREDENTIALS))

    def _series(
        self, client: _v3.MetricServiceClient, project: str, day: dt.date
    ) -> Iterator[_v3.TimeSeries]:
        """Page by page, because the client's own pager passes over errors within an answer, and
        would give each page anew the time for all of them."""
        request = _request(project, day)

        def page() -> _v3.ListTimeSeriesResponse:
            pages = client.list_time_series(request, retry=None, timeout=self.request_seconds).pages
            answer = next(pages)
            if answer.execution_errors:
                # It looks like success and lacks some of the series, such as those of a region
                # that is unavailable (https://github.com/googleapis/gax-nodejs/issues/1455).
                error = answer.execution_errors[0]
                raise _errors.from_grpc_status(  # type: ignore[no-untyped-call]
                    error.code, f"the answer is incomplete: {error.message}"
                )
            return answer

        give_up_at = time.monotonic() + self.retry_seconds
        patient = _Retry(
            predicate=_is_transient,
            initial=self.first_pause,
            maximum=_LONGEST_PAUSE,
            on_error=lambda error: _log.warning(
                "%s: %s; tried again for %g s", _where(project), _said(error), self.retry_seconds
            ),
        )
        while True:
            remaining = max(0.0, give_up_at - time.monotonic())
            answer = patient.with_timeout(remaining)(page)()
            yield from answer.time_series
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token


def _where(project: str) -> str:
    return f"Cloud Monitoring, project {project}"


def _request(project: str, day: dt.date) -> _v3.ListTimeSeriesRequest:
    """Intervals are half open, without their start, so that the day's last second is in it."""
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
    return _v3.ListTimeSeriesRequest(
        name=f"projects/{project}",
        filter=f'metric.type = "{UPTIME}"',
        interval=_v3.TimeInterval(start_time=midnight, end_time=midnight + _DAY),
        view=_v3.ListTimeSeriesRequest.TimeSeriesView.FULL,
        aggregation=_v3.Aggregation(
            alignment_period=_DAY,
            per_series_aligner=_v3.Aggregation.Aligner.ALIGN_SUM,
            cross_series_reducer=_v3.Aggregation.Reducer.REDUCE_SUM,
            group_by_fields=[
                "metric.labels.instance_name",
                "resource.labels.instance_id",
                "resource.labels.zone",
            ],
        ),
    )


def _as_json(series: _v3.TimeSeries) -> bytes:
    """By protobuf's JSON mapping, which is the REST API's: proto-plus's own shows enums as numbers,
    and fields that are absent."""
    return msgspec.json.encode(MessageToDict(_v3.TimeSeries.pb(series)))


def _clear_text_channel(host: str, *, options: list[tuple[str, int]], **_: object) -> grpc.Channel:
    # A proxy that is set for the way to Google is none to this machine.
    return grpc.insecure_channel(host, [*options, ("grpc.enable_http_proxy", 0)])


def _is_transient(error: Exception) -> bool:
    return isinstance(error, _TRANSIENT) and not str(error.message).startswith(_NOT_LOGGED_IN)


def _explained(error: _errors.GoogleAPICallError) -> str:
    said = _said(error)
    if isinstance(error, _errors.PermissionDenied):
        return (
            f"{said}; give these credentials the permission monitoring.timeSeries.list there (it "
            "is in roles/monitoring.viewer)"
        )
    if isinstance(error, _errors.NotFound):
        return f"{said}; check {_PROJECTS}, which takes ids, not names"
    if isinstance(error, _errors.Unauthenticated | _errors.ServiceUnavailable):
        return f"{said}; renew the credentials ({_CREDENTIALS})"
    return said


def _said(error: Exception) -> str:
    """`PermissionDenied: the server's text`."""
    text = error.message if isinstance(error, _errors.GoogleAPICallError) else error
    return f"{type(error).__name__}: {one_line(text)}"
