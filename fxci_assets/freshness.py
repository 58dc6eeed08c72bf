"""Versions, staleness, and the protocol by which a day is rebuilt.

State decides what is rebuilt, not events: each day of each table records the version of the
inputs that it was built from, and where that differs from the inputs' version now, the day is
stale, whoever crashed when. This module knows no table and no Dagster.

Why the protocol is as it is: `fxci_assets_tests/test_freshness.py` explores every interleaving of
a drain, two builders and two crashes. Comparing versions alone is not enough: a builder that read
old inputs can write over a newer build after that one was recorded, and die before it notices.
Hence the marks: one that outlives the time a rebuild may take makes its day stale.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec

ATTEMPTS = 3
"""How often one rebuild starts again because its inputs have changed meanwhile."""


class Tallied(msgspec.Struct, frozen=True):
    """How often a build met something worth a look, and the first few cases by name."""

    count: int
    examples: tuple[str, ...] = ()


class Built(msgspec.Struct, frozen=True):
    """What a day of a table was built from, and what came of it."""

    input_version: str
    data_version: str
    rows: int
    built_at: dt.datetime
    counts: dict[str, Tallied] = {}


@dataclass(frozen=True, slots=True)
class Mark:
    """That a rebuild is under way, or died."""

    id: str
    made_at: dt.datetime

    def expired(self, now: dt.datetime, run_limit: dt.timedelta) -> bool:
        # One from the future was made before the clock was set back.
        return abs(now - self.made_at) > run_limit


class Ledger(Protocol):
    """Where builds are recorded, durably."""

    def built(self, table: str, day: dt.date) -> Built | None: ...

    def record(self, table: str, day: dt.date, built: Built) -> None: ...

    def marks(self, table: str, day: dt.date) -> list[Mark]: ...

    def put_mark(self, table: str, day: dt.date, made_at: dt.datetime) -> Mark: ...

    def remove_mark(self, table: str, day: dt.date, mark: Mark) -> None: ...


Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class Inputs(Generic[Content]):
    """What a day is built from, resolved to an exact version."""

    version: str
    content: Content


@dataclass(frozen=True, slots=True)
class Written:
    """What a build wrote for one table."""

    data_version: str
    rows: int
    counts: Mapping[str, Tallied]


class InputsKeepChanging(Exception):
    """The inputs of a day changed during each attempt to build it; the day stays stale."""


def version_of(names: Iterable[str]) -> str:
    """The version of inputs that are known by the names of their files or by other versions."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]


NO_INPUTS = version_of(())


def staleness(
    input_version: str,
    built: Built | None,
    marks: Sequence[Mark],
    now: dt.datetime,
    run_limit: dt.timedelta,
) -> str | None:
    """Why a day must be rebuilt, or None if it need not be. A day without inputs is not stale,
    unless it has no rows either: there is nothing to build it from, or no more."""
    if input_version == NO_INPUTS and built is not None and built.rows:
        return None
    if any(mark.expired(now, run_limit) for mark in marks):
        return "a rebuild died"
    if built is None:
        return None if input_version == NO_INPUTS else "never built"
    if built.input_version != input_version:
        return "inputs changed"
    return None


def due(
    day: dt.date,
    built_at: dt.datetime | None,
    now: dt.datetime,
    older_days_every: dt.timedelta,
) -> bool:
    """Whether a stale day should be rebuilt now: today always, an older day not more often than
    is set, because late messages trickle in one by one."""
    return day >= now.date() or rested(built_at, now, older_days_every)


def rested(built_at: dt.datetime | None, now: dt.datetime, interval: dt.timedelta) -> bool:
    """Whether a day was built as long ago as an interval, or never."""
    # A time in the future is of before the clock was set back.
    return built_at is None or built_at > now or now - built_at >= interval


def rebuild(
    tables: Sequence[str],
    day: dt.date,
    ledger: Ledger,
    resolve: Callable[[], Inputs[Content]],
    build: Callable[[Inputs[Content]], Mapping[str, Written]],
    clock: Callable[[], dt.datetime],
    run_limit: dt.timedelta,
) -> dict[str, Built]:
    """Build a day of tables that have the same inputs, and record what they were built from.

    `build` writes each table's day atomically, from exactly the inputs it is given. Raises
    InputsKeepChanging, and what `resolve` and `build` raise; then the marks stay, and make the
    day stale once they have expired.
    """
    steps = rebuild_steps(tables, day, ledger, resolve, build, clock, run_limit)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def rebuild_steps(
    tables: Sequence[str],
    day: dt.date,
    ledger: Ledger,
    resolve: Callable[[], Inputs[Content]],
    build: Callable[[Inputs[Content]], Mapping[str, Written]],
    clock: Callable[[], dt.datetime],
    run_limit: dt.timedelta,
) -> Generator[str, None, dict[str, Built]]:
    """`rebuild`, yielding the name of each step before it is taken: the points at which another
    process may act, or this one may die."""
    began = clock()
    died = {
        table: [m for m in ledger.marks(table, day) if m.expired(began, run_limit)]
        for table in tables
    }
    yield "put marks"
    own = {table: ledger.put_mark(table, day, began) for table in tables}
    yield "resolve inputs"
    inputs = resolve()
    for _ in range(ATTEMPTS):
        yield "build and write"
        written = build(inputs)
        yield "resolve inputs again"
        now_there = resolve()
        if now_there.version == inputs.version:
            break
        inputs = now_there
    else:
        raise InputsKeepChanging(
            f"{day}: new inputs arrived during each of {ATTEMPTS} builds of {', '.join(tables)}; "
            "the day stays stale and is rebuilt by the next drain or sensor tick"
        )
    result: dict[str, Built] = {}
    for table in tables:
        yield f"record {table}"
        made = written[table]
        result[table] = Built(
            inputs.version, made.data_version, made.rows, clock(), dict(made.counts)
        )
        ledger.record(table, day, result[table])
    for table in tables:
        yield f"remove the marks of {table}"
        for mark in (own[table], *died[table]):
            ledger.remove_mark(table, day, mark)
    return result
