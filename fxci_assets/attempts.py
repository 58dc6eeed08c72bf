"""Attempts to rebuild a stale day, counted from Dagster's own runs, and when there were enough.

Here belongs which stale tables are rebuilt together by one run, and what Dagster remembers of such
runs. What makes a day stale is `fxci_assets.freshness`; when it is tried again,
`fxci_assets.sensors`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg

from fxci_assets.pipeline import Pipeline, StaleDay
from fxci_assets.settings import Settings

REBUILD_TAG = "fxci/rebuild"
"""Tag of the runs that the sensor asks for; its value says which tables, day and inputs."""

UNFINISHED = [
    status
    for status in dg.DagsterRunStatus
    if status
    not in (
        dg.DagsterRunStatus.SUCCESS,
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELED,
    )
]
"""States of runs that are under way, or wait to be."""

_RUN_KEY_TAG = "dagster/run_key"


@dataclass(frozen=True, slots=True)
class RebuildRequest:
    """A day whose stale tables are rebuilt by one run."""

    day: dt.date
    stale: tuple[StaleDay, ...]

    @property
    def tag(self) -> str:
        names = "+".join(stale.table.name for stale in self.stale)
        # Inputs of a derived day change with each drain: a version for each would give it new
        # attempts for ever.
        version = "derived" if self.derived else self.stale[0].input_version
        return f"{names}/{self.day}/{version}"

    @property
    def derived(self) -> bool:
        return self.stale[0].derived

    @property
    def built_at(self) -> dt.datetime | None:
        """When the last of the tables was built; None where one never was, which is not to wait
        for the others."""
        times = [stale.built_at for stale in self.stale if stale.built_at]
        return max(times) if len(times) == len(self.stale) else None


def requests_for(stale: Iterable[StaleDay]) -> list[RebuildRequest]:
    """The stale days, each once for tables with the same inputs, and once for all that are
    derived: these are built in the order in which they read each other."""
    groups: dict[tuple[dt.date, str], list[StaleDay]] = {}
    for one in stale:
        inputs = "derived" if one.derived else one.input_version
        groups.setdefault((one.day, inputs), []).append(one)
    return [RebuildRequest(day, tuple(group)) for (day, _), group in groups.items()]


class Attempts:
    """The runs that were made for a request."""

    def __init__(self, instance: dg.DagsterInstance, request: RebuildRequest) -> None:
        self._instance = instance
        self._request = request
        self._tags = {REBUILD_TAG: request.tag}

    def used_up(self, most: int) -> bool:
        """Whether as many were made since the day was last built, and none is under way. What
        failed before that does not count: its mark can make a day stale again long after another
        run has built it."""
        filters = dg.RunsFilter(tags=self._tags, created_after=self._request.built_at)
        return self._instance.get_runs_count(filters) >= most and not self.under_way()

    def under_way(self) -> bool:
        filters = dg.RunsFilter(tags=self._tags, statuses=UNFINISHED)
        return self._instance.get_runs_count(filters) > 0

    def newest(self) -> dt.datetime | None:
        """When the last of them was asked for."""
        newest = self._instance.get_run_records(dg.RunsFilter(tags=self._tags), limit=1)
        return newest[0].create_timestamp if newest else None

    def next_run_key(self) -> str:
        """One that Dagster has not met: it silently skips a run whose key it knows, and a count
        would come to a known one again where somebody deleted a run."""
        runs = self._instance.get_run_records(dg.RunsFilter(tags=self._tags))
        keys = (record.dagster_run.tags.get(_RUN_KEY_TAG, "") for record in runs)
        numbers = (key.rpartition("/")[2] for key in keys)
        last = max((int(number) for number in numbers if number.isdigit()), default=0)
        return f"{self._request.tag}/{last + 1}"


def given_up(
    pipeline: Pipeline, instance: dg.DagsterInstance, settings: Settings
) -> list[StaleDay]:
    """The stale days whose attempts are used up."""
    return [
        stale
        for request in requests_for(pipeline.stale())
        if Attempts(instance, request).used_up(settings.rebuild.max_attempts)
        for stale in request.stale
    ]
