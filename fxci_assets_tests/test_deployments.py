"""Deployments: which implementation each has, and that to choose it touches nothing."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import pytest

from fxci_assets import deployments
from fxci_assets.freshness import Built
from fxci_assets.resources.amqp import AmqpPulse
from fxci_assets.sandbox.source import SimulatedPulse
from fxci_assets.settings import (
    BigQuery,
    BigQueryTables,
    Deployment,
    Drain,
    Monitoring,
    Pulse,
    Secret,
    Settings,
    SettingsError,
    Storage,
)

FXCI = Pulse(user="fxci", password=Secret("x"))


def settings(root: Path, deployment: Deployment, pulse: Pulse = FXCI) -> Settings:
    names = BigQuery(project="project", dataset="dataset")
    return Settings(
        deployment=deployment,
        sandbox_dir=root / "state",
        pulse=pulse,
        bigquery=names,
        drain=Drain(batch_messages=100),
    )


def test_what_is_simulated_never_lies_beside_what_is_real(tmp_path: Path) -> None:
    folders = [
        deployments.state_folder(settings(tmp_path, "sandbox")),
        deployments.state_folder(settings(tmp_path, "local")),
    ]
    assert folders == [tmp_path / "state/sandbox", tmp_path / "state/local"]


@pytest.mark.parametrize("deployment", ["sandbox", "local"])
def test_nothing_touches_a_disk_or_a_network(tmp_path: Path, deployment: Deployment) -> None:
    chosen = settings(tmp_path, deployment)
    deployments.pulse(chosen)
    assert deployments.pipeline(chosen).stale() == []
    assert deployments.pipeline(chosen).newest_event() is None
    assert list(deployments.archive(chosen).quarantine.entries()) == []
    assert deployments.warehouse(chosen).target == "project.dataset"
    assert list(tmp_path.iterdir()) == []


def test_the_sandbox_has_a_simulated_pulse(tmp_path: Path) -> None:
    source = deployments.pulse(settings(tmp_path, "sandbox", Pulse()))
    assert isinstance(source, SimulatedPulse)
    assert source.queues[0] == "queue/sandbox/task-completed"


def test_local_has_the_real_pulse(tmp_path: Path) -> None:
    pulse = Pulse(user="fxci", password=Secret("hunter2"), port=5672, tls=False, durable=False)
    source = deployments.pulse(settings(tmp_path, "local", pulse))
    assert source == AmqpPulse(
        host="pulse.mozilla.org",
        port=5672,
        user="fxci",
        password="hunter2",
        tls=False,
        durable=False,
        prefetch=200,
    )
    assert "hunter2" not in repr(source)
    assert source.queues == (
        "queue/fxci/task-completed",
        "queue/fxci/task-failed",
        "queue/fxci/task-exception",
        "queue/fxci/task-defined",
    )


def test_tls_is_on_unless_it_is_switched_off(tmp_path: Path) -> None:
    source = deployments.pulse(settings(tmp_path, "local"))
    assert isinstance(source, AmqpPulse)
    assert (source.tls, source.port) == (True, 5671)


@pytest.mark.parametrize(
    ("pulse", "missing"),
    [
        (Pulse(password=Secret("x")), "FXCI_ETL_PULSE_USER is not set"),
        (Pulse(user="fxci"), "FXCI_ETL_PULSE_PASSWORD is not set"),
    ],
)
def test_what_the_real_pulse_needs_is_named(tmp_path: Path, pulse: Pulse, missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        deployments.pulse(settings(tmp_path, "local", pulse))


def test_production_has_what_is_real(tmp_path: Path) -> None:
    """And to choose it touches no disk, no network and no credentials, which are none here."""
    from fxci_assets.archive.gcs import GcsStore
    from fxci_assets.resources.bigquery_warehouse import BigQueryWarehouse
    from fxci_assets.resources.cloud_monitoring import CloudMonitoring
    from fxci_assets.resources.taskcluster_queue import TaskclusterQueue

    chosen = msgspec.structs.replace(
        settings(tmp_path, "production"),
        storage=Storage(bucket="bucket", credentials=Secret("none")),
        monitoring=Monitoring(credentials=Secret("none")),
    )
    pipeline = deployments.pipeline(chosen)
    assert isinstance(pipeline.archive.store, GcsStore)
    assert pipeline.archive.store.uri("built") == "gs://bucket/fxci-assets/built"
    assert isinstance(pipeline.warehouse, BigQueryWarehouse)
    assert pipeline.warehouse.target == "project.dataset"
    assert pipeline.takeover is not None
    assert pipeline.takeover.bucket.uri("built") == "gs://bucket/built"
    assert isinstance(deployments.monitoring(chosen), CloudMonitoring)
    assert isinstance(deployments.taskcluster(chosen), TaskclusterQueue)
    assert isinstance(deployments.pulse(chosen), AmqpPulse)
    assert list(tmp_path.iterdir()) == []


def test_production_needs_a_bucket(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FXCI_ETL_STORAGE_BUCKET is not set"):
        deployments.pipeline(settings(tmp_path, "production"))


def test_only_production_takes_over(tmp_path: Path) -> None:
    assert deployments.pipeline(settings(tmp_path, "local")).takeover is None


def test_a_table_that_is_called_otherwise_is_another_one(tmp_path: Path) -> None:
    """Of which nothing was built, nor taken over."""
    usual = settings(tmp_path, "local")
    day = dt.date(2026, 4, 13)
    built = Built("in", "out", 1, dt.datetime(2026, 4, 14, tzinfo=dt.UTC))
    deployments.archive(usual).builds.record("task_runs_v1", day, built)
    assert deployments.archive(usual).builds.built_days("task_runs_v1") == [day]
    called = BigQuery(project="project", dataset="dataset", tables=BigQueryTables(runs="runs"))
    renamed = deployments.archive(msgspec.structs.replace(usual, bigquery=called))
    assert renamed.builds.built_days("task_runs_v1") == []
