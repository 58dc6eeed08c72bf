"""Pulse over AMQP 0-9-1, through kombu's py-amqp transport.

Here belongs what the broker and the network do to us: TLS, rights, missing queues, lost
connections, and when a queue is empty. What a message means, where it is filed and when it may be
acknowledged do not belong here.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import logging
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import amqp as _amqp
from kombu.connection import Connection as _KombuConnection

from fxci_assets.resources.pulse import Batch, BatchLimits, Message
from fxci_assets.settings import variable
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX, EXCHANGES
from fxci_assets.texts import one_line

_log = logging.getLogger(__name__)

_HOST, _PORT, _TLS, _USER, _PASSWORD = (
    variable("pulse", key) for key in ("host", "port", "tls", "user", "password")
)
"""The names of settings, for errors."""

_QUIET = 0.5
"""Seconds without a message after which the queues' counts are asked for."""

_REPLY = 30.0
"""Seconds in which the broker must answer, or take what we send."""

_FAREWELL = 5.0
"""Seconds in which it must answer when we leave."""

_HEARTBEAT = 60
"""Seconds; the broker hangs up after two of these without a sign of life from us, which is how long
a batch may take to be filed."""

_BACKOFF = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each attempt to connect again; as many attempts without progress as entries."""

_STALL = 60.0
"""Seconds for which a queue may have messages ready and deliver none."""


class PulseError(Exception):
    """What a person has to put right; one line, without the password."""


class _LostError(Exception):
    """The connection is gone or no longer of use; another may work."""


class _Token(NamedTuple):
    channel: object
    last: int


@dataclass(frozen=True, slots=True)
class AmqpPulse:
    """The queues `queue/<user>/<name>` on a broker, each bound to its exchange with `#`.

    `durable` is for queues that are declared here; one that exists is taken as it is. `prefetch` is
    what each queue sends ahead of its acknowledgement: at least a batch, or only time closes one,
    and four times that is the most that is ever held in memory.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    tls: bool = True
    durable: bool = True
    prefetch: int = 10_000
    connect_timeout: float = 15.0

    def __post_init__(self) -> None:
        # kombu would put guest in their place.
        if not self.user or not self.password:
            raise PulseError(f"{_USER} and {_PASSWORD} must not be empty")

    @property
    def queues(self) -> tuple[str, ...]:
        return tuple(f"queue/{self.user}/{name}" for name in EXCHANGES)

    def depth(self) -> Mapping[str, int]:
        """Messages ready in each queue; declares nothing, and ends its connection at once."""
        try:
            with contextlib.closing(_Connection(self)) as connection:
                return connection.counts(self.queues)
        except _LostError as error:
            raise PulseError(str(error)) from error

    @contextlib.contextmanager
    def open(self, on_missing: Callable[[str], None]) -> Iterator[_Session]:
        """Connect, bind the queues, and declare those that are missing after telling `on_missing`.
        Nothing is tried twice here: what fails now is likely to be a setting."""
        session = _Session(self, on_missing)
        try:
            try:
                session.connect()
            except _LostError as error:
                raise PulseError(str(error)) from error
            yield session
        finally:
            session.close()


class _Connection:
    """One connection, with py-amqp's errors turned into ours. Has two channels: the broker closes
    a channel on which something is found missing, and all that was delivered over it comes again,
    so questions have one of their own."""

    def __init__(self, pulse: AmqpPulse) -> None:
        self._pulse = pulse
        self.where = f"{pulse.host}:{pulse.port}"
        with self._connecting():
            self._amqp: Any = _KombuConnection(  # type: ignore[no-untyped-call]
                transport="pyamqp",  # not amqp, which is librabbitmq where that can be imported
                hostname=pulse.host,
                port=pulse.port,
                userid=pulse.user,
                password=pulse.password,
                virtual_host="/",
                connect_timeout=pulse.connect_timeout,
                heartbeat=_HEARTBEAT,
                # With a server_hostname py-amqp verifies that name beside the chain, against the
                # system's CAs or those of SSL_CERT_FILE. (Its other form, `context`, would hang on
                # a peer that never finishes the handshake.)
                ssl={"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": pulse.host}
                if pulse.tls
                else False,
                transport_options={
                    "login_method": "PLAIN",
                    # py-amqp lets the kernel drop a connection when what we sent is not
                    # acknowledged within one second: a few lost packets, or a busy broker.
                    "socket_settings": {socket.TCP_USER_TIMEOUT: int(_REPLY * 1000)}
                    if hasattr(socket, "TCP_USER_TIMEOUT")
                    else {},
                },
            ).transport.establish_connection()
        self._patience = 0.0
        try:
            with self.talking("open a channel"):
                self.channel: Any = self._amqp.channel()
                # Else bodies are decoded where a message names an encoding.
                self.channel.auto_decode = False
                self.channel.basic_qos(0, pulse.prefetch, a_global=False)
                self._questions: Any = self._amqp.channel()
        except BaseException:
            self.hang_up()
            raise

    @contextlib.contextmanager
    def talking(self, doing: str) -> Iterator[None]:
        """Turns what may go wrong on an open connection into _LostError, and a missing right into
        PulseError."""
        try:
            self._wait_at_most(_REPLY)
            yield
        except _amqp.AccessRefused as error:
            raise PulseError(
                f"{self.where}: user {self._pulse.user} lacks the right to {doing}: {_said(error)}"
            ) from error
        except (OSError, _amqp.AMQPError) as error:
            raise self.lost(error) from error

    def lost(self, error: Exception) -> _LostError:
        if isinstance(error, TimeoutError):
            return _LostError(f"{self.where}: no answer within {self._patience:g} s")
        return _LostError(f"{self.where}: {_said(error)}")

    @contextlib.contextmanager
    def _connecting(self) -> Iterator[None]:
        pulse, where = self._pulse, self.where
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise PulseError(
                f"{where}: the certificate is not accepted: {error.verify_message.rstrip('.')}; "
                f"{_HOST} must be the name in it, it must be in date, and a CA of your own is "
                "named by SSL_CERT_FILE"
            ) from error
        except ssl.SSLEOFError as error:  # an SSLError, but what a broker that restarts does
            raise _LostError(f"{where}: hung up during the TLS handshake") from error
        except ssl.SSLError as error:
            raise PulseError(
                f"{where}: no TLS ({error.reason}); check {_PORT} (5671 with TLS, 5672 "
                f"without) and {_TLS}"
            ) from error
        except _amqp.AccessRefused as error:
            raise PulseError(
                f"{where}: login refused for user {pulse.user}; check {_USER} and {_PASSWORD}"
            ) from error
        except _amqp.NotAllowed as error:
            raise PulseError(
                f"{where}: user {pulse.user} may not use the virtual host /: {_said(error)}"
            ) from error
        except socket.gaierror as error:
            raise _LostError(f"{where}: {error.strerror}; check {_HOST}") from error
        except ConnectionRefusedError as error:
            raise _LostError(
                f"{where}: connection refused; check {_HOST} and {_PORT}, and that the broker runs"
            ) from error
        except TimeoutError as error:
            raise _LostError(
                f"{where}: no answer within {pulse.connect_timeout:g} s; check {_HOST}, "
                f"{_PORT} and the firewall"
            ) from error
        except (OSError, _amqp.AMQPError) as error:
            hint = "" if pulse.tls else f"; if it expects TLS, set {_TLS} to true"
            raise _LostError(f"{where}: {_said(error)}{hint}") from error

    def check_exchange(self, name: str) -> None:
        """Exchanges are the publisher's: asked for, never declared."""
        with self.talking(f"use exchange {name}"):
            try:
                self._questions.exchange_declare(name, "topic", passive=True, auto_delete=False)
            except _amqp.NotFound as error:
                raise PulseError(
                    f"{self.where}: exchange {name} does not exist; is this Taskcluster's pulse?"
                ) from error

    def counts(self, queues: Iterable[str]) -> dict[str, int]:
        """Messages ready in each of the queues that exist."""
        counts = {}
        for queue in queues:
            with self.talking(f"ask for queue {queue}"):
                try:
                    found = self._questions.queue_declare(queue, passive=True)
                except _amqp.NotFound as error:
                    # py-amqp opens the channel again by itself. That of the consumers has none
                    # then: what they were refused is said in whatever is read next.
                    if error.method_sig != _amqp.spec.Queue.Declare:
                        raise
                else:
                    counts[queue] = found.message_count
        return counts

    def declare(self, queue: str) -> None:
        with self.talking(f"configure queue {queue}"):
            self._questions.queue_declare(queue, durable=self._pulse.durable, auto_delete=False)

    def bind(self, queue: str) -> None:
        """Does nothing where it is bound already."""
        exchange = EXCHANGE_PREFIX + queue.rpartition("/")[2]
        with self.talking(f"bind queue {queue} to exchange {exchange}"):
            self._questions.queue_bind(queue, exchange, "#")

    def read(self, seconds: float) -> bool:
        """Take one method, a delivery perhaps, from the broker; False if the time passed first."""
        try:
            self._wait_at_most(seconds)
            self._amqp.drain_events()
        except TimeoutError:
            return False
        except _amqp.AccessRefused as error:
            raise PulseError(
                f"{self.where}: user {self._pulse.user} lacks the right to read a queue: "
                f"{_said(error)}"
            ) from error
        except (OSError, _amqp.AMQPError) as error:
            raise self.lost(error) from error
        except (UnicodeDecodeError, struct.error) as error:
            # A routing key or a header, of which the publisher is not Taskcluster. The message
            # cannot be read, so it cannot be filed, and is not acknowledged.
            raise PulseError(
                f"{self.where}: py-amqp cannot decode a message's envelope ({error}): its queue "
                "must be freed of it by hand"
            ) from error
        return True

    def _wait_at_most(self, seconds: float) -> None:
        # On the socket, and only where it changes: py-amqp would wait for a reply for ever, and
        # a timeout given to each drain_events costs two system calls a frame.
        if seconds != self._patience:
            self._amqp.sock.settimeout(seconds)
            self._patience = seconds

    def consume(
        self,
        queue: str,
        tag: str,
        on_message: Callable[[Any], None],
        on_cancel: Callable[[str], None],
    ) -> None:
        """Ask for a queue's messages. The answer is not waited for: it would come behind all that
        the queues before it send ahead, which may be more than memory holds. So a missing right is
        found by `read`."""
        with self.talking(f"read queue {queue}"):
            self.channel.basic_consume(
                queue, tag, nowait=True, callback=on_message, on_cancel=on_cancel
            )

    def cancel(self, tag: str) -> None:
        with self.talking("cancel"):
            self.channel.basic_cancel(tag)

    def ack(self, last: int) -> None:
        with self.talking("acknowledge"):
            self.channel.basic_ack(last, multiple=True)

    def settle(self) -> None:
        """Return when the broker has taken all that was sent on `channel`: it answers in order."""
        with self.talking("set the prefetch"):
            self.channel.basic_qos(0, self._pulse.prefetch, a_global=False)

    def tick(self) -> None:
        """Send a heartbeat if one is due, and find out whether the broker's are missing."""
        with self.talking("send a heartbeat"):
            self._amqp.heartbeat_tick()

    def close(self) -> None:
        # In order, not by hanging up: with deliveries unread that would be a reset, which can
        # destroy an acknowledgement on its way. After an interrupt in the middle of a frame
        # nothing of what is read makes sense, hence any Exception.
        with contextlib.suppress(Exception):
            self._wait_at_most(_FAREWELL)
            self._amqp.close()
        self.hang_up()

    def hang_up(self) -> None:
        with contextlib.suppress(OSError, _amqp.AMQPError):
            self._amqp.collect()


class _Session:
    """A connection that is made again when it is lost, and consumers on the queues.

    **The end.** Silence does not mean that a queue is empty, and neither does a count of 0: what
    is on its way to us is not counted, and a trickle may never end. So when a batch closes by quiet
    or by age, each queue's count is asked. If all are 0, all that was in the queues at that moment
    has been sent to us, though not all of it may have arrived. Then the consumers are cancelled. A
    classic queue's process answers a cancel after its deliveries, over the same channel and socket,
    so what was on its way comes before the answer, and nothing after it. What was in the queues
    when they were counted is then in our hands: it is returned, in batches within the limits, and
    then None, whatever came to the queues since. The next `receive` after that starts again. Before
    None the broker has answered on the channel of the acknowledgements, so it has taken them; if it
    does not answer, they may be lost, and everything is read again.

    A count leaves out what another connection holds unacknowledged. One of ours that broke without
    the broker noticing holds its messages until two heartbeats have passed; they come next time.
    (A quorum queue may send after its answer: py-amqp rejects that, it goes back to the queue.)
    """

    def __init__(self, pulse: AmqpPulse, on_missing: Callable[[str], None]) -> None:
        self._pulse = pulse
        self._on_missing = on_missing
        self._connection: _Connection | None = None
        self._consumers: dict[str, str] = {}
        """Queue by consumer tag."""
        self._tags = itertools.count(1)
        self._gone: set[str] = set()
        """Queues that were deleted under their consumer."""
        self._inbox: deque[tuple[int, Message]] = deque()
        """Delivered and in no batch yet, by delivery tag."""
        self._drained = False
        """No consumers, and all that the queues held is in the inbox or was returned."""
        self._acked = 0
        self._failures = 0
        self._last_error: _LostError | None = None

    def connect(self) -> None:
        connection = _Connection(self._pulse)
        try:
            for name in EXCHANGES:
                connection.check_exchange(EXCHANGE_PREFIX + name)
            present = connection.counts(self._pulse.queues)
            for queue in self._pulse.queues:
                if queue in present:
                    connection.bind(queue)
                else:
                    self._declare_missing(connection, queue)
        except BaseException:
            connection.hang_up()
            raise
        self._connection = connection

    def close(self) -> None:
        if self._connection is not None:
            self._inbox = deque(maxlen=0)  # what still arrives comes again in another session
            self._connection.close()
            self._connection = None

    def receive(self, limits: BatchLimits) -> Batch | None:
        while True:
            try:
                batch = self._receive(self._connected(), limits)
            except _LostError as error:
                self._drop(error)
                continue
            # A batch alone is not progress: if each time the connection is lost before its
            # acknowledgement, the same messages would be read for ever.
            if batch is None or self._acked:
                self._failures = 0
            return batch

    def ack(self, batch: Batch) -> None:
        connection, token = self._connection, batch.token
        if (
            connection is None
            or not isinstance(token, _Token)
            or token.channel is not connection.channel
            or token.last <= self._acked
        ):
            return
        try:
            connection.ack(token.last)
        except _LostError as error:
            self._drop(error)
        else:
            self._acked = token.last

    def _connected(self) -> _Connection:
        if self._connection is None:
            if self._failures > len(_BACKOFF):
                raise PulseError(
                    f"{self._last_error} (lost {self._failures} times in a row without progress)"
                )
            time.sleep(_BACKOFF[self._failures - 1])
            self.connect()
        assert self._connection is not None
        return self._connection

    def _drop(self, error: _LostError) -> None:
        _log.warning("%s; unacknowledged messages come again", error)
        if self._connection is not None:
            self._connection.hang_up()
        self._connection = None
        self._consumers.clear()
        self._gone.clear()
        self._inbox.clear()
        self._drained = False
        self._acked = 0
        self._failures += 1
        self._last_error = error

    def _receive(self, connection: _Connection, limits: BatchLimits) -> Batch | None:
        inbox = self._inbox
        messages: list[Message] = []
        size = last = 0
        deadline = stalled_at = next_tick = 0.0
        closed_by: Literal["messages", "bytes", "seconds", "quiet"] = "quiet"

        def batch() -> Batch:
            token = _Token(connection.channel, last)
            return Batch(messages, dt.datetime.now(dt.UTC), closed_by, token)

        while True:
            while inbox:
                if not messages:
                    deadline = time.monotonic() + limits.seconds
                last, message = inbox.popleft()
                messages.append(message)
                size += len(message.body)
                if len(messages) >= limits.messages:
                    closed_by = "messages"
                    return batch()
                if size >= limits.bytes:
                    closed_by = "bytes"
                    return batch()

            if self._drained:
                if messages:
                    return batch()
                connection.settle()
                self._drained = False
                return None
            if len(self._consumers) < len(self._pulse.queues):
                self._consume(connection)
                continue  # deliveries may have come before the replies

            now = time.monotonic()
            if now >= next_tick:
                connection.tick()
                next_tick = now + 1
            wait = min(_QUIET, deadline - now) if messages else _QUIET
            if wait > 0 and connection.read(wait):
                continue

            closed_by = "seconds" if wait < _QUIET else "quiet"
            counts = self._ask(connection)
            if self._drained or self._gone:
                continue
            if messages:
                return batch()
            stalled_at = stalled_at or now
            if now - stalled_at > _STALL:
                raise PulseError(
                    f"{connection.where}: the broker has messages ready ({_listed(counts)}) and "
                    f"delivers none for {_STALL:g} s; acknowledge what was received, or raise the "
                    "prefetch"
                )

    def _ask(self, connection: _Connection) -> Mapping[str, int]:
        """Ask for the counts, and if all are 0 take what is on its way (see The end, above)."""
        counts = connection.counts(self._pulse.queues)
        for queue in self._pulse.queues:
            if queue not in counts:
                # The cancel of its consumer, still on its way perhaps, must not count again.
                self._gone.add(queue)
                self._consumers = {t: q for t, q in self._consumers.items() if q != queue}
        if not self._gone and not any(counts.values()):
            for tag in tuple(self._consumers):
                connection.cancel(tag)
                self._consumers.pop(tag, None)
            self._drained = not self._gone
        return counts

    def _consume(self, connection: _Connection) -> None:
        for queue in self._pulse.queues:
            if queue in self._consumers.values():
                continue
            if queue in self._gone:
                self._declare_missing(connection, queue)
                self._gone.discard(queue)
            # Never the same twice: a late cancel of one consumer is not that of the next.
            tag = f"fxci-{next(self._tags)}"
            self._consumers[tag] = queue
            connection.consume(queue, tag, self._on_message, self._on_cancel)

    def _declare_missing(self, connection: _Connection, queue: str) -> None:
        self._on_missing(queue)
        connection.declare(queue)
        connection.bind(queue)

    def _on_message(self, message: _amqp.Message) -> None:
        info = message.delivery_info
        key = info["routing_key"]
        if not key.isascii():
            # py-amqp lets half a surrogate pair pass, which no text that is stored can hold.
            key = key.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace")
        # An empty body is the str that py-amqp starts with.
        body = message.body or b""
        self._inbox.append((info["delivery_tag"], Message(info["exchange"], key, body)))

    def _on_cancel(self, tag: str) -> None:
        """The broker ended a consumer: its queue was deleted. Only noted, as we are in the middle
        of a read."""
        queue = self._consumers.pop(tag, None)
        if queue is not None:
            self._gone.add(queue)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{queue}: {count}" for queue, count in counts.items() if count)


def _said(error: Exception) -> str:
    text = error.reply_text if isinstance(error, _amqp.AMQPError) else str(error)
    return one_line(text or type(error).__name__)
