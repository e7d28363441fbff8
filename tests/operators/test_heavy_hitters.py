"""Heavy hitters that do not fit: what is promised of them, whatever the cut."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windrow as wr
from tests.operators.driver import Cut, run
from tests.operators.events import TYPES, aggregate, cuts
from windrow.arrow_types import counted_values
from windrow.batch import TIME
from windrow.datatypes import STRING
from windrow.plan.window import Aggregation, Window


def events(seed: int, rows: int, values: int) -> pa.RecordBatch:
    """Few values that come often and many that come rarely."""
    random = np.random.default_rng(seed)
    chosen = np.minimum(random.zipf(1.3, rows), values)
    return pa.RecordBatch.from_pydict(
        {
            TIME: pa.array(np.sort(random.integers(0, 400, rows))),
            "k": pa.array(random.integers(0, 2, rows)),
            "s": pa.array([None if value % 11 == 10 else f"v{value}" for value in chosen]),
        }
    )


def hitters(n: int, capacity: int, window: Window | None) -> Aggregation:
    wanted = aggregate("often", "heavy_hitters", "s", counted_values(STRING), n=n, capacity=capacity)
    emit = "current" if window is None else "final"
    return Aggregation("agg", ("k",), (TYPES["k"],), window, (wanted,), emit)  # type: ignore[arg-type]


@given(
    seed=st.integers(0, 10**6), capacity=st.sampled_from([1, 3, 20]), cut=cuts(),
    window=st.sampled_from([None, Window("tumbling", size_us=200), Window("hopping", size_us=200, slide_us=50)]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_counts_are_as_near_as_promised(seed: int, capacity: int, cut: Cut, window: Window | None) -> None:
    """Law: f - error <= count <= f, error <= values / (capacity + 1), and no value beyond the error is left out."""
    part = events(seed, 300, 90)
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in run(hitters(capacity, capacity, window), [part], 1000, cut).rows():
        if row["often"] is not None:
            found[row["k"], row.get("window_start"), row.get("window_end")] = row["often"]
    assert found
    for (key, start, end), listed in found.items():
        rows = [row for row in part.to_pylist() if row["k"] == key and row["s"] is not None]
        if start is not None:
            since, until = (int(bound.timestamp() * 1e6 + 0.5) for bound in (start, end))
            rows = [row for row in rows if since <= row[TIME] < until]
        true = Counter(row["s"] for row in rows)
        error = max((item["error"] for item in listed), default=None)
        assert error is None or error <= len(rows) / (capacity + 1)
        assert len(listed) <= capacity
        assert [item["count"] for item in listed] == sorted((item["count"] for item in listed), reverse=True)
        for item in listed:
            assert item["error"] == error and true[item["value"]] - error <= item["count"] <= true[item["value"]]
        there = {item["value"] for item in listed}
        assert all(count <= len(rows) / (capacity + 1) for value, count in true.items() if value not in there)


@given(seed=st.integers(0, 10**6), cut=cuts(restart=False), every=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_a_restart_changes_nothing(seed: int, cut: Cut, every: int) -> None:
    """Law: for the same epochs, results with restarts are those without, also where values do not fit."""
    part, wanted = events(seed, 300, 90), hitters(3, 4, None)
    plain = run(wanted, [part], 1000, cut).rows()
    cut.restart_every = every
    assert run(wanted, [part], 1000, cut).rows() == plain


def test_memory_is_bounded() -> None:
    """Law: a hundred thousand different values leave a state of the size of the capacity."""
    wanted = hitters(3, 50, None)
    from windrow.operators.base import OperatorContext
    from windrow.operators.build import build_operator

    operator = build_operator(wanted, OperatorContext(1, ()))
    shard = operator.shard(0)
    sizes = []
    for start in range(0, 100_000, 5_000):
        batch = pa.RecordBatch.from_pydict({"k": [1] * 5_000, "s": [f"v{n}" for n in range(start, start + 5_000)]})
        data = operator.prepare(batch).data
        assert data is not None
        shard.process(data)
        shard.advance(0)
        sizes.append(shard.nbytes)
    assert sizes[-1] < 20_000_000 and sizes[-1] <= max(sizes[:8])


def test_the_api_says_what_it_gives() -> None:
    """Oracle: through the public API, with its messages."""
    rows = wr.from_arrow(pa.table({"k": [1, 1, 1, 1, 2], "s": ["a", "b", "b", None, None]}), name="rows")
    table = rows.group_by("k").agg(often=wr.heavy_hitters("s", 5), wr_n=wr.count()).collect().sort_by("k")
    assert table["often"].to_pylist() == [
        [{"value": "b", "count": 2, "error": 0}, {"value": "a", "count": 1, "error": 0}], None
    ]  # fmt: skip
    with pytest.raises(wr.PlanError, match="n must be at most the capacity"):
        wr.heavy_hitters("s", 10, capacity=5)
    with pytest.raises(wr.PlanError, match="capacity must be 1 or more"):
        wr.heavy_hitters("s", capacity=0)
    with pytest.raises(wr.PlanError, match=r"heavy_hitters\): rows of a Table can be taken back"):
        rows.group_by("k").agg(n=wr.count()).group_by().agg(often=wr.heavy_hitters("n"))
