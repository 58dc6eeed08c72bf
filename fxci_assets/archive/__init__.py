"""Durable files: what was received, what could not be used, and the state of queues and rebuilds.

`store` makes bytes durable; `files` is what all files have in common; `events`, `definitions`,
`uptime`, `baseline`, `quarantine` and `records` say what lies in them. Files of events, definitions
and uptime are append-only: never rewritten, renamed over or compacted, and removed only when they
have been kept for as long as is set (`forgotten`). What their contents mean is
`fxci_assets.taskcluster` and `fxci_assets.uptime`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fxci_assets.archive.baseline import Baseline
from fxci_assets.archive.definitions import DefinitionFiles
from fxci_assets.archive.events import EventFiles
from fxci_assets.archive.forgotten import Forgotten
from fxci_assets.archive.quarantine import Quarantine
from fxci_assets.archive.records import BuildRecords, QueueRecords
from fxci_assets.archive.store import Store
from fxci_assets.archive.uptime import UptimeFetches


@dataclass(frozen=True, slots=True)
class Archive:
    """All that lies under one prefix."""

    store: Store
    events: EventFiles
    quarantine: Quarantine
    queues: QueueRecords
    uptime: UptimeFetches
    builds: BuildRecords
    baseline: Baseline
    definitions: DefinitionFiles
    forgotten: Forgotten

    @classmethod
    def over(cls, store: Store, target: str) -> Archive:
        """`target` is the project and dataset whose tables' builds are recorded here."""
        return cls(
            store,
            EventFiles(store),
            Quarantine(store),
            QueueRecords(store),
            UptimeFetches(store),
            BuildRecords(store, target),
            Baseline(store, target),
            DefinitionFiles(store),
            Forgotten(store),
        )
