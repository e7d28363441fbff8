"""Windows that are sent early, taken back, and changed by late rows, against a model in plain Python."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operators.driver import Cut, Runner, global_watermark, run, with_watermarks
from tests.operators.events import SETS, aggregation, check_group, cuts, partition, us
from tests.operators.recompute import Row, by_time, grouped, rows_of, sessions, windows_of
from tests.operators.test_window_aggregate import WINDOWS
from windrow.batch import ORIGIN, TIME, WATERMARK, WEIGHT
from windrow.plan.window import Aggregation, Firing, Window
from windrow.units import BEFORE_TIME_US, END_OF_TIME_US

FIRINGS = [None, Firing(None), Firing(90), Firing(400)]


def lenient(rows: list[Row], lateness: int) -> list[Row]:
    """The rows as if their watermarks were that much earlier: what is late is the same then."""
    return [row | {WATERMARK: row.get(WATERMARK, BEFORE_TIME_US) - lateness} for row in rows]


def group_of(wanted: Aggregation, row: Row) -> tuple[Any, ...]:
    return (*(row[key] for key in wanted.keys), us(row["window_start"]), us(row["window_end"]))


@given(
    seed=st.integers(0, 10**6), window=st.sampled_from(WINDOWS), keys=st.sampled_from(["k", "ks", ""]),
    delay=st.sampled_from([0, 60]), lateness=st.sampled_from([1, 40, 150]), parts=st.integers(1, 2), cut=cuts(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_final_windows_take_rows_within_the_lateness(
    seed: int, window: Window, keys: str, delay: int, lateness: int, parts: int, cut: Cut
) -> None:
    """Law: a window comes once, with the rows that came before the watermark had passed its end by the lateness."""
    partitions = [partition(seed, 60, number) for number in range(parts)]
    wanted = replace(aggregation(window, SETS["numbers"], "final", keys), lateness_us=lateness)
    result = run(wanted, partitions, delay, cut)
    rows = lenient(rows_of([with_watermarks(part, delay) for part in partitions]), lateness)
    expected = grouped(rows, wanted.keys, window)
    found = {group_of(wanted, row): row for row in result.rows()}
    assert len(found) == len(result.rows()) and set(found) == set(expected)
    for group, row in found.items():
        check_group(wanted, row, expected[group], by_time)
    late = {row[ORIGIN] for row in rows if not windows_of(window, row[TIME], row[WATERMARK])}
    outside = {row[ORIGIN] for row in rows if not windows_of(window, row[TIME], BEFORE_TIME_US)}
    assert {row[ORIGIN] for row in result.late_rows()} == late - outside


@given(seed=st.integers(0, 10**6), gap=st.sampled_from([5, 60]), lateness=st.sampled_from([1, 40, 150]),
       emit=st.sampled_from(["final", "current"]), cut=cuts())  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_sessions_take_rows_within_the_lateness(seed: int, gap: int, lateness: int, emit: str, cut: Cut) -> None:
    """Law: as sessions of rows whose watermarks are that much earlier."""
    partitions = [partition(seed, 100, number, span=3000, keys=3) for number in range(2)]
    cut.retract = emit == "current"
    wanted = replace(aggregation(Window("session", gap_us=gap), emit=emit), lateness_us=lateness)
    found: dict[tuple[Any, ...], Row] = {}
    for row in run(wanted, partitions, 20, cut).rows():
        if row.pop(WEIGHT, 1) < 0:
            assert found.pop(group_of(wanted, row)) == row
        else:
            assert group_of(wanted, row) not in found
            found[group_of(wanted, row)] = row
    rows = lenient(rows_of([with_watermarks(part, 20) for part in partitions]), lateness)
    expected = sessions(rows, wanted.keys, gap)
    assert set(found) == set(expected)
    for group, row in found.items():
        check_group(wanted, row, expected[group], by_time)


class Model:
    """What has been sent of each window, by the rules as they are written down."""

    def __init__(self, wanted: Aggregation) -> None:
        self.wanted = wanted
        self.watermark = BEFORE_TIME_US
        self.sent: dict[tuple[Any, ...], list[Row]] = {}

    def epoch(self, rows: list[Row], watermark: int) -> None:
        assert self.wanted.window is not None
        firing, offset = self.wanted.firing, self.wanted.window.offset_us
        early = firing is None
        if firing is not None and firing.every_us is not None and self.watermark > BEFORE_TIME_US:
            early = (watermark - offset) // firing.every_us > (self.watermark - offset) // firing.every_us
        for group, members in grouped(rows, self.wanted.keys, self.wanted.window).items():
            if early or group[-1] <= watermark:
                self.sent[group] = members
        self.watermark = watermark


def follow(found: dict[tuple[Any, ...], Row], wanted: Aggregation, batches: list[pa.RecordBatch], retract: bool) -> int:
    """Apply an epoch's changes; how many there were."""
    changes = [row for batch in batches for row in batch.to_pylist()]
    for row in changes:
        group = group_of(wanted, row)
        if row.pop(WEIGHT) < 0:
            assert retract and found.pop(group) == row
        else:
            assert not retract or group not in found
            found[group] = row
    return len(changes)


def followed_through(
    wanted: Aggregation, model: Any, parts: list[pa.RecordBatch], delay: int, cut: Cut, follow: Any
) -> list[Any]:
    """Run partitions of 50 rows in random epochs, and to the end of time; after each the rows sent are the model's, and
    nothing is sent when no row has come. Gives the shards."""
    runner, random = Runner(wanted, cut), Random(cut.seed)
    marked = [with_watermarks(part, delay) for part in parts]
    ends: list[int] = [0] * len(parts)
    found: dict[tuple[Any, ...], Row] = {}

    def check(watermark: int) -> None:
        rows = [row for part, end in zip(marked, ends, strict=True) for row in part.slice(0, end).to_pylist()]
        model.epoch(lenient(rows, wanted.lateness_us), watermark)
        follow(found, wanted, runner.result.epochs[-1], cut.retract)
        assert set(found) == set(model.sent)
        for group, row in found.items():
            check_group(wanted, row, model.sent[group], by_time)

    while any(end < 50 for end in ends):
        starts, ends = ends, [min(50, end + random.randint(0, min(cut.epoch_rows, 25))) for end in ends]
        pieces = [part.slice(a, b - a) for part, a, b in zip(marked, starts, ends, strict=True) if b > a]
        watermark = max(model.watermark, global_watermark(marked, ends, delay))
        runner.run_epoch(pieces, watermark)
        check(watermark)
    for _ in range(2):
        runner.run_epoch([], END_OF_TIME_US)
        check(END_OF_TIME_US)
    assert runner.result.epochs[-1] == []
    return runner.shards


@given(
    seed=st.integers(0, 10**6), window=st.sampled_from(WINDOWS), firing=st.sampled_from(FIRINGS),
    keys=st.sampled_from(["k", "s", ""]), delay=st.sampled_from([0, 60]), lateness=st.sampled_from([0, 40, 150]),
    aggregates=st.sampled_from(sorted(SETS)), retract=st.booleans(), cut=cuts(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_what_is_sent_follows_the_windows(
    seed: int, window: Window, firing: Firing | None, keys: str, delay: int, lateness: int, aggregates: str,
    retract: bool, cut: Cut,
) -> None:  # fmt: skip
    """Law: after every epoch the rows sent are those of the model; what is taken back was sent as it is; nothing is
    sent when no row has come."""
    parts = [partition(seed, 50, number, keys=3) for number in range(2)]
    wanted = aggregation(window, SETS[aggregates if keys else "numbers"], "current", keys)
    wanted = replace(wanted, lateness_us=lateness, firing=firing)
    cut.retract = retract
    shards = followed_through(wanted, Model(wanted), parts, delay, cut, follow)
    assert all(shard.nbytes < 10_000_000 and not shard.all_rows()[0].count_present() for shard in shards)


@given(seed=st.integers(0, 10**6), window=st.sampled_from(WINDOWS), firing=st.sampled_from(FIRINGS),
       lateness=st.sampled_from([0, 70]), cut=cuts(restart=False), every=st.integers(1, 3))  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_a_restart_changes_no_output(
    seed: int, window: Window, firing: Firing | None, lateness: int, cut: Cut, every: int
) -> None:
    """Law: epoch by epoch, outputs with restarts are those without, rows in the same order."""
    partitions = [partition(seed, 60, number) for number in range(2)]
    wanted = replace(aggregation(window, SETS["others"], "current"), firing=firing, lateness_us=lateness)
    cut.retract = True
    plain = run(wanted, partitions, 60, cut)
    cut.restart_every = every
    restarted = run(wanted, partitions, 60, cut)
    assert [[row for batch in epoch for row in batch.to_pylist()] for epoch in plain.epochs] == [
        [row for batch in epoch for row in batch.to_pylist()] for epoch in restarted.epochs
    ]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_delta_is_as_large_as_what_changed(window: Window) -> None:
    """Law: an epoch of one row saves the windows of that row, however many there are."""
    part = partition(7, 400, keys=50, span=1000, jitter=0, nulls=0)
    wanted = replace(aggregation(window, SETS["numbers"], "current"), firing=Firing(None), lateness_us=10**6)
    runner = Runner(wanted, Cut(retract=True, save=False))
    runner.run_epoch([part.slice(0, 399)], -(10**6))
    runner.shards[0].delta()
    runner.run_epoch([part.slice(399)], -(10**6))
    tables = runner.shards[0].delta()
    most = len(windows_of(window, part.column(TIME)[399].as_py(), BEFORE_TIME_US))
    assert tables["groups"].num_rows == most and "sent" not in tables
