"""Sessions that are sent early, from their end on, or taken back because they were put together: against a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operators.driver import Cut, Runner, run
from tests.operators.events import SETS, aggregation, cuts, partition
from tests.operators.recompute import Row, sessions
from tests.operators.test_window_updates import followed_through, group_of
from windrow.batch import WEIGHT
from windrow.plan.window import Aggregation, Firing, Window
from windrow.state.aggregations.unsent import SentRows
from windrow.units import BEFORE_TIME_US

FIRINGS = [Firing(None), Firing(90), Firing(400)]


class Model:
    """What has been sent of each session, by the rules as they are written down."""

    def __init__(self, wanted: Aggregation) -> None:
        self.wanted = wanted
        self.watermark = BEFORE_TIME_US
        self.sent: dict[tuple[Any, ...], list[Row]] = {}

    def epoch(self, rows: list[Row], watermark: int) -> None:
        window, firing = self.wanted.window, self.wanted.firing
        assert window is not None and firing is not None
        known = firing.every_us is not None and self.watermark > BEFORE_TIME_US
        early = known and watermark // firing.every_us > self.watermark // firing.every_us  # type: ignore[operator]
        current = sessions(rows, self.wanted.keys, window.gap_us)
        for group in list(self.sent):
            if group not in current and (early or self._now(group, current)[-1] <= watermark):
                del self.sent[group]
        self.sent |= {group: members for group, members in current.items() if early or group[-1] <= watermark}
        self.watermark = watermark

    @staticmethod
    def _now(group: tuple[Any, ...], current: dict[tuple[Any, ...], list[Row]]) -> tuple[Any, ...]:
        """The session that one has become part of."""
        *key, start, end = group
        (found,) = [g for g in current if [*g[:-2]] == key and g[-2] <= start and end <= g[-1]]
        return found


def follow(found: dict[tuple[Any, ...], Row], wanted: Aggregation, batches: list[pa.RecordBatch], retract: bool) -> int:
    """Apply an epoch's changes; how many there were."""
    changes = [row for batch in batches for row in batch.to_pylist()]
    for row in changes:
        group = group_of(wanted, row)
        if row.pop(WEIGHT) < 0:
            assert found.pop(group) == row
        else:
            assert not retract or group not in found
            nested = any(isinstance(value, (list, dict)) for value in row.values())  # never taken for equal
            assert nested or found.get(group) != row, "a row that stayed as it was is not sent"
            found[group] = row
    return len(changes)


@given(
    seed=st.integers(0, 10**6), gap=st.sampled_from([5, 30, 120]), firing=st.sampled_from(FIRINGS),
    keys=st.sampled_from(["k", "s", ""]), delay=st.sampled_from([0, 60]), lateness=st.sampled_from([0, 40, 150]),
    aggregates=st.sampled_from(sorted(SETS)), retract=st.booleans(), span=st.sampled_from([900, 4000]), cut=cuts(),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_what_is_sent_follows_the_sessions(
    seed: int, gap: int, firing: Firing, keys: str, delay: int, lateness: int, aggregates: str, retract: bool,
    span: int, cut: Cut,
) -> None:  # fmt: skip
    """Law: after every epoch, cut and restarted at random, the rows sent are those of the model, what is taken back was
    sent as it is, and nothing is sent when no row has come."""
    parts = [partition(seed, 50, number, keys=3, span=span) for number in range(2)]
    wanted = aggregation(Window("session", gap_us=gap), SETS[aggregates if keys else "numbers"], "current", keys)
    wanted = replace(wanted, lateness_us=lateness, firing=firing)
    cut.retract = retract
    shards = followed_through(wanted, Model(wanted), parts, delay, cut, follow)
    assert all(not shard.all_rows()[0].count_present() for shard in shards)
    assert all(not len(shard._unsent.keys) and shard._unsent.take() is None for shard in shards)


@given(seed=st.integers(0, 10**6), firing=st.sampled_from(FIRINGS), lateness=st.sampled_from([0, 70]),
       cut=cuts(restart=False), every=st.integers(1, 3))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_a_restart_changes_no_output(seed: int, firing: Firing, lateness: int, cut: Cut, every: int) -> None:
    """Law: epoch by epoch, outputs with restarts are those without."""
    partitions = [partition(seed, 60, number, keys=3) for number in range(2)]
    wanted = replace(
        aggregation(Window("session", gap_us=40), SETS["others"], "current"), firing=firing, lateness_us=lateness
    )
    cut.retract = True
    plain = run(wanted, partitions, 60, cut)
    cut.restart_every = every
    restarted = run(wanted, partitions, 60, cut)
    in_order = [[sorted(repr(row) for batch in epoch for row in batch.to_pylist()) for epoch in result.epochs]
                for result in (plain, restarted)]  # fmt: skip
    assert in_order[0] == in_order[1]


@pytest.mark.parametrize("firing", [None, Firing(None)])
def test_a_delta_is_as_large_as_what_changed(firing: Firing | None) -> None:
    """Law: an epoch of one row saves the sessions of its key, however many wait to be sent."""
    part = partition(7, 400, keys=50, span=1000, jitter=0, nulls=0)
    wanted = replace(aggregation(Window("session", gap_us=5), SETS["numbers"], "current", "k"), firing=firing)
    runner = Runner(wanted, Cut(retract=True, save=False))
    runner.run_epoch([part.slice(0, 399)], -(10**6))
    first = runner.shards[0].delta()
    runner.run_epoch([part.slice(399)], -(10**6))
    tables = runner.shards[0].delta()
    if firing is not None:
        assert first["unsent"].num_rows > 10 and tables["unsent"].num_rows == 0  # it waited already
    assert 1 <= tables["sessions"].num_rows < first["sessions"].num_rows / 4 and "sent" not in tables


@given(st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_where_a_session_has_gone(seed: int) -> None:
    """Oracle: the session of the same key that holds it, or none."""
    random = np.random.default_rng(seed)
    bounds = {key: np.sort(random.choice(60, 2 * random.integers(0, 6), replace=False)) for key in range(3)}
    now = [(key, int(a), int(b)) for key, ends in bounds.items() for a, b in zip(ends[::2], ends[1::2], strict=True)]
    random.shuffle(now)
    old = [(key, a + int(random.integers(0, b - a)), b) for key, a, b in now if random.random() < 0.6]
    old += [(key, 61 + n, 70 + n) for n, key in enumerate((0, 1, 2, 3))]
    held = [
        np.array(column, dtype)
        for column, dtype in zip(zip(*old, strict=True), (np.int32, np.int64, np.int64), strict=True)
    ]
    given_ = [np.array([row[at] for row in now], (np.int32, np.int64, np.int64)[at]) for at in range(3)]
    rows = SentRows(held[0], held[1], held[2], pa.RecordBatch.from_pydict({"n": list(range(len(old)))}))
    expected = [
        next((at for at, (k, a, b) in enumerate(now) if k == key and a <= start and end <= b), -1)
        for key, start, end in old
    ]
    assert rows.part_of(given_[0], given_[1], given_[2]).tolist() == expected
