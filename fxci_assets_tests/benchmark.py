"""How fast messages become rows, beside how fast they can be read at all.

    python -m fxci_assets_tests.benchmark --messages 200000

Starts a RabbitMQ of its own, publishes simulated messages, and reads them twice: with a bare
py-amqp channel that acknowledges and forgets, and with a drain that makes them durable. Then the
day is built, and at last the command itself is run, for its memory. Machines differ and are noisy:
what counts are the ratios of one run. `test_benchmark.py` runs it small.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import amqp

from fxci_assets.builders.tasks import TaskBuilder
from fxci_assets.drain import DrainLimits
from fxci_assets.pipeline import Pipeline
from fxci_assets.resources.amqp import AmqpPulse
from fxci_assets.resources.pulse import BatchLimits
from fxci_assets.sandbox.firefox_ci import World
from fxci_assets.sandbox.messages import published
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX, EXCHANGES
from fxci_assets_tests.rabbitmq import Broker
from fxci_assets_tests.taskcluster_server import knowing_nothing
from fxci_assets_tests.test_pipeline import make_pipeline

DAY = dt.date(2026, 4, 13)


@dataclass(frozen=True, slots=True)
class Measured:
    """Messages a second, and what a drain with its rebuilds takes at its most."""

    messages: int
    channel: float
    drain: float
    build: float
    command_seconds: float
    command_megabytes: float

    def describe(self) -> str:
        return "\n".join(
            [
                f"{self.messages:,} messages",
                f"bare channel, acknowledged and forgotten  {self.channel:>10,.0f} a second",
                f"drain, durable before acknowledged        {self.drain:>10,.0f} a second"
                f"  ({self.drain / self.channel:.2f} of the channel)",
                f"build of the day, both tables             {self.build:>10,.0f} events a second",
                f"fxci-etl pulse drain, all of it           {self.command_seconds:>10.1f} s",
                f"                                          {self.command_megabytes:>10.0f} MB",
            ]
        )


def bodies(count: int) -> dict[str, list[bytes]]:
    """Simulated messages of DAY, by exchange."""
    start = dt.datetime.combine(DAY, dt.time(), dt.UTC)
    # About two messages a task; a task-defined and one for its run.
    world = World(1, max(1_000, count // 2))
    messages = published(world, start, start + dt.timedelta(days=2))
    found: dict[str, list[bytes]] = {}
    for message in itertools.islice(messages, count):
        found.setdefault(message.exchange, []).append(message.body)
    return found


def measure(count: int, folder: Path) -> Measured:
    """Raises AssertionError where not every message was read."""
    broker = Broker(folder / "rabbitmq")
    try:
        messages = bodies(count)
        total = sum(map(len, messages.values()))
        broker.add_user("bench", "bench-word", configure=".*", write=".*", read=".*")
        for name in EXCHANGES:
            broker.declare_exchange(EXCHANGE_PREFIX + name)
        pulse = AmqpPulse(broker.host, broker.port, "bench", "bench-word", tls=False)
        pipeline = dataclasses.replace(
            make_pipeline(folder, lambda: dt.datetime.now(dt.UTC)),
            limits=DrainLimits(BatchLimits(), 2 * count, 3_600),
        )
        pipeline.drain(pulse)  # declares and binds the queues

        def publish() -> None:
            for exchange, contents in messages.items():
                broker.publish(exchange, contents)

        publish()
        channel = _timed(lambda: _read_and_forget(broker, pulse.queues, total))
        publish()
        drain = _timed(lambda: _drain(pipeline, pulse, total))
        files = pipeline.archive.events.files(DAY)
        events = sum(map(len, pipeline.archive.events.read(DAY, files)))
        build = _timed(lambda: pipeline.rebuild(TaskBuilder.tables, DAY))
        publish()
        seconds, megabytes = _run_command(broker, folder / "command")
        return Measured(total, total / channel, total / drain, events / build, seconds, megabytes)
    finally:
        broker.close()


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _drain(pipeline: Pipeline, pulse: AmqpPulse, total: int) -> None:
    report = pipeline.drain(pulse)
    assert report.received == total, f"{report.received} of {total} messages"


def _read_and_forget(broker: Broker, queues: Sequence[str], total: int) -> None:
    with amqp.Connection(
        f"{broker.host}:{broker.port}", userid="bench", password="bench-word"
    ) as connection:
        channel = connection.channel()
        channel.auto_decode = False
        channel.basic_qos(0, 10_000, False)
        read = 0

        def on_message(message: amqp.Message) -> None:
            nonlocal read
            read += 1
            if read % 5_000 == 0 or read == total:
                channel.basic_ack(message.delivery_tag, multiple=True)

        for queue in queues:
            channel.basic_consume(queue, callback=on_message)
        while read < total:
            connection.drain_events(timeout=30)


def _run_command(broker: Broker, folder: Path) -> tuple[float, float]:
    environment = {
        **os.environ,
        "FXCI_DEPLOYMENT": "local",
        "FXCI_SANDBOX_DIR": str(folder),
        "FXCI_ETL_PULSE_USER": "bench",
        "FXCI_ETL_PULSE_PASSWORD": "bench-word",
        "FXCI_ETL_PULSE_HOST": broker.host,
        "FXCI_ETL_PULSE_PORT": str(broker.port),
        "FXCI_ETL_TASKCLUSTER_ROOTURL": knowing_nothing().root_url,
        "FXCI_ETL_PULSE_TLS": "false",
    }
    started = time.perf_counter()
    command = subprocess.Popen(
        [str(Path(sys.executable).with_name("fxci-etl")), "pulse", "drain"],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    peak = 0
    # Not its rusage: that of a child begins with what its parent used when it was made.
    while command.poll() is None:
        status = Path(f"/proc/{command.pid}/status").read_text()
        line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM 0")
        peak = max(peak, int(line.split()[1]))
        time.sleep(0.02)
    assert command.returncode == 0, "fxci-etl pulse drain failed"
    return time.perf_counter() - started, peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=200_000)
    with tempfile.TemporaryDirectory(prefix="fxci-bench-") as folder:
        print(measure(parser.parse_args().messages, Path(folder)).describe())


if __name__ == "__main__":
    main()
