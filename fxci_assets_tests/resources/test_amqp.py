"""Pulse over AMQP, against a real RabbitMQ that is killed, and whose queues are deleted."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from fxci_assets.resources import amqp
from fxci_assets.resources.amqp import AmqpPulse, PulseError
from fxci_assets.resources.pulse import BatchLimits, PulseSession, PulseSource
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX, EXCHANGES
from fxci_assets_tests.rabbitmq import Broker

COMPLETED, FAILED, EXCEPTION, DEFINED = (EXCHANGE_PREFIX + name for name in EXCHANGES)
MANY = BatchLimits(messages=5_000, bytes=16_000_000, seconds=5.0)


def ignore(queue: str) -> None:
    """Not of interest: the queues were declared for this test."""


def source(broker: Broker, **settings: object) -> AmqpPulse:
    values: dict[str, object] = {
        "host": broker.host,
        "port": broker.port,
        "user": broker.user,
        "password": broker.password,
        "tls": False,
        **settings,
    }
    return AmqpPulse(**values)  # type: ignore[arg-type]


@pytest.fixture
def pulse(broker: Broker) -> Iterator[AmqpPulse]:
    """The four queues, declared and empty."""
    for name in EXCHANGES:
        broker.declare_exchange(EXCHANGE_PREFIX + name)
    pulse = source(broker)
    with pulse.open(ignore):
        pass
    yield pulse
    for queue in pulse.queues:
        broker.delete_queue(queue)


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp, "_BACKOFF", (0.01, 0.01))


def bodies(count: int, size: int = 0) -> list[bytes]:
    return [str(number).encode().ljust(size) for number in range(count)]


def drain(session: PulseSession, limits: BatchLimits = MANY) -> list[bytes]:
    """Everything, each batch acknowledged."""
    received = []
    while (batch := session.receive(limits)) is not None:
        received += [message.body for message in batch.messages]
        session.ack(batch)
    return received


@contextlib.contextmanager
def trickle(broker: Broker, pause: float) -> Iterator[None]:
    """A publisher that never stops."""
    done = threading.Event()

    def forever() -> Iterator[bytes]:
        while not done.wait(pause):
            yield b"{}"

    thread = threading.Thread(target=broker.publish, args=(COMPLETED, forever()))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_it_is_a_pulse_source(pulse: AmqpPulse) -> None:
    as_source: PulseSource = pulse
    assert as_source.queues == (
        "queue/admin/task-completed",
        "queue/admin/task-failed",
        "queue/admin/task-exception",
        "queue/admin/task-defined",
    )


class TestBatches:
    def test_closes_at_the_count(self, broker: Broker, pulse: AmqpPulse) -> None:
        broker.publish(COMPLETED, bodies(25))
        with pulse.open(ignore) as session:
            closed = []
            while (batch := session.receive(BatchLimits(messages=10))) is not None:
                closed.append((len(batch.messages), batch.closed_by))
        assert closed == [(10, "messages"), (10, "messages"), (5, "quiet")]

    def test_closes_at_the_bytes(self, broker: Broker, pulse: AmqpPulse) -> None:
        broker.publish(COMPLETED, bodies(10, size=1_000))
        with pulse.open(ignore) as session:
            batch = session.receive(BatchLimits(bytes=2_500))
        assert batch is not None
        assert (len(batch.messages), batch.closed_by) == (3, "bytes")

    def test_closes_at_the_age_of_its_first_message(self, broker: Broker, pulse: AmqpPulse) -> None:
        with trickle(broker, 0.05), pulse.open(ignore) as session:
            began = time.monotonic()
            batch = session.receive(BatchLimits(seconds=1))
            took = time.monotonic() - began
        assert batch is not None
        assert batch.closed_by == "seconds"
        assert 1 <= took < 2
        assert 5 < len(batch.messages) < 25

    def test_of_large_messages_hold_no_more_than_a_few_batches_in_memory(
        self, broker: Broker, pulse: AmqpPulse
    ) -> None:
        """A task may have megabytes of tags; what all queues send ahead is not held at once."""
        large = bodies(20, 1_000_000)
        for exchange in (COMPLETED, FAILED, EXCEPTION, DEFINED):
            broker.publish(exchange, large)
        with pulse.open(ignore) as session:
            tracemalloc.start()
            try:
                received = 0
                while (batch := session.receive(BatchLimits(bytes=4_000_000))) is not None:
                    received += len(batch.messages)
                    session.ack(batch)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert received == 80
        assert peak < 20_000_000

    def test_says_where_each_message_came_from_and_when(
        self, broker: Broker, pulse: AmqpPulse
    ) -> None:
        broker.publish(FAILED, [b"1"], routing_key="primary.abc.0")
        began = dt.datetime.now(dt.UTC)
        with pulse.open(ignore) as session:
            batch = session.receive(MANY)
        assert batch is not None
        assert batch.messages == [(FAILED, "primary.abc.0", b"1")]
        assert began <= batch.received_at <= dt.datetime.now(dt.UTC)

    def test_a_routing_key_that_no_text_can_hold_is_received_all_the_same(
        self, broker: Broker, pulse: AmqpPulse
    ) -> None:
        broker.publish(FAILED, [b"1"], routing_key="primary.\ud800.é")
        with pulse.open(ignore) as session:
            batch = session.receive(MANY)
        assert batch is not None
        [message] = batch.messages
        assert message.routing_key == r"primary.\xed\xa0\x80.é"
        assert message.routing_key.encode()

    @pytest.mark.parametrize("encoding", [None, "utf-8", "gzip", "no-such-codec"])
    def test_bodies_are_never_altered(
        self, broker: Broker, pulse: AmqpPulse, encoding: str | None
    ) -> None:
        sent = [b'{"a": "\xc3\xa4"}', b"\xff\xfe\x00", b"", b"\r\n \x00", bytes(300_000)]
        broker.publish(COMPLETED, sent, content_encoding=encoding)
        with pulse.open(ignore) as session:
            received = drain(session)
        assert received == sent
        assert {type(body) for body in received} == {bytes}


class TestTheEnd:
    def test_of_a_full_queue_is_exact(self, broker: Broker, pulse: AmqpPulse) -> None:
        sent = bodies(30_000)
        for number, name in enumerate(EXCHANGES):
            broker.publish(EXCHANGE_PREFIX + name, sent[number::4])
        with pulse.open(ignore) as session:
            received = drain(session)
            assert set(pulse.depth().values()) == {0}
        assert sorted(received) == sorted(sent)
        assert set(pulse.depth().values()) == {0}  # nothing came back

    def test_of_an_empty_queue_comes_at_once(self, pulse: AmqpPulse) -> None:
        with pulse.open(ignore) as session:
            began = time.monotonic()
            assert session.receive(MANY) is None
            assert time.monotonic() - began < 2

    def test_is_not_for_ever(self, broker: Broker, pulse: AmqpPulse) -> None:
        with pulse.open(ignore) as session:
            assert drain(session) == []
            broker.publish(DEFINED, [b"later"])
            assert drain(session) == [b"later"]

    @pytest.mark.parametrize("pause", [0.02, 0.2, 0.7])
    def test_comes_under_a_trickle(self, broker: Broker, pulse: AmqpPulse, pause: float) -> None:
        broker.publish(COMPLETED, bodies(100))
        with trickle(broker, pause), pulse.open(ignore) as session:
            received = drain(session, BatchLimits(seconds=1))
        assert {body for body in received if body != b"{}"} == set(bodies(100))

    def test_what_is_on_its_way_when_age_closes_a_batch_stays_within_the_limits(
        self, broker: Broker, pulse: AmqpPulse
    ) -> None:
        """With everything sent ahead the counts are 0, though nearly all is still unread."""
        broker.publish(COMPLETED, bodies(9_000, size=500))
        with pulse.open(ignore) as session:
            sizes, received = [], []
            limits = BatchLimits(messages=1_000, seconds=0.005)
            while (batch := session.receive(limits)) is not None:
                sizes.append(len(batch.messages))
                received += [message.body for message in batch.messages]
                session.ack(batch)
        assert received == bodies(9_000, size=500)
        assert max(sizes) <= 1_000

    def test_does_not_come_while_messages_are_ready(
        self, broker: Broker, pulse: AmqpPulse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The prefetch is full of what the caller did not acknowledge: an error, not the end."""
        monkeypatch.setattr(amqp, "_STALL", 1.0)
        broker.publish(COMPLETED, bodies(20))
        with source(broker, prefetch=10).open(ignore) as session:
            first = session.receive(MANY)
            assert first is not None
            assert (len(first.messages), first.closed_by) == (10, "quiet")
            with pytest.raises(PulseError, match=r"task-completed: 10.*acknowledge"):
                session.receive(MANY)


class TestAcknowledging:
    def test_what_was_not_acknowledged_comes_again(self, broker: Broker, pulse: AmqpPulse) -> None:
        broker.publish(COMPLETED, bodies(10))
        with pulse.open(ignore) as session:
            assert session.receive(MANY) is not None
        with pulse.open(ignore) as session:
            assert drain(session) == bodies(10)

    def test_covers_the_batches_before_and_none_after(
        self, broker: Broker, pulse: AmqpPulse
    ) -> None:
        broker.publish(COMPLETED, bodies(50))
        with pulse.open(ignore) as session:
            batches = [session.receive(BatchLimits(messages=10)) for _ in range(3)]
            first, second, third = batches
            assert first is not None and second is not None and third is not None
            session.ack(second)
            session.ack(first)
            session.ack(second)
        with pulse.open(ignore) as session:
            assert sorted(drain(session)) == sorted(bodies(50)[20:])


class TestLostConnections:
    def test_closed_by_the_broker(
        self, broker: Broker, pulse: AmqpPulse, caplog: pytest.LogCaptureFixture
    ) -> None:
        broker.publish(COMPLETED, bodies(2_000))
        with caplog.at_level(logging.WARNING), pulse.open(ignore) as session:
            batch = session.receive(BatchLimits(messages=1_000))
            assert batch is not None
            broker.close_all_connections()
            session.ack(batch)
            received = drain(session)
        assert set(received) == set(bodies(2_000))  # none was acknowledged: all came again
        assert set(pulse.depth().values()) == {0}
        assert "come again" in caplog.text
        assert broker.password not in caplog.text

    def test_nothing_is_acknowledged_over_another_connection(
        self, broker: Broker, pulse: AmqpPulse
    ) -> None:
        broker.publish(COMPLETED, bodies(10))
        with pulse.open(ignore) as session:
            lost = session.receive(BatchLimits(messages=10))
            broker.close_all_connections()
            again = session.receive(BatchLimits(messages=10))
            assert lost is not None and again is not None
            assert sorted(lost.messages) == sorted(again.messages)
            session.ack(lost)
        with pulse.open(ignore) as session:
            assert sorted(drain(session)) == sorted(bodies(10))

    def test_in_the_middle_of_a_batch(self, broker: Broker, pulse: AmqpPulse) -> None:
        broker.publish(COMPLETED, bodies(100))
        with pulse.open(ignore) as session:
            closer = threading.Timer(0.2, broker.close_all_connections)
            closer.start()
            with trickle_of_its_own(broker, FAILED, 0.1, 15):
                received = drain(session, BatchLimits(seconds=3))
            closer.join()
        assert set(bodies(100)) <= set(received)

    def test_killed_and_started_again(self, broker: Broker, pulse: AmqpPulse) -> None:
        broker.publish(COMPLETED, bodies(3_000))
        with pulse.open(ignore) as session:
            batch = session.receive(BatchLimits(messages=1_000))
            assert batch is not None
            broker.kill()
            starter = threading.Thread(target=broker.start)
            starter.start()
            session.ack(batch)
            received = drain(session)
            starter.join()
        assert set(received) == set(bodies(3_000))
        assert set(pulse.depth().values()) == {0}

    def test_is_kept_while_a_batch_takes_long(
        self,
        broker: Broker,
        pulse: AmqpPulse,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Without heartbeats the broker would hang up after two seconds."""
        monkeypatch.setattr(amqp, "_HEARTBEAT", 1)
        with trickle(broker, 0.1), pulse.open(ignore) as session:
            batch = session.receive(BatchLimits(seconds=5))
        assert batch is not None
        assert batch.closed_by == "seconds"
        assert caplog.text == ""

    @pytest.mark.usefixtures("no_backoff")
    def test_gives_up_after_some_attempts(self, broker: Broker, pulse: AmqpPulse) -> None:
        try:
            with pulse.open(ignore) as session:
                broker.kill()
                with pytest.raises(PulseError, match="3 times in a row without progress"):
                    session.receive(MANY)
                with pytest.raises(PulseError, match="connection refused; check"):
                    pulse.depth()
        finally:
            broker.start()

    @pytest.mark.usefixtures("no_backoff")
    def test_reading_what_can_never_be_acknowledged_is_no_progress(
        self, broker: Broker, pulse: AmqpPulse
    ) -> None:
        broker.publish(COMPLETED, bodies(10))
        with (
            pulse.open(ignore) as session,
            pytest.raises(PulseError, match="without progress"),
        ):
            for _ in range(5):
                batch = session.receive(BatchLimits(messages=10))
                assert batch is not None
                broker.close_all_connections()
                session.ack(batch)


class TestMissingQueues:
    def test_are_reported_then_declared(self, broker: Broker, pulse: AmqpPulse) -> None:
        completed, failed, *_ = pulse.queues
        broker.delete_queue(completed)
        broker.delete_queue(failed)
        reported = {}
        with pulse.open(lambda queue: reported.update({queue: broker.ready(queue)})) as session:
            assert reported == {completed: None, failed: None}
            broker.publish(COMPLETED, [b"bound"])
            assert drain(session) == [b"bound"]

    def test_deleted_while_reading(self, broker: Broker, pulse: AmqpPulse) -> None:
        completed, *_ = pulse.queues
        reported: list[str] = []
        with pulse.open(reported.append) as session:
            broker.publish(COMPLETED, bodies(10))
            batch = session.receive(BatchLimits(messages=10))
            assert batch is not None
            broker.delete_queue(completed)
            broker.publish(FAILED, [b"goes on"])
            session.ack(batch)  # silently accepted by the broker
            with trickle_of_its_own(broker, COMPLETED, 0.1, 20):
                received = drain(session, BatchLimits(seconds=5))
        assert reported == [completed]
        assert b"goes on" in received
        assert len(received) > 15  # declared, bound and read again at once

    def test_an_existing_queue_is_taken_as_it_is(self, broker: Broker, pulse: AmqpPulse) -> None:
        completed, *_ = pulse.queues
        broker.delete_queue(completed)
        broker.declare_queue(completed, arguments={"x-max-length": 5})
        reported: list[str] = []
        with pulse.open(reported.append) as session:
            broker.publish(COMPLETED, bodies(3))
            assert drain(session) == bodies(3)
        assert reported == []

    @pytest.mark.parametrize("durable", [True, False])
    def test_durability_is_a_setting(self, broker: Broker, pulse: AmqpPulse, durable: bool) -> None:
        for queue in pulse.queues:
            broker.delete_queue(queue)
        with source(broker, durable=durable).open(ignore):
            for queue in pulse.queues:  # the broker refuses another durability
                broker.declare_queue(queue, durable=durable)

    def test_depth_leaves_them_out_and_declares_nothing(
        self, broker: Broker, pulse: AmqpPulse
    ) -> None:
        completed, failed, exception, defined = pulse.queues
        broker.delete_queue(failed)
        broker.publish(COMPLETED, bodies(3))
        assert pulse.depth() == {completed: 3, exception: 0, defined: 0}
        assert broker.ready(failed) is None

    def test_an_error_in_the_report_is_the_callers(self, broker: Broker, pulse: AmqpPulse) -> None:
        broker.delete_queue(pulse.queues[0])

        def full(queue: str) -> None:
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"), pulse.open(full):
            pass
        assert broker.ready(pulse.queues[0]) is None


class TestErrorsAreOneLine:
    @pytest.fixture(autouse=True)
    def no_retry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(amqp, "_BACKOFF", (60.0,))

    @pytest.fixture
    def trusted(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(broker.ca_file))

    def refused(self, pulse: AmqpPulse, what: str) -> str:
        reported: list[str] = []
        began = time.monotonic()
        with pytest.raises(PulseError, match=what) as raised, pulse.open(reported.append):
            pass
        assert time.monotonic() - began < 30  # not tried twice
        text = str(raised.value)
        assert text.startswith(f"{pulse.host}:{pulse.port}: ")
        assert "\n" not in text
        chain: BaseException | None = raised.value
        while chain is not None:
            assert pulse.password not in f"{chain!s} {chain!r}"
            chain = chain.__cause__ or chain.__context__
        assert reported == []
        with pytest.raises(PulseError):
            pulse.depth()
        return text

    @pytest.mark.usefixtures("trusted")
    def test_tls(self, broker: Broker, pulse: AmqpPulse) -> None:
        broker.publish(COMPLETED, bodies(100, size=3_000))
        with source(broker, port=broker.tls_port, tls=True).open(ignore) as session:
            assert drain(session) == bodies(100, size=3_000)

    def test_tls_of_an_unknown_authority(self, broker: Broker) -> None:
        text = self.refused(source(broker, port=broker.tls_port, tls=True), "not accepted")
        assert "SSL_CERT_FILE" in text

    @pytest.mark.usefixtures("trusted")
    def test_tls_of_another_host(self, broker: Broker) -> None:
        text = self.refused(
            source(broker, host="127.0.0.1", port=broker.tls_port, tls=True), "not accepted"
        )
        assert "mismatch" in text and "FXCI_ETL_PULSE_HOST" in text

    def test_tls_out_of_date(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        expired = authority.issue_cert(
            "localhost", not_after=dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        )
        with tls_server(expired) as port:
            self.refused(AmqpPulse("localhost", port, "u", "s3cret-word"), "expired.*in date")

    @pytest.mark.usefixtures("trusted")
    def test_tls_where_there_is_none(self, broker: Broker) -> None:
        self.refused(source(broker, tls=True), "no TLS.*FXCI_ETL_PULSE_PORT.*FXCI_ETL_PULSE_TLS")

    def test_no_tls_where_there_is(self, broker: Broker) -> None:
        self.refused(source(broker, port=broker.tls_port), "set FXCI_ETL_PULSE_TLS to true")

    def test_wrong_password(self, broker: Broker) -> None:
        self.refused(source(broker, password="wr0ng"), "login refused for user admin; check")

    def test_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.refused(AmqpPulse("localhost", port, "u", "s3cret-word"), "connection refused; check")

    def test_nobody_answers(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            for tls in (True, False):
                pulse = AmqpPulse(
                    "localhost", port, "u", "s3cret-word", tls=tls, connect_timeout=0.3
                )
                self.refused(pulse, r"no answer within 0\.3 s")

    def test_no_such_host(self) -> None:
        self.refused(
            AmqpPulse("pulse.invalid", 5671, "u", "s3cret-word"), "check FXCI_ETL_PULSE_HOST"
        )

    def test_missing_exchange(self, broker: Broker, pulse: AmqpPulse) -> None:
        broker.delete_exchange(EXCEPTION)
        broker.delete_queue(pulse.queues[0])
        reported: list[str] = []
        with pytest.raises(PulseError, match=EXCEPTION), pulse.open(reported.append):
            pass
        assert reported == []
        assert broker.ready(pulse.queues[0]) is None

    @pytest.mark.parametrize(
        ("rights", "lacks"),
        [
            ({"write": ".*", "read": ".*"}, "configure queue queue/guest1/task-completed"),
            ({"configure": ".*", "read": ".*"}, "bind queue queue/guest1/task-completed to"),
            ({"configure": ".*", "write": ".*"}, "bind queue queue/guest1/task-completed to"),
            (
                {"configure": ".*", "write": ".*", "read": "^exchange/"},
                "read a queue: ACCESS_REFUSED - access to queue 'queue/guest1/",
            ),
        ],
    )
    @pytest.mark.usefixtures("pulse")
    def test_missing_right(self, broker: Broker, rights: dict[str, str], lacks: str) -> None:
        broker.add_user("guest1", "s3cret-word", **rights)
        guest = source(broker, user="guest1", password="s3cret-word")
        try:
            with (
                pytest.raises(PulseError, match=f"guest1 lacks the right to {lacks}") as raised,
                guest.open(ignore) as session,
            ):
                session.receive(MANY)
            assert "\n" not in str(raised.value)
        finally:
            broker.ctl("delete_user", "guest1")
            for queue in guest.queues:
                broker.delete_queue(queue)

    def test_no_right_to_the_virtual_host(self, broker: Broker) -> None:
        broker.add_user("guest2", "s3cret-word")
        broker.ctl("clear_permissions", "guest2")
        self.refused(source(broker, user="guest2"), "guest2 may not use the virtual host")

    @pytest.mark.parametrize("empty", ["user", "password"])
    def test_no_login(self, broker: Broker, empty: str) -> None:
        with pytest.raises(PulseError, match="must not be empty"):
            source(broker, **{empty: ""})

    def test_the_password_is_not_shown(self, broker: Broker, pulse: AmqpPulse) -> None:
        assert broker.password not in repr(pulse)
        with pulse.open(ignore) as session:
            assert broker.password not in repr(session)


@contextlib.contextmanager
def trickle_of_its_own(broker: Broker, exchange: str, pause: float, count: int) -> Iterator[None]:
    """A publisher whose connection may be closed under it."""

    def publish() -> None:
        for number in range(count):
            time.sleep(pause)
            with contextlib.suppress(Exception):
                broker.publish(exchange, [f"own {number}".encode()])

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextlib.contextmanager
def tls_server(certificate: trustme.LeafCert) -> Iterator[int]:
    """Shakes hands, and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with contextlib.suppress(OSError), client:
                        context.wrap_socket(client, server_side=True)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
