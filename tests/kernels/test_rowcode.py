"""Oracle tests: compound keys as bytes against struct."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.arrays import int64s, strings, valid
from tests.oracles import rowcode as oracle
from windrow.kernels import rowcode

ints = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=20)
texts = st.lists(st.none() | st.binary(max_size=80), max_size=20)


def places_of(fields):
    """Where fields that lie in rows with other fields between start; 3 bytes between them here."""
    starts = np.cumsum([0, *(len(field) + 3 for field in fields)]).astype(np.int64)
    return starts[:-1].copy(), np.full(int(starts[-1]), 0xEE, np.uint8)


def laid_out(fields):
    return b"".join(field + b"\xee\xee\xee" for field in fields)


@given(ints)
def test_int64(values):
    """oracle: encode_int64 and decode_int64; no byte outside of the fields is touched"""
    fields = oracle.encode_int64(values)
    places, rows = places_of(fields)
    ends = places + 9
    starts = places.copy()
    rowcode.encode_int64(int64s(values), valid(values), places, rows)
    assert rows.tobytes() == laid_out(fields)
    assert places.tolist() == ends.tolist()

    back, flags = np.empty(len(values), np.int64), np.empty(len(values), np.uint8)
    nulls = rowcode.decode_int64(rows, starts, back, flags)
    assert nulls == values.count(None)
    decoded = [int(value) if flag else None for value, flag in zip(back, flags, strict=True)]
    assert decoded == oracle.decode_int64(fields) == values
    assert starts.tolist() == ends.tolist()


@given(texts)
def test_bytes(values):
    """oracle: encode_bytes, decode_offsets and decode_bytes"""
    fields = oracle.encode_bytes(values)
    places, rows = places_of(fields)
    starts = places.copy()
    rowcode.encode_bytes(*strings(values), valid(values), places, rows)
    assert rows.tobytes() == laid_out(fields)
    assert places.tolist() == [start + len(field) for start, field in zip(starts.tolist(), fields, strict=True)]

    offsets, flags = np.empty(len(values) + 1, np.int64), np.empty(len(values), np.uint8)
    assert rowcode.decode_offsets(rows, starts, offsets, flags) == values.count(None)
    assert offsets.tolist() == oracle.decode_offsets(fields)
    assert flags.tolist() == [value is not None for value in values]
    data = np.empty(int(offsets[-1]), np.uint8)
    rowcode.decode_bytes(rows, offsets, starts, data)
    assert data.tobytes() == oracle.decode_bytes(fields)
    assert starts.tolist() == places.tolist()
