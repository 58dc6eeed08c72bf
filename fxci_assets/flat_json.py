"""JSON text read flatly: its values are found and never decoded, so that no depth is too deep and
what is wrong within one value is no matter to the others.

Here belongs what can be said of a text without knowing what it means. It is slow, and does not say
whether a value is right: ask only where decoding fails, or of what decoding passes over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'

_string = re.compile(_STRING, re.DOTALL).match
_space = re.compile(rb"[ \t\r\n]*").match
_literal = re.compile(rb'[^\s,:"\[\]{}]+').match
_steps = re.compile(_STRING + rb"|[\[{]++|[\]}]++", re.DOTALL).finditer
_numbers = re.compile(_STRING + rb"|-?[0-9][0-9.eE+-]*", re.DOTALL).finditer

_is_suspect = re.compile(rb"[\[:,\s]-?(?:[0-9][0-9.]*[eE]\+?[0-9]{3}|[0-9.]{200})").search
"""Finds what is long enough, or has an exponent large enough, for a number without bounds. It may
be in a string."""

_LONGEST_NUMBER = 1_500
"""Characters; GoogleSQL, BigQuery's parser, calls a longer one too long (CheckNumberRoundtrip)."""

_OPEN, _CLOSE = b"[{", b"]}"


def depth(text: bytes) -> int:
    """How many levels a text has."""
    level = deepest = 0
    for step in _steps(text):
        first = text[step.start()]
        if first in _OPEN:
            level += step.end() - step.start()
            deepest = max(deepest, level)
        elif first in _CLOSE:
            level -= step.end() - step.start()
    return deepest


def has_number_beyond_floats(text: bytes) -> bool:
    """Whether a number is so large that a FLOAT64 is infinite, or too long to be read as one. Of
    JSON that could be decoded, or a number may be none."""
    if not _is_suspect(text):
        return False
    found = (match[0] for match in _numbers(text) if text[match.start()] != ord('"'))
    return any(len(number) > _LONGEST_NUMBER or math.isinf(float(number)) for number in found)


def members(text: bytes, at: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """The members of the object at a place: each one's name, as it is written between its quotes,
    and from where to where its value is. Raises ValueError where there is no object."""
    for start, end in _parts(text, at, b"{", b"}"):
        name = _string(text, start)
        if name is None:
            raise ValueError(f"no name at byte {start}")
        colon = _after_space(text, name.end())
        if text[colon : colon + 1] != b":":
            raise ValueError(f"no colon at byte {colon}")
        yield name[0][1:-1], _after_space(text, colon + 1), end


def elements(text: bytes, at: int = 0) -> Iterator[tuple[int, int]]:
    """From where to where each element is of the array at a place. Raises ValueError where there
    is no array."""
    return _parts(text, at, b"[", b"]")


def _parts(text: bytes, at: int, opening: bytes, closing: bytes) -> Iterator[tuple[int, int]]:
    """What stands between the commas; each has one value or, in an object, a name before it."""
    at = _after_space(text, at)
    if text[at : at + 1] != opening:
        raise ValueError(f"no {opening.decode()} at byte {at}")
    at = _after_space(text, at + 1)
    if text[at : at + 1] == closing:
        return
    while True:
        start, end = at, _end(text, at)
        at = _after_space(text, end)
        if opening == b"{" and text[at : at + 1] == b":":
            end = _end(text, _after_space(text, at + 1))
            at = _after_space(text, end)
        yield start, end
        if text[at : at + 1] == closing:
            return
        if text[at : at + 1] != b",":
            raise ValueError(f"no comma at byte {at}")
        at = _after_space(text, at + 1)


def _end(text: bytes, at: int) -> int:
    """Where the value ends that begins at a place."""
    if text[at : at + 1] not in (b"{", b"["):
        match = _string(text, at) or _literal(text, at)
        if match is None:
            raise ValueError(f"no value at byte {at}")
        return match.end()
    level = 0
    for step in _steps(text, at):
        first = text[step.start()]
        if first in _OPEN:
            level += step.end() - step.start()
        elif first in _CLOSE:
            if step.start() + level <= step.end():
                return step.start() + level
            level -= step.end() - step.start()
    raise ValueError(f"what begins at byte {at} has no end")


def _after_space(text: bytes, at: int) -> int:
    match = _space(text, at)
    assert match is not None
    return match.end()
