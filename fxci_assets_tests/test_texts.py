"""What others wrote is shown so that it does nothing but to be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxci_assets.texts import one_line, visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("日本 é\N{COMBINING ACUTE ACCENT} 🦊", "日本 é\N{COMBINING ACUTE ACCENT} 🦊"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("one\r\ntwo\tthree\b", r"one\r\ntwo\tthree\x08"),
        ("\x7f\x9b31m\x85", r"\x7f\x9b31m\x85"),
        ("safe\u202eexe.txt\u2066\u2028", r"safe\u202eexe.txt\u2066\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_is_no_character_to_read_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_stay_lines() -> None:
    assert visible_lines("{\n  1\r\n\x1b[A}\n") == "{\n  1\\r\n\\x1b[A}\n"


def test_an_error_of_several_lines_becomes_one() -> None:
    error = ValueError("  refused:\r\n\n\tthe \x1b[31mbucket\u2028is\xa0gone ")
    assert one_line(error) == r"refused: the \x1b[31mbucket is gone"


@given(st.text())
def test_any_text_is_one_line(text: str) -> None:
    assert one_line(text).isprintable()
    assert visible(text).isprintable()
    assert visible_lines(text).count("\n") == text.count("\n")
