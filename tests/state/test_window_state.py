"""State of windows: what it does with memory, numbers that do not fit, and saved tables that do not either."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operators.events import NUMBERS, SETS, aggregate, aggregation, partition
from windrow.batch import TIME
from windrow.datatypes import FLOAT64, INT64, decimal
from windrow.errors import AggregateError, PlanError, StateError
from windrow.operators.base import OperatorContext
from windrow.operators.build import build_operator
from windrow.plan.window import Aggregate, Aggregation, Window
from windrow.state.aggregations.panes import PaneState
from windrow.units import END_OF_TIME_US

TUMBLING = Window("tumbling", size_us=100)
TOTAL = aggregate("total", "sum", "v", INT64)


def batch(times, keys, **columns):
    data = {TIME: pa.array(times, pa.int64()), "k": pa.array(keys, pa.int64())}
    return pa.RecordBatch.from_pydict(data | columns)


def final(wanted: Aggregation, batches: list[pa.RecordBatch]) -> list[dict[str, object]]:
    operator = build_operator(wanted, OperatorContext(1, ()))
    shard = operator.shard(0)
    for each in batches:
        shard.process(operator.prepare(each).data)
    return [row for output in shard.advance(END_OF_TIME_US) for row in output.to_pylist()]


def contents(state) -> list[object]:
    """Everything saved, in an order that does not depend on where panes lie."""
    tables = dict(state.snapshot())
    watermark = tables.pop("meta").to_pylist()[0]["watermark_us"]
    rows = (str(sorted(row.items())) for table in tables.values() for row in table.to_pylist())
    return [watermark, *sorted(rows)]


@given(
    seed=st.integers(0, 10**6),
    window=st.sampled_from(
        [
            TUMBLING,
            Window("hopping", size_us=90, slide_us=30),
            Window("session", gap_us=20),
            Window("count", count=4),
            None,
        ]
    ),
    aggregates=st.sampled_from(sorted(SETS)),
)
@settings(max_examples=60, deadline=None)
def test_a_snapshot_and_the_deltas_after_it_are_the_state(seed: int, window: Window | None, aggregates: str) -> None:
    """Law: restored from a snapshot and deltas, a state holds what the state that wrote them holds."""
    rows = partition(seed, 160)
    wanted = aggregation(window, SETS[aggregates], "final" if window else "current")
    operator = build_operator(wanted, OperatorContext(1, ()))
    shard = operator.shard(0)
    snapshot, deltas = None, []
    for epoch in range(8):
        shard.process(operator.prepare(rows.slice(20 * epoch, 20)).data)
        shard.advance(200 * epoch)
        operator.close_until(200 * epoch)
        if epoch == 3:
            snapshot, deltas = shard.snapshot(), []
        else:
            deltas.append(shard.delta())
    restored = operator.shard(0)
    restored.restore(snapshot, deltas)
    assert contents(restored) == contents(shard)


def test_a_sum_that_leaves_int64_is_an_error_and_one_that_comes_back_is_not() -> None:
    """Oracle: the sum as a Python int decides, not what it was on the way."""
    top = 2**63 - 1
    wanted = aggregation(TUMBLING, (TOTAL,))
    back = [batch([1, 2], [1, 1], v=pa.array([top, top])), batch([3, 4], [1, 1], v=pa.array([-top, -5]))]
    assert [row["total"] for row in final(wanted, back)] == [top - 5]
    with pytest.raises(AggregateError, match="total"):
        final(wanted, back[:1])


def test_decimal_sums_are_exact_up_to_38_digits() -> None:
    """Oracle: Python's decimals."""
    big = Decimal("9" * 36 + ".99")
    column = pa.array([big, Decimal("0.01"), None], pa.decimal128(38, 2))
    wanted = Aggregation("a", ("k",), (INT64,), TUMBLING, (
        Aggregate("total", "sum", "d", None, decimal(38, 2), decimal(38, 2)),
    ), "final")  # fmt: skip
    with pytest.raises(AggregateError, match="total"):
        final(wanted, [batch([1, 2, 3], [1, 1, 1], d=column)])
    assert [row["total"] for row in final(wanted, [batch([1], [1], d=column[:1])])] == [big]


@given(st.lists(st.floats(-1e15, 1e15), min_size=2, max_size=40), st.integers(1, 10), st.randoms())
@settings(max_examples=60, deadline=None)
def test_float_sums_do_not_depend_on_cut_or_order(values, size, random) -> None:
    """Law: any order and any batches give the same bits."""
    wanted = aggregation(TUMBLING, tuple(each for each in NUMBERS if each.column == "w" and each.where is None))

    def results(order):
        cut = [order[i : i + size] for i in range(0, len(order), size)]
        return final(wanted, [batch([1] * len(part), [1] * len(part), w=pa.array(part)) for part in cut])

    shuffled = random.sample(values, len(values))
    assert results(values) == results(shuffled)


def test_user_functions_keep_what_they_are_given() -> None:
    """Oracle: a range (highest minus lowest) by hand."""

    def init(state):
        state[0], state[1] = np.inf, -np.inf

    def update(state, value):
        state[0], state[1] = min(state[0], value), max(state[1], value)

    def merge(state, other):
        state[0], state[1] = min(state[0], other[0]), max(state[1], other[1])

    def finish(state):
        return state[1] - state[0]

    functions = {"init": init, "update": update, "merge": merge, "finish": finish, "slots": 2, "dtype": "float64"}
    wanted = Aggregation("a", ("k",), (INT64,), Window("hopping", size_us=100, slide_us=50), (
        Aggregate("range", "udaf", "w", "ok", FLOAT64, FLOAT64, tuple(functions.items())),
    ), "final")  # fmt: skip
    rows = batch(
        [10, 60, 70, 80], [1, 1, 1, 2], w=pa.array([1.0, 5.0, None, 7.0]), ok=pa.array([True, True, True, False])
    )
    found = {(row["k"], row["window_start"].microsecond): row["range"] for row in final(wanted, [rows, rows])}
    assert found == {(1, 999_950): 0.0, (1, 0): 4.0, (1, 50): 0.0, (2, 0): None, (2, 50): None}


def filled(panes: int, keys: int, per_pane: int) -> PaneState:
    operator = build_operator(aggregation(TUMBLING, (TOTAL,)), OperatorContext(1, ()))
    shard = operator.shard(0)
    random = np.random.default_rng(1)
    for start in range(0, panes, 50):
        times = np.repeat(np.arange(start, min(start + 50, panes)) * 100, per_pane)
        ids = random.integers(0, keys, len(times))
        shard.process(batch(times, ids, v=pa.array(ids)))
        shard.advance(-1)
    return shard  # type: ignore[return-value]


def test_memory_is_in_proportion_to_groups_whatever_the_panes() -> None:
    """Law: many panes with few of the keys each cost what their groups cost."""
    shard = filled(panes=500, keys=20_000, per_pane=40)
    assert shard.nbytes < 200 * 500 * 40
    assert not shard.dense
    full = filled(panes=3, keys=20_000, per_pane=60_000)
    assert len(full.dense) == 3


def test_keys_that_nothing_is_held_for_are_forgotten() -> None:
    """Law: state does not grow with keys that come once; outputs and restores do not notice."""
    operator = build_operator(aggregation(TUMBLING, (TOTAL,)), OperatorContext(1, ()))
    shard, saved, sizes = operator.shard(0), [], []
    for epoch in range(12):
        keys = np.arange(epoch * 4000, epoch * 4000 + 5000)
        shard.process(batch(np.full(5000, epoch * 100), keys, v=pa.array(keys)))
        (output,) = shard.advance(epoch * 100) or [None]
        assert output is None or output.column("total").to_pylist() == output.column("k").to_pylist()
        saved.append(shard.delta())
        sizes.append(len(shard.keys))  # type: ignore[attr-defined]
    assert max(sizes) < 20_000
    restored = operator.shard(0)
    restored.restore(None, saved)
    assert contents(restored) == contents(shard)
    assert [b.to_pylist() for b in restored.advance(END_OF_TIME_US)] == [
        b.to_pylist() for b in shard.advance(END_OF_TIME_US)
    ]


def test_saved_state_that_does_not_fit_is_refused_by_name() -> None:
    """Oracle: what is missing or of another type is in the message."""
    rows = partition(1, 30)

    def saved(wanted: Aggregation):
        operator = build_operator(wanted, OperatorContext(1, ()))
        shard = operator.shard(0)
        shard.process(operator.prepare(rows).data)
        shard.advance(0)
        return shard.snapshot()

    tables = saved(aggregation(TUMBLING, (TOTAL,)))
    for other, message in (
        (aggregation(TUMBLING, (TOTAL,), keys="s"), "saved keys are .*expected"),
        (aggregation(TUMBLING, (aggregate("low", "min", "v", INT64),)), "low=min"),
        (aggregation(TUMBLING, (aggregate("w", "sum", "w", FLOAT64),)), "expects double"),
        (aggregation(Window("session", gap_us=5), (TOTAL,)), "no table 'sessions'"),
    ):
        with pytest.raises(StateError, match=message):
            build_operator(other, OperatorContext(1, ())).shard(0).restore(tables, [])
    with pytest.raises(StateError, match="meta"):
        build_operator(aggregation(TUMBLING), OperatorContext(1, ())).shard(0).restore({}, [])


def test_what_cannot_be_computed_is_refused() -> None:
    """Oracle: the error names the aggregate."""
    with pytest.raises(PlanError, match="what"):
        build_operator(aggregation(TUMBLING, (aggregate("what", "median", "v", INT64),)), OperatorContext(1, ()))
    with pytest.raises(PlanError, match="total"):
        build_operator(aggregation(TUMBLING, (aggregate("total", "sum", "s", INT64),)), OperatorContext(1, ()))
