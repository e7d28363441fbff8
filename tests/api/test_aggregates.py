"""Aggregates of streams and of Tables whose rows are taken back, next to polars over everything at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windrow as wr
from tests.api.test_tables import EPOCHS, bag, columns, frame, replayed, run
from windrow.progress.memory import MemoryLedger
from windrow.testing import Driver, Feed


def users(stream: wr.Stream) -> wr.Stream:
    """A Table whose rows change team and score from epoch to epoch."""
    return stream.group_by("user").agg(
        team=wr.max("team"), best=wr.max("score"), low=wr.min("weight"), n=wr.count(), word=wr.min("team")
    )


def by_team(stream: wr.Stream) -> wr.Stream:
    part = pl.col("n") % 3
    return users(stream).group_by("team").agg(
        least=wr.min("best"), most=wr.max("best"), light=wr.min("low"), heavy=wr.max("low"),
        word=wr.max("word"), words=wr.count_distinct("word"), sizes=wr.count_distinct("n"),
        set=wr.collect_set("n", limit=3), middle=wr.median("n", exact=True),
        every=wr.bool_and(part > 0), any=wr.bool_or(part > 0), some=wr.count_if(part > 0),
        spread=wr.var("n"), covar=wr.covar_pop("n", part), corr=wr.corr("n", part),
    )  # fmt: skip


def expected(events: list[tuple[Any, ...]]) -> pl.DataFrame:
    made = frame(events).group_by("user").agg(
        team=pl.col("team").max(), best=pl.col("score").max(), low=pl.col("weight").min(), n=pl.len().cast(pl.Int64),
        word=pl.col("team").min(),
    )  # fmt: skip
    n, part = pl.col("n"), pl.col("n") % 3
    return made.group_by("team").agg(
        least=pl.col("best").min(), most=pl.col("best").max(), light=pl.col("low").min(), heavy=pl.col("low").max(),
        word=pl.col("word").max(), words=pl.col("word").drop_nulls().n_unique().cast(pl.Int64),
        sizes=n.n_unique().cast(pl.Int64), set=n.unique().sort().head(3), middle=n.median(),
        every=(part > 0).all(), any=(part > 0).any(), some=(part > 0).sum().cast(pl.Int64),
        spread=n.var(), covar=(n * part).mean() - n.mean() * part.mean(), corr=pl.corr(n, part),
    )  # fmt: skip


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Floats to nine digits (0 where less), lists as tuples, what is undefined as null."""

    def value(each: Any) -> Any:
        if isinstance(each, float):
            return None if math.isnan(each) else f"{0.0 if abs(each) < 1e-9 else each:.9g}"
        return tuple(each) if isinstance(each, list) else each

    return [{name: value(each) for name, each in row.items()} for row in rows]


@settings(max_examples=40, deadline=None)
@given(EPOCHS, st.sampled_from([1, 3]))
def test_aggregates_follow_rows_that_are_taken_back(epochs: list[list[tuple[Any, ...]]], shards: int) -> None:
    """differential: however the events are cut, the changes add up to the batch result."""
    given_rows = [plain(rows) for rows in run(by_team, epochs, shards)]
    wanted = expected([event for epoch in epochs for event in epoch])
    # a row may come again as it was, as lists are not compared: only what is left in the end counts
    left = bag([])
    for rows in given_rows:
        for row in rows:
            op = row.pop("op")
            ((key, _),) = bag([row]).items()
            left[key] += 1 if op == "c" else -1
            assert left[key] >= 0
    assert +left == bag(plain(wanted.to_dicts()))


def test_state_with_bags_is_restored() -> None:
    """law: killed between any two epochs and restored, at another number of workers: the same changes."""
    epochs = [[(n % 3, "ab"[n % 2], n * 7 % 5, float(n))] * 2 for n in range(9)]
    whole = run(by_team, epochs, 2)
    ledger, parts, feed = (
        MemoryLedger(),
        [],
        Feed(wr.schema(user="int64", team="string", score="int64", weight="double")),
    )
    for number, events in enumerate(epochs):
        feed.append(columns(events))
        with Driver(by_team(feed.stream()), shards=2, workers=1 + number % 2) as driver:
            driver.job._make_ledger = ledger.again  # type: ignore[method-assign]
            parts.append(driver.step())
    assert [bag(plain(part)) for part in parts] == [bag(plain(part)) for part in whole]


def test_a_minimum_that_goes_makes_way_for_the_next() -> None:
    """law: of one group, step by step, down to nothing."""
    feed = Feed(wr.schema(user="int64", score="int64"))

    def least(stream: wr.Stream) -> wr.Stream:
        best = stream.group_by("user").agg(best=wr.max("score")).filter(pl.col("best") < 10)
        return best.group_by().agg(least=wr.min("best"), n=wr.count_distinct("best"))

    with Driver(least(feed.stream())) as driver:
        given_rows = []
        for user, score in [(1, 3), (2, 5), (1, 7), (2, 11), (1, 12)]:
            feed.append({"user": [user], "score": [score]})
            given_rows.append(driver.step())
    assert [[(row["op"], row["least"], row["n"]) for row in rows] for rows in given_rows] == [
        [("c", 3, 1)],
        [("d", 3, 1), ("c", 3, 2)],
        [("d", 3, 2), ("c", 5, 2)],
        [("d", 5, 2), ("c", 7, 1)],
        [("d", 7, 1)],
    ]
    assert not replayed(given_rows)


@pytest.mark.parametrize("values", ["sequence", "strings", "floats"])
@pytest.mark.parametrize("size", [0, 1, 100, 3_000, 200_000])
def test_distinct_values_within_the_stated_error(values: str, size: int) -> None:
    """law: within four standard errors, of numbers in sequence as of others; repeated values change nothing."""
    numbers = np.arange(size, dtype=np.int64)
    column = {"sequence": pa.array(numbers), "floats": pa.array(numbers / 7)}.get(values)
    if column is None:
        column = pa.array([f"user-{n}" for n in range(size)], pa.string())
    table = pa.table({"x": pa.concat_arrays([column, column])})
    found = wr.from_arrow(table).group_by().agg(n=wr.approx_count_distinct("x", error=0.02)).collect()["n"].to_pylist()
    assert not size or abs(found[0] - size) <= 4 * 0.02 * size + 0.5


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e300, 1e300).filter(lambda x: x == 0 or abs(x) > 1e-300), min_size=1, max_size=60),
    st.floats(0, 1), st.sampled_from([0.3, 0.01, 0.001]),
)  # fmt: skip
def test_quantiles_within_the_stated_error(values: list[float], q: float, error: float) -> None:
    """law: of the value of rank floor(q * (n - 1)), of any finite doubles."""
    rows = wr.from_arrow(pa.table({"x": values}))
    found = rows.group_by().agg(x=wr.quantile("x", q, error=error)).collect()["x"].to_pylist()[0]
    wanted = sorted(values)[math.floor(q * (len(values) - 1))]
    assert abs(found - wanted) <= error * abs(wanted) * 1.000001


def test_quantiles_of_values_that_are_not_finite() -> None:
    """law: infinities are further than all numbers, NaN is greater than all."""
    rows = wr.from_arrow(pa.table({"x": [math.nan, math.inf, -math.inf, 0.0, -0.0, None]}))
    wanted = {f"q{k}": wr.quantile("x", k / 4) for k in range(5)}
    found = rows.group_by().agg(**wanted).collect().to_pylist()[0]
    assert [found[f"q{k}"] for k in range(4)] == [-math.inf, 0.0, 0.0, math.inf] and math.isnan(found["q4"])


def test_what_stands_beside_an_extreme() -> None:
    """law: of ties the first, no row with a null; names of outputs."""
    rows = wr.from_arrow(pa.table({"u": ["a", "b", "c", None, "d"], "x": [2.0, 5.0, 5.0, 9.0, None]}))
    found = rows.group_by().agg(wr.arg_max("u", by="x"), low=wr.arg_min(pl.col("u"), by=pl.col("x") * 2)).collect()
    assert found.to_pylist() == [{"u_arg_max": "b", "low": "a"}]


def test_what_an_aggregate_cannot_take() -> None:
    """law: said at build time, with the column and the way out."""
    rows = wr.from_arrow(pa.table({"s": ["a"], "x": [1], "l": [[1]]}))
    group = rows.group_by("x")
    for wanted, message in (
        (wr.bool_and("x"), r"agg\(a=bool_and\): cannot take the bool_and of int64"),
        (wr.arg_max("x", by="s"), r"agg\(a=arg_max\): rows cannot be ordered by 'by', which is large_string"),
        (wr.corr("x", "s"), r"agg\(a=corr\): cannot take the mean of large_string"),
        (wr.quantile("s", 0.5), r"agg\(a=quantile\): cannot take the quantile of (large_)?string"),
        (wr.collect_set("l", limit=3), r"agg\(a=collect_set\).*cannot be a key"),
    ):
        with pytest.raises(wr.PlanError, match=message):
            group.agg(a=wanted)
    for wrong, message in (
        (lambda: wr.quantile("x", 1.5), "q must be from 0 to 1, got 1.5"),
        (lambda: wr.quantile("x", 0.5, error=0), "error must be from 0.0001 to 0.5"),
        (lambda: wr.approx_count_distinct("x", error=0.001), "error must be from 0.005 to 0.26"),
        (lambda: wr.collect_set("x", limit=0), "limit must be 1 or more"),
    ):
        with pytest.raises(wr.PlanError, match=message):
            wrong()
    table = group.agg(n=wr.count())
    with pytest.raises(wr.PlanError, match=r"agg\(a=arg_max\): rows of a Table can be taken back"):
        table.group_by().agg(a=wr.arg_max("x", by="n"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 200)), max_size=6), max_size=6))
def test_a_grouping_of_sessions_as_they_grow(epochs: list[list[tuple[int, int]]]) -> None:
    """differential: how many sessions there are, and the longest, whatever has been joined on the way."""
    feed = Feed(wr.schema(user="int64", time=wr.field("timestamp", format="s")))
    visits = feed.stream().watermark("time", delay="1h").group_by("user").window(wr.session("20s")).agg(n=wr.count())
    counted = visits.current().group_by("user").agg(sessions=wr.count(), longest=wr.max("n"), events=wr.sum("n"))
    with Driver(counted) as driver:
        given_rows = []
        for events in epochs:
            feed.append({"user": [u for u, _ in events], "time": [t * 1_000_000 for _, t in events]})
            given_rows.append(driver.step() if events else [])
    wanted = []
    for user in range(3):
        sizes: list[int] = []
        times = sorted(t for events in epochs for u, t in events if u == user)
        for place, time in enumerate(times):
            if place == 0 or time >= times[place - 1] + 20:
                sizes.append(0)
            sizes[-1] += 1
        if sizes:
            wanted.append({"user": user, "sessions": len(sizes), "longest": max(sizes), "events": len(times)})
    assert replayed(given_rows) == bag(wanted)


@pytest.mark.parametrize("window", [wr.tumbling("20s"), wr.hopping("60s", "20s"), wr.count_window(3)])
def test_a_grouping_of_windows_as_they_grow(window: Any) -> None:
    """Law: what a second grouping makes of updates is what it makes of the windows as they are at the end."""
    feed = Feed(wr.schema(user="int64", time=wr.field("timestamp", format="s")))
    windows = feed.stream().watermark("time", delay="1h").group_by("user").window(window).agg(n=wr.count())
    sizes = windows.current().filter(pl.col("n") < 3).group_by("n").agg(windows=wr.count(), last=wr.max("user"))
    rows = []
    with Driver(sizes) as driver, Driver(windows.current()) as plain:
        last: dict[Any, int] = {}
        for second in (0, 5, 5, 21, 30, 65, 20):
            feed.append({"user": [1, 2, second % 2], "time": [second * 1_000_000] * 3})
            rows.append(driver.step())
            for row in plain.step():
                last[tuple(value for name, value in row.items() if name != "n")] = row["n"]
    wanted = []
    for n in {n for n in last.values() if n < 3}:
        users = [key[0] for key, size in last.items() if size == n]
        wanted.append({"n": n, "windows": len(users), "last": max(users)})
    assert replayed(rows) == bag(wanted)
