"""The simulated pulse behaves as the queues do: nothing is lost, and what was not acknowledged
comes again."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from fxci_assets.resources.pulse import BatchLimits, Message, PulseSource
from fxci_assets.sandbox import SIMULATED_NOTICE, SimulatorError
from fxci_assets.sandbox.firefox_ci import World
from fxci_assets.sandbox.messages import published
from fxci_assets.sandbox.source import SimulatedPulse
from fxci_assets.taskcluster.messages import EXCHANGES

NOW = dt.datetime(2026, 3, 4, 15, 30, tzinfo=dt.UTC)
WORLD = World(seed=1, tasks_per_day=200)
SMALL = BatchLimits(messages=100)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "position.json"


@pytest.fixture
def pulse(file: Path, clock: Clock) -> SimulatedPulse:
    return SimulatedPulse(WORLD, file, history_days=2, clock=clock)


def missing(queue: str) -> None:
    raise AssertionError(f"{queue} is reported missing")


def read(pulse: PulseSource, limits: BatchLimits = SMALL, *, ack: bool = True) -> list[Message]:
    messages = []
    with pulse.open(missing) as session:
        while batch := session.receive(limits):
            messages += batch.messages
            if ack:
                session.ack(batch)
    return messages


def expected(start: dt.datetime, end: dt.datetime) -> list[Message]:
    return [Message(m.exchange, m.routing_key, m.body) for m in published(WORLD, start, end)]


def test_the_first_start_finds_the_history_of_whole_days(pulse: SimulatedPulse) -> None:
    start = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)

    assert read(pulse) == expected(start, NOW)


def test_what_was_acknowledged_does_not_come_again(pulse: SimulatedPulse, clock: Clock) -> None:
    read(pulse)
    assert read(pulse) == []

    clock.now += dt.timedelta(hours=3)

    assert read(pulse) == expected(NOW, clock.now)


def test_what_was_not_acknowledged_comes_again(pulse: SimulatedPulse) -> None:
    first = read(pulse, ack=False)

    assert first
    assert read(pulse) == first


def test_an_acknowledgement_covers_all_batches_before_it_and_can_be_repeated(
    pulse: SimulatedPulse,
) -> None:
    everything = read(pulse, ack=False)
    with pulse.open(missing) as session:
        first, second = session.receive(SMALL), session.receive(SMALL)
        assert first is not None
        assert second is not None
        session.ack(second)
        session.ack(second)
        session.ack(first)

    assert read(pulse) == everything[200:]


def test_a_session_reads_only_what_was_published_when_it_was_opened(
    pulse: SimulatedPulse, clock: Clock
) -> None:
    with pulse.open(missing) as session:
        clock.now += dt.timedelta(hours=5)
        count = 0
        while batch := session.receive(SMALL):
            count += len(batch.messages)

    assert count == len(expected(dt.datetime(2026, 3, 2, tzinfo=dt.UTC), NOW))


def test_batches_are_closed_by_the_first_bound_that_is_reached(pulse: SimulatedPulse) -> None:
    with pulse.open(missing) as session:
        by_count = session.receive(BatchLimits(messages=7))
        by_size = session.receive(BatchLimits(bytes=3_000))
        by_age = session.receive(BatchLimits(seconds=0))
        rest = session.receive(BatchLimits())
        end = session.receive(BatchLimits())

    assert by_count is not None
    assert (len(by_count.messages), by_count.closed_by) == (7, "messages")
    assert by_size is not None
    assert by_size.closed_by == "bytes"
    sizes = [len(message.body) for message in by_size.messages]
    assert sum(sizes[:-1]) < 3_000 <= sum(sizes)
    assert by_age is not None
    assert (len(by_age.messages), by_age.closed_by) == (1, "seconds")
    assert rest is not None
    assert rest.closed_by == "quiet"
    assert rest.received_at == NOW
    assert end is None


def test_depth_is_what_waits_in_each_queue(pulse: SimulatedPulse) -> None:
    waiting = read(pulse, ack=False)

    assert pulse.queues == tuple(f"queue/sandbox/{name}" for name in EXCHANGES)
    assert pulse.depth() == {
        f"queue/sandbox/{name}": sum(m.exchange.endswith(name) for m in waiting)
        for name in EXCHANGES
    }
    read(pulse)
    assert set(pulse.depth().values()) == {0}


def test_two_readers_see_the_same_and_the_position_never_moves_back(
    pulse: SimulatedPulse, file: Path, clock: Clock
) -> None:
    other = SimulatedPulse(WORLD, file, history_days=2, clock=clock)
    with pulse.open(missing) as one, other.open(missing) as two:
        ahead = [one.receive(SMALL), one.receive(SMALL)]
        behind = two.receive(SMALL)
        assert ahead[0] is not None
        assert ahead[1] is not None
        assert behind is not None
        assert behind.messages == ahead[0].messages
        one.ack(ahead[1])
        before = file.read_bytes()
        two.ack(behind)

    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("world", "change"),
    [
        (World(2, 200), "seed was 1 and is now 2"),
        (World(1, 300), "tasks_per_day was 200 and is now 300"),
    ],
)
def test_another_world_is_refused(
    pulse: SimulatedPulse, file: Path, clock: Clock, world: World, change: str
) -> None:
    read(pulse)
    other = SimulatedPulse(world, file, clock=clock)

    for use in (other.depth, lambda: read(other)):
        with pytest.raises(SimulatorError) as error:
            use()
        assert change in str(error.value)
        assert "make clean" in str(error.value)
        assert "\n" not in str(error.value)


def test_a_position_that_cannot_be_read_is_named(pulse: SimulatedPulse, file: Path) -> None:
    file.parent.mkdir()
    file.write_text('{"seed": 1')

    with pytest.raises(SimulatorError, match=r"position\.json .*make clean"):
        pulse.depth()


def test_the_position_is_one_whole_file(pulse: SimulatedPulse, file: Path) -> None:
    read(pulse)

    assert set(json.loads(file.read_bytes())) == {"seed", "tasks_per_day", "at", "day", "number"}
    assert {path.name for path in file.parent.iterdir()} == {file.name, f"{file.name}.lock"}


def test_the_notice_is_one_sentence() -> None:
    assert "simulated" in SIMULATED_NOTICE
    assert SIMULATED_NOTICE.count(".") == 1
