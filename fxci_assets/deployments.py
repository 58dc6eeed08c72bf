"""Which implementation of each outside system a deployment uses, and where its state lies.

`sandbox` is simulated sources and local storage; `local` is real sources and local storage. Their
state lies in folders of their own, so that nothing simulated is ever beside what is real. Each
function checks the settings that it uses, and nothing here touches a network or a disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fxci_assets import sql
from fxci_assets.archive import Archive
from fxci_assets.archive.store import LocalStore
from fxci_assets.builders import all_builders
from fxci_assets.pipeline import Clock, Pipeline, utc_now
from fxci_assets.resources.billing import BillingExports, LoadedExports
from fxci_assets.resources.local_warehouse import LocalWarehouse
from fxci_assets.resources.monitoring import Monitoring
from fxci_assets.resources.pulse import PulseSource
from fxci_assets.settings import Settings, require
from fxci_assets.tables import BILLING

if TYPE_CHECKING:
    from fxci_assets.sandbox.firefox_ci import World


def state_folder(settings: Settings) -> Path:
    """Where all of the deployment's state lies, but Dagster's."""
    return settings.sandbox_dir / settings.deployment


def archive(settings: Settings) -> Archive:
    target = f"{settings.bigquery.project}.{settings.bigquery.dataset}"
    return Archive.over(LocalStore(state_folder(settings) / "archive"), target)


def warehouse(settings: Settings) -> LocalWarehouse:
    names = sql.names(settings)
    return LocalWarehouse(
        state_folder(settings) / "warehouse",
        settings.bigquery.project,
        settings.bigquery.dataset,
        sources={names[f"billing.{source.name}"]: source for source in BILLING},
        views=sql.views(names),
    )


def pipeline(settings: Settings, clock: Clock = utc_now) -> Pipeline:
    tables = warehouse(settings)
    builders = all_builders(settings, _billing(settings, tables, clock))
    return Pipeline.of(settings, archive(settings), tables, builders, clock)


def _billing(settings: Settings, tables: LocalWarehouse, clock: Clock) -> BillingExports:
    if settings.deployment == "sandbox":
        from fxci_assets.sandbox.billing import SimulatedBilling

        return SimulatedBilling(_world(settings), tables.fill, clock)
    return LoadedExports(tables.is_filled)


def monitoring(settings: Settings, clock: Clock = utc_now) -> Monitoring:
    if settings.deployment == "sandbox":
        from fxci_assets.sandbox.uptime import SimulatedMonitoring

        return SimulatedMonitoring(_world(settings), clock=clock)

    from fxci_assets.resources.cloud_monitoring import CloudMonitoring

    section = settings.monitoring
    return CloudMonitoring(
        credentials=section.credentials.reveal() if section.credentials else None,
        request_seconds=section.request_seconds,
        retry_seconds=section.retry_seconds,
    )


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
