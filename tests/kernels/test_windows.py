"""Oracle tests: panes, pairs and count windows against plain Python."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import windows as oracle
from windrow.kernels import windows

TIMES = st.integers(-500, 500)


@st.composite
def grids(draw):
    """offset, width, size, slide, per_pane, cumulate."""
    offset = draw(st.integers(-20, 20))
    if draw(st.booleans()):
        slide = draw(st.integers(1, 20))
        panes = draw(st.integers(1, 6))
        return offset, slide, slide * panes, slide, panes, 1
    size, slide = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    return offset, math.gcd(size, slide), size, slide, math.ceil(size / slide), 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(TIMES, TIMES), max_size=30), st.booleans(), st.sampled_from([-(2**62), -100, 0, 100]), grids()
)  # fmt: skip
def test_codes_are_pane_and_closed_windows(rows, marked, closed, grid):
    times = [row[0] for row in rows]
    marks = [row[1] for row in rows] if marked else None
    codes = np.zeros(len(times), np.int64)

    late = windows.pane_codes(np.array(times, np.int64), np.array(marks or [], np.int64), closed, *grid, codes)

    expected = oracle.pane_codes(times, marks, closed, *grid)
    named = {windows.LATE: "late", windows.OUTSIDE: "outside"}
    assert [named.get(int(code), divmod(int(code), grid[4])) for code in codes] == expected
    assert late == expected.count("late")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 2**52 - 1), max_size=40), st.integers(-(2**53), 2**53), st.integers(-(2**20), 2**20),
    st.one_of(st.integers(1, 50), st.integers(1, 2**45)), st.integers(1, 9),
)  # fmt: skip
def test_open_codes(after, start, first, width, per_pane):
    """oracle: also of times on and next to the edges of panes."""
    after += [edge for time in after for edge in (time // width * width, max(0, time // width * width - 1))]
    times = np.array(after, np.int64) + start
    codes = np.empty(len(times), np.int64)
    windows.open_codes(times, start, first, width, per_pane, codes)
    assert codes.tolist() == oracle.open_codes(times.tolist(), start, first, width, per_pane)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40))
def test_least_and_most(values):
    bounds = np.zeros(2, np.int64)
    windows.least_and_most(np.array(values, np.int64), bounds)
    assert bounds.tolist() == oracle.least_and_most(values)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(-3, 3), st.integers(-1, 5)), max_size=20), max_size=4))
def test_pairs_get_rows_in_order_of_first_appearance(batches):
    slots, codes, numbers = np.full(256, -1, np.int32), np.zeros(128, np.int64), np.zeros(128, np.int32)
    known, size = [], 0
    for batch in batches:
        rows = np.zeros(len(batch), np.int32)
        given_codes = np.array([pair[0] for pair in batch], np.int64)
        given_numbers = np.array([pair[1] for pair in batch], np.int32)
        size = windows.pair_rows(given_codes, given_numbers, size, slots, codes, numbers, rows)
        assert rows.tolist() == oracle.pair_rows(given_codes.tolist(), given_numbers.tolist(), known)
    assert list(zip(codes[:size].tolist(), numbers[:size].tolist(), strict=True)) == known


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(), st.integers(0, 9)).map(lambda p: (p[0] % 2**40, p[1])), max_size=30, unique=True)
)
def test_an_index_made_at_once_finds_every_pair(pairs):
    codes = np.array([pair[0] for pair in pairs], np.int64)
    numbers = np.array([pair[1] for pair in pairs], np.int32)
    slots, rows = np.full(64, -1, np.int32), np.zeros(len(pairs), np.int32)

    windows.pair_index(codes, numbers, slots)
    size = windows.pair_rows(codes, numbers, len(pairs), slots, codes.copy(), numbers.copy(), rows)

    assert size == len(pairs)
    assert rows.tolist() == oracle.pair_index(codes.tolist(), numbers.tolist())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-1, 3), max_size=30), st.integers(1, 5), st.lists(st.integers(0, 9), min_size=4, max_size=4)
)
def test_windows_of_a_number_of_events(ids, per_window, seen):
    held, numbers = np.array(seen, np.int64), np.zeros(len(ids), np.int64)

    windows.number_windows(np.array(ids, np.int32), per_window, held, numbers)

    assert (numbers.tolist(), held.tolist()) == oracle.number_windows(ids, per_window, list(seen))
