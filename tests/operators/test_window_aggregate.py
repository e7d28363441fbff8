"""Windows of event time against recomputation from scratch, over any cut, and across restarts."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operators.driver import Cut, Result, run, with_watermarks
from tests.operators.recompute import by_time, compute, grouped, rows_of
from windrow.batch import ORIGIN, TIME, WATERMARK, origin_of
from windrow.plan.window import Aggregate, Aggregation, Window
from windrow.datatypes import BOOL, FLOAT64, INT64, STRING, DataType

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WINDOWS = [
    Window("tumbling", size_us=100),
    Window("tumbling", size_us=70, offset_us=13),
    Window("hopping", size_us=100, slide_us=20),
    Window("hopping", size_us=100, slide_us=30, offset_us=-7),
    Window("hopping", size_us=30, slide_us=50),
    Window("cumulate", size_us=100, slide_us=25),
]
NUMBERS = (
    Aggregate("rows", "count", None, None, INT64),
    Aggregate("some", "count", "v", "ok", INT64, INT64),
    Aggregate("total", "sum", "v", None, INT64, INT64),
    Aggregate("part", "sum", "v", "ok", INT64, INT64),
    Aggregate("low", "min", "v", None, INT64, INT64),
    Aggregate("high", "max", "v", "ok", INT64, INT64),
    Aggregate("average", "mean", "v", None, FLOAT64, INT64),
    Aggregate("weight", "sum", "w", None, FLOAT64, FLOAT64),
    Aggregate("least", "min", "w", None, FLOAT64, FLOAT64),
    Aggregate("most", "max", "w", "ok", FLOAT64, FLOAT64),
    Aggregate("spread", "stddev", "w", None, FLOAT64, FLOAT64),
    Aggregate("variance", "var", "v", "ok", FLOAT64, INT64, (("ddof", 0),)),
)


def partition(
    seed: int, rows: int, number: int = 0, keys: int = 5, span: int = 2000, jitter: int = 150, nulls: bool = True
) -> pa.RecordBatch:
    """Events out of order by up to about `jitter` microseconds, with nulls in keys and values."""
    random = np.random.default_rng([seed, number])
    times = np.sort(random.integers(0, span, rows)) + random.integers(-jitter, jitter + 1, rows)
    maybe = (lambda values: [None if gone else v for v, gone in zip(values, random.random(rows) < 0.2, strict=True)]) if nulls else list
    return pa.RecordBatch.from_pydict(
        {
            TIME: pa.array(times, pa.int64()),
            ORIGIN: pa.array([origin_of(number, i) for i in range(rows)], pa.int64()),
            "k": pa.array(maybe(random.integers(0, keys, rows).tolist()), pa.int64()),
            "s": pa.array(maybe([f"s{n}" for n in random.integers(0, 9, rows)]), pa.string()),
            "v": pa.array(maybe(random.integers(-50, 50, rows).tolist()), pa.int64()),
            "w": pa.array(maybe((random.integers(-5000, 5000, rows) / 8).tolist()), pa.float64()),
            "ok": pa.array(maybe((random.random(rows) < 0.6).tolist()), pa.bool_()),
        }
    )


def aggregation(window: Window, aggregates: tuple[Aggregate, ...] = NUMBERS, emit: str = "final", keys: str = "k") -> Aggregation:
    types: dict[str, DataType] = {"k": INT64, "s": STRING, "ok": BOOL}
    return Aggregation("agg", tuple(keys), tuple(types[key] for key in keys), window, aggregates, emit)  # type: ignore[arg-type]


def us(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9) or (left != left and right != right)
    return bool(left == right)


def check_windows(wanted: Aggregation, partitions: list[pa.RecordBatch], delay: int, result: Result) -> None:
    assert wanted.window is not None
    marked = [with_watermarks(part, delay) for part in partitions]
    expected = grouped(rows_of(marked), wanted.keys, wanted.window)
    found = {}
    for row in result.rows():
        group = (*(row[key] for key in wanted.keys), us(row["window_start"]), us(row["window_end"]))
        assert group not in found, f"{group} came twice"
        found[group] = row
    assert set(found) == set(expected)
    for group, row in found.items():
        for aggregate in wanted.aggregates:
            value = compute(aggregate, expected[group], by_time)
            assert same(row[aggregate.name], value), (group, aggregate.name, row[aggregate.name], value)


@given(
    seed=st.integers(0, 10**6),
    window=st.sampled_from(WINDOWS),
    keys=st.sampled_from(["k", "s", "ks", ""]),
    delay=st.sampled_from([0, 60, 1000]),
    parts=st.integers(1, 3),
    cut=st.builds(
        Cut,
        shards=st.integers(1, 3),
        epoch_rows=st.sampled_from([5, 60, 400]),
        batch_rows=st.sampled_from([3, 40, 300]),
        restart_every=st.sampled_from([0, 1, 2, 3]),
        seed=st.integers(0, 100),
    ),
)
@settings(max_examples=60, deadline=None)
def test_final_windows_are_what_a_recomputation_gives(
    seed: int, window: Window, keys: str, delay: int, parts: int, cut: Cut
) -> None:
    """Law: whatever the cut and wherever it restarts, every window comes once and holds the rows that were in time."""
    partitions = [partition(seed, 150, number) for number in range(parts)]
    wanted = aggregation(window, keys=keys)
    result = run(wanted, partitions, delay, cut)
    check_windows(wanted, partitions, delay, result)


@given(seed=st.integers(0, 10**6), window=st.sampled_from(WINDOWS), delay=st.sampled_from([0, 60]))
@settings(max_examples=30, deadline=None)
def test_late_rows_are_the_ones_with_no_open_window(seed: int, window: Window, delay: int) -> None:
    """Law: late rows are exactly those that every window was closed for, whatever the cut."""
    from tests.operators.recompute import windows_of

    part = partition(seed, 200)
    expected = []
    for row in with_watermarks(part, delay).to_pylist():
        inside = windows_of(window, row[TIME], -(2**62))
        if inside and not windows_of(window, row[TIME], row[WATERMARK]):
            expected.append(row[ORIGIN])
    for rows in (7, 200):
        late = run(aggregation(window), [part], delay, Cut(epoch_rows=rows, batch_rows=rows)).late_rows()
        assert [row[ORIGIN] for row in late] == expected
