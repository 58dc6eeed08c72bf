"""The container image, really built, run and looked into: `make image-test`, some minutes.

That its files are well formed, and those that deploy it, is in `test_deploy`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from fxci_assets_tests import image
from fxci_assets_tests.image import Container, Images
from fxci_assets_tests.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]

DEPLOY = Path(__file__).parents[1] / "deploy"
NAME = "fxci-assets"
MARK = "a-mark-that-must-not-remain"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """A store with the image in it."""
    if not os.environ.get("FXCI_IMAGE_TEST"):
        pytest.skip("make image-test builds the image")
    reason = image.missing()
    if reason is not None:
        pytest.skip(reason)
    images = Images(tmp_path_factory.mktemp("images"))
    try:
        images.make_base()
        images.build(NAME, image.secrets(tmp_path_factory.mktemp("secrets"), MARK))
        yield images
    finally:
        images.close()


@pytest.fixture(scope="module")
def container(images: Images) -> Container:
    return images.container(NAME)


@pytest.fixture(scope="module")
def config(images: Images) -> dict[str, Any]:
    return images.config(NAME)["config"]  # type: ignore[no-any-return]


def test_how_a_container_is_started(config: dict[str, Any]) -> None:
    assert not config["Entrypoint"]  # jobs name the whole command
    assert config["User"] == "10001:10001"
    assert "FXCI_DEPLOYMENT=production" in config["Env"]
    assert config["Cmd"][:3] == ["dagster", "code-server", "start"]
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "dagster"]


def test_it_is_of_a_moderate_size(images: Images) -> None:
    [found] = yaml.safe_load(images.buildah("images", "--json", NAME))
    number, unit = found["size"].split()
    assert unit == "MB", found["size"]
    assert float(number) < 1_000


def test_who_runs_it_can_write_to_tmp_and_home_only(container: Container) -> None:
    assert container.run("id").out == "uid=10001(fxci) gid=10001(fxci) groups=10001(fxci)\n"
    own = ("-path", "/proc", "-o", "-path", "/dev", "-o", "-path", "/sys")
    writable = container.run("find", "/", "(", *own, ")", "-prune", "-o", "-writable", "-print")
    places = [re.match("(/tmp|/home/fxci)(/|$)", path) for path in writable.out.split()]
    assert {place and place[1] for place in places} == {"/tmp", "/home/fxci"}  # noqa: S108
    assert container.run("find", "/opt/fxci", "!", "-user", "root").out == ""
    assert container.run("find", "/opt/fxci", "-perm", "/022", "!", "-type", "l").out == ""


def test_nothing_is_left_to_build_or_install_with(container: Container) -> None:
    programs = "cc gcc make pip pip3 git curl wget"
    found = container.run("sh", "-c", f"command -v {programs}; true")
    assert found.out == ""
    for module in ("pip", "setuptools", "ensurepip"):
        done = container.run("python3", "-c", f"import {module}")
        assert f"No module named '{module}'" in done.errors
    assert container.run("python3", "-m", "venv", "/tmp/venv").code != 0  # noqa: S108
    assert container.run("find", "/", "-xdev", "-name", "*.whl").out == ""


def test_no_program_makes_another_user_of_who_runs_it(container: Container) -> None:
    found = container.run("find", "/", "-xdev", "-type", "f", "-perm", "/6000", user="root")
    assert (found.code, found.out) == (0, "")


def test_secrets_of_the_build_leave_no_trace(images: Images, container: Container) -> None:
    found = subprocess.run(["grep", "--recursive", "--files-with-matches", MARK, container.files()])
    assert found.returncode == 1
    assert MARK not in images.buildah("inspect", "--type", "image", NAME)
    assert container.run("sh", "-c", "ls /etc/pip.conf /run/secrets/*").out == ""


@pytest.mark.parametrize(
    "command",
    [
        ["fxci-etl", "pulse", "drain", "-vv"],
        ["fxci-etl", "metric", "export", "-vv", "--date=2026-04-13"],
    ],
    ids=["drain", "export"],
)
def test_the_jobs_commands_name_the_first_setting_that_is_missing(
    container: Container, command: list[str]
) -> None:
    done = container.run(*command)
    said = [line for line in done.errors.splitlines() if line.startswith("fxci-etl: ")]
    assert (done.code, len(said)) == (1, 1), done
    assert re.match("fxci-etl: FXCI_ETL_[A-Z_]+ is not set", said[0])


def test_the_code_location_loads_and_asks_nobody(container: Container) -> None:
    validate = ("dagster", "definitions", "validate", "--module-name", "fxci_assets.definitions")
    done = container.run(*validate, FXCI_ETL_STORAGE_BUCKET="bucket.example.com")
    assert done.code == 0, done


def test_the_command_line_works(container: Container) -> None:
    few = {"FXCI_SANDBOX_TASKS_PER_DAY": "50", "FXCI_SANDBOX_DAYS": "1"}
    sandbox = {"FXCI_DEPLOYMENT": "sandbox", **few}
    done = container.run("fxci-etl", "pulse", "drain", **sandbox)
    assert done.code == 0, done
    query = (
        "SELECT COUNT(*) > 40 AS many FROM fxci.task_runs "
        "WHERE submission_date > CURRENT_DATE() - 3"
    )
    done = container.run("fxci-etl", "query", query, **sandbox)
    assert "true" in done.out.lower(), done


@contextlib.contextmanager
def running(
    container: Container, command: Sequence[str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    process = container.start(command, **environment)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_healthy(
    container: Container, check: Sequence[str], environment: Mapping[str, str], seconds: float = 120
) -> None:
    deadline = time.monotonic() + seconds
    while (done := container.run(*check, **environment)).code != 0:
        assert time.monotonic() < deadline, done
        time.sleep(1)


def test_the_services_of_compose_come_up_healthy(
    container: Container, config: dict[str, Any], postgres: Postgres
) -> None:
    """On ports of their own, because the containers here share the machine's network."""
    environment = {
        "DAGSTER_HOME": "/opt/fxci/dagster",
        "FXCI_DEPLOYMENT": "local",
        **postgres.environment,
    }
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    of_image = {"command": config["Cmd"], "healthcheck": {"test": config["Healthcheck"]["Test"]}}
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = dict(zip(("3000", "4000"), (str(s.getsockname()[1]) for s in free), strict=True))

    def here(text: str) -> str:
        text = re.sub("[34]000", lambda port: ports[port[0]], text)
        # Dagster asks nobody who they are, and this is the machine's own network.
        text = text.replace("0.0.0.0", "127.0.0.1").replace("host: code", "host: 127.0.0.1")  # noqa: S104
        return text.replace("/opt/fxci/dagster/workspace", "/home/fxci/workspace")

    workspace = here((DEPLOY / "workspace.yaml").read_text())
    container.run("sh", "-c", f"cat > workspace.yaml <<'.'\n{workspace}\n.")
    with contextlib.ExitStack() as stack:
        for name in ("code", "webserver", "daemon"):
            service = of_image | services[name]
            command = [here(argument) for argument in service["command"]]
            check = [here(argument) for argument in service["healthcheck"]["test"][1:]]
            stack.enter_context(running(container, command, environment))
            wait_until_healthy(container, check, environment)
        request = urllib.request.Request(
            f"http://127.0.0.1:{ports['3000']}/graphql",
            json.dumps({"query": "{ assetNodes { assetKey { path } } }"}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            nodes = json.load(response)["data"]["assetNodes"]
    assert ["tasks_v2"] in [node["assetKey"]["path"] for node in nodes]
