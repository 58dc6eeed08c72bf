"""Who was up when: the part of a UTC day for which each worker of the world lived.

Here belongs what Cloud Monitoring and the bills must agree on, and the chance by which they treat
some workers badly. What a worker does is `firefox_ci`; what is said of it is `uptime` and
`billing`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from fxci_assets.sandbox.firefox_ci import DAYS_OF_LIFE, Instant, Worker, World, midnight

_RENAMED = 0.004

_MINUTE = 60_000
_DAY = 86_400_000


class Presence(NamedTuple):
    """A worker, and the part of a day for which it was up."""

    worker: Worker
    start: Instant
    end: Instant


class Renaming(NamedTuple):
    """A worker's new name, and when it got it. Its id stays."""

    at: Instant
    name: str


def presences(world: World, day: dt.date, until: Instant) -> Iterator[Presence]:
    """All workers that were up on a UTC day, as far as that had happened by `until`."""
    begin = midnight(day)
    finish = min(begin + _DAY, until)
    for ago in range(DAYS_OF_LIFE):
        for worker in _fleet(world, day - dt.timedelta(days=ago)):
            start = max(worker.started, begin)
            end = finish if worker.stopped is None else min(worker.stopped, finish)
            if start < end:
                yield Presence(worker, start, end)


# Twice what a day needs: days in a row, from either end, simulate each fleet once.
@lru_cache(maxsize=2 * DAYS_OF_LIFE)
def _fleet(world: World, day: dt.date) -> tuple[Worker, ...]:
    return tuple(world.workers(day))


def renaming(worker: Worker) -> Renaming | None:
    """A few GCP instances get another name in the middle of their life."""
    if worker.provider != "gcp" or worker.stopped is None:
        return None
    if draw("renamed", worker.instance_id) >= _RENAMED:
        return None
    middle = (worker.started + worker.stopped) // 2
    return Renaming(middle - middle % _MINUTE, f"{worker.name}-renamed")


def draw(*of: object) -> float:
    """A number from 0 up to 1, the same in every process for the same things.

    What is said of a worker on one day must not depend on whether other days or workers were asked
    for before; so it is not drawn in a sequence.
    """
    digest = hashlib.blake2b("/".join(map(str, of)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (1 << 53)
