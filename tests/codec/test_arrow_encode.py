"""Record batches as Arrow IPC messages."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.arrow_types import from_arrow_schema
from windrow.codec.arrow import ArrowDecoder
from windrow.codec.arrow_encode import LEAST_MESSAGE_BYTES, ArrowEncoder
from windrow.errors import PlanError

SCHEMA = pa.schema([("n", pa.int64()), ("s", pa.string())])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.none() | st.integers(0, 9), st.integers(0, 6_000)), max_size=60), st.integers(0, 3))
def test_messages_hold_the_rows(rows: list[tuple[int | None, int]], skip: int) -> None:
    """law: each message within the limit, all rows but those that no message can hold, in order, sliced or not."""
    whole = pa.RecordBatch.from_pylist([{"n": n, "s": "x" * size} for n, size in rows], SCHEMA)
    batch = whole.slice(min(skip, len(rows)))
    made = ArrowEncoder(SCHEMA, LEAST_MESSAGE_BYTES).encode(batch)
    assert all(len(value) <= LEAST_MESSAGE_BYTES for value in made.values.to_pylist())
    left_out = set(made.too_large.tolist())
    assert all(len(batch["s"][row].as_py()) > 2_000 for row in left_out)
    kept = [row for i, row in enumerate(batch.to_pylist()) if i not in left_out]
    decoded = ArrowDecoder(from_arrow_schema(SCHEMA)).decode(made.values)
    assert not len(decoded.rejected)
    assert decoded.data.to_pylist() == kept
    held = [first + i for first, count in zip(made.first_rows, made.counts, strict=True) for i in range(count)]
    assert sorted([*held, *left_out]) == list(range(batch.num_rows))
    assert held == sorted(held)


def test_what_cannot_be_encoded() -> None:
    """law: a clear error for a limit that nothing keeps and for another schema."""
    with pytest.raises(PlanError, match="at least 4096 bytes"):
        ArrowEncoder(SCHEMA, 100)
    with pytest.raises(PlanError, match="was made for the columns"):
        ArrowEncoder(SCHEMA, 5_000).encode(pa.RecordBatch.from_pylist([{"a": 1}]))
