"""The container image, built and run without a container engine: by buildah, in a store of its own.

Here belongs how a base is made, the image built from it, and a command run in it. No registry of
images is asked: the base is Debian's Python under the name that the Dockerfile begins from. What
is asserted about the image belongs in the tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHECKOUT = Path(__file__).parents[1]

_BASE = ("ca-certificates", "libstdc++6", "netbase", "passwd", "python3-venv", "tzdata")
"""What python:3.11-slim has beside what is essential; libstdc++6 and passwd came with apt."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_UNPACKED = ("path-exclude=/usr/share/doc/*", "path-exclude=/usr/share/man/*", "force-unsafe-io")

_TO_AN_INDEX = ("index-url", "extra-index-url", "proxy", "timeout", "trusted-host")
"""What pip's configuration says about the way to an index."""


def missing() -> str | None:
    """Why no image can be built here, or None."""
    if os.geteuid() != 0:
        return "only root can build an image here"
    for program in ("buildah", "mmdebstrap"):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: apt-get install {program})"
    return None


@dataclass(frozen=True, slots=True)
class Done:
    """What a command in a container left behind."""

    code: int
    out: str
    errors: str


class Images:
    """A store of images in a folder, of which nothing is left once it is closed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _command(self, *arguments: str) -> list[str]:
        # Overlay, because a copy of all files for each step takes minutes.
        places = ("--root", str(self._folder / "store"), "--runroot", str(self._folder / "run"))
        return ["buildah", *places, "--storage-driver", "overlay", *arguments]

    def buildah(self, *arguments: str) -> str:
        done = subprocess.run(self._command(*arguments), capture_output=True, text=True)
        if done.returncode:
            text = (done.stdout + done.stderr)[-5_000:]
            raise RuntimeError(f"buildah {arguments[0]}: {text}")
        return done.stdout.strip()

    def make_base(self) -> None:
        """A Debian with Python, under the name of the image that the Dockerfile begins from."""
        [name] = re.findall(r"^ARG PYTHON=(\S+)$", (_CHECKOUT / "Dockerfile").read_text(), re.M)
        tree = self._folder / "base"
        subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--variant=essential"),
                f"--include={','.join(_BASE)}",
                *(f"--dpkgopt={option}" for option in _UNPACKED),
                *("bookworm", str(tree)),
            ],
            check=True,
        )
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, str(tree), "/")
        self.buildah("config", f"--env=PATH={_PATH}", container)
        self.buildah("commit", "--quiet", "--rm", container, name)
        shutil.rmtree(tree)

    def build(self, name: str, secrets: Mapping[str, Path]) -> None:
        """Build the Dockerfile. `secrets` are files that are there while it is built."""
        self.buildah(
            "build",
            *("--isolation", "chroot", "--pull-never", "--layers=false"),
            # OCI's format has no health checks.
            *("--format", "docker"),
            *(f"--secret=id={id},src={path}" for id, path in secrets.items()),
            *("--tag", name, str(_CHECKOUT)),
        )

    def config(self, name: str) -> dict[str, Any]:
        """The configuration that a container of the image has."""
        config: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", name))
        return config["Docker"]  # type: ignore[no-any-return]

    def container(self, name: str) -> Container:
        return Container(self, self.buildah("from", "--pull-never", name))

    def close(self) -> None:
        """Remove all containers, which unmounts them, and all images."""
        self.buildah("rm", "--all")
        self.buildah("rmi", "--all", "--force")
        shutil.rmtree(self._folder)


@dataclass(frozen=True, slots=True)
class Container:
    """A container of an image, with its own changes to the files; the network is the machine's."""

    images: Images
    id: str

    def _command(
        self, command: Sequence[str], user: str | None, environment: Mapping[str, str]
    ) -> list[str]:
        return self.images._command(
            *("run", "--isolation", "chroot"),
            *(f"--env={name}={value}" for name, value in environment.items()),
            *(("--user", user) if user is not None else ()),
            *(self.id, "--", *command),
        )

    def run(self, *command: str, user: str | None = None, **environment: str) -> Done:
        """Run a command to its end, as the image's user if no other is named."""
        done = subprocess.run(
            self._command(command, user, environment), capture_output=True, text=True, timeout=120
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(command, None, environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def files(self) -> Path:
        """Where all files of the container are, to be looked at."""
        return Path(self.images.buildah("mount", self.id))


def secrets(folder: Path, mark: str) -> dict[str, Path]:
    """What pip needs on this machine to reach an index, for the build; with a mark in it."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    lines = [f"# {mark}", "[global]"]
    for name, value in re.findall(r"^\S*?\.([\w-]+)='(.*)'$", listed.stdout, re.M):
        # A path means nothing in there.
        if name in _TO_AN_INDEX and "file:" not in value:
            lines.append(f"{name} = {value}")
    configuration, certificates = folder / "pip.conf", folder / "certificates.pem"
    configuration.write_text("\n".join([*lines, ""]))
    certificates.write_text(f"# {mark}\n")
    trusted = ssl.get_default_verify_paths().cafile
    with contextlib.suppress(OSError), certificates.open("a") as file:
        file.write(Path(os.environ.get("PIP_CERT") or trusted or "").read_text())
    return {"pip": configuration, "certificates": certificates}
