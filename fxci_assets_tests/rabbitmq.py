"""A RabbitMQ of the tests' own, which they may kill.

Here belongs what starts, stops and fills a real broker, on free ports of the loopback interface and
with its state in a temporary folder: it shares nothing with a broker that the machine runs, nor
with another run of the tests. What is asserted about it belongs in the tests.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import amqp
import trustme

_START_SECONDS = 60.0


def missing() -> str | None:
    """Why no broker can be started here, or None."""
    for program in ("erl", "epmd"):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: apt-get install rabbitmq-server)"
    if _scripts() is None:
        return "rabbitmq-server is not installed (Debian: apt-get install rabbitmq-server)"
    return None


def _scripts() -> Path | None:
    """The folder of RabbitMQ's own scripts. What Debian puts into /usr/sbin are wrappers: they
    change to the user rabbitmq, who could not read our folder."""
    found = shutil.which("rabbitmq-server")
    folders = [Path("/usr/lib/rabbitmq/bin")]
    if found is not None:
        folders.append(Path(found).resolve().parent)
    return next((f for f in folders if (f / "rabbitmq-env").exists()), None)


class _Publisher(amqp.Connection):  # type: ignore[misc]
    # With `connection.blocked` negotiated, each publish first polls the socket.
    negotiate_capabilities: dict[str, bool] = {}  # noqa: RUF012  (py-amqp's own attribute)


class Broker:
    """One RabbitMQ node. `host` is the name in its certificate; 127.0.0.1 is not in it."""

    host = "localhost"
    user, password = "admin", "s3cret-word"
    """Somebody with all rights."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._node = f"fxci{secrets.token_hex(4)}@localhost"
        self.port, self.tls_port, dist_port, epmd_port = _free_ports(4)
        self._server: subprocess.Popen[bytes] | None = None

        folder.mkdir(parents=True, exist_ok=True)
        self.ca_file = folder / "ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert(self.host)
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        for name, text in {
            "rabbitmq.conf": f"""
listeners.tcp.1 = 127.0.0.1:{self.port}
listeners.ssl.1 = 127.0.0.1:{self.tls_port}
ssl_options.cacertfile = {self.ca_file}
ssl_options.certfile = {folder / "cert.pem"}
ssl_options.keyfile = {folder / "key.pem"}
ssl_options.verify = verify_none
default_user = {self.user}
default_pass = {self.password}
# Never block a publisher because the machine is nearly full.
vm_memory_high_watermark.relative = 0.95
disk_free_limit.absolute = 1MB
log.console = false
log.file.level = warning
""",
            # These stand in for the machine's own under /etc/rabbitmq.
            "advanced.config": "[].\n",
            "env.conf": "",
            "plugins": "[].\n",
        }.items():
            (folder / name).write_text(text)

        path = os.environ.get("PATH", "")
        self._environment = {
            "PATH": path,
            "HOME": str(folder),  # for the Erlang cookie
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        # Left to itself RabbitMQ starts epmd as a daemon, which outlives it.
        self._epmd = subprocess.Popen(
            ["epmd", "-port", str(epmd_port), "-address", "127.0.0.1"], env=self._environment
        )
        self.start()

    def start(self) -> None:
        """Start the node, with what it had stored, and wait until it lets us in."""
        with (self._folder / "console.log").open("ab") as log:
            self._server = subprocess.Popen(
                [f"{_scripts()}/rabbitmq-server"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with self._connection():
                    return
            except (OSError, amqp.AMQPError) as error:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    text = (self._folder / "console.log").read_text(errors="replace")
                    raise RuntimeError(f"RabbitMQ did not start:\n{text[-3000:]}") from error
                time.sleep(0.1)

    def kill(self) -> None:
        """kill -9, of the node and all its helpers; what was confirmed is on its disk."""
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def close(self) -> None:
        self.kill()
        self._epmd.kill()
        self._epmd.wait()

    def ctl(self, *arguments: str) -> str:
        """rabbitmqctl; about half a second."""
        done = subprocess.run(
            [f"{_scripts()}/rabbitmqctl", "-q", "-n", self._node, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def add_user(
        self, name: str, password: str, *, configure: str = "", write: str = "", read: str = ""
    ) -> None:
        """A user with these rights (regular expressions over names)."""
        call = "rabbit_auth_backend_internal"
        rights = ", ".join(f"<<{_erlang(right)}>>" for right in (configure, write, read))
        self.ctl(
            "eval",
            f"{call}:add_user(<<{_erlang(name)}>>, <<{_erlang(password)}>>, <<>>),"
            f'{call}:set_permissions(<<{_erlang(name)}>>, <<"/">>, {rights}, <<>>).',
        )

    def close_all_connections(self) -> None:
        """As an operator would: each client gets Connection.Close (320)."""
        self.ctl("close_all_connections", "test")

    def declare_exchange(self, name: str) -> None:
        with self._channel() as channel:
            channel.exchange_declare(name, "topic", durable=True, auto_delete=False)

    def delete_exchange(self, name: str) -> None:
        with self._channel() as channel:
            channel.exchange_delete(name)

    def declare_queue(self, name: str, **options: object) -> None:
        with self._channel() as channel:
            channel.queue_declare(name, **{"durable": True, "auto_delete": False, **options})

    def delete_queue(self, name: str) -> None:
        with self._channel() as channel:
            channel.queue_delete(name)

    def purge(self, name: str) -> None:
        with self._channel() as channel:
            channel.queue_purge(name)

    def ready(self, name: str) -> int | None:
        """Messages ready in the queue, or None where there is none."""
        try:
            with self._channel() as channel:
                return int(channel.queue_declare(name, passive=True).message_count)
        except amqp.NotFound:
            return None

    def publish(
        self,
        exchange: str,
        bodies: Iterable[bytes],
        *,
        routing_key: str = "primary",
        pause: Callable[[], object] | None = None,
        **properties: object,
    ) -> int:
        """Publish persistent messages, and return their number when all of them are confirmed.
        `pause` is called after each."""
        properties = {"content_type": "application/json", "delivery_mode": 2, **properties}
        sent = 0
        with self._channel(_Publisher) as channel:
            channel.confirm_select()
            unconfirmed: set[int] = set()

            def settle(tag: int, multiple: bool) -> None:
                if multiple:
                    unconfirmed.difference_update([t for t in unconfirmed if t <= tag])
                else:
                    unconfirmed.discard(tag)

            channel.events["basic_ack"].add(settle)
            for body in bodies:
                sent += 1
                unconfirmed.add(sent)
                channel.basic_publish(amqp.Message(body, **properties), exchange, routing_key)
                if pause is not None:
                    pause()
            while unconfirmed:
                channel.connection.drain_events(timeout=60)
        return sent

    @contextlib.contextmanager
    def _connection(
        self, cls: type[amqp.Connection] = amqp.Connection
    ) -> Iterator[amqp.Connection]:
        connection = cls(
            f"127.0.0.1:{self.port}",
            self.user,
            self.password,
            login_method="PLAIN",
            connect_timeout=10,
            # py-amqp's own second kills a publisher while the broker holds it back.
            socket_settings={socket.TCP_USER_TIMEOUT: 60_000},
        )
        connection.connect()
        try:
            yield connection
        finally:
            with contextlib.suppress(OSError, amqp.AMQPError):
                connection.close()

    @contextlib.contextmanager
    def _channel(self, cls: type[amqp.Connection] = amqp.Connection) -> Iterator[amqp.Channel]:
        with self._connection(cls) as connection:
            yield connection.channel()


def _erlang(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        bind = functools.partial(socket.create_server, ("127.0.0.1", 0))
        return [stack.enter_context(bind()).getsockname()[1] for _ in range(count)]
