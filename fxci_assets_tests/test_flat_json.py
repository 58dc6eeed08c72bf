"""JSON text read flatly says what decoding it would."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxci_assets import flat_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def levels(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(levels, value), default=0)
    return 0


@given(st.dictionaries(st.text(), values, max_size=4), st.sampled_from([None, 1]), st.booleans())
def test_members_and_depth(value: dict[str, object], indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii).encode()
    found = {
        json.loads(b'"%s"' % name): json.loads(text[start:end])
        for name, start, end in flat_json.members(text)
    }
    assert found == value
    assert flat_json.depth(text) == levels(value)
    assert not flat_json.has_number_beyond_floats(text)


@given(st.lists(values, max_size=4), st.sampled_from([None, 1]))
def test_elements(value: list[object], indent: int | None) -> None:
    text = b" " + json.dumps(value, indent=indent).encode()
    assert [json.loads(text[start:end]) for start, end in flat_json.elements(text)] == value


def test_no_depth_is_too_deep() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    text = b'{"a": 1, "b": %s, "c": {}}' % deep
    assert [text[start:end] for _, start, end in flat_json.members(text)] == [b"1", deep, b"{}"]
    assert flat_json.depth(text) == 100_001


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b'{"a"',
        b'{"a"}',
        b'{"a" 1}',
        b'{"a": }',
        b'{"a": 1',
        b'{"a": 1 "b": 2}',
        b"{1: 2}",
        b'{"a": [1}',
        b'{"a": "b',
        b'{"a": 1,}',
    ],
)
def test_what_is_no_object(text: bytes) -> None:
    with pytest.raises(ValueError, match="at byte"):
        list(flat_json.members(text))


@pytest.mark.parametrize(
    ("number", "is_beyond"),
    [
        ("1e308", False),
        ("1.7976931348623157E+308", False),
        ("-1e309", True),
        ("1e+999", True),
        ("12345e305", True),
        ("1e00000000000000000000001", False),
        ("1e-999", False),
        ("9" * 308, False),
        ("9" * 310, True),
        ("9" * 250 + "e60", True),
        ("0." + "1" * 1_000, False),
        ("0." + "1" * 5_000, True),
        ('"1e999"', False),
        ('",1e999,\\""', False),
    ],
)
def test_numbers_beyond_floats(number: str, is_beyond: bool) -> None:
    for text in (f'{{"a":{number}}}', f"[0, {number} ]"):
        assert flat_json.has_number_beyond_floats(text.encode()) is is_beyond
