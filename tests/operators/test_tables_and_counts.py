"""Aggregation without windows, and in windows of a number of events."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operators.driver import Cut, run
from tests.operators.events import SETS, aggregation, check_group, cuts, partition
from tests.operators.recompute import by_arrival, rows_of
from windrow.batch import TIME, WEIGHT
from windrow.plan.window import Window


@given(
    seed=st.integers(0, 10**6), keys=st.sampled_from(["k", "s", "ks", ""]), parts=st.integers(1, 3),
    aggregates=st.sampled_from(sorted(SETS)), timed=st.booleans(), cut=cuts(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_a_table_ends_as_what_a_recomputation_gives(
    seed: int, keys: str, parts: int, aggregates: str, timed: bool, cut: Cut
) -> None:
    """Law: the last update of every key is the aggregate of all its rows, ordered by arrival."""
    partitions = [partition(seed, 100, number) for number in range(parts)]
    if not timed:
        partitions = [part.drop_columns([TIME]) for part in partitions]
    wanted = aggregation(None, SETS[aggregates if keys else "numbers"], "current", keys)
    found = {tuple(row[key] for key in keys): row for row in run(wanted, partitions, 60, cut).rows()}
    expected: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for row in rows_of(partitions):
        expected[tuple(row[key] for key in keys)].append(row)
    assert set(found) == set(expected)
    for key, rows in expected.items():
        assert found[key][WEIGHT] == 1
        check_group(wanted, found[key], rows, by_arrival)


@given(
    seed=st.integers(0, 10**6), keys=st.sampled_from(["k", "ks", ""]), size=st.sampled_from([1, 3, 10]),
    aggregates=st.sampled_from(sorted(SETS)), emit=st.sampled_from(["final", "current", "changes"]), cut=cuts(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_count_windows_are_what_a_recomputation_gives(
    seed: int, keys: str, size: int, aggregates: str, emit: str, cut: Cut
) -> None:
    """Law: the n-th window of a key has its n-th `size` events; only full ones come when emitting ``final``."""
    part = partition(seed, 150, keys=3)
    cut.retract = emit == "changes"
    way = "final" if emit == "final" else "current"
    wanted = aggregation(Window("count", count=size), SETS[aggregates if keys else "numbers"], way, keys)
    found = {}
    for row in run(wanted, [part], 60, cut).rows():
        group = (*(row[key] for key in keys), row["window_number"])
        if way == "current" and row.pop(WEIGHT) < 0:
            assert emit == "changes" and found.pop(group) == row
            continue
        assert emit == "current" or group not in found
        found[group] = row
    by_key: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for row in rows_of([part]):
        by_key[tuple(row[key] for key in keys)].append(row)
    expected = {}
    for key, rows in by_key.items():
        for start in range(0, len(rows), size):
            if emit != "final" or start + size <= len(rows):
                expected[(*key, start // size)] = rows[start : start + size]
    assert set(found) == set(expected)
    for group, rows in expected.items():
        check_group(wanted, found[group], rows, by_arrival)
