"""What a person at a terminal sees, and a log. How commands fail is in `test_cli`."""

from __future__ import annotations

import sys
import time

import pytest

from fxci_assets.command_line import Progress


@pytest.mark.parametrize(
    ("terminal", "output"),
    [
        (False, "second\n"),
        # The line is rewritten, and gone before the next is printed.
        (True, "\rsecond\x1b[K\r\x1b[K"),
    ],
)
def test_progress_is_shown_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    output: str,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    now = iter([0.0, 0.1, 10.1, 10.2])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    with Progress() as progress:
        for line in ("first", "second", "third"):
            progress(line)
    assert capsys.readouterr().err == output
