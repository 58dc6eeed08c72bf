"""Which implementation of each outside system a deployment uses, and where its state lies.

`sandbox` is simulated sources and local storage; `local` is real sources and local storage. Their
state lies in folders of their own, so that nothing simulated is ever beside what is real. Each
function checks the settings that it uses, and nothing here touches a network or a disk.
"""

from __future__ import annotations

from pathlib import Path

from fxci_assets.archive import Archive
from fxci_assets.archive.store import LocalStore
from fxci_assets.pipeline import Pipeline
from fxci_assets.resources.pulse import PulseSource
from fxci_assets.resources.warehouse import LocalWarehouse, Warehouse
from fxci_assets.settings import Settings, require


def state_folder(settings: Settings) -> Path:
    """Where all of the deployment's state lies, but Dagster's."""
    return settings.sandbox_dir / settings.deployment


def archive(settings: Settings) -> Archive:
    target = f"{settings.bigquery.project}.{settings.bigquery.dataset}"
    return Archive.over(LocalStore(state_folder(settings) / "archive"), target)


def warehouse(settings: Settings) -> Warehouse:
    names = settings.bigquery
    return LocalWarehouse(state_folder(settings) / "warehouse", names.project, names.dataset)


def pipeline(settings: Settings) -> Pipeline:
    return Pipeline.of(settings, archive(settings), warehouse(settings))


def pulse(settings: Settings) -> PulseSource:
    """Raises SettingsError where pulse needs a setting that is missing."""
    # Each is imported where it is used: AMQP is nothing to the sandbox, nor the simulator to
    # anything else.
    if settings.deployment == "sandbox":
        from fxci_assets.sandbox.firefox_ci import World
        from fxci_assets.sandbox.source import SimulatedPulse

        world = World(settings.sandbox_seed, settings.sandbox_tasks_per_day)
        position = state_folder(settings) / "pulse-position.json"
        return SimulatedPulse(world, position, history_days=settings.sandbox_days)

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
