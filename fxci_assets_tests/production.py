"""The command `fxci-etl` in production, with the environment that the jobs of today set.

Here belongs what stands in for each outside system, and how a test starts the command among them
and looks at what it did. What is asserted belongs in the tests; each stand-in is a module of its
own.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

import fxci_assets
from fxci_assets import deployments
from fxci_assets.archive import Archive
from fxci_assets.archive.gcs import GcsStore
from fxci_assets.resources.warehouse import Warehouse
from fxci_assets.settings import Settings, load
from fxci_assets.tables import TASK_DEFINITIONS, TASK_RUNS, TASKS, Table, arrow_schema
from fxci_assets_tests.bigquery_server import BigQueryServer
from fxci_assets_tests.command import PASSWORD, Done, Running, User
from fxci_assets_tests.gcs import Emulator
from fxci_assets_tests.plain_rows import Row, Rows

DRAIN = ("pulse", "drain", "-vv")
"""What the pulse job says."""

TABLES = (TASKS, TASK_RUNS, TASK_DEFINITIONS)
"""What the pulse job fills."""

CHECKOUT = Path(fxci_assets.__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
"""Where Dagster's are."""

PROGRAM = (sys.executable, "-m", "fxci_assets.cli")
"""The command of the checkout, wherever another one is installed from; needs it as PYTHONPATH."""

_DIES = """
import importlib, os, signal, sys

module, _, path = sys.argv[1].partition(":")
*owners, name = path.split(".")
owner = importlib.import_module(module)
for attribute in owners:
    owner = getattr(owner, attribute)
original = getattr(owner, name)
left = int(sys.argv[2])

def dying(*args, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **options)

setattr(owner, name, dying)

from fxci_assets.cli import main

main(sys.argv[3:])
"""
"""The command, which kills itself at the n-th call of a function."""

_STAND_IN = """
import os, sys

from fxci_assets.resources import cloud_monitoring

original = cloud_monitoring.CloudMonitoring

def stand_in(credentials, **options):
    # They are not sent in clear text.
    assert credentials == os.environ["FXCI_ETL_MONITORING_CREDENTIALS"]
    return original(stand_in_port=int(sys.argv[1]), **options)

cloud_monitoring.CloudMonitoring = stand_in

from fxci_assets.cli import main

main(sys.argv[2:])
"""
"""The command, whose Cloud Monitoring is on a port of this machine."""


def dies_at(function: str, call: int = 1) -> Sequence[str]:
    """The command, which is killed just before the n-th call of a function, `module:name`."""
    return (sys.executable, "-c", _DIES, f"fxci_assets.{function}", str(call))


def monitored_at(port: int) -> Sequence[str]:
    """The command, whose Cloud Monitoring is a `MonitoringServer`."""
    return (sys.executable, "-c", _STAND_IN, str(port))


def key_of(word: str) -> str:
    """A setting that holds a service account's key; a private key in it that is none has the
    word."""
    key = {
        "type": "service_account",
        "client_email": f"{word}@example.com",
        "token_uri": "http://127.0.0.1:1/token",
        "private_key": f"-----BEGIN PRIVATE KEY-----\n{word}\n-----END PRIVATE KEY-----\n",
    }
    return base64.b64encode(json.dumps(key).encode()).decode()


STORAGE_KEY, BIGQUERY_KEY, MONITORING_KEY = map(
    key_of, ("st0rage-k3y-word", "b1gquery-k3y-word", "m0nitoring-k3y-word")
)
SECRETS = (
    PASSWORD,
    STORAGE_KEY,
    BIGQUERY_KEY,
    MONITORING_KEY,
    "st0rage-k3y-word",
    "b1gquery-k3y-word",
    "m0nitoring-k3y-word",
    "BEGIN PRIVATE KEY",
)
"""What must appear nowhere: the settings' values, and words of what is in them."""


@dataclass
class Production:
    """A deployment with a bucket and a dataset of its own, for a user of the broker."""

    folder: Path
    user: User
    gcs: Emulator
    bigquery: BigQueryServer
    root_url: str
    bucket: str = field(default_factory=lambda: f"bucket-{secrets.token_hex(4)}")
    dataset: str = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.dataset = self.add_dataset("fxci")
        self._post(f"{self.gcs.endpoint}/storage/v1/b?project=p", {"name": self.bucket})

    def add_dataset(self, name: str) -> str:
        """A dataset without tables; its whole name."""
        id = f"{name}_{secrets.token_hex(4)}"
        self.bigquery.tables.create_dataset({"datasetReference": {"datasetId": id}})
        return id

    @staticmethod
    def _post(url: str, content: object) -> None:
        request = urllib.request.Request(
            url, json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request).close()

    @property
    def stand_ins(self) -> dict[str, str]:
        """What leads to the servers of the tests, and is not set in production."""
        broker = self.user.broker
        return {
            "FXCI_ETL_PULSE_HOST": broker.host,
            "FXCI_ETL_PULSE_PORT": str(broker.tls_port),
            "FXCI_ETL_TASKCLUSTER_ROOTURL": self.root_url,
            "SSL_CERT_FILE": str(broker.ca_file),
            "BIGQUERY_EMULATOR_HOST": self.bigquery.url,
            "STORAGE_EMULATOR_HOST": self.gcs.endpoint,
        }

    @property
    def of_both_jobs(self) -> dict[str, str]:
        return {
            "FXCI_DEPLOYMENT": "production",  # by the image
            "FXCI_ETL_BIGQUERY_PROJECT": self.bigquery.project,
            "FXCI_ETL_BIGQUERY_DATASET": self.dataset,
            "FXCI_ETL_BIGQUERY_CREDENTIALS": BIGQUERY_KEY,
            "FXCI_ETL_STORAGE_PROJECT": "a-project",
            "FXCI_ETL_STORAGE_BUCKET": self.bucket,
            "FXCI_ETL_STORAGE_CREDENTIALS": STORAGE_KEY,
        }

    @property
    def of_the_pulse_job(self) -> dict[str, str]:
        user = {"FXCI_ETL_PULSE_USER": self.user.name, "FXCI_ETL_PULSE_PASSWORD": PASSWORD}
        return self.of_both_jobs | user

    @property
    def of_the_metric_job(self) -> dict[str, str]:
        return self.of_both_jobs | {"FXCI_ETL_MONITORING_CREDENTIALS": MONITORING_KEY}

    def start(
        self,
        *arguments: str,
        program: Sequence[str] = PROGRAM,
        job: Mapping[str, str] | None = None,
        **settings: str | None,
    ) -> Running:
        """Start a command with a job's environment, that of the pulse job if none is given, and
        with other settings. What is set to None is not set."""
        values: dict[str, str | None] = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.folder),
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.stand_ins,
            **(self.of_the_pulse_job if job is None else job),
            **settings,
        }
        process = subprocess.Popen(
            [*program, *arguments],
            env={name: value for name, value in values.items() if value is not None},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Running(process)

    def run(
        self,
        *arguments: str,
        program: Sequence[str] = PROGRAM,
        job: Mapping[str, str] | None = None,
        **settings: str | None,
    ) -> Done:
        return self.start(*arguments, program=program, job=job, **settings).wait()

    def drain(self) -> Done:
        """A drain that nothing disturbs and that must end well."""
        done = self.run(*DRAIN)
        assert done.code == 0, done
        return done

    # What it did. Only for tests that have set `stand_ins` in their own environment.

    @property
    def settings(self) -> Settings:
        return load(self.stand_ins | self.of_the_pulse_job | {"HOME": str(self.folder)})

    @property
    def archive(self) -> Archive:
        return deployments.archive(self.settings)

    @property
    def warehouse(self) -> Warehouse:
        return deployments.warehouse(self.settings)

    @property
    def root(self) -> GcsStore:
        """The bucket outside of the archive's prefix."""
        return GcsStore(self.bucket)

    @property
    def takeover_is_due(self) -> bool:
        takeover = deployments.pipeline(self.settings).takeover
        assert takeover is not None
        return takeover.is_due()

    def objects(self) -> list[str]:
        """All objects in the bucket."""
        url = f"{self.gcs.endpoint}/storage/v1/b/{self.bucket}/o"
        with urllib.request.urlopen(url) as answer:
            return sorted(found["name"] for found in json.load(answer).get("items", ()))

    def rows(self, *tables: Table) -> Rows:
        """All rows of these tables, by their keys."""
        return {table.name: rows_of(self.warehouse, self.dataset, table) for table in tables}

    def left(self, table: Table, day: dt.date, *rows: Mapping[str, object]) -> None:
        """Rows that the old job wrote on a day."""
        of_day = [{**row, table.partition_column: day} for row in rows]
        batch = pa.RecordBatch.from_pylist(of_day, arrow_schema(table))
        self.warehouse.write_partition(table, day, [batch])


def rows_of(warehouse: Warehouse, dataset: str, table: Table) -> list[Row]:
    """All rows of a table, by its key; JSON as what it says, for each warehouse has its own way to
    write it."""
    found: list[Row] = warehouse.query(
        f"SELECT * FROM {dataset}.{table.name} WHERE submission_date >= '1970-01-01' "
        f"ORDER BY {', '.join(table.key)}"
    ).to_pylist()
    said = [column.name for column in table.columns if column.type == "JSON"]
    return [row | {name: json.loads(str(row[name])) for name in said} for row in found]
