"""What rows a day's answers of Cloud Monitoring become."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxci_assets.day_rows import DayRows
from fxci_assets.tables import WORKER_METRICS, arrow_schema
from fxci_assets.uptime import UptimeOfDay
from fxci_assets_tests.events import DAY

LEVEL1, LEVEL3 = "fxci-production-level1-workers", "fxci-production-level3-workers"
FETCHED = dt.datetime(2026, 4, 14, 0, 30, tzinfo=dt.UTC)
MIDNIGHT = "2026-04-14T00:00:00Z"
"""The end of DAY."""

Row = dict[str, object]


class Built:
    """The rows of some answers, for one day."""

    def __init__(self, answers: Mapping[str, Sequence[bytes]], day: dt.date = DAY) -> None:
        self.made: DayRows = UptimeOfDay(day, FETCHED, answers)
        schema = arrow_schema(WORKER_METRICS)
        table = pa.Table.from_batches(self.made.batches(WORKER_METRICS), schema)
        table.validate(full=True)
        self.rows: list[Row] = table.to_pylist()
        self.reasons = [event.reason for event in self.made.unusable]
        self.counts = {
            name: tally.count
            for name, tally in self.made.counts(WORKER_METRICS).items()
            if tally.count
        }

    @property
    def uptimes(self) -> dict[object, object]:
        return {row["instance_id"]: row["uptime"] for row in self.rows}


def build(*series: bytes, day: dt.date = DAY) -> Built:
    """Of series of one project."""
    return Built({LEVEL1: series}, day)


def point(seconds: float, end: str = MIDNIGHT) -> dict[str, object]:
    return {"interval": {"endTime": end}, "value": {"doubleValue": seconds}}


def series(instance_id: str | None, *points: object, **labels: str | None) -> bytes:
    """A time series of an instance in one zone. A label that is None is left out."""
    all_labels = {"instance_id": instance_id, "zone": "us-central1-b"} | labels
    return json.dumps(
        {
            "metric": {"labels": {"instance_name": "worker"}},
            "resource": {
                "labels": {name: value for name, value in all_labels.items() if value is not None}
            },
            "points": list(points),
        }
    ).encode()


def test_an_instance_that_was_up() -> None:
    built = build(series("77", point(3540.004)))
    assert built.rows == [
        {
            "project": LEVEL1,
            "zone": "us-central1-b",
            "instance_id": "77",
            "uptime": 3540.0,
            "interval_start_time": dt.datetime(2026, 4, 13, tzinfo=dt.UTC),
            "interval_end_time": dt.datetime(2026, 4, 13, 23, 59, 59, tzinfo=dt.UTC),
            "submission_date": DAY,
        }
    ]
    assert (built.reasons, built.counts) == ([], {})
    assert built.made.staged(WORKER_METRICS) == 1
    assert built.made.first_event is built.made.last_event is None


def test_series_and_points_of_an_instance_are_added_up() -> None:
    renamed = series("77", point(0.1, "2026-04-13T06:00:00Z"), point(0.2))
    assert build(series("77", point(60)), renamed).uptimes == {"77": 60.3}


def test_workers_are_told_apart_by_project_zone_and_instance() -> None:
    built = Built(
        {
            LEVEL3: [series("1", point(4))],
            LEVEL1: [
                series("2", point(3)),
                series("1", point(1)),
                series("1", point(2), zone="us-central1-C"),
            ],
        }
    )
    assert [(r["project"], r["zone"], r["instance_id"], r["uptime"]) for r in built.rows] == [
        (LEVEL1, "us-central1-C", "1", 2.0),
        (LEVEL1, "us-central1-b", "1", 1.0),
        (LEVEL1, "us-central1-b", "2", 3.0),
        (LEVEL3, "us-central1-b", "1", 4.0),
    ]


@pytest.mark.parametrize(
    ("end", "is_of_the_day"),
    [
        ("2026-04-13T00:00:00Z", False),
        ("2026-04-13T00:00:00.000001Z", True),
        ("2026-04-13T23:59:59Z", True),
        ("2026-04-14T00:00:00Z", True),
        ("2026-04-14T00:00:00.000001Z", False),
        ("2026-04-13T19:00:00-05:00", True),
        ("2026-04-14T01:00:00+02:00", True),
    ],
)
def test_a_point_is_of_the_day_in_which_its_interval_ends(end: str, is_of_the_day: bool) -> None:
    built = build(series("77", point(1, end), point(2)))
    assert built.uptimes == {"77": 3.0 if is_of_the_day else 2.0}
    assert built.counts == ({} if is_of_the_day else {"points_of_other_days": 1})


def test_points_of_other_days_are_counted_and_make_no_row() -> None:
    other = "2026-04-13T00:00:00Z"
    built = build(series("2", point(9, other)), series("1", point(9, other), point(9, other)))
    assert built.rows == []
    tally = built.made.counts(WORKER_METRICS)["points_of_other_days"]
    assert tally.count == 3
    assert tally.examples[0] == f"{LEVEL1}/us-central1-b/1 at 2026-04-13T00:00:00+00:00"
    assert build(series("2", point(9, other)), day=DAY - dt.timedelta(days=1)).uptimes == {"2": 9}


def test_a_series_without_points_makes_no_row() -> None:
    built = build(series("77"), b'{"resource": {"labels": {"zone": "z", "instance_id": "1"}}}')
    assert (built.rows, built.reasons) == ([], [])
    assert built.counts == {"projects_without_series": 1}


def test_an_instance_that_was_up_for_no_second_has_a_row() -> None:
    assert build(series("77", point(0.0))).uptimes == {"77": 0.0}


@pytest.mark.parametrize("value", [{"int64Value": "42"}, {"int64Value": 42}])
def test_whole_numbers_are_numbers(value: object) -> None:
    built = build(series("77", {"interval": {"endTime": MIDNIGHT}, "value": value}))
    assert built.uptimes == {"77": 42.0}


def test_projects_without_series_are_counted_by_name() -> None:
    built = Built({LEVEL3: [], LEVEL1: [series("77", point(1))], "another": []})
    assert built.uptimes == {"77": 1.0}
    assert built.counts == {"projects_without_series": 2}
    tally = built.made.counts(WORKER_METRICS)["projects_without_series"]
    assert tally.examples == ["another", LEVEL3]


def test_the_counts_are_those_of_the_spec() -> None:
    names = [counted.name for counted in WORKER_METRICS.counted]
    assert list(build().made.counts(WORKER_METRICS)) == names


def bad_point(**fields: object) -> dict[str, object]:
    return point(1) | fields


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not JSON", "series-unreadable"),
        (b"[]", "series-unreadable"),
        (b'{"resource": {"labels": {"zone": "\xff"}}}', "series-unreadable"),
        (b'{"resource": {"labels": []}}', "series-unreadable"),
        (b"[" * 100_000, "series-unreadable"),
        (b"{}", "series-without-labels"),
        (series(None, point(1)), "series-without-labels"),
        (series("77", point(1), zone=None), "series-without-labels"),
        (series("77", point(1), zone=""), "series-without-labels"),
        (series("77", point(1), project_id=LEVEL3), "series-of-another-project"),
        (series("77", {"value": {"doubleValue": 1}}), "point-without-interval"),
        (series("77", bad_point(interval={"startTime": MIDNIGHT})), "point-without-interval"),
        (series("77", bad_point(interval={"endTime": "soon"})), "series-unreadable"),
        (series("77", bad_point(interval={"endTime": MIDNIGHT[:-1]})), "series-unreadable"),
        (series("77", bad_point(value={})), "point-without-number"),
        (series("77", bad_point(value={"boolValue": True})), "point-without-number"),
        (series("77", bad_point(value={"doubleValue": "NaN"})), "point-without-number"),
        (series("77", bad_point(value={"doubleValue": "-Infinity"})), "point-without-number"),
        (series("77", bad_point(value={"int64Value": "many"})), "point-without-number"),
    ],
)
def test_an_unusable_series_is_set_aside_whole(body: bytes, reason: str) -> None:
    built = build(body, series("1", point(5)))
    assert built.uptimes == {"1": 5.0}
    [event] = built.made.unusable
    assert event == (reason, "cloud-monitoring/uptime", LEVEL1, FETCHED, body)
    assert built.counts == {"unusable_series": 1}
    [example] = built.made.counts(WORKER_METRICS)["unusable_series"].examples
    assert example == f"{LEVEL1}: {reason}"


def test_one_bad_point_sets_the_whole_series_aside() -> None:
    built = build(series("77", point(1), bad_point(value={})), series("77", point(10)))
    assert built.uptimes == {"77": 10.0}
    assert built.counts == {"unusable_series": 1}


@settings(max_examples=100, deadline=None)
@given(
    # Hundredths of seconds at the ends of minutes, of instances, in series.
    given_points=st.lists(
        st.tuples(st.integers(0, 6_000), st.integers(-30, 1_500), st.sampled_from("12")),
        max_size=30,
    ),
    data=st.data(),
)
def test_any_split_into_series_in_any_order_gives_the_same_rows(
    given_points: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    expected: dict[str, int] = {}
    for hundredths, minute, instance in given_points:
        if 0 < minute <= 1_440:
            expected[instance] = expected.get(instance, 0) + hundredths
    begin = dt.datetime(2026, 4, 13, tzinfo=dt.UTC)
    answer: list[bytes] = []
    rest = data.draw(st.permutations(given_points))
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        part, rest = rest[:size], rest[size:]
        for instance in sorted({instance for _, _, instance in part}):
            points = [
                point(hundredths / 100, (begin + dt.timedelta(minutes=minute)).isoformat())
                for hundredths, minute, of in part
                if of == instance
            ]
            answer.append(series(instance, *points))
    built = build(*data.draw(st.permutations(answer)))
    assert built.uptimes == {id: total / 100 for id, total in sorted(expected.items())}


def sample(name: str) -> list[bytes]:
    """Recorded or documented time series; nothing of them is in this project."""
    data = os.environ.get("FXCI_SAMPLE_DATA")
    if not data:
        pytest.skip("FXCI_SAMPLE_DATA does not name the folder of sample data")
    content = json.loads((Path(data) / "monitoring" / name).read_text())
    answer = content.get("response", content)["timeSeries"]
    return [json.dumps(one).encode() for one in answer]


def test_the_documented_series_of_a_delta() -> None:
    built = build(*sample("raw_delta_series_documented_sample.json"), day=dt.date(2019, 10, 29))
    # Of a project that has a name of its own there.
    assert built.reasons == ["series-of-another-project"]
    [body] = sample("raw_delta_series_documented_sample.json")
    asked = Built({"your-project-id": [body]}, dt.date(2019, 10, 29))
    assert [(row["zone"], row["uptime"]) for row in asked.rows] == [("us-central1", 0.0)]


def test_the_series_that_are_asked_for_today() -> None:
    answer = sample("upstream_request_and_expected_shape.json")
    built = build(*answer, day=dt.date(2026, 5, 1))
    assert built.uptimes == {"7732042218797547089": 3540.0}


def test_a_recorded_series_that_was_grouped_without_the_instance() -> None:
    # Its client wrote times as numbers, which the REST API does not.
    assert build(*sample("list_time_series_real_response.json")).reasons == ["series-unreadable"]
