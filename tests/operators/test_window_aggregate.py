"""Windows of event time against recomputation from scratch, over any cut, and across restarts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operators.driver import Cut, Result, Runner, run, with_watermarks
from tests.operators.events import SETS, aggregation, check_group, cuts, partition, us
from tests.operators.recompute import by_time, grouped, rows_of, windows_of
from windrow.batch import ORIGIN, TIME, WATERMARK, WEIGHT
from windrow.plan.window import Aggregation, Window

WINDOWS = [
    Window("tumbling", size_us=100),
    Window("tumbling", size_us=70, offset_us=13),
    Window("hopping", size_us=100, slide_us=20),
    Window("hopping", size_us=100, slide_us=30, offset_us=-7),
    Window("hopping", size_us=400, slide_us=40),
    Window("hopping", size_us=30, slide_us=50),
    Window("cumulate", size_us=100, slide_us=25),
    Window("hopping", size_us=300, slide_us=15, offset_us=4),
    Window("cumulate", size_us=270, slide_us=30, offset_us=-11),
]


def check_windows(wanted: Aggregation, partitions: list[pa.RecordBatch], delay: int, result: Result) -> None:
    assert wanted.window is not None
    marked = [with_watermarks(part, delay) for part in partitions]
    expected = grouped(rows_of(marked), wanted.keys, wanted.window)
    found = {}
    for row in result.rows():
        group = (*(row[key] for key in wanted.keys), us(row["window_start"]), us(row["window_end"]))
        assert wanted.emit == "current" or group not in found, f"{group} came twice"
        found[group] = row
    assert set(found) == set(expected)
    for group, row in found.items():
        check_group(wanted, row, expected[group], by_time)


@given(
    seed=st.integers(0, 10**6),
    window=st.sampled_from(WINDOWS),
    keys=st.sampled_from(["k", "s", "ks", ""]),
    delay=st.sampled_from([0, 60, 1000]),
    parts=st.integers(1, 3),
    aggregates=st.sampled_from(sorted(SETS)),
    emit=st.sampled_from(["final", "current"]),
    cut=cuts(),
)
@settings(max_examples=30, deadline=None)
def test_windows_are_what_a_recomputation_gives(
    seed: int, window: Window, keys: str, delay: int, parts: int, aggregates: str, emit: str, cut: Cut
) -> None:
    """Law: whatever the cut and wherever it restarts, a window holds the rows that were in time, and comes once."""
    partitions = [partition(seed, 60, number) for number in range(parts)]
    wanted = aggregation(window, SETS[aggregates if keys else "numbers"], emit, keys)
    check_windows(wanted, partitions, delay, run(wanted, partitions, delay, cut))


@given(seed=st.integers(0, 10**6), window=st.sampled_from(WINDOWS), delay=st.sampled_from([0, 60]))
@settings(max_examples=15, deadline=None)
def test_late_rows_are_the_ones_with_no_open_window(seed: int, window: Window, delay: int) -> None:
    """Law: late rows are exactly those that every window was closed for, whatever the cut."""
    part = partition(seed, 200)
    expected = []
    for row in with_watermarks(part, delay).to_pylist():
        inside = windows_of(window, row[TIME], -(2**62))
        if inside and not windows_of(window, row[TIME], row[WATERMARK]):
            expected.append(row[ORIGIN])
    for rows in (7, 200):
        late = run(aggregation(window), [part], delay, Cut(epoch_rows=rows, batch_rows=rows)).late_rows()
        assert [row[ORIGIN] for row in late] == expected


@given(
    seed=st.integers(0, 10**6), window=st.sampled_from(WINDOWS), emit=st.sampled_from(["final", "current"]),
    aggregates=st.sampled_from(sorted(SETS)), cut=cuts(restart=False), every=st.integers(1, 4),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_a_restart_changes_no_output(
    seed: int, window: Window, emit: str, aggregates: str, cut: Cut, every: int
) -> None:
    """Law: epoch by epoch, outputs with restarts are those without, rows in the same order."""
    partitions = [partition(seed, 60, number) for number in range(2)]
    wanted = aggregation(window, SETS[aggregates], emit)
    plain = run(wanted, partitions, 60, cut)
    cut.restart_every = every
    restarted = run(wanted, partitions, 60, cut)
    assert [[row for batch in epoch for row in batch.to_pylist()] for epoch in plain.epochs] == [
        [row for batch in epoch for row in batch.to_pylist()] for epoch in restarted.epochs
    ]


@given(
    seed=st.integers(0, 10**6), lateness=st.integers(0, 99),
    window=st.sampled_from([one for one in WINDOWS if one.slide_us and one.size_us // one.slide_us >= 8]), cut=cuts(),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_sliding_over_panes_gives_what_putting_them_together_gives(
    seed: int, lateness: int, window: Window, cut: Cut
) -> None:
    """Differential: windows of many panes from suffixes and prefixes, and from all their panes each time."""
    partitions = [partition(seed, 60, number) for number in range(2)]
    wanted = replace(aggregation(window), lateness_us=lateness)
    slid = run(wanted, partitions, 60, cut).epochs
    with patch("windrow.state.aggregations.sliding._LEAST_PANES", 10**6):
        anew = run(wanted, partitions, 60, cut).epochs
    for left, right in zip(slid, anew, strict=True):
        rows = [sorted(map(rounded, batch_rows(epoch))) for epoch in (left, right)]
        assert rows[0] == rows[1]


def batch_rows(epoch: list[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in epoch for row in batch.to_pylist()]


def rounded(row: dict[str, Any]) -> str:
    """Sums of floats may differ in their last digit."""
    return str({name: float(f"{value:.9g}") if isinstance(value, float) else value for name, value in row.items()})


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("emit", ["final", "current"])
def test_what_was_emitted_does_not_change(window: Window, emit: str) -> None:
    """Law: results share no memory with state that later rows go into."""
    part = partition(3, 200)
    runner = Runner(aggregation(window, emit=emit), Cut(few_keys=0))
    with patch("windrow.state.aggregations.panes.FEW_KEYS", 0):
        copies: list[list[object]] = []
        for start in range(0, 200, 10):
            runner.run_epoch([part.slice(start, 10)], 10 * start - 300)
            copies += [batch.to_pylist() for batch in runner.result.epochs[-1]]
    assert copies == [batch.to_pylist() for batch in runner.result.outputs]


def test_updates_carry_a_weight() -> None:
    """Oracle: emitting ``current``, every row has weight 1; emitting ``final``, there is no weight."""
    part = partition(1, 50)
    current = run(aggregation(WINDOWS[0], emit="current"), [part], 10, Cut())
    assert {row[WEIGHT] for row in current.rows()} == {1}
    final = run(aggregation(WINDOWS[0]), [part], 10, Cut())
    assert all(WEIGHT not in batch.schema.names for batch in final.outputs)
