"""Oracle tests: rows gathered from several chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import chunks as oracle
from windrow.kernels import chunks

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def wanted_of(data, lengths):
    places = [(chunk, place) for chunk, length in enumerate(lengths) for place in range(length)]
    wanted = data.draw(st.lists(st.sampled_from(places), max_size=30))
    return wanted, np.array([c for c, _ in wanted], np.int32), np.array([p for _, p in wanted], np.int64)


def addresses(arrays):
    return np.array([array.ctypes.data for array in arrays], np.int64)


@given(LENGTHS, st.data())
@settings(max_examples=100, deadline=None)
def test_locate_rows(lengths, data):
    """oracle: locate_rows"""
    rows = data.draw(st.lists(st.integers(0, sum(lengths) - 1), max_size=30))
    starts = np.cumsum([0, *lengths[:-1]]).astype(np.int64)
    found, places = np.empty(len(rows), np.int32), np.empty(len(rows), np.int64)
    chunks.locate_rows(np.array(rows, np.int64), starts, found, places)
    assert list(zip(found.tolist(), places.tolist(), strict=True)) == oracle.locate_rows(rows, lengths)


@given(LENGTHS, st.data())
@settings(max_examples=60, deadline=None)
def test_follow_numbers(lengths, data):
    """oracle: row numbers, and chunks that have none"""
    some = st.integers(0, 2**31 - 1)
    held = [data.draw(st.none() | st.lists(some, min_size=n, max_size=n)) for n in lengths]
    arrays = [np.array(numbers or [0], np.int32) for numbers in held]
    where = np.array([0 if n is None else a.ctypes.data for a, n in zip(arrays, held, strict=True)], np.int64)
    wanted, numbers, places = wanted_of(data, lengths)
    followed = np.empty(len(wanted), np.int64)
    chunks.follow_numbers(where, numbers, places, followed)
    assert followed.tolist() == oracle.follow_numbers(held, wanted)


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
@given(LENGTHS, st.data())
@settings(max_examples=40, deadline=None)
def test_gather_fixed(width, lengths, data):
    """oracle: gather_fixed, every width"""
    held = [[data.draw(st.binary(min_size=width, max_size=width)) for _ in range(n)] for n in lengths]
    arrays = [np.frombuffer(b"".join(values), np.uint8) for values in held]
    wanted, numbers, places = wanted_of(data, lengths)
    out = np.empty(width * len(wanted), np.uint8)
    chunks.gather_fixed(addresses(arrays), numbers, places, width, out)
    assert out.tobytes() == b"".join(oracle.gather_fixed(held, wanted))


@given(LENGTHS, st.data())
@settings(max_examples=60, deadline=None)
def test_gather_bits(lengths, data):
    """oracle: gather_bits, shifted, and chunks without an address"""
    shift = data.draw(st.integers(0, 9))
    held = [data.draw(st.none() | st.lists(st.booleans(), min_size=n, max_size=n)) for n in lengths]
    arrays = [np.packbits([True] * shift + (bits or [True]), bitorder="little") for bits in held]
    where = np.array([0 if bits is None else a.ctypes.data for a, bits in zip(arrays, held, strict=True)], np.int64)
    wanted, numbers, places = wanted_of(data, lengths)
    out = np.empty(len(wanted), np.uint8)
    chunks.gather_bits(where, np.full(len(held), shift, np.int64), numbers, places, out)
    assert out.tolist() == oracle.gather_bits(held, wanted)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@given(LENGTHS, st.data())
@settings(max_examples=60, deadline=None)
def test_gather_strings(dtype, lengths, data):
    """oracle: gather_sizes and gather_strings"""
    held = [[data.draw(st.binary(max_size=70)) for _ in range(n)] for n in lengths]
    offsets = [np.cumsum([3, *map(len, texts)]).astype(dtype) for texts in held]
    sources = [np.frombuffer(b"???" + b"".join(texts), np.uint8) for texts in held]
    wanted, numbers, places = wanted_of(data, lengths)
    taken = np.empty(len(wanted) + 1, np.int64)
    width = np.dtype(dtype).itemsize
    total = chunks.gather_sizes(addresses(offsets), numbers, places, width, taken)
    assert taken.tolist() == oracle.gather_sizes(held, wanted)
    out = np.empty(total, np.uint8)
    chunks.gather_strings(addresses(offsets), addresses(sources), numbers, places, width, taken, out)
    assert out.tobytes() == oracle.gather_strings(held, wanted)
