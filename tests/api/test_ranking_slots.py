"""top_k, unique and over against recomputation from scratch (differential), also through failures (crash)."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windrow as wr
from tests.nexmark.test_queries import through_failures
from windrow.testing import Driver, Feed

SCHEMA = wr.schema(id="int64", team="string", score="int64", weight="double", time="timestamp")
START = datetime(2026, 1, 1, tzinfo=UTC)
ROW = st.tuples(
    st.sampled_from(["a", "b", None]),
    st.one_of(st.none(), st.integers(-3, 3)),
    st.one_of(st.none(), st.sampled_from([-0.0, 0.0, 1.5, -1.5, float("inf"), float("-inf"), 1e300])),
    st.integers(0, 30),
)
EPOCHS = st.lists(st.lists(ROW, max_size=8), max_size=6)


def rows_of(epochs: list[list[tuple[Any, ...]]]) -> list[list[dict[str, Any]]]:
    """As rows of the schema; ids in order of arrival."""
    made, number = [], 0
    for epoch in epochs:
        rows = []
        for team, score, weight, second in epoch:
            time = START + timedelta(seconds=second)
            rows.append({"id": number, "team": team, "score": score, "weight": weight, "time": time})
            number += 1
        made.append(rows)
    return made


def run(make: Any, epochs: list[list[dict[str, Any]]], **options: Any) -> list[dict[str, Any]]:
    """The change log, checked: nothing is taken back that is not there; gives the rows that are left."""
    feed = Feed(SCHEMA)
    left: list[dict[str, Any]] = []
    with Driver(make(feed.stream()), **options) as driver:
        for rows in epochs:
            if not rows:
                continue
            feed.append({name: [row[name] for row in rows] for name in SCHEMA.names})
            for row in driver.step():
                op = row.pop("op", "c")
                if op == "d":
                    left.remove(row)
                else:
                    left.append(row)
    return left


def ordered(rows: list[dict[str, Any]], *columns: str) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: tuple((row[c] is None, row[c]) for c in columns))


def best(rows: list[dict[str, Any]], n: int, by: list[tuple[str, bool]]) -> list[dict[str, Any]]:
    """The first n rows; nulls last, floats by value, then by arrival."""

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple((row[c] is None, 0 if row[c] is None else -row[c] if down else row[c]) for c, down in by)

    return sorted(rows, key=lambda row: (place(row), row["id"]))[:n]


@settings(max_examples=80, deadline=None)
@given(EPOCHS, st.integers(1, 3), st.sampled_from([1, 3]), st.booleans())
def test_top_k_with_ranks(epochs: list[list[tuple[Any, ...]]], n: int, shards: int, down: bool) -> None:
    """differential: of integers and floats with nulls, both ways round, by groups with a null key."""
    events = rows_of(epochs)

    def top(stream: wr.Stream) -> wr.Stream:
        found = stream.top_k(n, by=["score", "weight"], per="team", descending=[down, not down], rank="place")
        return found.select("team", "place", "id").filter(pl.col("id") >= 0)  # the log of changes

    expected = []
    for team in ("a", "b", None):
        of = [row for epoch in events for row in epoch if row["team"] == team]
        for place, row in enumerate(best(of, n, [("score", down), ("weight", not down)]), 1):
            expected.append({"team": team, "place": place, "id": row["id"]})
    assert ordered(run(top, events, shards=shards), "id") == ordered(expected, "id")


@settings(max_examples=60, deadline=None)
@given(EPOCHS, st.integers(1, 3))
def test_top_k_without_ranks(epochs: list[list[tuple[Any, ...]]], n: int) -> None:
    """differential: rows come and go; a row that stays is not sent again."""
    events = rows_of(epochs)
    expected = best([row for epoch in events for row in epoch], n, [("score", True)])
    found = run(lambda stream: stream.top_k(n, by="score"), events, shards=2)
    if n == 1:  # upserts by no key: the last row is the one
        found = found[-1:]
    assert ordered(found, "id") == ordered(expected, "id")


@settings(max_examples=60, deadline=None)
@given(EPOCHS, st.sampled_from(["first", "last"]), st.booleans())
def test_unique(epochs: list[list[tuple[Any, ...]]], keep: Any, timed: bool) -> None:
    """differential: by event time, then by arrival; by arrival alone without event time."""
    events = rows_of(epochs)

    def one(stream: wr.Stream) -> wr.Stream:
        base = stream.watermark("time", delay="1h") if timed else stream
        return base.unique(["team", "score"], keep=keep).filter(pl.col("id") >= 0)

    chosen: dict[Any, dict[str, Any]] = {}
    for row in [row for epoch in events for row in epoch]:
        key = (row["team"], row["score"])
        place = (row["time"], row["id"]) if timed else row["id"]
        held = chosen.get(key)
        if held is not None:
            before = (held["time"], held["id"]) if timed else held["id"]
            if (place < before) != (keep == "first"):
                continue
        chosen[key] = row
    assert ordered(run(one, events, shards=3), "id") == ordered(list(chosen.values()), "id")


@pytest.mark.parametrize("ties", ["row_number", "rank", "dense_rank"])
def test_top_k_of_windows(ties: Any) -> None:
    """differential: each window once, when it closes, with all three ways to count equal rows."""
    dice = random.Random(3)
    table = pa.table(
        {
            "team": [dice.choice("abcdefg") for _ in range(500)],
            "time": [START + timedelta(seconds=n) for n in range(500)],
        }
    )
    counts = wr.from_arrow(table).watermark("time").group_by("team").window(wr.tumbling("50s")).agg(n=wr.count())
    found = counts.top_k(3, by="n", ties=ties, rank="place").collect(limits=wr.Limits(epoch_rows=37), shards=3)
    windows = counts.collect().to_pylist()
    expected = []
    for start in {row["window_start"] for row in windows}:
        of = sorted((row for row in windows if row["window_start"] == start), key=lambda row: -row["n"])
        for at, row in enumerate(of):
            smaller = [other["n"] for other in of if other["n"] > row["n"]]
            place = {"row_number": at, "rank": len(smaller), "dense_rank": len(set(smaller))}[ties] + 1
            if place <= 3:
                expected.append((start, row["n"], place))
    assert sorted((row["window_start"], row["n"], row["place"]) for row in found.to_pylist()) == sorted(expected)
    assert not isinstance(counts.top_k(3, by="n"), wr.Table)


AGGREGATES = {
    "n": wr.count(),
    "some": wr.count("score"),
    "total": wr.sum("score"),
    "least": wr.min("score"),
    "most": wr.max("weight"),
    "mean": wr.mean(pl.col("score") * 2),
    "few": wr.count().filter(pl.col("score") > 0),
}


def expected_frames(rows: list[dict[str, Any]], inside: Any) -> list[dict[str, Any]]:
    made = []
    for team in ("a", "b", None):
        of = sorted((row for row in rows if row["team"] == team), key=lambda row: (row["time"], row["id"]))
        for place, row in enumerate(of):
            frame = [other for at, other in enumerate(of) if inside(place, at, row, other)]
            scores = [r["score"] for r in frame if r["score"] is not None]
            weights = [r["weight"] for r in frame if r["weight"] is not None]
            made.append({
                "id": row["id"], "n": len(frame), "some": len(scores), "total": sum(scores) if scores else None,
                "least": min(scores, default=None), "most": max(weights, default=None),
                "mean": sum(scores) * 2 / len(scores) if scores else None, "few": len([s for s in scores if s > 0]),
            })  # fmt: skip
    return made


@settings(max_examples=60, deadline=None)
@given(EPOCHS, st.integers(0, 3), st.integers(0, 2))
def test_over_rows(epochs: list[list[tuple[Any, ...]]], before: int, after: int) -> None:
    """differential: frames of neighbours, of events that come in any order."""
    events = rows_of(epochs)

    def frames(stream: wr.Stream) -> wr.Stream:
        made = stream.over("team", order_by=["time", "id"], rows=(before, after)).agg(**AGGREGATES)
        return made.select("id", *AGGREGATES)

    wanted = expected_frames(
        [row for epoch in events for row in epoch], lambda place, at, row, other: -before <= at - place <= after
    )
    assert ordered(run(frames, events, shards=2), "id") == ordered(wanted, "id")


@settings(max_examples=40, deadline=None)
@given(EPOCHS, st.integers(0, 12), st.integers(0, 5))
def test_over_range_on_a_table(epochs: list[list[tuple[Any, ...]]], before: int, after: int) -> None:
    """differential: frames of time, of rows that are replaced and taken back."""
    events = rows_of(epochs)

    def frames(stream: wr.Stream) -> wr.Stream:
        last = stream.watermark("time", delay="1h").unique(["team", "score"], keep="last").filter(pl.col("id") % 3 > 0)
        made = last.over("team", order_by=["time", "id"], range=(f"{before}s", f"{after}s")).agg(**AGGREGATES)
        return made.select("id", *AGGREGATES)

    last: dict[Any, dict[str, Any]] = {}
    for row in sorted((row for epoch in events for row in epoch), key=lambda row: (row["time"], row["id"])):
        last[row["team"], row["score"]] = row
    rows = [row for row in last.values() if row["id"] % 3 > 0]

    def inside(place: int, at: int, row: dict[str, Any], other: dict[str, Any]) -> bool:
        return -before <= (other["time"] - row["time"]).total_seconds() <= after

    assert ordered(run(frames, events, shards=2), "id") == ordered(expected_frames(rows, inside), "id")


@pytest.mark.parametrize("seed", range(4))
def test_state_comes_back(seed: int) -> None:
    """crash: killed at random places; also when dead rows have been cleared away."""
    dice = random.Random(seed)
    size = 4_000
    table = pa.table(
        {
            "id": range(size), "team": [dice.choice("abcdef") for _ in range(size)],
            "score": [dice.randrange(10**6) for _ in range(size)],
            "time": [START + timedelta(milliseconds=dice.randrange(10**6)) for n in range(size)],
        }
    )  # fmt: skip

    def build() -> wr.Stream:
        top = wr.from_arrow(table, name="rows").top_k(40, by="score", per="team", rank="place")
        return top.over("team", order_by=["time", "id"], rows=(5, 0)).agg(total=wr.sum("score"))

    found = through_failures(build, dice)
    straight = build().collect()
    order = [("team", "ascending"), ("place", "ascending")]
    assert found.sort_by(order).equals(straight.sort_by(order))


def test_what_cannot_be_done_is_said() -> None:
    """law: at build time, with the way out."""
    rows = wr.from_arrow(pa.table({"key": ["a"], "n": [1], "list": [[1]]}))
    for make, said in (
        (lambda: rows.top_k(0, by="n"), "n must be a number of rows"),
        (lambda: rows.top_k(1, by="x"), "no column 'x'"),
        (lambda: rows.top_k(1, by="n", rank="key"), "a column 'key' already"),
        (lambda: rows.top_k(1, by="key").collect(), "cannot be ordered by 'key', which is string"),
        (lambda: rows.unique(keep="any"), "keep must be 'first', 'last' or 'none'"),
        (lambda: rows.group_by("key").agg(n=wr.count()).unique("n"), "not on a Table"),
        (lambda: rows.over("key", order_by="n"), "say rows="),
        (lambda: rows.over("key", order_by="n", range=("1s", "0s")), "range needs a timestamp"),
        (lambda: rows.over("key", order_by="n", rows=(1, 0)).agg(x=wr.first("n")), "there are count, sum"),
    ):
        with pytest.raises(wr.PlanError, match=said):
            make()  # type: ignore[no-untyped-call]
