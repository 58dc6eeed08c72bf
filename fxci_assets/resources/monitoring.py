"""Cloud Monitoring: for how long the instances of a project were up on a day.

Here belongs the interface that a fetch reads through; over Google's API it is `cloud_monitoring`.
What the time series mean is `fxci_assets.uptime`; how answers are kept is
`fxci_assets.archive.uptime`.
"""

from __future__ import annotations

import datetime as dt
from typing import Protocol

UPTIME = "compute.googleapis.com/instance/uptime"
"""The metric: seconds for which an instance ran, of kind DELTA, sampled each minute and visible up
to 240 s later (https://cloud.google.com/monitoring/api/metrics_gcp_c)."""


class MonitoringError(Exception):
    """There is no complete answer; one line that says of which project, and what to do."""


class Monitoring(Protocol):
    """The time series of UPTIME, wherever they are."""

    def uptime(self, project: str, day: dt.date) -> list[bytes]:
        """All time series of a project for a UTC day; none where none of its instances was up.

        Each is the JSON object by which the REST API shows that TimeSeries, in UTF-8: labels in
        `metric.labels` and `resource.labels`, and `points` with `interval.endTime` (RFC 3339) and
        `value.doubleValue` (seconds). As fetched: nothing is left out, and no points are added up.

        Raises MonitoringError where not all of them could be had.
        """
