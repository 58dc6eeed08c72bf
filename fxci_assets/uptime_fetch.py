"""Fetch a day's uptime from Cloud Monitoring, whole or not at all.

What an answer means is `fxci_assets.uptime`; that it is archived before a table is built from it,
`fxci_assets.pipeline`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from fxci_assets.archive.uptime import Fetch
from fxci_assets.resources.monitoring import Monitoring, MonitoringError
from fxci_assets.tables import WORKER_METRICS
from fxci_assets.uptime import UptimeOfDay

SETTLING = dt.timedelta(minutes=10)
"""After a day has ended. A sample is up to 240 s late (the metric's descriptor: ingestDelay)."""


def complete_at(day: dt.date) -> dt.datetime:
    """When Cloud Monitoring knows all of a day's uptime."""
    return dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), dt.UTC) + SETTLING


def fetch_uptime(
    source: Monitoring, projects: Sequence[str], day: dt.date, now: dt.datetime
) -> Fetch:
    """What Cloud Monitoring knows of a day, in each of the projects.

    Raises MonitoringError where one of them cannot be asked, as half a day is none; and where
    there is nothing for any, because that is how it answers for a day that it has forgotten.
    """
    answers = {project: source.uptime(project, day) for project in projects}
    # Not by its series: one can have points of other days alone.
    if not UptimeOfDay(day, now, answers).staged(WORKER_METRICS):
        raise MonitoringError(
            f"Cloud Monitoring has no uptime for {day} in any of {', '.join(projects)}: it may "
            "have forgotten the day, or these are not the projects of the workers"
        )
    return Fetch(now, answers)
