"""A day's answers of Cloud Monitoring to the day's rows of `worker_metrics_v1`.

A pure function of the answers: in which order, on which pages and in how many series their points
came makes no difference. How they are fetched is `fxci_assets.resources.monitoring`; how they
are kept is `fxci_assets.archive.uptime`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import pyarrow as pa

from fxci_assets.day_rows import Tally, UnusableEvent
from fxci_assets.tables import Table, arrow_schema
from fxci_assets.taskcluster.messages import DECODE_ERRORS, Instant, Unusable

EXCHANGE = "cloud-monitoring/uptime"
"""Stands for an exchange where a series is in quarantine; the routing key is the project."""

SERIES_UNREADABLE = "series-unreadable"
SERIES_WITHOUT_LABELS = "series-without-labels"
SERIES_OF_ANOTHER_PROJECT = "series-of-another-project"
POINT_WITHOUT_INTERVAL = "point-without-interval"
POINT_WITHOUT_NUMBER = "point-without-number"

PROJECTS_WITHOUT_SERIES = "projects_without_series"
POINTS_OF_OTHER_DAYS = "points_of_other_days"
UNUSABLE_SERIES = "unusable_series"


class _Labels(msgspec.Struct, gc=False):
    zone: str = ""
    instance_id: str = ""
    project_id: str = ""


class _Resource(msgspec.Struct, gc=False):
    labels: _Labels = msgspec.field(default_factory=_Labels)


class _Interval(msgspec.Struct, gc=False):
    endTime: Instant | None = None  # noqa: N815


class _Value(msgspec.Struct, gc=False):
    # In protobuf's JSON, NaN and all 64-bit integers are strings.
    doubleValue: float | str | None = None  # noqa: N815
    int64Value: float | str | None = None  # noqa: N815


class _Point(msgspec.Struct, gc=False):
    interval: _Interval = msgspec.field(default_factory=_Interval)
    value: _Value = msgspec.field(default_factory=_Value)


class _Series(msgspec.Struct, gc=False):
    resource: _Resource = msgspec.field(default_factory=_Resource)
    points: list[_Point] = []


_decode = msgspec.json.Decoder(_Series).decode


class _Worker(NamedTuple):
    project: str
    zone: str
    instance_id: str


class UptimeOfDay:
    """The rows of one day, and what was met on the way to them; implements `DayRows`.

    `answers` are the time series of each project that was asked, as JSON.
    """

    def __init__(
        self, day: dt.date, fetched_at: dt.datetime, answers: Mapping[str, Sequence[bytes]]
    ) -> None:
        self._day = day
        self._begin = dt.datetime.combine(day, dt.time(), dt.UTC)
        self._end = self._begin + dt.timedelta(days=1)
        self._seconds: dict[_Worker, list[float]] = {}
        self._other_days: list[str] = []
        self.unusable: list[UnusableEvent] = []
        self.first_event: dt.datetime | None = None
        self.last_event: dt.datetime | None = None
        for project, series in answers.items():
            for body in series:
                try:
                    self._add(*_read(body, project))
                except Unusable as unusable:
                    self.unusable.append(
                        UnusableEvent(str(unusable), EXCHANGE, project, fetched_at, body)
                    )
        seen = {worker.project for worker in self._seconds}
        self._without_series = [project for project in answers if project not in seen]

    def _add(self, worker: _Worker, points: Sequence[tuple[dt.datetime, float]]) -> None:
        for end, seconds in points:
            if self._begin < end <= self._end:
                self._seconds.setdefault(worker, []).append(seconds)
            else:
                self._other_days.append(f"{'/'.join(worker)} at {end.isoformat()}")

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, sorted by the table's key."""
        rows = [
            {
                **worker._asdict(),
                # Exact before it is rounded, so that the order of the points is nothing to it.
                "uptime": round(math.fsum(seconds), 2),
                "interval_start_time": self._begin,
                # As the rows have it that others wrote before; the day's last second counts.
                "interval_end_time": self._end - dt.timedelta(seconds=1),
                "submission_date": self._day,
            }
            for worker, seconds in sorted(self._seconds.items())
        ]
        yield from pa.Table.from_pylist(rows, arrow_schema(table)).to_batches()

    def staged(self, table: Table) -> int:
        """The rows: what several series say of one worker are parts of a sum, not repeats."""
        return len(self._seconds)

    def counts(self, table: Table) -> Mapping[str, Tally]:
        """What the table's spec asks to be counted."""
        cases = {
            PROJECTS_WITHOUT_SERIES: self._without_series,
            POINTS_OF_OTHER_DAYS: self._other_days,
            UNUSABLE_SERIES: [f"{event.routing_key}: {event.reason}" for event in self.unusable],
        }
        tallies = {name: Tally() for name in cases}
        for name, tally in tallies.items():
            tally.add(sorted(cases[name]))
        return tallies


def _read(body: bytes, project: str) -> tuple[_Worker, list[tuple[dt.datetime, float]]]:
    """Whose a series is, and the end and the seconds of each of its points.

    Raises Unusable where a part of it cannot be used: what remains would be too little without
    showing it.
    """
    try:
        series = _decode(body)
    except DECODE_ERRORS:
        raise Unusable(SERIES_UNREADABLE) from None
    labels = series.resource.labels
    if not labels.zone or not labels.instance_id:
        raise Unusable(SERIES_WITHOUT_LABELS)
    if labels.project_id not in ("", project):
        # A project whose metrics scope has others in it answers for them too. Where these are ours,
        # they are asked themselves, and to use both answers would count an instance twice.
        raise Unusable(SERIES_OF_ANOTHER_PROJECT)
    return _Worker(project, labels.zone, labels.instance_id), [_point(p) for p in series.points]


def _point(point: _Point) -> tuple[dt.datetime, float]:
    end, value = point.interval.endTime, point.value
    if end is None:
        raise Unusable(POINT_WITHOUT_INTERVAL)
    number = value.int64Value if value.doubleValue is None else value.doubleValue
    try:
        seconds = math.nan if number is None else float(number)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise Unusable(POINT_WITHOUT_NUMBER)
    return end, seconds
