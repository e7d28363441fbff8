"""The JSON encoding kernels against the standard library and plain-Python twins (oracle)."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import json_encode as oracle
from windrow.kernels import json_encode as kernels

INT64 = st.integers(-(2**63), 2**63 - 1)
# what the escape path must get right: runs longer than a vector, escapes at both ends, every control character
CHARACTERS = st.one_of(st.characters(codec="utf-8"), st.sampled_from('"\\\b\f\n\r\t\x00\x1f\x7fü€𝄞'), st.just("a"))
STRINGS = st.one_of(
    st.text(CHARACTERS, max_size=8),
    st.text(st.sampled_from("abcdefgh[\\]^_`"), min_size=20, max_size=200),
    st.builds(lambda n, c, m: "x" * n + c + "y" * m, st.integers(0, 70), CHARACTERS, st.integers(0, 70)),
)
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
TIMES = st.one_of(
    st.integers(FIRST_US, LAST_US),
    st.integers(FIRST_US // 1_000 + 1, LAST_US // 1_000).map(lambda ms: ms * 1_000),
    st.integers(1_700_000_000_000_000, 1_700_000_003_000_000),
    st.sampled_from([FIRST_US, LAST_US, 0, -1, 951_782_400_000_000, 1_709_251_199_999_999]),
)
VALUES = {
    kernels.LITERAL: st.just(0),
    kernels.INT: st.one_of(INT64, st.integers(-200, 200), st.integers(0, 18).map(lambda n: 10**n)),
    kernels.BOOL: st.integers(0, 1),
    kernels.TEXT: st.binary(max_size=100),
    kernels.STRING: STRINGS.map(str.encode),
    kernels.BINARY: st.binary(max_size=100),
    kernels.DATE: st.integers(FIRST_US // 86_400_000_000, LAST_US // 86_400_000_000),
    kernels.TIMESTAMP: TIMES,
    kernels.LOCAL_TIME: TIMES,
    kernels.SQL_TIME: TIMES,
}


@st.composite
def columns(draw: st.DrawFn) -> tuple[int, list[int], list[int], bytes, list[int], int]:
    """kind, ints, offsets, data, valid, rows; with bytes before the first value, as a sliced column has them."""
    kind = draw(st.sampled_from(sorted(VALUES)))
    values = draw(st.lists(VALUES[kind], max_size=12))
    valid = draw(st.one_of(st.just([]), st.lists(st.integers(0, 1), min_size=len(values), max_size=len(values))))
    if not (values and isinstance(values[0], bytes)):
        return kind, values, [], b"", valid, len(values)
    before = draw(st.binary(max_size=40))
    offsets = [len(before)]
    for value in values:
        offsets.append(offsets[-1] + len(value))
    return kind, [], offsets, before + b"".join(values), valid, len(values)


def arrays(ints: list[int], offsets: list[int], data: bytes, valid: list[int]) -> tuple[np.ndarray, ...]:
    made = (
        np.array(ints, np.int64),
        np.array(offsets, np.int32),
        np.frombuffer(data, np.uint8),
        np.array(valid, np.uint8),
    )
    for array in made:
        array.flags.writeable = False
    return made


@settings(max_examples=200, deadline=None)
@given(columns(), st.integers(0, 100))
def test_column_sizes(column: tuple[int, list[int], list[int], bytes, list[int], int], before: int) -> None:
    """oracle: sizes are the lengths of the texts that the standard library writes."""
    kind, ints, offsets, data, valid, rows = column
    sizes = np.full(rows, before, np.int64)
    added = kernels.column_sizes(kind, *arrays(ints, offsets, data, valid), sizes)
    expected = oracle.column_sizes(kind, ints, offsets, data, valid, [before] * rows)
    if kind != kernels.LITERAL:  # has no value, so the caller leaves it out
        assert sizes.tolist() == expected
        assert added == sum(expected) - before * rows


@settings(max_examples=300, deadline=None)
@given(columns(), st.binary(max_size=80))
def test_write_column(column: tuple[int, list[int], list[int], bytes, list[int], int], key: bytes) -> None:
    """oracle: the bytes are those of the standard library, and no byte outside the row is touched."""
    kind, ints, offsets, data, valid, rows = column
    expected = oracle.write_column(kind, key, ints, offsets, data, valid, [b"<"] * rows)
    ends = np.cumsum([len(row) + 1 for row in expected], dtype=np.int64)
    out = np.full(int(ends[-1]) if rows else 0, ord(">"), np.uint8)
    starts = ends - np.array([len(row) + 1 for row in expected], np.int64)
    out[starts] = ord("<")
    cursors = starts + 1
    key_bytes = np.frombuffer(key, np.uint8)
    assert kernels.write_column(kind, key_bytes, *arrays(ints, offsets, data, valid), cursors, out) == rows
    assert out.tobytes() == b"".join(row + b">" for row in expected)
    assert cursors.tolist() == (ends - 1).tolist()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.data())
def test_gather_runs(data: bytes, draw: st.DataObject) -> None:
    """oracle: runs of every length, in any order, overlapping or not, one after another."""
    position = st.integers(0, len(data))
    runs = [sorted(run) for run in draw.draw(st.lists(st.tuples(position, position), max_size=8))]
    starts, ends = [run[0] for run in runs], [run[1] for run in runs]
    expected = oracle.gather_runs(data, starts, ends)
    out = np.zeros(len(expected) + 1, np.uint8)
    written = kernels.gather_runs(
        np.frombuffer(data, np.uint8), np.array(starts, np.int64), np.array(ends, np.int64), out
    )
    assert (written, out.tobytes()) == (len(expected), expected + b"\0")
