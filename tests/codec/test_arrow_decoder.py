"""Arrow IPC streams that grow: what a small message may become is bounded."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.arrow_types import from_arrow_schema
from windrow.codec.arrow import ArrowDecoder

SCHEMA = pa.schema([("n", pa.int64())])


def stream(rows: int, codec: str | None, schema: pa.Schema = SCHEMA) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(pa.record_batch({name: pa.array([0] * rows, pa.int64()) for name in schema.names}))
    return bytes(out.getvalue())


def documents(*streams: bytes) -> pa.Array:
    return pa.array(streams, pa.binary())


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_message_that_grows_too_much_is_rejected_before_it_does(codec: str) -> None:
    """law: rejected with the size that it says and the limit, and nothing of that size is allocated."""
    small, large = stream(100, codec), stream(500_000, codec)
    assert len(large) < 50_000
    before = pa.total_allocated_bytes()
    pool = pa.default_memory_pool()
    decoder = ArrowDecoder(from_arrow_schema(SCHEMA), max_document_bytes=1 << 20)
    done = decoder.decode(documents(small, large, small))
    assert done.rejected.rows.tolist() == [1]
    assert "4000000 bytes" in done.rejected.reasons[0] and "1048576" in done.rejected.reasons[0]
    assert done.data.num_rows == 200 and done.counts is not None and done.counts.tolist() == [100, 100]
    assert pool.bytes_allocated() - before < 1 << 20


def test_columns_that_are_not_wanted_count_too() -> None:
    """law: a stream cannot hide what it grows to in another column, as Arrow decompresses that as well."""
    wide = pa.schema([("n", pa.int64()), ("other", pa.int64())])
    decoder = ArrowDecoder(from_arrow_schema(SCHEMA), max_document_bytes=1_000_000)
    done = decoder.decode(documents(stream(100_000, "zstd"), stream(100_000, "zstd", wide)))
    assert done.rejected.rows.tolist() == [1]


def test_many_messages_together() -> None:
    """law: what no longer fits in one call is rejected with that reason; what is not compressed counts too."""
    for codec in ("zstd", None):
        decoder = ArrowDecoder(from_arrow_schema(SCHEMA), max_bytes=2_000_000)
        done = decoder.decode(documents(*[stream(100_000, codec)] * 4))
        assert done.rejected.rows.tolist() == [2, 3]
        assert all("together" in reason for reason in done.rejected.reasons)
        assert done.data.num_rows == 200_000


@given(st.data())
def test_damaged_metadata_is_rejected_or_read(data: st.DataObject) -> None:
    """law: any byte changed gives rows or a rejection, nothing else."""
    whole = bytearray(stream(1_000, "zstd"))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    done = ArrowDecoder(from_arrow_schema(SCHEMA)).decode(documents(bytes(whole)))
    assert done.counts is not None and len(done.rejected) + len(done.counts) == 1
