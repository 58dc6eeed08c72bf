"""A simulated day on a real broker, so that what reads from pulse can be tried over AMQP.

Here belongs the way to the broker only. It must be on this machine: nothing simulated ever reaches
a broker that others read from.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
from collections.abc import Callable, Mapping

import amqp

from fxci_assets.sandbox import SimulatorError
from fxci_assets.sandbox.firefox_ci import World
from fxci_assets.sandbox.messages import published
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX, EXCHANGES

_UNCONFIRMED = 5_000
"""So many messages may be on their way when the ones before must have been confirmed."""

_CONFIRM_SECONDS = 60

_PERSISTENT = 2

# py-amqp gives a peer one second to acknowledge bytes, and a broker under flow control takes
# longer. 0 is the system's own patience.
_PATIENT = {socket.TCP_USER_TIMEOUT: 0} if hasattr(socket, "TCP_USER_TIMEOUT") else {}


def publish_day(
    date: dt.date,
    tasks_per_day: int,
    seed: int,
    *,
    host: str,
    port: int,
    user: str,
    password: str,
    vhost: str = "/",
    progress: Callable[[int], None] = lambda count: None,
) -> Mapping[str, int]:
    """Publish all that the simulated Firefox-CI publishes on a UTC day, and say how much went to
    each queue. On return the broker has confirmed every message. `progress` is told the count so
    far, now and then."""
    _refuse_others(host)
    start = dt.datetime.combine(date, dt.time(), dt.UTC)
    counts = dict.fromkeys((f"queue/{user}/{name}" for name in EXCHANGES), 0)
    # py-amqp itself, not kombu: nothing here should choose a transport.
    connection = amqp.Connection(
        host=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        userid=user,
        password=password,
        virtual_host=vhost,
        connect_timeout=10,
        socket_settings=_PATIENT,
    )
    # Otherwise py-amqp polls the socket before each message, to learn whether it is blocked.
    connection.negotiate_capabilities = {}
    try:
        connection.connect()
    except (OSError, amqp.exceptions.AMQPError) as error:
        raise SimulatorError(
            f"no broker takes user {user} at {host}:{port} ({error}): start RabbitMQ there, or "
            "name another with --host and --port"
        ) from error
    with connection:
        channel = connection.channel()
        for name in EXCHANGES:
            exchange, queue = EXCHANGE_PREFIX + name, f"queue/{user}/{name}"
            channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
            channel.queue_declare(queue, durable=True, exclusive=False, auto_delete=False)
            channel.queue_bind(queue, exchange, "#")
        confirms = _Confirms(channel)
        world = World(seed, tasks_per_day)
        for message in published(world, start, start + dt.timedelta(days=1)):
            body = amqp.Message(
                message.body, content_type="application/json", delivery_mode=_PERSISTENT
            )
            channel.basic_publish(body, message.exchange, message.routing_key)
            counts[f"queue/{user}/{message.exchange.removeprefix(EXCHANGE_PREFIX)}"] += 1
            confirms.sent += 1
            if confirms.sent % _UNCONFIRMED == 0:
                confirms.wait(connection, confirms.sent - _UNCONFIRMED)
                progress(confirms.sent)
        confirms.wait(connection, confirms.sent)
        progress(confirms.sent)
    return counts


class _Confirms:
    """Publisher confirms in bulk; py-amqp's own way waits for each message by itself."""

    def __init__(self, channel: amqp.Channel) -> None:
        self.sent = 0
        self._open: set[int] = set()  # confirmed one by one, beyond `_all_until`
        self._all_until = 0
        self._refused = 0
        channel.events["basic_ack"].add(self._confirmed)
        channel.events["basic_nack"].add(self._refuse)
        channel.confirm_select()

    def wait(self, connection: amqp.Connection, until: int) -> None:
        """Until the broker has confirmed the first `until` messages."""
        while self._all_until < until and not self._refused:
            try:
                connection.drain_events(timeout=_CONFIRM_SECONDS)
            except TimeoutError:
                raise SimulatorError(
                    f"the broker has confirmed nothing for {_CONFIRM_SECONDS} seconds; "
                    f"{self._all_until} of {self.sent} messages are in its queues for certain"
                ) from None
        if self._refused:
            raise SimulatorError(f"the broker refused message {self._refused} of the simulated day")

    def _confirmed(self, delivery_tag: int, multiple: bool) -> None:
        if multiple:
            self._all_until = max(self._all_until, delivery_tag)
        else:
            self._open.add(delivery_tag)
        while self._all_until + 1 in self._open:
            self._all_until += 1
            self._open.discard(self._all_until)

    def _refuse(self, delivery_tag: int, multiple: bool) -> None:
        self._refused = delivery_tag


def _refuse_others(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise SimulatorError(
            f"simulated messages are only ever published to this machine, not to {host}"
        )
