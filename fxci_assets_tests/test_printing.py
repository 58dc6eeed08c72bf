"""How rows are printed: exact for programs, and harmless on a terminal."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import io
import json
import sys

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxci_assets import printing

AT = dt.datetime(2026, 4, 13, 10, 0, 0, 123_000, tzinfo=dt.UTC)

ROWS = pa.table(
    {
        "n": pa.array([1, -20], pa.int64()),
        "share": pa.array([0.5, None], pa.float64()),
        "good": pa.array([True, None], pa.bool_()),
        "day": pa.array([dt.date(2026, 4, 13), None], pa.date32()),
        "at": pa.array([AT, None], pa.timestamp("us", "UTC")),
        "name": pa.array(["a,b", None], pa.string()),
        "tags": pa.array(
            [{"os": "linux", "day": dt.date(2026, 4, 13)}, {"os": None, "day": None}],
            pa.struct([("os", pa.string()), ("day", pa.date32())]),
        ),
        "list": pa.array([["x", "y"], []], pa.list_(pa.string())),
    }
)


def shown(rows: pa.Table, format: str, capsys: pytest.CaptureFixture[str]) -> str:
    printing.show(rows, format)
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    rows = ROWS.drop_columns(["tags", "list"])
    assert shown(rows, "table", capsys).splitlines() == [
        "  n  share  good  day         at                           name",
        "---  -----  ----  ----------  ---------------------------  ----",
        "  1    0.5  true  2026-04-13  2026-04-13T10:00:00.123000Z  a,b",
        "-20   NULL  NULL  NULL        NULL                         NULL",
    ]


def test_csv_for_spreadsheets(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(ROWS, "csv", capsys).splitlines() == [
        "n,share,good,day,at,name,tags,list",
        '1,0.5,true,2026-04-13,2026-04-13T10:00:00.123000Z,"a,b",'
        '"{""os"": ""linux"", ""day"": ""2026-04-13""}","[""x"", ""y""]"',
        '-20,,,,,,"{""os"": null, ""day"": null}",[]',
    ]


def test_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(shown(ROWS, "json", capsys)) == [
        {
            "n": 1,
            "share": 0.5,
            "good": True,
            "day": "2026-04-13",
            "at": "2026-04-13T10:00:00.123000Z",
            "name": "a,b",
            "tags": {"os": "linux", "day": "2026-04-13"},
            "list": ["x", "y"],
        },
        {
            "n": -20,
            "share": None,
            "good": None,
            "day": None,
            "at": None,
            "name": None,
            "tags": {"os": None, "day": None},
            "list": [],
        },
    ]


@pytest.mark.parametrize(
    ("format", "output"),
    [("table", "n  name\n-  ----\n"), ("csv", "n,name\n"), ("json", "[]\n")],
)
def test_no_rows(format: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pa.table({"n": pa.array([], pa.int64()), "name": pa.array([], pa.string())})
    assert shown(rows, format, capsys) == output


@pytest.mark.parametrize(
    ("value", "json_value"),
    [
        (decimal.Decimal("1.5"), 1.5),
        (dt.time(10, 30), "10:30:00"),
        (AT.replace(microsecond=0, tzinfo=None), "2026-04-13T10:00:00"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        ([{"at": AT}], [{"at": "2026-04-13T10:00:00.123000Z"}]),
        (2**53 + 1, 2**53 + 1),
    ],
)
def test_values_as_json_has_them(value: object, json_value: object) -> None:
    assert printing.plain(value) == json_value


def test_wide_characters_keep_columns_in_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pa.table({"name": ["日本", "e\N{COMBINING ACUTE ACCENT}", "abcdef"], "n": [1, 20, 300]})
    assert shown(rows, "table", capsys).splitlines() == [
        "name      n",
        "------  ---",
        "日本      1",
        "e\N{COMBINING ACUTE ACCENT}        20",
        "abcdef  300",
    ]


def test_control_characters_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pa.table(
        {"\x1b[1mname": ["\x1b[2Jred\r\n\x9b1A\u202e"], "tags": [{"os": "\x1b\x7f\x9b\u2028"}]}
    )
    table = shown(rows, "table", capsys)
    assert all(c.isprintable() or c == "\n" for c in table)
    assert table.splitlines()[2].startswith(r"\x1b[2Jred\r\n\x9b1A\u202e  {")
    document = shown(rows, "json", capsys)
    assert all(c.isprintable() or c == "\n" for c in document)
    assert json.loads(document) == rows.to_pylist()


@pytest.mark.parametrize(
    ("terminal", "output"),
    [
        (False, '\x1b[1mname,list\n"\x1b[2Jred\r\n","[""\\u001b\\u009b""]"\n'),
        (True, r"\x1b[1mname,list" + "\n" + r'\x1b[2Jred\r\n,"[""\u001b\u009b""]"' + "\n"),
    ],
)
def test_csv_is_exact_for_programs_and_harmless_on_a_terminal(
    terminal: bool,
    output: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    rows = pa.table({"\x1b[1mname": ["\x1b[2Jred\r\n"], "list": [["\x1b\x9b"]]})
    assert shown(rows, "csv", capsys) == output


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXTS | st.none(), min_size=1))
def test_any_text_is_harmless_and_exact(texts: list[str | None]) -> None:
    rows = pa.table({"t": pa.array(texts, pa.string()), "r": [{"t": text} for text in texts]})
    for format in ("table", "json", "csv"):
        out = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdout", out)
            printing.show(rows, format)
        if format == "table":
            assert all(c.isprintable() or c == "\n" for c in out.getvalue())
            assert len(out.getvalue().split("\n")) == len(texts) + 3
        elif format == "json":
            assert all(c.isprintable() or c == "\n" for c in out.getvalue())
            assert json.loads(out.getvalue()) == rows.to_pylist()
        else:
            _, *read = csv.reader(io.StringIO(out.getvalue(), newline=""))
            assert [cell for cell, _ in read] == [text or "" for text in texts]
