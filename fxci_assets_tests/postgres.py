"""A PostgreSQL of the tests' own, with its state in a temporary folder.

Here belongs what starts and stops a real server on a free port of the loopback interface. What is
asserted about what uses it belongs in the tests.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_START_SECONDS = 30.0


def missing() -> str | None:
    """Why no server can be started here, or None."""
    if _programs() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    return None


def _programs() -> Path | None:
    """The folder of the newest version's programs, which Debian has on no path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class Postgres:
    """A server with one user, and a database of the same name."""

    user, password, host = "dagster", "s3cret/w@rd", "127.0.0.1"

    def __init__(self) -> None:
        programs = _programs()
        assert programs is not None
        # It refuses to be root; and another user cannot enter the folders that pytest makes.
        self._user = "postgres" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="fxci-postgres-"))
        password = self._folder / "password"
        password.write_text(self.password)
        data = self._folder / "data"
        if self._user is not None:
            shutil.chown(self._folder, self._user)
            shutil.chown(password, self._user)
        with socket.create_server((self.host, 0)) as free:
            self.port: int = free.getsockname()[1]
        self._run(
            str(programs / "initdb"),
            "--no-sync",
            "--auth=scram-sha-256",
            f"--username={self.user}",
            f"--pwfile={password}",
            f"--pgdata={data}",
        )
        self._server = subprocess.Popen(
            [
                str(programs / "postgres"),
                "-F",
                *("-D", str(data), "-k", str(self._folder), "-p", str(self.port)),
                *("-c", f"listen_addresses={self.host}"),
            ],
            user=self._user,
            stderr=(self._folder / "log").open("wb"),
        )
        address = (f"--host={self.host}", f"--port={self.port}", f"--username={self.user}")
        try:
            self._wait(str(programs / "pg_isready"), *address)
            with_password = {**os.environ, "PGPASSWORD": self.password}
            self._run(str(programs / "createdb"), *address, self.user, env=with_password)
        except BaseException:
            self.close()
            raise

    def _run(self, *command: str, env: dict[str, str] | None = None) -> None:
        done = subprocess.run(
            command, user=self._user, env=env, capture_output=True, text=True, cwd="/"
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")

    def _wait(self, *is_ready: str) -> None:
        # Its port is there before it lets anybody in.
        deadline = time.monotonic() + _START_SECONDS
        while subprocess.run(is_ready, stdout=subprocess.DEVNULL).returncode != 0:
            if self._server.poll() is not None or time.monotonic() > deadline:
                text = (self._folder / "log").read_text()
                raise RuntimeError(f"PostgreSQL did not start:\n{text}")
            time.sleep(0.02)

    @property
    def environment(self) -> dict[str, str]:
        """What deploy/dagster.yaml asks for."""
        return {
            "DAGSTER_PG_HOST": self.host,
            "DAGSTER_PG_PORT": str(self.port),
            "DAGSTER_PG_DB": self.user,
            "DAGSTER_PG_USER": self.user,
            "DAGSTER_PG_PASSWORD": self.password,
        }

    def dump(self) -> str:
        """All that is in the database."""
        programs = _programs()
        assert programs is not None
        done = subprocess.run(
            [
                str(programs / "pg_dump"),
                *(f"--host={self.host}", f"--port={self.port}", f"--username={self.user}"),
                self.user,
            ],
            env={**os.environ, "PGPASSWORD": self.password},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._server.send_signal(signal.SIGQUIT)  # at once
        self._server.wait()
        shutil.rmtree(self._folder)
