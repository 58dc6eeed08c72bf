"""Cloud Monitoring over gRPC: the real client against a real server, and what goes wrong there."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import logging
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
import trustme
from google.cloud.monitoring_v3 import Aggregation, ListTimeSeriesRequest, TimeSeries

from fxci_assets.resources import cloud_monitoring
from fxci_assets.resources.cloud_monitoring import CloudMonitoring
from fxci_assets.resources.monitoring import Monitoring, MonitoringError
from fxci_assets_tests.monitoring_server import (
    Failure,
    MonitoringServer,
    Page,
    Reply,
    Silence,
)

PROJECT = "fxci-production-level1-workers"
DAY = dt.date(2026, 4, 13)
MIDNIGHT = dt.datetime(2026, 4, 13, tzinfo=dt.UTC)
NEXT_MIDNIGHT = dt.datetime(2026, 4, 14, tzinfo=dt.UTC)

NO_BASE64 = "not base64 (of a service account's key in JSON)"
NO_KEY = "base64, but not of a service account's key in JSON"

Serve = Callable[..., MonitoringServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server with a script."""
    with contextlib.ExitStack() as servers:

        def start(*script: Reply) -> MonitoringServer:
            server = MonitoringServer(*script)
            servers.callback(server.close)
            return server

        yield start


def client(server: MonitoringServer, **settings: float) -> CloudMonitoring:
    values = {"request_seconds": 5.0, "retry_seconds": 5.0, "first_pause": 0.01, **settings}
    return CloudMonitoring(stand_in_port=server.port, **values)  # type: ignore[arg-type]


def time_series(
    instance: str, *points: tuple[dt.datetime, float], **labels: str | None
) -> TimeSeries:
    """Points by their ends, in the order given. A label that is None is left out."""
    all_labels = {"project_id": PROJECT, "zone": "us-central1-b", "instance_id": instance} | labels
    return TimeSeries(
        metric={
            "type": "compute.googleapis.com/instance/uptime",
            "labels": {"instance_name": f"worker-{instance}"},
        },
        resource={
            "type": "gce_instance",
            "labels": {name: value for name, value in all_labels.items() if value is not None},
        },
        metric_kind="DELTA",
        value_type="DOUBLE",
        points=[
            {
                "interval": {"start_time": end - dt.timedelta(minutes=1), "end_time": end},
                "value": {"double_value": seconds},
            }
            for end, seconds in points
        ],
    )


def instances(answer: list[bytes]) -> list[str]:
    return [json.loads(series)["resource"]["labels"]["instance_id"] for series in answer]


class TestTheAnswer:
    def test_is_each_series_as_the_rest_api_shows_it(self, serve: Serve) -> None:
        server = serve(Page([time_series("77", (NEXT_MIDNIGHT, 3540.25))]))
        monitoring: Monitoring = client(server)

        [series] = monitoring.uptime(PROJECT, DAY)

        assert json.loads(series) == {
            "metric": {
                "type": "compute.googleapis.com/instance/uptime",
                "labels": {"instance_name": "worker-77"},
            },
            "resource": {
                "type": "gce_instance",
                "labels": {"project_id": PROJECT, "zone": "us-central1-b", "instance_id": "77"},
            },
            "metricKind": "DELTA",
            "valueType": "DOUBLE",
            "points": [
                {
                    "interval": {
                        "startTime": "2026-04-13T23:59:00Z",
                        "endTime": "2026-04-14T00:00:00Z",
                    },
                    "value": {"doubleValue": 3540.25},
                }
            ],
        }

    def test_is_empty_where_no_instance_was_up(self, serve: Serve) -> None:
        assert client(serve(Page())).uptime(PROJECT, DAY) == []

    def test_has_the_series_of_all_pages(self, serve: Serve) -> None:
        server = serve(
            Page([time_series("1"), time_series("2")], next_page_token="second"),
            Page([], next_page_token="third"),
            Page([time_series("3")]),
        )

        assert instances(client(server).uptime(PROJECT, DAY)) == ["1", "2", "3"]
        assert [request.page_token for request in server.requests] == ["", "second", "third"]
        assert {request.name for request in server.requests} == {f"projects/{PROJECT}"}

    def test_leaves_points_as_they_came(self, serve: Serve) -> None:
        """Newest first, as the API gives them, and with one that was not asked for."""
        points = [(NEXT_MIDNIGHT, 30.5), (MIDNIGHT + dt.timedelta(hours=1), 0.0), (MIDNIGHT, 9.0)]
        server = serve(Page([time_series("77", *points)]))

        [series] = client(server).uptime(PROJECT, DAY)

        assert [
            (point["interval"]["endTime"], point["value"]) for point in json.loads(series)["points"]
        ] == [
            ("2026-04-14T00:00:00Z", {"doubleValue": 30.5}),
            ("2026-04-13T01:00:00Z", {"doubleValue": 0.0}),
            ("2026-04-13T00:00:00Z", {"doubleValue": 9.0}),
        ]

    def test_has_both_series_of_a_renamed_instance(self, serve: Serve) -> None:
        renamed = time_series("77", (NEXT_MIDNIGHT, 60.0))
        renamed.metric.labels["instance_name"] = "another"
        server = serve(Page([time_series("77", (NEXT_MIDNIGHT, 30.0)), renamed]))

        assert instances(client(server).uptime(PROJECT, DAY)) == ["77", "77"]

    def test_has_a_series_without_labels_too(self, serve: Serve) -> None:
        server = serve(Page([time_series("77", zone=None), TimeSeries()]))

        [without_zone, bare] = client(server).uptime(PROJECT, DAY)

        assert "zone" not in json.loads(without_zone)["resource"]["labels"]
        assert "points" not in json.loads(bare)

    @pytest.mark.parametrize("seconds", [0.1 + 0.2, 5e-324, 86_399.999_999_999_99, -0.0])
    def test_keeps_numbers_to_the_last_bit(self, serve: Serve, seconds: float) -> None:
        server = serve(Page([time_series("77", (NEXT_MIDNIGHT, seconds))]))

        [series] = client(server).uptime(PROJECT, DAY)

        [point] = json.loads(series)["points"]
        assert point["value"]["doubleValue"].hex() == seconds.hex()

    def test_shows_what_is_no_number_or_unknown_as_the_rest_api_does(self, serve: Serve) -> None:
        odd = time_series("77", (NEXT_MIDNIGHT, math.nan))
        TimeSeries.pb(odd).value_type = 99
        server = serve(Page([odd]))

        [series] = client(server).uptime(PROJECT, DAY)

        shown = json.loads(series)
        assert shown["valueType"] == 99
        assert shown["points"][0]["value"] == {"doubleValue": "NaN"}

    def test_may_be_larger_than_grpc_takes_by_itself(self, serve: Serve) -> None:
        server = serve(Page([time_series("7" * 5_000_000)]))

        [series] = client(server).uptime(PROJECT, DAY)

        assert len(series) > 5_000_000


class TestTheRequest:
    def test_asks_for_the_sums_of_a_day_by_instance(self, serve: Serve) -> None:
        server = serve(Page())

        client(server).uptime(PROJECT, DAY)

        [request] = server.requests
        assert request == ListTimeSeriesRequest(
            name="projects/fxci-production-level1-workers",
            filter='metric.type = "compute.googleapis.com/instance/uptime"',
            interval={
                "start_time": dt.datetime(2026, 4, 13, tzinfo=dt.UTC),
                "end_time": dt.datetime(2026, 4, 14, tzinfo=dt.UTC),
            },
            view=ListTimeSeriesRequest.TimeSeriesView.FULL,
            aggregation=Aggregation(
                alignment_period={"seconds": 86_400},
                per_series_aligner=Aggregation.Aligner.ALIGN_SUM,
                cross_series_reducer=Aggregation.Reducer.REDUCE_SUM,
                group_by_fields=[
                    "metric.labels.instance_name",
                    "resource.labels.instance_id",
                    "resource.labels.zone",
                ],
            ),
        )

    def test_goes_on_where_it_failed(self, serve: Serve) -> None:
        server = serve(
            Page([time_series("1")], next_page_token="second"),
            Failure(grpc.StatusCode.UNAVAILABLE),
            Failure(grpc.StatusCode.INTERNAL),
            Page([time_series("2")]),
        )

        assert instances(client(server).uptime(PROJECT, DAY)) == ["1", "2"]
        assert [r.page_token for r in server.requests] == ["", "second", "second", "second"]

    @pytest.mark.parametrize(
        "code",
        [
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.ABORTED,
            grpc.StatusCode.UNKNOWN,
        ],
    )
    def test_is_made_again_after_what_passes(
        self, serve: Serve, code: grpc.StatusCode, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = serve(Failure(code, "for a while"), Page([time_series("1")]))

        assert instances(client(server).uptime(PROJECT, DAY)) == ["1"]
        assert f"{PROJECT}: " in caplog.text
        assert "for a while; tried again" in caplog.text

    def test_is_made_again_where_the_answer_is_incomplete(self, serve: Serve) -> None:
        server = serve(
            Page([time_series("1")], errors={14: "no data from europe-west1"}),
            Page([time_series("1"), time_series("2")]),
        )

        assert instances(client(server).uptime(PROJECT, DAY)) == ["1", "2"]

    def test_is_made_again_where_nothing_comes(self, serve: Serve) -> None:
        server = serve(Silence(), Page([time_series("1")]))

        assert instances(client(server, request_seconds=0.2).uptime(PROJECT, DAY)) == ["1"]

    @pytest.mark.parametrize(
        "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED]
    )
    def test_is_not_made_again_after_a_refusal(self, serve: Serve, code: grpc.StatusCode) -> None:
        server = serve(Failure(code))

        with pytest.raises(MonitoringError):
            client(server).uptime(PROJECT, DAY)
        assert len(server.requests) == 1


class TestTheError:
    def failed(self, monitoring: Monitoring) -> str:
        with pytest.raises(MonitoringError) as failed:
            monitoring.uptime(PROJECT, DAY)
        return str(failed.value)

    def test_of_a_failure_that_lasts(self, serve: Serve) -> None:
        server = serve(
            Page([time_series("1")], next_page_token="second"),
            Failure(grpc.StatusCode.UNAVAILABLE, "try\nlater"),
        )
        began = time.monotonic()

        error = self.failed(client(server, retry_seconds=0.2))

        assert error == (
            f"Cloud Monitoring, project {PROJECT}: ServiceUnavailable: try later "
            "(given up after 0.2 s)"
        )
        assert time.monotonic() - began < 2
        assert len(server.requests) > 3

    def test_of_an_answer_that_stays_incomplete(self, serve: Serve) -> None:
        server = serve(Page([time_series("1")], errors={14: "no data from europe-west1"}))

        error = self.failed(client(server, retry_seconds=0.05))

        assert "the answer is incomplete: no data from europe-west1" in error

    def test_of_a_server_that_is_silent(self, serve: Serve) -> None:
        began = time.monotonic()

        error = self.failed(client(serve(Silence()), request_seconds=0.1, retry_seconds=0.3))

        assert "DeadlineExceeded" in error
        assert time.monotonic() - began < 2

    def test_of_a_server_that_is_not_there(self, serve: Serve) -> None:
        server = serve()
        server.close()

        assert "ServiceUnavailable" in self.failed(client(server, retry_seconds=0.05))

    @pytest.mark.parametrize(
        ("code", "what_to_do"),
        [
            (grpc.StatusCode.PERMISSION_DENIED, "monitoring.timeSeries.list"),
            (grpc.StatusCode.NOT_FOUND, "check FXCI_ETL_MONITORING_PROJECTS"),
            (grpc.StatusCode.UNAUTHENTICATED, "renew the credentials"),
            (grpc.StatusCode.INVALID_ARGUMENT, "what the server says"),
        ],
    )
    def test_of_a_refusal_says_what_to_do(
        self, serve: Serve, code: grpc.StatusCode, what_to_do: str
    ) -> None:
        error = self.failed(client(serve(Failure(code, "what the server says\n"))))

        assert error.startswith(f"Cloud Monitoring, project {PROJECT}: ")
        assert "what the server says" in error
        assert what_to_do in error
        assert "\n" not in error

    def test_of_credentials_that_give_no_token_comes_at_once(self, serve: Serve) -> None:
        said = f"{cloud_monitoring._NOT_LOGGED_IN}Reauthentication is needed"
        server = serve(Failure(grpc.StatusCode.UNAVAILABLE, said))

        error = self.failed(client(server))

        assert "Reauthentication is needed; renew the credentials" in error
        assert len(server.requests) == 1


class LoggedOut(grpc.AuthMetadataPlugin):  # type: ignore[misc]
    """Credentials that give no token."""

    def __call__(self, context: Any, callback: Any) -> None:  # noqa: ANN401
        callback((), OSError("log in anew"))


def test_grpc_says_that_there_is_no_token_in_the_words_that_are_looked_for() -> None:
    ca = trustme.CA()
    certificate = ca.issue_cert("localhost")
    server = grpc.server(None)
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials(
            [(certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())]
        ),
    )
    server.start()
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(ca.cert_pem.bytes()),
        grpc.metadata_call_credentials(LoggedOut()),
    )
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.enable_http_proxy", 0)]
    try:
        with (
            grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel,
            pytest.raises(grpc.RpcError) as failed,
        ):
            channel.unary_unary("/any/method")(b"", timeout=5)
    finally:
        server.stop(None)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert failed.value.details() == f"{cloud_monitoring._NOT_LOGGED_IN}log in anew"


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A proxy that stands in every way to the outside, notes what it is asked and hangs up."""
    asked: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    asked.append(connection.recv(4_096))

    thread = threading.Thread(target=hang_up, daemon=True)
    thread.start()
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listening.getsockname()[1]}")
    for name in ("no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield asked
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


class TestCredentials:
    def test_go_to_google_over_tls_only_and_are_not_shown(
        self,
        key: dict[str, str],
        proxy: list[bytes],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        credentials = encoded(key)
        monitoring = CloudMonitoring(credentials, request_seconds=5.0, retry_seconds=0.0)

        with caplog.at_level(logging.DEBUG), pytest.raises(MonitoringError) as failed:
            monitoring.uptime(PROJECT, DAY)

        assert proxy[0].startswith(b"CONNECT monitoring.googleapis.com:443 ")
        assert b"uthorization" not in b"".join(proxy)
        shown = f"{monitoring!r} {monitoring} {failed.getrepr(showlocals=False)} {caplog.text}"
        for secret in (credentials, key["private_key"], key["private_key"].splitlines()[1]):
            assert secret not in shown

    @pytest.mark.parametrize(
        ("credentials", "wrong"),
        [
            ('{"private_key": "s3cret"}', NO_BASE64),
            ("s3cret-with-ümlaut", NO_BASE64),
            (encoded("s3cret"), NO_KEY),
            (encoded(["s3cret"]), NO_KEY),
            (encoded(5), NO_KEY),
            (base64.b64encode(b"{s3cret").decode(), NO_KEY),
            (base64.b64encode(b"\xffs3cret").decode(), NO_KEY),
            (encoded({"type": "authorized_user", "refresh_token": "s3cret"}), NO_KEY),
        ],
    )
    def test_that_are_none(self, credentials: str, wrong: str) -> None:
        with pytest.raises(MonitoringError, match=re.escape(wrong)) as e:
            CloudMonitoring(credentials).uptime(PROJECT, DAY)
        assert credentials not in str(e.value)
        assert "s3cret" not in str(e.value)
        assert e.value.__suppress_context__

    @pytest.mark.parametrize("damage", ["-----BEGIN PRIVATE KEY-----\ns3cret", "s3cret", 7])
    def test_whose_private_key_is_damaged(self, key: dict[str, str], damage: object) -> None:
        with pytest.raises(MonitoringError, match=NO_KEY) as e:
            CloudMonitoring(encoded(key | {"private_key": damage})).uptime(PROJECT, DAY)
        assert "s3cret" not in str(e.value)

    def test_may_be_base64_in_lines(self, key: dict[str, str], proxy: list[bytes]) -> None:
        lines = base64.encodebytes(json.dumps(key).encode()).decode()
        assert "\n" in lines.strip()

        with pytest.raises(MonitoringError, match="ServiceUnavailable"):
            CloudMonitoring(lines, retry_seconds=0.0).uptime(PROJECT, DAY)
        assert proxy

    def test_that_are_nowhere(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
        monkeypatch.setenv("NO_GCE_CHECK", "true")

        with pytest.raises(MonitoringError, match=r"set FXCI_ETL_MONITORING_CREDENTIALS, or") as e:
            CloudMonitoring().uptime(PROJECT, DAY)
        assert PROJECT in str(e.value)
        assert "\n" not in str(e.value)

    def test_in_a_file_that_cannot_be_read(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = tmp_path / "key.json"
        file.write_text('{"s3cret": ')
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))

        with pytest.raises(MonitoringError, match=r"key\.json") as e:
            CloudMonitoring().uptime(PROJECT, DAY)
        assert "s3cret" not in str(e.value)

    def test_are_not_sent_to_a_server_that_stands_in(
        self, serve: Serve, key: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        server = serve(Page())
        file = tmp_path / "key.json"
        file.write_text(json.dumps(key))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))

        client(server).uptime(PROJECT, DAY)

        assert "authorization" not in server.metadata[0]
        with pytest.raises(ValueError, match="clear text"):
            CloudMonitoring(encoded(key), stand_in_port=server.port)
