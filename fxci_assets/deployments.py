"""Which implementation of each outside system a deployment uses, and where its state lies.

`sandbox` is simulated sources and local storage; `local` is real sources and local storage, each in
a folder of its own, so that nothing simulated is ever beside what is real; `production` is real
sources, a bucket and BigQuery. Nothing falls back. Each function checks the settings that it uses,
and nothing here touches a network or a disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fxci_assets import sql
from fxci_assets.archive import Archive
from fxci_assets.archive.store import LocalStore, Store
from fxci_assets.builders import all_builders
from fxci_assets.pipeline import LEFT_FOR_A_WRITE, Clock, Pipeline, utc_now
from fxci_assets.resources.billing import BillingExports, LoadedExports
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.monitoring import Monitoring
from fxci_assets.resources.pulse import PulseSource
from fxci_assets.resources.taskcluster import Taskcluster
from fxci_assets.resources.warehouse import Warehouse
from fxci_assets.settings import BigQueryTables, Secret, Settings, SettingsError, require
from fxci_assets.tables import BILLING
from fxci_assets.takeover import Takeover

if TYPE_CHECKING:
    from dagster_gcp import BigQueryResource

    from fxci_assets.resources.bigquery_jobs import Clients
    from fxci_assets.sandbox.firefox_ci import World


def state_folder(settings: Settings) -> Path:
    """Where all of the deployment's state lies, but Dagster's."""
    return settings.sandbox_dir / settings.deployment


def archive(settings: Settings) -> Archive:
    if settings.deployment == "production":
        return Archive.over(_bucket(settings, settings.storage.prefix), _target(settings))
    return Archive.over(LocalStore(state_folder(settings) / "archive"), _target(settings))


def _target(settings: Settings) -> str:
    """What builds are recorded for: project and dataset, and which tables are called otherwise
    than usual, for those are others, of which nothing is built yet."""
    section, usual = settings.bigquery, BigQueryTables()
    renamed = [
        f"{name}={called}"
        for name, called in msgspec.structs.asdict(section.tables).items()
        if called != getattr(usual, name)
    ]
    return ".".join([section.project, section.dataset, *renamed])


def _bucket(settings: Settings, prefix: str) -> Store:
    # Imported where it is used, as all that is Google's: it is nothing to the sandbox.
    from fxci_assets.archive.gcs import GcsStore

    section = settings.storage
    bucket = require(section.bucket, "storage", "bucket")
    return GcsStore(bucket, prefix, credentials=_revealed(section.credentials))


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _bigquery_clients(settings: Settings) -> Clients:
    from fxci_assets.resources.bigquery_warehouse import plain_clients

    section = settings.bigquery
    return plain_clients(section.project, _revealed(section.credentials))


def bigquery_resource(settings: Settings) -> BigQueryResource:
    """The clients of the settings as Dagster knows them."""
    from fxci_assets.resources.bigquery_resource import bigquery_resource

    return bigquery_resource(settings.bigquery.project, _bigquery_clients(settings))


def warehouse(settings: Settings, clients: Clients | None = None) -> Warehouse:
    """In production, BigQuery through these clients, by default those of the settings."""
    if settings.deployment != "production":
        return _local_warehouse(settings)

    from fxci_assets.resources.bigquery_jobs import Patience
    from fxci_assets.resources.bigquery_warehouse import BigQueryWarehouse

    section = settings.bigquery
    return BigQueryWarehouse(
        clients or _bigquery_clients(settings),
        section.project,
        section.dataset,
        names=sql.names(settings),
        may_create=section.create_tables,
        patience=Patience.within(LEFT_FOR_A_WRITE * settings.rebuild.run_limit_seconds),
    )


def local_warehouse(settings: Settings) -> LocalWarehouse:
    """Raises SettingsError in production, which has none."""
    if settings.deployment == "production":
        raise SettingsError("in production the billing exports arrive on their own")
    return _local_warehouse(settings)


def _local_warehouse(settings: Settings) -> LocalWarehouse:
    names = sql.names(settings)
    return LocalWarehouse(
        state_folder(settings) / "warehouse",
        settings.bigquery.project,
        settings.bigquery.dataset,
        names=names,
        sources={names[f"billing.{source.name}"]: source for source in BILLING},
        views=sql.views(names),
    )


def pipeline(
    settings: Settings,
    clock: Clock = utc_now,
    *,
    clients: Clients | None = None,
    labels: Mapping[str, str] | None = None,
) -> Pipeline:
    """`clients` are for `warehouse`; `labels` tell, with each day that is written, who wrote it."""
    builders = all_builders(settings, _billing(settings, clock))
    made = Pipeline.of(settings, archive(settings), warehouse(settings, clients), builders, clock)
    made = replace(made, labels=labels or {})
    if settings.deployment != "production":
        return made
    takeover = Takeover(
        made.archive,
        made.warehouse,
        _bucket(settings, ""),
        sql.names(settings),
        made.first_day,
        clock,
    )
    return replace(made, takeover=takeover)


def _billing(settings: Settings, clock: Clock) -> BillingExports:
    if settings.deployment == "production":
        return BillingExports()
    local = _local_warehouse(settings)
    if settings.deployment == "sandbox":
        from fxci_assets.sandbox.billing import SimulatedBilling

        return SimulatedBilling(_world(settings), local.fill, clock)
    return LoadedExports(local.is_filled)


def monitoring(settings: Settings, clock: Clock = utc_now) -> Monitoring:
    if settings.deployment == "sandbox":
        from fxci_assets.sandbox.uptime import SimulatedMonitoring

        return SimulatedMonitoring(_world(settings), clock=clock)

    from fxci_assets.resources.cloud_monitoring import CloudMonitoring

    section = settings.monitoring
    return CloudMonitoring(
        credentials=_revealed(section.credentials),
        request_seconds=section.request_seconds,
        retry_seconds=section.retry_seconds,
    )


def taskcluster(settings: Settings, clock: Clock = utc_now) -> Taskcluster:
    if settings.deployment == "sandbox":
        from fxci_assets.sandbox.taskcluster import SimulatedTaskcluster

        return SimulatedTaskcluster(_world(settings), clock=clock)

    from fxci_assets.resources.taskcluster_queue import TaskclusterQueue

    section = settings.taskcluster
    return TaskclusterQueue(section.rooturl, request_seconds=section.request_seconds)


def _world(settings: Settings) -> World:
    from fxci_assets.sandbox.firefox_ci import World

    return World(settings.sandbox_seed, settings.sandbox_tasks_per_day)


def pulse(settings: Settings) -> PulseSource:
    """Raises SettingsError where pulse needs a setting that is missing."""
    # Each is imported where it is used: AMQP is nothing to the sandbox, nor the simulator to
    # anything else.
    if settings.deployment == "sandbox":
        from fxci_assets.sandbox.source import SimulatedPulse

        position = state_folder(settings) / "pulse-position.json"
        return SimulatedPulse(_world(settings), position, history_days=settings.sandbox_days)

    from fxci_assets.resources.amqp import AmqpPulse

    user, password = require(settings.pulse.user, "pulse", "user"), settings.pulse.password
    return AmqpPulse(
        host=settings.pulse.host,
        port=settings.pulse.port,
        user=user,
        password=require(password, "pulse", "password").reveal(),
        tls=settings.pulse.tls,
        durable=settings.pulse.durable,
        # Twice a batch: one is on its way while the other is filed.
        # AMQP has 16 bits for the number.
        prefetch=min(2 * settings.drain.batch_messages, 65_535),
    )
