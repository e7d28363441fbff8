"""Oracle tests: tests of text to masks, and masks to row numbers."""

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from tests.oracles import select as oracle
from windrow.kernels import select


@given(st.binary(max_size=60), st.integers(0, 30), st.data())
def test_rows_of_bits(data, first, draw):
    """oracle: any part of a bitmap, sparse and dense."""
    first = min(first, 8 * len(data))
    count = draw.draw(st.integers(0, 8 * len(data) - first))
    bits = np.frombuffer(data, np.uint8)
    rows = np.empty(count, np.int64)
    found = select.rows_of_bits(bits, first, count, rows)
    assert rows[:found].tolist() == oracle.rows_of_bits(data, first, count)


@given(st.lists(st.integers(0, 2000), max_size=40))
def test_rows_of_sparse_bits(rows):
    """oracle: bits far from each other."""
    data = np.packbits(np.isin(np.arange(2001), rows), bitorder="little")
    out = np.empty(2001, np.int64)
    found = select.rows_of_bits(data, 0, 2001, out)
    assert out[:found].tolist() == oracle.rows_of_bits(data.tolist(), 0, 2001)


words = st.text(st.sampled_from("ab\0é"), max_size=20)


@given(st.lists(words, max_size=30), words, st.integers(0, 1), st.integers(0, 5))
@example(["12345678", "123456789", "1234567", ""], "12345678", 1, 0)
@example(["", "\0"], "", 1, 0)
@example(["a" * 17, "a" * 16 + "b", "b" + "a" * 16], "a" * 17, 0, 0)
def test_same_text(strings, text, wanted, skipped):
    """oracle: texts shorter and longer than a word, the last ones at the end of the data."""
    strings = [*strings, text]
    skipped = min(skipped, len(strings))
    column = pa.array(strings).slice(skipped)
    offsets = np.frombuffer(column.buffers()[1], np.int32)[skipped : len(strings) + 1]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)[: offsets[-1]]
    bits = np.empty((len(column) + 7) // 8, np.uint8)
    select.same_text(offsets, data, np.frombuffer(text.encode(), np.uint8), wanted, bits)
    made = np.unpackbits(bits, count=len(column), bitorder="little").astype(bool).tolist()
    assert made == oracle.same_text(strings[skipped:], text, wanted)


INT64 = st.integers(-(2**63), 2**63 - 1)
NEAR = st.sampled_from([-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 2, 2**63 - 1])


FEW = st.integers(-3, 3)


@given(st.lists(INT64 | NEAR | FEW), st.integers(0, 2), INT64 | NEAR | FEW, st.integers(0, 1))
def test_compare_ints(values, compare, limit, wanted):
    """oracle: values near the limit, and at the ends of int64."""
    results = np.empty(len(values), np.uint8)
    select.compare_ints(np.array(values, np.int64), compare, limit, wanted, results)
    assert results.astype(bool).tolist() == oracle.compare_ints(values, compare, limit, wanted)


DIVISORS = st.integers(1, 300) | st.integers(1, 2**63 - 1) | st.integers(0, 62).map(lambda bits: 1 << bits)


@given(st.lists(INT64 | NEAR), st.lists(st.integers(-(2**40), 2**40)), DIVISORS, st.data(), st.integers(0, 1))
@example([-(2**63)], [], 3, None, 1)
@example([2**63 - 1], [1], 2**62, None, 1)
def test_same_remainder(values, factors, divisor, draw, wanted):
    """oracle: multiples and others, odd and even divisors, up to the ends of int64."""
    remainder = 0 if draw is None else draw.draw(st.integers(0, divisor - 1))
    near = [factor * divisor + remainder + more for factor in factors for more in (0, 1)]
    values = [*values, *(value for value in near if -(2**63) <= value < 2**63)]
    results = np.empty(len(values), np.uint8)
    select.same_remainder(np.array(values, np.int64), divisor, remainder, wanted, results)
    assert results.astype(bool).tolist() == oracle.same_remainder(values, divisor, remainder, wanted)
