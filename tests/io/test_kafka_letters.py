"""Dead letters as records: law that nothing of a record is lost, and that what is not ours is left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from windrow.io.base import DEAD_LETTER
from windrow.io.kafka import letters

HEADER = st.tuples(st.sampled_from([*letters.NAMES[:2], "trace", ""]), st.none() | st.binary(max_size=5))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LETTERS = st.fixed_dictionaries(
    {
        "topic": st.text(max_size=5),
        "partition": st.integers(0, 9),
        "offset": st.integers(0, 2**62),
        "timestamp": st.none() | st.integers(0, 10**13).map(lambda ms: EPOCH + timedelta(milliseconds=ms)),
        "key": st.none() | st.binary(max_size=5),
        "value": st.none() | st.binary(max_size=20),
        "headers": st.none() | st.lists(HEADER, min_size=1, max_size=10),
        "field": st.none() | st.text(max_size=5),
        "reason": st.text(max_size=9),
        "step": st.text(max_size=9),
        "job": st.text(max_size=9),
    }
)


def plain(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows, headers as pairs."""
    found: list[dict[str, Any]] = rows.to_pylist()
    for row in found:
        row["headers"] = row["headers"] and [(one["key"], one["value"]) for one in row["headers"]]
    return found


@given(st.lists(LETTERS, max_size=6), st.integers(0, 3), st.booleans())
def test_all_comes_back(rows: list[dict[str, Any]], cut: int, twice: bool) -> None:
    """Law: there and back nothing changes; also of slices, and of letters whose record was a dead letter before."""
    batch = pa.RecordBatch.from_pylist(rows, DEAD_LETTER).slice(cut)
    if twice:
        headers = letters.as_records(batch).column("headers")
        batch = batch.set_column(batch.schema.get_field_index("headers"), DEAD_LETTER.field("headers"), headers)
    back = letters.from_records(letters.as_records(batch))
    assert back.schema == letters.LETTER and plain(back) == plain(batch)


@given(st.lists(st.none() | st.lists(HEADER, max_size=9), max_size=6))
def test_a_record_of_somebody_else_has_no_story(headers: list[list[tuple[str, bytes | None]] | None]) -> None:
    """Law: all its headers stay, and nothing is said of where it comes from."""
    schema = pa.schema([DEAD_LETTER.field(name) for name in ("key", "value", "headers")])
    rows = [{"key": b"k", "value": b"v", "headers": some} for some in headers]
    found = plain(letters.from_records(pa.RecordBatch.from_pylist(rows, schema)))
    assert [row["headers"] or [] for row in found] == [some or [] for some in headers]
    assert all(row[name] is None for row in found for name in ("topic", "offset", "timestamp", "reason", "job"))
