"""Record batches to rows: what a broker may answer, and what it may not."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.kafka_bytes import Record, batch, marker
from tests.kernels.test_kafka_records import BATCH_RECORDS, EDITS, edited
from windrow.codec import kafka_compression as compression
from windrow.codec.json import JsonDecoder
from windrow.codec.kafka_encode import encode
from windrow.codec.kafka_records import Batches, Rows, decode_values, read
from windrow.datatypes import INT64, STRING, Field, Schema
from windrow.errors import RecordError

ABC = [Record(i, text) for i, text in enumerate((b"a", b"b", b"c"))]


#: The abort of somebody else: batches are then looked at one by one.
OTHERS = [(99, 0)]


def rows_of(data: bytes, wanted: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> Batches:
    padded = pa.py_buffer(b"before" + data + b"behind")
    return read(padded, 6, len(data), aborted, wanted)


def values(got: Batches) -> list[tuple[int, bytes | None]]:
    rows = got.rows
    return [] if rows is None else list(zip(rows.offsets.tolist(), rows.values().to_pylist(), strict=True))


def rows(got: Batches) -> Rows:
    assert got.rows is not None
    return got.rows


def test_rows_of_two_batches() -> None:
    """law: offsets, times, keys, values and headers come out as they went in."""
    second = [
        Record(0, None, b"k", 5, [("é".encode(), b"1"), (b"b", None)]),
        Record(3, b"", b"", -7, [(b"\xff", b"")]),
    ]
    got = rows_of(batch(10, ABC) + batch(20, second))
    assert got.broken is None
    assert (got.next_offset, got.leader_epoch) == (24, 7)
    assert values(got) == [(10, b"a"), (11, b"b"), (12, b"c"), (20, None), (23, b"")]
    found = rows(got)
    assert found.keys().to_pylist() == [None, None, None, b"k", b""]
    assert found.times_ms.tolist() == [1_000, 1_000, 1_000, 1_005, 993]
    wanted = [
        None, None, None, [{"key": "é", "value": b"1"}, {"key": "b", "value": None}], [{"key": "�", "value": b""}]
    ]  # fmt: skip
    assert found.headers().to_pylist() == wanted
    assert found.headers([4, 0]).to_pylist() == [wanted[4], None]
    found.headers().validate(full=True)
    part = found.slice(2, 4)
    assert (part.values().to_pylist(), part.offsets.tolist()) == ([b"c", None], [12, 20])


def test_times_of_the_log_and_no_times() -> None:
    """law: LogAppendTime gives all records the batch's time; -1 is no time."""
    got = rows_of(batch(0, ABC, attributes=0x08, last_time=9_000) + batch(3, ABC, base_time=-1))
    assert rows(got).times_ms.tolist() == [9_000] * 3 + [-1] * 3
    assert rows(got).times().null_count == 3
    assert rows(got).times()[0].value == 9_000_000


def test_every_cut_of_an_answer_is_legal() -> None:
    """law: a batch that is cut off is left for the next request, wherever it is cut."""
    first, second = batch(0, ABC), batch(3, ABC)
    data = first + second
    for cut in range(len(data) + 1):
        got = rows_of(data[:cut], aborted=OTHERS[: cut % 2])
        assert got.broken is None
        whole = (cut >= len(first)) + (cut == len(data))
        assert (got.next_offset, len(values(got))) == (3 * whole, 3 * whole)


def test_records_before_the_wanted_offset_are_dropped_by_offset() -> None:
    """law: of compacted batches too."""
    gappy = [Record(0, b"x"), Record(5, b"y"), Record(6, b"z")]
    data = batch(90, ABC) + batch(100, gappy, last_delta=9)
    got = rows_of(data, 104)
    assert values(got) == [(105, b"y"), (106, b"z")]
    assert got.next_offset == 110
    assert rows_of(data, 107).rows is None
    assert rows_of(data, 107).next_offset == 110


def test_empty_batches_move_on() -> None:
    """law: compaction keeps the last batch of a producer without a record in it."""
    got = rows_of(batch(0, [], last_delta=4) + batch(5, ABC))
    assert (values(got)[0], got.next_offset) == ((5, b"a"), 8)


def test_aborted_transactions_and_markers() -> None:
    """law: only what the list names, from its first offset to the marker; other producers' records stay."""
    data = (
        batch(0, ABC, attributes=0x10, producer=1)  # committed
        + batch(3, ABC, attributes=0x10, producer=2)
        + marker(6, 1, commit=True)
        + batch(7, ABC, attributes=0x10, producer=1)  # aborted
        + batch(10, ABC)
        + marker(13, 1, commit=False)
        + batch(14, ABC, attributes=0x10, producer=1)  # committed
        + batch(17, ABC, producer=1)
    )
    got = rows_of(data, 0, [(1, 7)])
    assert [offset for offset, _ in values(got)] == [0, 1, 2, 3, 4, 5, 10, 11, 12, 14, 15, 16, 17, 18, 19]
    assert got.next_offset == 20
    got = rows_of(data, 0, [(1, 7), (2, 3)])
    assert [offset for offset, _ in values(got)] == [0, 1, 2, 10, 11, 12, 14, 15, 16, 17, 18, 19]
    # the list belongs to one answer that may begin in the middle of a transaction
    assert [offset for offset, _ in values(rows_of(data, 8, [(1, 7)]))][:3] == [10, 11, 12]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (batch(3, ABC)[:-1] + b"!", "checksum"),
        (batch(3, ABC, magic=1), "not v2"),
        (batch(3, ABC)[:8] + (40).to_bytes(4, "big") + batch(3, ABC)[12:], "shorter than a header"),
        (batch(3, ABC, count=10**9, last_delta=10**9), "counts more"),
        (batch(3, ABC, count=-1), "counts more"),
        (batch(3, ABC, last_delta=-1, count=0), "counts more"),
        (batch(3, ABC, count=2), "record 2 does not add up"),
        (batch(3, ABC, count=0), "record 0 does not add up"),
        (batch(3, ABC, count=4, last_delta=3, body=b"".join(r.encoded() for r in ABC) + b"\0" * 9), "record 3"),
        (batch(3, [Record(0, b"a"), Record(0, b"b")], last_delta=1), "record 1"),
        (batch(3, ABC, last_delta=1, count=2), "does not add up"),
        (batch(1, ABC), "follows a batch that ends at offset 2"),
        (batch(3, ABC, attributes=5), "number 5"),
        (batch(3, ABC, attributes=1), "cannot be decompressed (gzip)"),
        (batch(3, ABC, attributes=2), "cannot be decompressed (snappy)"),
        (batch(3, ABC, attributes=3), "cannot be decompressed (lz4)"),
        (batch(3, ABC, attributes=4), "cannot be decompressed (zstd)"),
        (batch(3, ABC, attributes=1, body=gzip.compress(b"ab"), count=3), "counts more"),
    ],
    ids=range(18),
)
@pytest.mark.parametrize("aborted", [[], OTHERS], ids=["together", "one by one"])
def test_a_broken_batch_ends_what_can_be_read(bad: bytes, says: str, aborted: list[tuple[int, int]]) -> None:
    """law: what comes before it is given, its offset and the reason are said, nothing behind it is read."""
    got = rows_of(batch(0, ABC) + bad + batch(6, ABC), aborted=aborted)
    assert got.broken is not None
    assert says in got.broken.reason
    assert got.broken.offset == int.from_bytes(bad[:8], "big") or got.broken.offset == 3
    assert (got.next_offset, [offset for offset, _ in values(got)]) == (3, [0, 1, 2])


@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("size", [0, 1, 100, 40_000, 300_000])
def test_codecs(name: compression.Compression, size: int) -> None:
    """law: what is compressed comes back, of any size; also between batches that are not."""
    rng = np.random.default_rng(size)
    number = compression.NUMBERS[name]
    for text in (bytes(size), rng.integers(0, 256, size).astype(np.uint8).tobytes()):
        packed = compression.compressed(memoryview(text), name)
        assert bytes(compression.decompressed(memoryview(packed), number, 1 << 20)) == text
        for cut in {1, len(packed) // 2, len(packed) - 1}:
            try:
                short = bytes(compression.decompressed(memoryview(packed[:cut]), number, 1 << 20))
            except RecordError:
                continue
            assert text.startswith(short)  # the records in it are then said not to add up
        body = b"".join(each.encoded() for each in [Record(0, text), Record(1, b"")])
        packed = compression.compressed(memoryview(body), name)
        got = rows_of(
            batch(0, ABC) + batch(3, [], attributes=number, body=packed, count=2, last_delta=1) + batch(5, ABC)
        )
        assert got.broken is None
        assert [value for _, value in values(got)] == [b"a", b"b", b"c", text, b"", b"a", b"b", b"c"]


def test_lz4_blocks_do_not_depend_on_one_another() -> None:
    """law: the Java client refuses frames without the flag of independent blocks."""
    packed = compression.compressed(memoryview(b"abc" * 100_000), "lz4")
    assert packed[4] & 0x20
    assert bytes(compression.decompressed(memoryview(packed), 3, 1 << 20)) == b"abc" * 100_000


def test_snappy_in_one_bare_block() -> None:
    """law: as clients without xerial's framing write it."""
    text = b"abc" * 1_000
    bare = pa.Codec("snappy").compress(text, asbytes=True)
    assert bytes(compression.decompressed(memoryview(bare), 2, 1 << 20)) == text


@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
def test_bombs(name: compression.Compression) -> None:
    """law: no more memory than the cap, whatever is asked for; a small bomb is held to the ratio."""
    number, cap = compression.NUMBERS[name], 4 << 20
    packed = compression.compressed(memoryview(bytes(64 << 20)), name)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    tracemalloc.start()
    with pytest.raises(RecordError, match="takes more than the"):
        compression.decompressed(memoryview(packed), number, cap)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * cap
    assert pool.bytes_allocated() - before < 2 * cap


def test_a_ratio_beyond_what_data_has() -> None:
    """law: 256 MiB of zeros in a few KB of zstd are refused though the cap would let them pass."""
    packed = compression.compressed(memoryview(bytes(48 << 20)), "zstd")
    assert len(packed) < 16 << 10
    with pytest.raises(RecordError, match=f"the {compression.FREE_BYTES} bytes"):
        compression.decompressed(memoryview(packed), 4, 1 << 30)


def test_a_snappy_block_that_lies_about_its_size() -> None:
    """law: the size is not allocated when so few bytes cannot make it."""
    with pytest.raises(RecordError, match="larger than it can be"):
        compression.decompressed(memoryview(b"\xff\xff\xff\x07abc"), 2, 1 << 30)


def test_a_full_answer_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """law: what would take too much memory together is left for the next request."""
    monkeypatch.setattr("windrow.codec.kafka_records.MAX_ANSWER_BYTES", 10)
    got = rows_of(batch(0, ABC) + batch(3, ABC) + batch(6, ABC), aborted=OTHERS)
    assert got.broken is None
    assert (got.next_offset, len(values(got))) == (3, 3)


def test_what_is_written_is_read() -> None:
    """law: through all codecs, with keys, headers and nulls."""
    keys = pa.array([b"k", None, b""] * 100)
    texts = pa.array([f"value {i}" if i % 7 else None for i in range(300)])
    headers = pa.array(
        [[{"key": "h", "value": None}], None, []] * 100,
        pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())])),
    )
    times = np.arange(300) * 1_000
    for name in compression.NUMBERS:
        encoded = encode(keys, texts, times, headers, compression=name, max_batch_bytes=2_000)  # type: ignore[arg-type]
        data, offset = b"", 0
        for each in encoded.batches:
            stamped = bytes(each.stamped(1, 0, offset, transactional=True))
            data += offset.to_bytes(8, "big") + stamped[8:]
            offset += each.count
        got = rows_of(data)
        assert got.broken is None
        assert rows(got).keys().equals(keys)
        assert rows(got).values().equals(texts.cast(pa.binary()))
        assert rows(got).times_ms.tolist() == times.tolist()
        assert [each or [] for each in rows(got).headers().to_pylist()] == [each or [] for each in headers.to_pylist()]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(BATCH_RECORDS, st.booleans()), max_size=5), EDITS, st.integers(0, 60), st.integers(0, 500))
def test_batches_together_and_one_by_one(
    batches: list[tuple[list[Record], bool]], edits: list[tuple[int, int]], cut: int, wanted: int
) -> None:
    """law: both ways of reading give the same rows, the same end and the same error, whatever the bytes."""
    offset, data = 0, b""
    for records, control in batches:
        # the checksum is that of the edited bytes: what they say has to be refused for itself
        data += batch(offset, records, body=edited(b"".join(each.encoded() for each in records), edits))
        offset += 1 + max((each.delta for each in records), default=0)
        if control:
            data += marker(offset, 5, commit=False)
            offset += 1
    data = data[: len(data) - cut]
    together, one_by_one = rows_of(data, wanted), rows_of(data, wanted, OTHERS)
    assert together.broken == one_by_one.broken
    assert (together.next_offset, together.leader_epoch) == (one_by_one.next_offset, one_by_one.leader_epoch)
    assert values(together) == values(one_by_one)
    if together.rows is not None and one_by_one.rows is not None:
        assert together.rows.headers().equals(one_by_one.rows.headers())
        assert together.rows.keys().equals(one_by_one.rows.keys())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.sampled_from([b'{"a":1}', b'{"a":"x"}', b"", b'{"a":22,"s":"yes"}', b"[]"]), min_size=1))
def test_json_is_decoded_where_it_lies(texts: list[bytes | None]) -> None:
    """law: as out of the column of values, good rows and bad ones."""
    decoder = JsonDecoder(Schema((Field("a", INT64), Field("s", STRING))))
    body = [Record(i, text, b"key") for i, text in enumerate(texts)]
    found = rows(rows_of(batch(0, body[:20], last_delta=19) + batch(20, [Record(0, b"{}")])))
    got, expected = decode_values(decoder, found), decoder.decode(found.values())
    assert got.data.equals(expected.data)
    assert got.rejected.rows.tolist() == expected.rejected.rows.tolist()
    assert got.rejected.reasons == expected.rejected.reasons
