"""Rows of several sources are merged by their key, a part of each at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fxci_assets.builders.taken_over import merged

Key = tuple[str, int]
KEY = ("task_id", "run_id")
SCHEMA = pa.schema([("task_id", pa.string()), ("run_id", pa.int64()), ("source", pa.int64())])

# Few tasks with many runs, so that parts end amid the runs of one; bytes decide their order.
KEYS = st.lists(st.tuples(st.sampled_from(["A", "a", "é", "𝄞", "AA"]), st.integers(0, 12)))


def parts_of(source: int, keys: Sequence[Key], size: int) -> Iterator[pa.Table]:
    """The keys, sorted, in parts; an empty one before each."""
    rows = [(*key, source) for key in sorted(keys, key=lambda key: (key[0].encode(), key[1]))]
    for start in range(0, len(rows), size):
        yield SCHEMA.empty_table()
        columns = zip(*rows[start : start + size], strict=True)
        yield pa.table([pa.array(column) for column in columns], schema=SCHEMA)


@given(sources=st.lists(KEYS, max_size=4), size=st.integers(1, 5))
def test_each_key_is_there_once_in_order_and_of_the_first_source_that_has_it(
    sources: list[list[Key]], size: int
) -> None:
    found = list(merged([parts_of(n, keys, size) for n, keys in enumerate(sources)], KEY))
    wanted = {key: n for n, keys in reversed(list(enumerate(sources))) for key in keys}
    assert [tuple(row.values()) for part in found for row in part.to_pylist()] == [
        (*key, wanted[key]) for key in sorted(wanted, key=lambda key: (key[0].encode(), key[1]))
    ]


def test_what_is_still_to_be_read_is_not_held() -> None:
    read = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal read
        for part in parts_of(0, [(f"{n:03d}", 0) for n in range(100)], 1):
            read += len(part)
            yield part

    rows = merged([counted(), parts_of(1, [("050", 1)], 1)], KEY)
    assert len(next(rows)) == 1
    assert read < 5
