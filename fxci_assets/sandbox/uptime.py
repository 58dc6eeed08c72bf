"""The simulated Cloud Monitoring: for how long the GCP workers were up, as time series.

Here belong the shape of an answer and the ways in which the metric is imperfect. Who was up when is
`fleet`.

A worker is sampled at each whole minute, and what is counted starts with the first sample; so up to
a minute of its boot is missing. It ends with the second in which the worker stopped: a run that
ends its worker is covered to the end.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from fxci_assets.resources.monitoring import UPTIME
from fxci_assets.sandbox.firefox_ci import Instant, Worker, World, instant, midnight, moment
from fxci_assets.sandbox.fleet import draw, presences, renaming

_UNMETERED = 0.004  # workers that have no time series
_IN_HALVES = 0.02  # a worker's days that come as two points
_WITH_DAY_BEFORE = 0.03  # and those on which the point of the day before comes once more

_LATE = 240_000  # a sample shows only so much later
_SECOND = 1_000
_MINUTE = 60 * _SECOND
_DAY = 86_400_000


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class SimulatedMonitoring:
    """A `Monitoring` of the world, that knows what had happened by the clock."""

    __slots__ = ("_clock", "_world")

    def __init__(self, world: World, *, clock: Callable[[], dt.datetime] = _now) -> None:
        self._world = world
        self._clock = clock

    def uptime(self, project: str, day: dt.date) -> list[bytes]:
        """The time series of a project on a UTC day, summed over the day, each as the JSON of
        Cloud Monitoring's REST API."""
        seen = instant(self._clock()) - _LATE
        return [
            msgspec.json.encode(series)
            for presence in presences(self._world, day, seen - seen % _MINUTE)
            if presence.worker.provider == "gcp" and presence.worker.project == project
            for series in _series(presence.worker, day, presence.end)
        ]


class _Life(NamedTuple):
    """The time for which a worker was counted under a name."""

    name: str
    start: Instant
    end: Instant


def _series(worker: Worker, day: dt.date, end: Instant) -> Iterator[dict[str, object]]:
    if draw("unmetered", worker.instance_id) < _UNMETERED:
        return
    intervals = _intervals(worker, day)
    for name, start, stop in _lives(worker, _up(end, _SECOND)):
        points = [
            {
                "interval": {"startTime": _text(begin), "endTime": _text(finish)},
                "value": {"doubleValue": (min(stop, finish) - max(start, begin)) / 1000},
            }
            for begin, finish in intervals
            if max(start, begin) < min(stop, finish)
        ]
        if points:
            yield {
                "metric": {
                    "type": UPTIME,
                    "labels": {"instance_name": name},
                },
                "resource": {
                    "type": "gce_instance",
                    "labels": {
                        "project_id": worker.project,
                        "instance_id": worker.instance_id,
                        "zone": worker.zone,
                    },
                },
                "metricKind": "DELTA",
                "valueType": "DOUBLE",
                "points": points,
            }


def _lives(worker: Worker, end: Instant) -> list[_Life]:
    first = _up(worker.started, _MINUTE)
    renamed = renaming(worker)
    if renamed is None or end <= renamed.at:
        return [_Life(worker.name, first, end)]
    return [_Life(worker.name, first, renamed.at), _Life(renamed.name, renamed.at, end)]


def _intervals(worker: Worker, day: dt.date) -> list[tuple[Instant, Instant]]:
    """For which intervals there are points, the newest first."""
    begin = midnight(day)
    noon, end = begin + _DAY // 2, begin + _DAY
    intervals = [(begin, end)]
    if draw("in halves", worker.instance_id, day) < _IN_HALVES:
        intervals = [(noon, end), (begin, noon)]
    if draw("with day before", worker.instance_id, day) < _WITH_DAY_BEFORE:
        intervals.append((begin - _DAY, begin))
    return intervals


def _up(at: Instant, unit: int) -> Instant:
    return -(-at // unit) * unit


def _text(at: Instant) -> str:
    return moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")
