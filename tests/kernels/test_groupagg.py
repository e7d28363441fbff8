"""Oracle tests: grouped aggregates against plain Python."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import groupagg as oracle
from windrow.batch import ALL_VALID
from windrow.kernels import groupagg

GROUPS = 4
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(-1e12, 1e12, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-9)


@st.composite
def rows(draw, values):
    """ids, values, valid (None or bytes)."""
    size = draw(st.integers(0, 30))
    ids = draw(st.lists(st.integers(-1, GROUPS - 1), min_size=size, max_size=size))
    drawn = draw(st.lists(values, min_size=size, max_size=size))
    valid = draw(st.none() | st.lists(st.integers(0, 1), min_size=size, max_size=size))
    return ids, drawn, valid


def i32(values):
    return np.array(values, np.int32)


def i64(values):
    return np.array(values, np.int64)


def f64(values):
    return np.array(values, np.float64)


def u8(valid):
    return ALL_VALID if valid is None else np.array(valid, np.uint8)


@settings(max_examples=60, deadline=None)
@given(rows(st.integers(-1000, 1000)), st.lists(st.integers(-50, 50), min_size=GROUPS, max_size=GROUPS), st.booleans())
def test_counts_sums_and_extremes(given_rows, held, largest):
    ids, values, valid = given_rows

    counts, sums, extremes = i64(held), i64(held), i64(held)
    groupagg.count_values(i32(ids), u8(valid), counts)
    groupagg.sum_int(i32(ids), i64(values), u8(valid), sums)
    groupagg.extreme_int(i32(ids), i64(values), u8(valid), largest, extremes)

    assert counts.tolist() == oracle.count_values(ids, valid, held)
    assert sums.tolist() == oracle.sum_int(ids, values, valid, held)
    assert extremes.tolist() == oracle.extreme_int(ids, values, valid, largest, held)


def split(value):
    """Low and high int64 of a 128-bit int."""
    low = value & (2**64 - 1)
    return low - 2**64 if low >= 2**63 else low, value >> 64


@settings(max_examples=60, deadline=None)
@given(rows(st.integers(-(2**120), 2**120)), rows(INT64))
def test_wide_sums_are_exact(wide, narrow):
    lows, highs = np.zeros(GROUPS, np.int64), np.zeros(GROUPS, np.int64)
    ids, values, valid = wide
    halves = [split(value) for value in values]
    left = groupagg.sum_wide(i32(ids), i64([h[0] for h in halves]), i64([h[1] for h in halves]), u8(valid), lows, highs)
    more_ids, more, more_valid = narrow
    left += groupagg.sum_wide(i32(more_ids), i64(more), i64([]), u8(more_valid), lows, highs)

    expected = oracle.sum_wide(more_ids, more, more_valid, oracle.sum_wide(ids, values, valid, [0] * GROUPS))
    found = [(int(high) << 64) + (int(low) % 2**64) for low, high in zip(lows, highs, strict=True)]
    assert left == 0
    assert found == expected


def test_wide_sums_report_overflow():
    """Oracle: 2**126 twice is one too many for 128 bits with a sign."""
    low, high = np.zeros(1, np.int64), np.zeros(1, np.int64)
    values = i64([0, 0])
    assert groupagg.sum_wide(i32([0, 0]), values, i64([2**62, 2**62]), ALL_VALID, low, high) == 1


def close(sums, errors, exact):
    """Right to far more than a float's 53 bits of what was added."""
    for total, error, expected in zip(sums, errors, exact, strict=True):
        distance = abs(Fraction(float(total)) + Fraction(float(error)) - expected)
        assert distance <= Fraction(2) ** -40 * Fraction(2) ** -53 * max(abs(expected), Fraction(10) ** 24)


@settings(max_examples=60, deadline=None)
@given(rows(FLOATS), rows(FLOATS))
def test_float_sums_and_squares_are_double_double(first, second):
    sums, errors, squares, square_errors, others, other_errors = (np.zeros(GROUPS) for _ in range(6))
    ids, values, valid = first
    more_ids, more, more_valid = second
    groupagg.sum_float(i32(ids), f64(values), f64([]), u8(valid), sums, errors)
    groupagg.sum_squares(i32(ids), f64(values), u8(valid), squares, square_errors)
    groupagg.sum_float(i32(more_ids), f64(more), f64([]), u8(more_valid), others, other_errors)
    groupagg.sum_float(np.arange(GROUPS, dtype=np.int32), others, other_errors, ALL_VALID, sums, errors)

    exact = oracle.sum_float(ids, values, valid, GROUPS)
    exact = [a + b for a, b in zip(exact, oracle.sum_float(more_ids, more, more_valid, GROUPS), strict=True)]
    close(sums, errors, exact)
    close(squares, square_errors, oracle.sum_squares(ids, values, valid, GROUPS))


@settings(max_examples=60, deadline=None)
@given(rows(st.floats(width=32)), st.booleans())
def test_float_extremes_put_nan_on_top(given_rows, largest):
    ids, values, valid = given_rows
    extremes = np.full(GROUPS, -math.inf if largest else math.nan)

    groupagg.extreme_float(i32(ids), f64(values), u8(valid), largest, extremes)

    np.testing.assert_array_equal(extremes, oracle.extreme_float(ids, values, valid, largest, GROUPS))


@settings(max_examples=60, deadline=None)
@given(rows(st.tuples(st.integers(0, 3), st.integers(0, 3), INT64)), st.booleans())
def test_pick_takes_the_first_or_last_by_time_and_origin(given_rows, latest):
    ids, values, valid = given_rows
    times, origins, bits = ([value[k] for value in values] for k in range(3))
    held_times, held_origins, held_values = (np.zeros(GROUPS, np.int64) for _ in range(3))
    held = np.zeros(GROUPS, np.uint8)

    columns = (i64(times), i64(origins), i64(bits))
    groupagg.pick(i32(ids), *columns, u8(valid), latest, held_times, held_origins, held_values, held)

    found = [
        (int(held_times[g]), int(held_origins[g]), int(held_values[g])) if held[g] else None for g in range(GROUPS)
    ]
    assert found == oracle.pick(ids, times, origins, bits, valid, latest, GROUPS)


@settings(max_examples=60, deadline=None)
@given(
    rows(st.none()), st.lists(st.integers(0, 7), min_size=GROUPS, max_size=GROUPS), st.sampled_from([1, 3, 4, 7]),
    st.sampled_from([0, 2, 4]),
)  # fmt: skip
def test_mark_sets_bits_and_lists_new_ones(given_rows, held, bits, listed):
    ids, _, valid = given_rows
    flags = np.array(held, np.uint8)
    touched = np.zeros(GROUPS + 1, np.int32)

    count = groupagg.mark(i32(ids), u8(valid), bits, listed, flags, touched, 1)

    after, new = oracle.mark(ids, valid, bits, listed, held)
    assert flags.tolist() == after
    assert sorted(touched[1:count].tolist()) == sorted(new)
