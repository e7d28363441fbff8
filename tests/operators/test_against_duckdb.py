"""Differential: many keys and dense panes, against DuckDB over the same rows."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from tests.operators.events import NUMBERS, aggregation, us
from windrow.batch import TIME
from windrow.operators.base import OperatorContext
from windrow.operators.build import build_operator
from windrow.plan.window import Window
from windrow.units import END_OF_TIME_US

AGGREGATES = tuple(each for each in NUMBERS if each.where is None)
COMPUTED = """count(*), sum(v)::bigint, min(v), avg(v), sum(w), min(w), stddev_samp(w)"""


def events(keys: int, rows: int = 60_000) -> pa.Table:
    random = np.random.default_rng(keys)
    v = pa.array(random.integers(-(2**40), 2**40, rows), mask=random.random(rows) < 0.1)
    times = np.sort(random.integers(10_000, 15_000, rows)) + random.integers(0, 200, rows)
    w = pa.array(random.integers(-(10**6), 10**6, rows) / 64)
    return pa.table({TIME: times, "k": random.integers(0, keys, rows), "v": v, "w": w})


def results(table: pa.Table, window: Window, restart: bool) -> list[tuple[object, ...]]:
    operator = build_operator(aggregation(window, AGGREGATES), OperatorContext(1, ()))
    shard, found = operator.shard(0), []
    for number, batch in enumerate(table.combine_chunks().to_batches(max_chunksize=9_000)):
        shard.process(operator.prepare(batch).data)
        watermark = int(batch.column(TIME).to_numpy().max()) - 1_000
        found += shard.advance(watermark)
        operator.close_until(watermark)
        if restart and number % 2:
            saved = shard.snapshot()
            shard = operator.shard(0)
            shard.restore(saved, [])
    found += shard.advance(END_OF_TIME_US)
    rows = [row for batch in found for row in batch.to_pylist()]
    names = ["k", *(each.name for each in AGGREGATES)]
    return [(us(row["window_start"]), *(row[name] for name in names)) for row in rows]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("keys", [50, 6_000])
@pytest.mark.parametrize("size, slide", [(1_000, 1_000), (1_000, 200), (900, 600)])
def test_windows_equal_duckdb(size: int, slide: int, keys: int, restart: bool) -> None:
    """Differential: every window of every key, whatever DuckDB's own way to compute it."""
    table = events(keys)
    kind = "tumbling" if size == slide else "hopping"
    found = sorted(results(table, Window(kind, size_us=size, slide_us=slide), restart))  # type: ignore[arg-type]
    query = f"""
        select start, k, {COMPUTED} from (
            select *, unnest(range(({TIME} - {size} + {slide}) // {slide} * {slide}, {TIME} + 1, {slide})) as start
            from t
        ) where start <= {TIME} and {TIME} < start + {size} group by start, k order by start, k
    """
    connection = duckdb.connect()
    connection.register("t", table)
    expected = connection.execute(query).fetchall()
    connection.close()
    assert [row[:5] for row in found] == [row[:5] for row in expected]
    for k in range(5, 9):
        left, right = (np.array([row[k] for row in rows], np.float64) for rows in (found, expected))
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)
