"""Durable files: what was received, what could not be used, and the state of queues and rebuilds.

`store` makes bytes durable; `files` is what all files have in common; `events`, `definitions`,
`uptime`, `baseline`, `quarantine` and `records` say what lies in them. Files of events, definitions
and uptime are append-only: never rewritten, renamed over or compacted, and removed only when they
have been kept for as long as is set. What their contents mean is `fxci_assets.taskcluster` and
`fxci_assets.uptime`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from fxci_assets.archive.baseline import Baseline
from fxci_assets.archive.definitions import DefinitionFiles
from fxci_assets.archive.events import EventFiles
from fxci_assets.archive.files import days_of
from fxci_assets.archive.quarantine import Quarantine
from fxci_assets.archive.records import BuildRecords, QueueRecords
from fxci_assets.archive.store import Store
from fxci_assets.archive.uptime import UptimeFetches

_OF_MESSAGES = ("pulse_events", "task_definitions", "task_definitions/told", "quarantine")
"""The folders of what messages and the queue told, which names users, by day."""


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
        )

    def forget(self, before: dt.date) -> None:
        """Remove what messages and the queue told, of the days before one. Their rows stay."""
        for folder in _OF_MESSAGES:
            for name in self.store.folders(folder):
                if all(day >= before for day in days_of([name])):  # one, or none of another name
                    continue
                for file in self.store.files(f"{folder}/{name}"):
                    self.store.remove(f"{folder}/{name}/{file}")
