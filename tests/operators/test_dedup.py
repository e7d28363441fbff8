"""Rows without those that repeat them within an interval, against plain Python, over any cut, and across restarts."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windrow as wr
from tests.operators.driver import Cut, Runner, run, with_watermarks
from tests.operators.events import TYPES, cuts, partition
from tests.operators.recompute import Row, rows_of
from windrow.batch import ORIGIN, TIME, WATERMARK
from windrow.plan.dedup import Dedup
from windrow.testing import Driver, Feed

SECOND = 1_000_000


def spec(per: str, within: int, keep: str, arrival: bool = True) -> Dedup:
    return Dedup("unique", tuple(per), within, keep, tuple(TYPES.items()), arrival)  # type: ignore[arg-type]


def left(rows: list[Row], per: str, within: int, keep: str, order: Any) -> list[Row]:
    """What the definition leaves, interval after interval."""
    given: list[Row] = []
    by_key: dict[tuple[Any, ...], list[Row]] = {}
    for row in sorted((row for row in rows if row[TIME] >= row[WATERMARK]), key=order):
        by_key.setdefault(tuple(row[name] for name in per), []).append(row)
    for mine in by_key.values():
        while mine:
            interval = [row for row in mine if row[TIME] < mine[0][TIME] + within]
            mine = mine[len(interval) :]
            if keep == "first":
                given.append(interval[0])
            elif keep == "last":
                given.append(interval[-1])
            elif len(interval) == 1:
                given.append(interval[0])
    return given


def shown(rows: list[Row], names: tuple[str, ...]) -> list[str]:
    return sorted(str([row[name] for name in (TIME, *names)]) for row in rows)


@given(
    seed=st.integers(0, 10**6), per=st.sampled_from(["k", "s", "ks"]), within=st.sampled_from([1, 40, 300, 10**6]),
    keep=st.sampled_from(["first", "last", "none"]), delay=st.sampled_from([0, 60, 400]), parts=st.integers(1, 3),
    arrival=st.booleans(), cut=cuts(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_what_is_left_is_what_the_definition_leaves(
    seed: int, per: str, within: int, keep: str, delay: int, parts: int, arrival: bool, cut: Cut
) -> None:
    """Law: whatever the cut, the shards and the restarts; late rows are those behind their partition's watermark."""
    partitions = [partition(seed, 120, number, keys=4) for number in range(parts)]
    if not arrival:  # without it, rows of one time and key are told apart by their columns
        partitions = [part.set_column(0, TIME, pa.array(range(0, 2400, 20), pa.int64())) for part in partitions[:1]]
    wanted: Any = spec(per, within, keep, arrival)
    result = run(wanted, partitions, delay, cut)
    rows = rows_of([with_watermarks(part, delay) for part in partitions])
    expected = left(rows, per, within, keep, lambda row: (row[TIME], row[ORIGIN]))
    assert shown(result.rows(), tuple(TYPES)) == shown(expected, tuple(TYPES))
    late = sorted(row[ORIGIN] for row in rows if row[TIME] < row[WATERMARK])
    assert sorted(row[ORIGIN] for row in result.late_rows()) == late


@given(seed=st.integers(0, 10**6), keep=st.sampled_from(["first", "last", "none"]), cut=cuts(restart=False),
       every=st.integers(1, 4))  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_a_restart_changes_no_output(seed: int, keep: str, cut: Cut, every: int) -> None:
    """Law: epoch by epoch, outputs with restarts are those without, rows in the same order."""
    partitions = [partition(seed, 100, number) for number in range(2)]
    wanted: Any = spec("k", 150, keep)
    plain = run(wanted, partitions, 60, cut)
    cut.restart_every = every
    restarted = run(wanted, partitions, 60, cut)
    assert [[row for batch in epoch for row in batch.to_pylist()] for epoch in plain.epochs] == [
        [row for batch in epoch for row in batch.to_pylist()] for epoch in restarted.epochs
    ]


@pytest.mark.parametrize("keep", ["first", "last", "none"])
def test_state_ends_with_the_interval(keep: str) -> None:
    """Law: many keys that come once leave nothing behind, and a delta is as large as what changed."""
    wanted: Any = spec("v", 50, keep)
    runner = Runner(wanted, Cut(save=False))
    sizes, deltas = [], []
    for start in range(0, 100_000, 2_000):
        part = partition(start, 2_000, jitter=0, nulls=0)
        values = pa.array(range(start, start + 2_000), pa.int64())
        part = part.set_column(part.schema.get_field_index("v"), "v", values).set_column(0, TIME, values)
        runner.run_epoch([part], start + 2_000)
        sizes.append(runner.shards[0].nbytes)
        deltas.append(sum(table.num_rows for table in runner.shards[0].delta().values()))
    assert max(sizes[10:]) <= max(sizes[:10]) * 1.5
    assert max(deltas) <= 1 + 50


def test_through_the_api() -> None:
    """Oracle: first rows as soon as they are known to be, last ones at the end of the interval; late ones apart."""
    made = {}
    for keep in ("first", "last", "none"):
        feed = Feed(wr.schema(k="string", time=wr.field("timestamp", format="s"), n="int64"))
        stream = feed.stream().watermark("time")
        left_over = stream.unique("k", keep=keep, within="10s")  # type: ignore[arg-type]
        made[keep] = []
        with Driver(left_over) as driver:
            for n, (k, second) in enumerate([("a", 1), ("a", 4), ("b", 5), ("a", 2), ("a", 12), ("b", 30), ("c", 31)]):
                feed.append({"k": [k], "time": [second * SECOND], "n": [n]})
                made[keep].append([row["n"] for row in driver.step()])
            assert driver.job.progress.late_rows == 1
    assert made["first"] == [[], [0], [], [], [2], [4], [5]]
    assert made["last"] == [[], [], [], [], [1], [2, 4], []]
    assert made["none"] == [[], [], [], [], [], [2, 4], []]


def test_rows_after_it_are_in_time() -> None:
    """Law: windows of what is left get every row, although the last of an interval leaves late."""
    feed = Feed(wr.schema(k="int64", time=wr.field("timestamp", format="s")))
    left_over = feed.stream().watermark("time").unique("k", keep="last", within="1m")
    counted = left_over.group_by().window(wr.tumbling("10s")).agg(n=wr.count())
    with Driver(counted) as driver:
        rows = []
        for second in range(0, 400, 7):
            feed.append({"k": [second % 5], "time": [second * SECOND]})
            rows += driver.step()
        feed.finish()
        rows += driver.step()
        assert driver.job.progress.late_rows == 0
    assert sum(row["n"] for row in rows) == len(left([
        {TIME: second * SECOND, WATERMARK: 0, "k": second % 5} for second in range(0, 400, 7)
    ], "k", 60 * SECOND, "last", lambda row: row[TIME]))  # fmt: skip


def test_the_plan_says_how_long_it_remembers_and_what_it_cannot() -> None:
    """Golden: the line of explain(), and messages."""
    rows = wr.from_arrow(pa.table({"k": [1], "time": pa.array([0], pa.timestamp("us", "UTC"))}))
    timed = rows.watermark("time")
    line = "unique last row per [k] within 10m (state bounded by the watermark - 10m)"
    assert line in timed.unique("k", keep="last", within="10m").explain()
    with pytest.raises(wr.PlanError, match="needs event time"):
        rows.unique("k", within="1m")
    with pytest.raises(wr.PlanError, match="a length of time"):
        timed.unique("k", within=0)
    with pytest.raises(wr.PlanError, match="within= is for streams"):
        rows.group_by("k").agg(n=wr.count()).unique("k", keep="none", within="1m")
