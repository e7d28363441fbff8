"""The kernels that write record batches against their oracles."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.arrays import strings, valid
from tests.oracles import kafka_write as oracle
from windrow.kernels import kafka_write as kernels

HEADERS = st.none() | st.lists(st.tuples(st.binary(max_size=3), st.none() | st.binary(max_size=80)), max_size=3)
VALUES = st.none() | st.binary(max_size=12) | st.integers(60, 900).map(lambda size: b"v" * size)
ROWS = st.lists(
    st.tuples(st.none() | st.binary(max_size=4), VALUES, st.integers(0, 2**45) | st.integers(0, 300), HEADERS),
    max_size=60,
)
NONE = np.empty(0, np.int32)
NO_BYTES = np.empty(0, np.uint8)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.sampled_from([512, 700, 5_000]), st.booleans())
def test_write(rows: list[tuple], most: int, plain: bool) -> None:
    """oracle: the same rows in the same batches, the same bytes of records, the same rows left out."""
    keys = [None if plain else row[0] for row in rows]
    values = [row[1] for row in rows]
    times = [row[2] for row in rows]
    heads = oracle.header_bytes([None if plain else row[3] for row in rows])
    expected, expected_large = oracle.write(keys, values, heads, times, most)
    head_ends, head_data = strings(heads, np.int32)
    key = (NONE, NO_BYTES, NO_BYTES) if plain else (*strings(keys, np.int32), valid(keys))
    header = (NONE, NO_BYTES) if plain else (head_ends, head_data)
    table = np.zeros((len(rows) + 1) * kernels.BATCH_SLOTS, np.int64)
    too_large = np.zeros(len(rows) + 1, np.int64)
    size = sum(len(part or b"") for row in rows for part in (row[0], row[1])) + sum(map(len, heads))
    room = size + (kernels.MOST_OVERHEAD + kernels.HEADER_BYTES) * len(rows)
    out = np.full(room + 1, 0xAA, np.uint8)
    count = kernels.write(
        *key, *strings(values, np.int32), valid(values), *header, np.array(times, np.int64), most, out, table, too_large
    )
    assert too_large[1 : 1 + too_large[0]].tolist() == expected_large
    entries = table.reshape(-1, kernels.BATCH_SLOTS)[:count].tolist()
    assert len(entries) == len(expected)
    before = 0
    for (start, end, first, records, base_time, last_time), (members, text) in zip(entries, expected, strict=True):
        assert start == before
        assert bytes(out[start + kernels.HEADER_BYTES : end]) == text
        assert (first, records) == (members[0], len(members))
        assert (base_time, last_time) == (times[members[0]], max(times[row] for row in members))
        assert end - start <= most
        before = end
    assert out[room] == 0xAA


@settings(max_examples=60, deadline=None)
@given(st.lists(HEADERS, max_size=12))
def test_header_bytes(rows: list[list[tuple[bytes, bytes | None]] | None]) -> None:
    """oracle: number, keys and values of each row's headers; a null list has none, whatever lies in it."""
    listed = [[(b"?", b"?")] if row is None else row for row in rows]
    flat = [pair for row in listed for pair in row]
    list_ends = np.cumsum([0, *map(len, listed)]).astype(np.int32)
    names, texts = [pair[0] for pair in flat], [pair[1] for pair in flat]
    out = np.zeros(sum(len(a) + len(b or b"") + 10 for a, b in flat) + 5 * len(rows), np.uint8)
    ends = np.zeros(len(rows) + 1, np.int32)
    total = kernels.header_bytes(
        list_ends, valid(rows), *strings(names, np.int32), *strings(texts, np.int32), valid(texts), ends, out
    )
    expected = oracle.header_bytes(rows)
    assert total == ends[-1] == sum(map(len, expected))
    assert [bytes(out[ends[i] : ends[i + 1]]) for i in range(len(rows))] == expected
