"""The rebuild protocol, explored exhaustively: every interleaving of a drain, two builders and up
to two crashes, over the real steps of `freshness.rebuild_steps`.

The claim: whatever happened, once no builder is alive and its marks have expired, a day is either
right or stale; and rebuilding it while it is stale makes it right and not stale. Each variant
that leaves something out of the protocol is shown to break the claim, so that the exploration is
known to see what it should.
"""

from __future__ import annotations

import copy
import datetime as dt
import inspect
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

import pytest

from fxci_assets.freshness import (
    NO_INPUTS,
    Built,
    Inputs,
    InputsKeepChanging,
    Mark,
    Written,
    rebuild,
    rebuild_steps,
    staleness,
    version_of,
)

DAY = dt.date(2026, 4, 13)
START = dt.datetime(2026, 4, 14, tzinfo=dt.UTC)
LIMIT = dt.timedelta(hours=1)
TABLE = "task_runs_v1"

Steps = Generator[str, None, dict[str, Built]]
Start = Callable[["World", str], Steps]


@dataclass
class World:
    """What survives a crash: the archive's files, the table's rows, and the ledger."""

    files: set[str] = field(default_factory=lambda: {"first"})
    rows: str | None = None
    records: dict[str, Built] = field(default_factory=dict)
    put: dict[str, dt.datetime] = field(default_factory=dict)
    now: dt.datetime = START
    builder: str = ""
    honour_marks: bool = True

    def version(self) -> str:
        return version_of(self.files)

    # The ledger
    def built(self, table: str, day: dt.date) -> Built | None:
        return self.records.get(table)

    def record(self, table: str, day: dt.date, built: Built) -> None:
        self.records[table] = built

    def marks(self, table: str, day: dt.date) -> list[Mark]:
        return [Mark(id, at) for id, at in self.put.items()] if self.honour_marks else []

    def put_mark(self, table: str, day: dt.date, made_at: dt.datetime) -> Mark:
        self.put[self.builder] = made_at
        return Mark(self.builder, made_at)

    def remove_mark(self, table: str, day: dt.date, mark: Mark) -> None:
        self.put.pop(mark.id, None)

    # What is built
    def resolve(self) -> Inputs[str]:
        return Inputs(self.version(), self.version())

    def build(self, inputs: Inputs[str]) -> Mapping[str, Written]:
        self.rows = inputs.content
        return {TABLE: Written(f"rows of {inputs.content}", 1, {})}

    def build_unless_recorded(self, inputs: Inputs[str]) -> Mapping[str, Written]:
        built = self.records.get(TABLE)
        if built is None or built.data_version != f"rows of {inputs.content}":
            return self.build(inputs)
        return {TABLE: Written(built.data_version, 1, {})}

    def stale(self) -> bool:
        marks = self.marks(TABLE, DAY)
        reason = staleness(self.version(), self.records.get(TABLE), marks, self.now, LIMIT)
        return reason is not None


def protocol(world: World, name: str) -> Steps:
    return rebuild_steps([TABLE], DAY, world, world.resolve, world.build, lambda: world.now, LIMIT)


def skipping_equal_writes(world: World, name: str) -> Steps:
    build = world.build_unless_recorded
    return rebuild_steps([TABLE], DAY, world, world.resolve, build, lambda: world.now, LIMIT)


@dataclass(frozen=True)
class Move:
    """`process` takes its next step, or dies before it."""

    process: str
    dies: bool = False


class Run:
    """One history, replayed from the beginning: generators cannot be copied."""

    def __init__(self, history: tuple[Move, ...], world: World, start: Start) -> None:
        self.world = copy.deepcopy(world)
        self.alive: dict[str, Steps] = {}
        self.waits_before: dict[str, str] = {}
        for name in ("A", "B"):
            self.alive[name] = start(self.world, name)
            self._advance(name)
        self.to_file = ["second", "third"]
        self.crashes = 0
        for move in history:
            self._take(move)

    def _take(self, move: Move) -> None:
        if move.process == "drain":
            self.world.files.add(self.to_file.pop(0))
        elif move.dies:
            self.alive.pop(move.process).close()
            self.crashes += 1
        else:
            self._advance(move.process)

    def _advance(self, name: str) -> None:
        self.world.builder = name
        try:
            self.waits_before[name] = next(self.alive[name])
        except (StopIteration, InputsKeepChanging):
            del self.alive[name]

    def moves(self) -> list[Move]:
        moves = [Move(name) for name in self.alive]
        if self.crashes < 2:
            moves += [Move(name, dies=True) for name in self.alive]
        if self.to_file:
            moves.append(Move("drain"))
        return moves

    def state(self) -> object:
        """All on which the future depends: two histories with the same state need one look."""
        processes = []
        for name, steps in self.alive.items():
            known = inspect.getgeneratorlocals(steps)
            inputs, now_there, attempt = (known.get(k) for k in ("inputs", "now_there", "_"))
            written = str(known.get("written"))
            position = (name, self.waits_before[name], inputs, now_there, attempt, written)
            processes.append(position)
        world = self.world
        ledger = (str(world.records), frozenset(world.put.items()))
        return (
            tuple(processes),
            frozenset(world.files),
            world.rows,
            ledger,
            self.crashes,
            tuple(self.to_file),
        )


def explore(world: World, start: Start) -> tuple[int, list[str]]:
    """Visit every reachable state. Returns how many there are, and the histories that end badly."""
    seen: set[object] = set()
    bad: list[str] = []
    stack: list[tuple[Move, ...]] = [()]
    while stack:
        history = stack.pop()
        run = Run(history, world, start)
        state = run.state()
        if state in seen:
            continue
        seen.add(state)
        if not run.alive:
            problem = _verdict(run.world)
            if problem:
                steps = " ".join(f"{m.process}{'†' if m.dies else ''}" for m in history)
                bad.append(f"{problem}: {steps}")
        stack += [(*history, move) for move in run.moves()]
    return len(seen), bad


def _verdict(world: World) -> str | None:
    """What is wrong once all have ended, or None."""
    world.now = START + 2 * LIMIT
    if not world.stale() and world.rows != world.version():
        return "not stale, and wrong"
    for _ in range(2):
        if world.stale():
            world.builder = "healer"
            rebuild([TABLE], DAY, world, world.resolve, world.build, lambda: world.now, LIMIT)
    if world.stale():
        return "stays stale"
    return None if world.rows == world.version() else "healed wrongly"


@pytest.mark.parametrize("first", ["never built", "built", "a rebuild died before"])
def test_every_interleaving_heals(first: str) -> None:
    world = World()
    if first != "never built":
        rebuild([TABLE], DAY, world, world.resolve, world.build, lambda: world.now, LIMIT)
    if first == "a rebuild died before":
        world.rows = "of an older build"
        world.put["dead"] = START - 2 * LIMIT
    states, bad = explore(world, protocol)
    assert bad == []
    assert states > 1_000


def test_comparing_versions_alone_has_states_that_do_not_heal() -> None:
    _, bad = explore(World(honour_marks=False), protocol)
    assert any(history.startswith("not stale, and wrong") for history in bad)


def test_skipping_equal_writes_has_states_that_do_not_heal() -> None:
    _, bad = explore(World(), skipping_equal_writes)
    assert any("wrong" in history for history in bad)


def test_inputs_that_change_during_each_attempt_leave_the_mark_and_record_nothing() -> None:
    world = World(builder="A")

    def build(inputs: Inputs[str]) -> Mapping[str, Written]:
        world.files.add(f"file {len(world.files)}")
        return world.build(inputs)

    with pytest.raises(InputsKeepChanging, match="2026-04-13: new inputs arrived during each of 3"):
        rebuild([TABLE], DAY, world, world.resolve, build, lambda: world.now, LIMIT)
    assert world.records == {}
    assert list(world.put) == ["A"]


def test_a_failing_build_leaves_its_mark_and_the_record_as_it_was() -> None:
    world = World(builder="A")

    def build(inputs: Inputs[str]) -> Mapping[str, Written]:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        rebuild([TABLE], DAY, world, world.resolve, build, lambda: world.now, LIMIT)
    assert world.records == {}
    assert world.stale()


def _built(version: str) -> Built:
    return Built(version, "d", 1, START)


@pytest.mark.parametrize(
    ("version", "built", "mark_age", "reason"),
    [
        (NO_INPUTS, None, None, None),
        ("v1", None, None, "never built"),
        ("v1", _built("v1"), None, None),
        ("v2", _built("v1"), None, "inputs changed"),
        ("v1", _built("v1"), LIMIT, None),
        ("v1", _built("v1"), LIMIT + dt.timedelta(seconds=1), "a rebuild died"),
        (NO_INPUTS, None, LIMIT * 2, "a rebuild died"),
    ],
)
def test_staleness(
    version: str, built: Built | None, mark_age: dt.timedelta | None, reason: str | None
) -> None:
    marks = [] if mark_age is None else [Mark("m", START - mark_age)]
    assert staleness(version, built, marks, START, LIMIT) == reason
