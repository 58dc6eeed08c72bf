"""What was kept for as long as is set, and is removed: messages, definitions, quarantine, by day.

`forgotten` says of which days; it is written before anything is removed, and only ever moved on.
Whoever builds has to know: a day whose messages are gone must not be built anew, or its rows would
be gone too, and the setting that they were removed by may be another by then. How long anything is
kept is decided by `fxci_assets.pipeline`.
"""

from __future__ import annotations

import datetime as dt
import itertools

import msgspec

from fxci_assets.archive.files import days_of
from fxci_assets.archive.store import Store, at_once

_RECORD = "forgotten"

_OF_MESSAGES = ("pulse_events", "task_definitions", "task_definitions/told", "quarantine")
"""The folders of what messages and the queue told, which names users."""

_MOST = 10_000
"""Files that are removed at once, in a few minutes; the rest next time."""


class Forgotten:
    """Which days are forgotten, and how they come to be."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before: dt.date | None = None
        self._is_known = False

    def before(self) -> dt.date:
        """The first day that is not forgotten."""
        if not self._is_known:
            try:
                data = self._store.read(_RECORD)
            except FileNotFoundError:
                self._before = None
            else:
                self._before = msgspec.json.decode(data, type=dt.date)
            self._is_known = True
        return self._before or dt.date.min

    def forget(self, before: dt.date) -> None:
        """Remove what messages and the queue told, of the days before one. Their rows stay."""
        self._is_known = False
        if before > self.before():
            self._store.replace(_RECORD, msgspec.json.encode(before))
            self._before = before
        paths = (
            f"{folder}/{name}/{file}"
            for folder in _OF_MESSAGES
            for name in self._store.folders(folder)
            if any(day < before for day in days_of([name]))
            for file in self._store.files(f"{folder}/{name}")
        )
        at_once(self._store.remove, itertools.islice(paths, _MOST))
