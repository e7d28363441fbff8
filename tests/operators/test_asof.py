"""join_asof and join_temporal through the public API, cut at random and restored, against a plain recomputation."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windrow as wr
from tests.operators.test_join import SECOND, events, net, run, source


def recomputed(a: pa.Table, b: pa.Table, strategy: str, tolerance: int | None, how: str) -> Counter[Any]:
    """Every row with the nearest of its key; of equal times the last."""
    by_key = defaultdict(list)
    for number, row in enumerate(b.to_pylist()):
        by_key[row["id"]].append((row["at"], number, row))
    found: Counter[Any] = Counter()
    for row in a.to_pylist():
        best = None
        for at, number, other in by_key[row["id"]] if row["id"] is not None else ():
            away = (at - row["at"]).total_seconds()
            allowed = away == 0 or strategy == "nearest" or (away < 0) == (strategy == "backward")
            rank = (abs(away), away > 0, -number)
            near = allowed and (tolerance is None or abs(away) <= tolerance)
            if near and (best is None or rank < best[0]):
                best = rank, other
        if best is not None:
            found[(*row.values(), best[1]["y"], best[1]["text"], best[1]["at"])] += 1
        elif how == "left":
            found[(*row.values(), None, None, None)] += 1
    return found


@given(
    seed=st.integers(0, 10**6), strategy=st.sampled_from(["backward", "forward", "nearest"]),
    tolerance=st.integers(0, 20) | st.none(), how=st.sampled_from(["left", "inner"]), epoch=st.integers(3, 70),
    shards=st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_asof_is_a_plain_recomputation(
    seed: int, strategy: Any, tolerance: int | None, how: Any, epoch: int, shards: int
) -> None:
    """Oracle: whatever way epochs are cut."""
    if strategy != "backward" and tolerance is None:
        tolerance = 4
    a, b = events(seed, 60, "x", 4), events(seed + 1, 50, "y", 4)
    within = None if tolerance is None else f"{tolerance}s"
    left, right = source(a, "a", seed, True), source(b, "b", seed + 1, True)
    joined = left.join_asof(right, "id", strategy, tolerance=within, how=how)
    assert run(joined, epoch, shards=shards) == recomputed(a, b, strategy, tolerance, how)


@pytest.mark.parametrize(("strategy", "tolerance"), [("backward", None), ("backward", 5), ("nearest", 5)])
def test_a_restored_asof_join_goes_on(strategy: Any, tolerance: int | None, tmp_path: Path) -> None:
    """Oracle: the job is closed and opened all the time; old versions are dropped in between."""
    a, b = events(21, 150, "x", 4), events(22, 200, "y", 4)
    logged = wr.open_log(tmp_path / "in")
    for name, table in (("a", a), ("b", b)):
        wr.from_arrow(table).write_log(logged, name).run()
    left, right = [wr.read_log(logged, name, end="latest").watermark("at", delay="5s") for name in ("a", "b")]
    within = None if tolerance is None else f"{tolerance}s"
    joined = left.join_asof(right, "id", strategy, tolerance=within)
    with patch("windrow.state.joins.side._SLACK", 2):
        assert run(joined, 17, tmp_path, shards=2) == recomputed(a, b, strategy, tolerance, "left")


def test_a_temporal_join_sees_the_version_of_its_time() -> None:
    """Oracle: rates that change, orders between; one from before the first version has none."""
    rates = pa.table({"currency": ["EUR", "EUR", "USD"], "rate": [100, 110, 90], "at": [1, 5, 2]})
    orders = pa.table({"currency": ["EUR", "EUR", "EUR", "USD", "CHF"], "n": [1, 2, 3, 4, 5], "at": [0, 4, 5, 9, 9]})

    def stream(table: pa.Table, name: str) -> wr.Stream:
        times = pa.array([t * SECOND for t in table["at"].to_pylist()]).cast(pa.timestamp("us", "UTC"))
        return wr.from_arrow(table.set_column(2, "at", times), name=name).watermark("at", delay="10s")

    joined = stream(orders, "orders").join_temporal(stream(rates, "rates"), "currency").select("n", "rate")
    assert net(joined.collect()) == Counter({(2, 100): 1, (3, 110): 1, (4, 90): 1})


def test_what_asof_cannot_do_is_said() -> None:
    """Golden: messages."""
    a, b = source(events(1, 5, "x"), "a", 1, True), source(events(2, 5, "y"), "b", 1, True)
    with pytest.raises(wr.PlanError, match="wait for ever"):
        a.join_asof(b, "id", "nearest")
    with pytest.raises(wr.PlanError, match="whose rows change"):
        a.join_temporal(b.group_by("id").agg(y=wr.count()), "id")
    with pytest.raises(wr.PlanError, match="give the columns to compare"):
        a.join_asof(b)
