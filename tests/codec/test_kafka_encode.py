"""Columns to record batches, next to what kafka-python makes of the same records."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from windrow.codec.kafka_encode import LEAST_BATCH_BYTES, EncodedBatch, encode, partitions
from windrow.codec.kafka_records import HEADERS
from windrow.errors import PlanError, RecordError

ROWS = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=5),
        st.none() | st.binary(max_size=200),
        st.integers(0, 2**42),
        st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.booleans())
def test_bytes_are_kafka_pythons(rows: list[tuple], transactional: bool) -> None:
    """differential: the same batch, byte for byte, as kafka-python's builder gives, and its reader agrees."""
    keys, values = pa.array([row[0] for row in rows], pa.binary()), pa.array([row[1] for row in rows], pa.binary())
    headers = pa.array([[{"key": k, "value": v} for k, v in row[3]] for row in rows], HEADERS)
    [made] = encode(keys, values, np.array([row[2] for row in rows]), headers).batches
    builder = DefaultRecordBatchBuilder(2, 0, transactional, 77, 3, 5, 1 << 20)
    for i, (key, value, time, heads) in enumerate(rows):
        assert builder.append(i, timestamp=time, key=key, value=value, headers=heads)
    expected = bytearray(builder.build())
    struct.pack_into(">i", expected, 12, -1)  # the broker's field: unknown, as the Java client has it
    got = bytes(made.stamped(77, 3, 5, transactional))
    assert got == bytes(expected)
    theirs = DefaultRecordBatch(got)
    assert theirs.validate_crc()
    assert [(each.key, each.value, each.timestamp) for each in theirs] == [row[:3] for row in rows]


def test_a_stamp_with_other_values_leaves_the_first_alone() -> None:
    """law: bytes that may still be on their way to a broker never change."""
    [made] = encode(None, pa.array([b"x"]), np.array([5])).batches
    first = made.stamped(1, 0, 0, True)
    kept = bytes(first)
    assert made.stamped(1, 0, 0, True) == kept
    second = made.stamped(1, 1, 0, True)
    assert first == kept != second
    assert DefaultRecordBatch(bytes(second)).validate_crc()
    assert first.readonly


def test_no_transaction_after_one() -> None:
    """law: the bit of the transaction is set and taken back."""
    [made] = encode(None, pa.array([b"x"]), np.array([5])).batches
    assert DefaultRecordBatch(bytes(made.stamped(1, 0, 0, True))).is_transactional
    assert not DefaultRecordBatch(bytes(made.stamped(1, 0, 0, False))).is_transactional


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_batches_keep_the_limit(compression: str) -> None:
    """law: no batch is above it, compressed or not, and what no batch can hold is reported by its row."""
    rng = np.random.default_rng(3)
    values = [rng.integers(0, 256, size).astype(np.uint8).tobytes() for size in [*range(0, 900, 7), 2_000, 3, 10_000]]
    encoded = encode(
        None, pa.array(values), np.zeros(len(values), np.int64), compression=compression, max_batch_bytes=1_000
    )  # type: ignore[arg-type]
    large = [row for row, value in enumerate(values) if len(value) > 1_000 - 61 - 12]
    assert encoded.too_large.tolist() == large
    assert all(each.nbytes == len(each.stamped(1, 0, 0, False)) <= 1_000 for each in encoded.batches)
    assert sum(each.count for each in encoded.batches) == len(values) - len(large)
    firsts = [each.first_row for each in encoded.batches]
    assert firsts == sorted(firsts)


def test_sliced_columns() -> None:
    """law: slices of columns are read where they begin."""
    keys = pa.array([b"no", b"a", None, b"c", b"no"]).slice(1, 3)
    headers = pa.array([[{"key": "no", "value": b""}], [{"key": "h", "value": b"1"}], None, []], HEADERS).slice(1, 3)
    [made] = encode(keys, keys, np.array([1, 2, 3]), headers).batches
    theirs = list(DefaultRecordBatch(bytes(made.stamped(1, 0, 0, False))))
    assert [(each.key, each.value) for each in theirs] == [(b"a", b"a"), (None, None), (b"c", b"c")]
    assert [list(each.headers) for each in theirs] == [[("h", b"1")], [], []]


def test_nothing_is_no_batch() -> None:
    """law: no rows make no batch."""
    assert encode(None, pa.array([], pa.binary()), np.array([], np.int64)).batches == []


@pytest.mark.parametrize(
    ("action", "error", "says"),
    [
        (lambda: encode(None, None, np.array([5, -1])), RecordError, "row 1: -1 ms"),
        (lambda: encode(None, None, np.array([5]), max_batch_bytes=LEAST_BATCH_BYTES - 1), PlanError, "at least"),
        (lambda: encode(None, None, np.array([5]), compression="brotli"), PlanError, "brotli"),  # type: ignore[arg-type]
        (lambda: encode(None, pa.array([b"a", b"b"]), np.array([5])), PlanError, "1 times, but 2 values"),
        (lambda: encode(pa.array([1]), None, np.array([5])), PlanError, "keys of Kafka records"),
        (lambda: encode(None, None, np.array([5]), pa.array([1])), PlanError, "headers of Kafka records"),
        (lambda: partitions(pa.array([b"a"]), 0), PlanError, "at least one partition"),
    ],
)
def test_what_cannot_be_encoded(action: object, error: type[Exception], says: str) -> None:
    """law: a clear error."""
    with pytest.raises(error, match=says):
        action()  # type: ignore[operator]


def test_partitions() -> None:
    """golden: as the Java client deals keys out to 10 partitions; null keys are the caller's."""
    assert partitions(pa.array(["21", "foobar", None, "abc"]), 10).tolist() == [0, 6, -1, 7]
    assert partitions(pa.array([None], pa.binary()), 10).tolist() == [-1]
    assert partitions(pa.array([], pa.binary()), 10).tolist() == []


def test_an_encoded_batch_knows_its_size() -> None:
    """law: what a caller counts with."""
    [made] = encode(None, pa.array([b"abc"]), np.array([5])).batches
    assert isinstance(made, EncodedBatch)
    assert (made.count, made.first_row, made.nbytes) == (1, 0, 61 + 10)
