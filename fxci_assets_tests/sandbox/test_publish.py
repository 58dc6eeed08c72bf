"""A simulated day reaches a broker of this machine whole, and no other broker at all."""

from __future__ import annotations

import datetime as dt

import amqp
import pytest

from fxci_assets.sandbox import SimulatorError
from fxci_assets.sandbox.firefox_ci import World
from fxci_assets.sandbox.messages import published
from fxci_assets.sandbox.publish import publish_day
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX, EXCHANGES
from fxci_assets_tests.rabbitmq import Broker

DAY = dt.date(2026, 3, 4)


@pytest.mark.parametrize("host", ["pulse.mozilla.org", "10.0.0.1", "localhost.example.com", ""])
def test_a_broker_elsewhere_is_refused_by_name(host: str) -> None:
    with pytest.raises(SimulatorError) as error:
        publish_day(DAY, 10, 1, host=host, port=5672, user="guest", password="guest")

    assert str(error.value).endswith(f"not to {host}")
    assert "\n" not in str(error.value)


def test_all_of_a_day_is_in_durable_queues_on_return(broker: Broker) -> None:
    start = dt.datetime.combine(DAY, dt.time(), dt.UTC)
    expected = list(published(World(1, 300), start, start + dt.timedelta(days=1)))
    for exchange in EXCHANGES:
        broker.delete_queue(f"queue/{broker.user}/{exchange}")
    told: list[int] = []

    counts = publish_day(
        DAY,
        300,
        1,
        host="127.0.0.1",
        port=broker.port,
        user=broker.user,
        password=broker.password,
        progress=told.append,
    )

    assert sum(counts.values()) == told[-1] == len(expected)
    assert list(counts) == [f"queue/{broker.user}/{exchange}" for exchange in EXCHANGES]
    login = {"userid": broker.user, "password": broker.password}
    with amqp.Connection(host=f"127.0.0.1:{broker.port}", **login) as connection:
        channel = connection.channel()
        for exchange, (queue, count) in zip(EXCHANGES, counts.items(), strict=True):
            sent = [m for m in expected if m.exchange == EXCHANGE_PREFIX + exchange]
            declared = channel.queue_declare(queue, durable=True, auto_delete=False)
            assert declared.message_count == count == len(sent)
            received = [channel.basic_get(queue, no_ack=True) for _ in range(count)]
            assert [message.body for message in received] == [m.body for m in sent]
            assert [m.delivery_info["routing_key"] for m in received] == [
                m.routing_key for m in sent
            ]
            assert {message.properties["delivery_mode"] for message in received} == {2}
            channel.queue_delete(queue)
