"""The kernels that take record batches apart against their oracles."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.kafka_bytes import Record, batch
from tests.kernels.arrays import strings, valid
from tests.oracles import kafka_records as oracle
from tests.oracles.kafka_write import header_bytes, record, varint
from windrow.kernels import kafka_records as kernels

VALUES = st.none() | st.binary(max_size=12) | st.integers(60, 300).map(lambda size: b"v" * size)
HEADERS = st.lists(st.tuples(st.binary(max_size=3), st.none() | st.binary(max_size=3)), max_size=3)
RECORDS = st.builds(
    Record,
    delta=st.just(0),
    value=VALUES,
    key=st.none() | st.binary(max_size=4),
    time_delta=st.integers(-(2**40), 2**40) | st.integers(0, 100),
    headers=HEADERS,
)
#: What a mutation writes over a byte, wherever it lies.
EDITS = st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=3)


def with_deltas(records: list[Record], gaps: list[int]) -> list[Record]:
    delta = -1
    for each, gap in zip(records, gaps, strict=False):
        delta += gap
        each.delta = delta
    return records


BATCH_RECORDS = st.lists(RECORDS, max_size=6).flatmap(
    lambda records: st.lists(st.integers(1, 200), min_size=len(records), max_size=len(records)).map(
        lambda gaps: with_deltas(records, gaps)
    )
)


def edited(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    out = bytearray(data)
    for at, byte in edits:
        if out:
            out[at % len(out)] = byte
    return bytes(out)


@settings(max_examples=80, deadline=None)
@given(st.lists(BATCH_RECORDS, max_size=4), EDITS, st.integers(0, 100), st.integers(1, 5))
def test_walk(batches: list[list[Record]], edits: list[tuple[int, int]], cut: int, room: int) -> None:
    """oracle: whole batches, where they end, and what is wrong with the next; also when the table is small."""
    data = edited(b"".join(batch(100 * i, each) for i, each in enumerate(batches)), edits)
    data = data[: len(data) - cut]
    expected, end, wrong = oracle.walk(data)
    progress, found = np.zeros(2, np.int64), []
    while True:
        table = np.zeros(room * kernels.BATCH_SLOTS, np.int64)
        count = kernels.walk(np.frombuffer(data, np.uint8), table, progress)
        found += table.reshape(-1, kernels.BATCH_SLOTS)[:count].tolist()
        if count < room:
            break
    assert found == [list(each.values()) for each in expected]
    assert progress.tolist() == [end, wrong]


@settings(max_examples=150, deadline=None)
@given(st.lists(BATCH_RECORDS, min_size=1, max_size=3), EDITS, st.integers(0, 300), st.sampled_from([-1, 5_000]))
def test_locate(batches: list[list[Record]], edits: list[tuple[int, int]], wanted: int, append_time: int) -> None:
    """oracle: the same records out of right bytes, and the same batch given up in wrong ones."""
    text, entries = b"", []
    for i, records in enumerate(batches):
        start = len(text)
        text += b"".join(each.encoded() for each in records)
        last = max((each.delta for each in records), default=0)
        entries.append((start, len(text), len(records), 100 * i, last, 1_000 * i, append_time))
    data = edited(text, edits)
    expected, right = oracle.locate(data, entries, wanted)
    room = sum(entry[2] for entry in entries)
    offsets, times = np.zeros((2, room), np.int64)
    places = np.zeros((5, room), np.int32)
    progress = np.zeros(2, np.int64)
    array = np.frombuffer(data, np.uint8)
    count = kernels.locate(array, np.array(entries, np.int64).ravel(), wanted, offsets, times, *places, progress)
    assert progress[0] == right
    got = [tuple(int(column[i]) for column in (offsets, times, *places)) for i in range(count)]
    assert got == expected


def test_varints_that_do_not_end() -> None:
    """oracle: eleven bytes of a varint, and one that its record cuts off, are wrong; ten are right."""
    long_delta = varint(-(2**63))
    for delta, right in ((long_delta, 1), (b"\xff" * 10 + b"\x01", 0)):
        body = b"\0" + delta + b"\0" + varint(-1) + varint(-1) + b"\0"
        data = varint(len(body)) + body
        entry = (0, len(data), 1, 0, 0, 0, -1)
        places, progress = np.zeros((5, 1), np.int32), np.zeros(2, np.int64)
        out = np.zeros((2, 1), np.int64)
        kernels.locate(np.frombuffer(data, np.uint8), np.array(entry, np.int64), 0, *out, *places, progress)
        assert progress[0] == right == oracle.locate(data, [entry], 0)[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 40), max_size=30), st.booleans())
def test_ends_of_and_gather(sizes: list[int], huge: bool) -> None:
    """oracle: offsets and presence of the sizes, and the bytes at their places."""
    if huge:
        sizes = [*sizes, 2**31 - 1, 1]
    ends, there = np.zeros(len(sizes) + 1, np.int32), np.zeros(len(sizes), np.uint8)
    nulls = kernels.ends_of(np.array(sizes, np.int32), ends, there)
    expected, presence, expected_nulls = oracle.ends_of(sizes)
    assert (nulls, there.tolist()) == (expected_nulls, presence)
    if huge:
        return
    assert ends.tolist() == expected
    rng = np.random.default_rng(len(sizes))
    data = rng.integers(0, 256, 100).astype(np.uint8)
    starts = [int(rng.integers(0, 100 - max(size, 0))) for size in sizes]
    out = np.zeros(expected[-1], np.uint8)
    assert kernels.gather(data, np.array(starts, np.int32), ends, out) == expected[-1]
    assert bytes(out) == oracle.gather(bytes(data), list(zip(starts, sizes, strict=True)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(VALUES, HEADERS), max_size=6), st.integers(0, 12))
def test_locate_headers(rows: list[tuple[bytes | None, list[tuple[bytes, bytes | None]]]], room: int) -> None:
    """oracle: places of all headers; when there is no room for them, how many there are."""
    data, begins = b"", []
    for value, headers in rows:
        begins.append(len(data))
        data += record(0, 0, None, value, header_bytes([headers])[0])
    expected = oracle.locate_headers(data, begins, len(data))
    read = [oracle.record(data, at, len(data)) for at in begins]
    starts = np.array([each["value"][0] for each in read], np.int32)  # type: ignore[index]
    sizes = np.array([each["value"][1] for each in read], np.int32)  # type: ignore[index]
    stops = np.array([each["stop"] for each in read], np.int32)
    ends, found = np.zeros(len(rows) + 1, np.int32), np.zeros((4, room), np.int32)
    count = kernels.locate_headers(np.frombuffer(data, np.uint8), starts, sizes, stops, ends, *found)
    flat = [place for each in expected for place in each]
    assert count == len(flat)
    assert ends.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    if count <= room:
        assert [tuple(row) for row in found.T[:count].tolist()] == flat


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.binary(max_size=30), max_size=20), st.integers(1, 2**31 - 1))
def test_murmur2_partitions(keys: list[bytes | None], partitions: int) -> None:
    """oracle: the partition of every key, -1 for null."""
    ends, data = strings(keys, np.int32)
    out = np.zeros(len(keys), np.int32)
    nulls = kernels.murmur2_partitions(ends, data, valid(keys), partitions, out)
    assert out.tolist() == oracle.murmur2_partitions(keys, partitions)
    assert nulls == keys.count(None)


def test_murmur2_is_kafkas() -> None:
    """golden: hashes from the Java client's own test (UtilsTest.testMurmur2)."""
    expected = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }
    assert {key: oracle.murmur2(key) for key in expected} == expected
