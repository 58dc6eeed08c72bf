"""What is set aside comes back as it was, as often as it is wanted."""

from __future__ import annotations

import datetime as dt

from fxci_assets.day_rows import SetAside, UnusableEvent

RECEIVED = dt.datetime(2026, 4, 13, 10, 0, 0, 123456, dt.UTC)


def test_what_is_set_aside() -> None:
    aside = SetAside()
    assert list(aside) == []
    events = [
        UnusableEvent("reason", "exchange", "key", RECEIVED, body)
        for body in (b"\xff", b"", b"a" * 10**6)
    ]
    for number, event in enumerate(events):
        aside.add(event)
        assert list(aside) == events[: number + 1]
    assert list(zip(aside, aside, strict=True))[2] == (events[2], events[2])
