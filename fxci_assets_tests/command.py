"""The real command `fxci-etl`, as a process of its own with its state in a folder.

Here belongs how a test starts, stops and looks into it. What is asserted belongs in the tests;
the broker that it reads from is `rabbitmq`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fxci_assets.archive import Archive
from fxci_assets.archive.store import LocalStore
from fxci_assets.resources.amqp import AmqpPulse
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.pulse import Message
from fxci_assets.tables import TASK_RUNS, TASKS
from fxci_assets.taskcluster.messages import EXCHANGE_PREFIX, EXCHANGES
from fxci_assets_tests.plain_rows import Rows
from fxci_assets_tests.rabbitmq import Broker
from fxci_assets_tests.taskcluster_server import knowing_nothing

PASSWORD = "correct-h0rse-battery"
PROJECT, DATASET = "moz-fx-data-shared-prod", "fxci_derived"
FXCI_ETL = (str(Path(sys.executable).with_name("fxci-etl")),)
DRAIN = ("pulse", "drain")

_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with the rights that pulse gives: to read exchanges, and to their own queues."""

    broker: Broker
    name: str

    @classmethod
    def add(cls, broker: Broker, name: str) -> User:
        own = f"^queue/{name}/.*"
        broker.add_user(
            name, PASSWORD, configure=own, write=own, read=f"^(queue/{name}|exchange)/.*"
        )
        return cls(broker, name)

    def queue(self, exchange: str) -> str:
        return f"queue/{self.name}/{exchange}"

    def waiting(self) -> list[int | None]:
        """Messages ready in each queue, None where there is none."""
        return [self.broker.ready(self.queue(name)) for name in EXCHANGES]

    @contextlib.contextmanager
    def queues(self) -> Iterator[None]:
        """The four queues, bound and empty; deleted at the end."""
        for name in EXCHANGES:
            self.broker.declare_exchange(EXCHANGE_PREFIX + name)
        host, port = self.broker.host, self.broker.port
        with AmqpPulse(host, port, self.name, PASSWORD, tls=False).open(lambda queue: None):
            pass
        try:
            yield
        finally:
            for name in EXCHANGES:
                self.broker.delete_queue(self.queue(name))


def publish(broker: Broker, messages: Iterable[Message], pause: float = 0) -> None:
    """Publish messages to their exchanges, with a pause after each; all are confirmed on
    return."""
    of_exchange: dict[str, list[bytes]] = {}
    for message in messages:
        of_exchange.setdefault(message.exchange, []).append(message.body)
    for exchange, bodies in of_exchange.items():
        broker.publish(exchange, bodies, pause=(lambda: time.sleep(pause)) if pause else None)


@dataclass(frozen=True, slots=True)
class Done:
    """What a command that has ended left behind."""

    code: int
    out: str
    errors: str


@dataclass(frozen=True, slots=True)
class Running:
    """A command that has not ended, or not been waited for."""

    process: subprocess.Popen[str]

    def wait(self) -> Done:
        out, errors = self.process.communicate(timeout=2 * _PATIENCE)
        return Done(self.process.returncode, out, errors)

    def kill(self) -> Done:
        """kill -9."""
        self.process.kill()
        return self.wait()

    def until(self, when: Callable[[], bool]) -> bool:
        """Wait for something; False if the command ended first."""
        deadline = time.monotonic() + _PATIENCE
        while not when():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > deadline:
                self.process.kill()
                raise TimeoutError("waited in vain for something in the middle of a command")
            time.sleep(0.005)
        return True

    @contextlib.contextmanager
    def stopped(self, when: Callable[[], bool]) -> Iterator[None]:
        """Wait for something; then the process stands still, in the middle of whatever it does."""
        assert self.until(when), f"it ended too early: {self.wait()}"
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Etl:
    """`fxci-etl` for a user of the broker, with all state in a folder."""

    folder: Path
    user: User
    program: tuple[str, ...] = FXCI_ETL

    def environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        broker = self.user.broker
        values = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.folder),
            "FXCI_DEPLOYMENT": "local",
            "FXCI_SANDBOX_DIR": str(self.folder),
            "FXCI_ETL_PULSE_HOST": broker.host,
            "FXCI_ETL_PULSE_PORT": broker.port,
            "FXCI_ETL_PULSE_USER": self.user.name,
            "FXCI_ETL_PULSE_PASSWORD": PASSWORD,
            "FXCI_ETL_PULSE_TLS": "false",
            "FXCI_ETL_TASKCLUSTER_ROOTURL": knowing_nothing().root_url,
            **settings,
        }
        return {name: str(value) for name, value in values.items()}

    def start(self, *arguments: str, **settings: object) -> Running:
        """Start a command, with settings as environment variables."""
        self.folder.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [*self.program, *arguments],
            env=self.environment(settings),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Running(process)

    def run(self, *arguments: str, **settings: object) -> Done:
        return self.start(*arguments, **settings).wait()

    def drain(self, **settings: object) -> Done:
        """A drain that nothing disturbs and that must end well."""
        done = self.run(*DRAIN, **settings)
        assert (done.code, done.errors) == (0, ""), done
        return done

    def files(self) -> list[Path]:
        """All that lies in the folder."""
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def filed(self) -> int:
        """Event files in the archive."""
        return len(list(self.folder.glob("local/archive/pulse_events/*/*.parquet")))

    @property
    def archive(self) -> Archive:
        store = LocalStore(self.folder / "local" / "archive")
        return Archive.over(store, f"{PROJECT}.{DATASET}")

    def rows(self) -> Rows:
        """All rows of both tables, by their keys."""
        warehouse = LocalWarehouse(self.folder / "local" / "warehouse", PROJECT, DATASET)
        return {
            table.name: warehouse.query(
                f"SELECT * FROM {DATASET}.{table.name} WHERE submission_date >= '1970-01-01' "
                f"ORDER BY {', '.join(table.key)}"
            ).to_pylist()
            for table in (TASK_RUNS, TASKS)
        }
