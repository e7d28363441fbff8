"""In-memory sources and sink (law: what is read again is the same, what is not committed is not seen)."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.errors import LogError, PlanError, RecordError
from windrow.io.base import Source
from windrow.io.memory import IteratorSource, MemorySink, MemorySource


def numbered(start: int, rows: int) -> pa.RecordBatch:
    ids = list(range(start, start + rows))
    return pa.record_batch({"id": pa.array(ids, pa.int64()), "text": pa.array([f"row {i}" for i in ids], pa.string())})


def batches_of(sizes: list[int]) -> list[pa.RecordBatch]:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [numbered(start, rows) for start, rows in zip(starts, sizes, strict=True)]


def drain(source: Source, partition: int, max_rows: int, max_bytes: int) -> list[int]:
    """Every id of a partition, read range by range; checks the promises of `plan` and `read` on the way."""
    got: list[int] = []
    offset = source.start_offset(partition)
    while (end := source.plan(partition, offset, max_rows, max_bytes)) > offset:
        assert end - offset <= max_rows
        expected_first = offset
        for piece in source.read(partition, offset, end, ("id",)):
            assert piece.first_offset == expected_first
            assert piece.data.schema.names == ["id"]
            expected_first += piece.data.num_rows
            got += piece.data.column("id").to_pylist()
        assert expected_first == end
        offset = end
    assert offset == source.end_offset(partition)
    return got


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 50), st.integers(1, 2_000), st.integers(1, 4))
def test_any_cut_gives_the_same_rows(sizes: list[int], max_rows: int, max_bytes: int, partitions: int) -> None:
    """law: however ranges are cut, each row is read once, and in order within its partition."""
    batches = batches_of(sizes)
    source = MemorySource(batches, partitions=partitions, schema=numbered(0, 0).schema)
    read = [drain(source, p, max_rows, max_bytes) for p in source.partitions()]
    everything = list(range(sum(sizes)))
    assert sorted(i for ids in read for i in ids) == everything
    assert all(ids == sorted(ids) for ids in read)
    pulled = IteratorSource(iter(batches), schema=numbered(0, 0).schema)
    assert drain(pulled, 0, max_rows, max_bytes) == everything


def test_bytes_bound_a_range_but_never_to_nothing() -> None:
    """law: a range stays within `max_bytes`, and holds one row even if that row is larger."""
    source = MemorySource([numbered(0, 1_000)])
    row_bytes = numbered(0, 1_000).nbytes / 1_000
    assert source.plan(0, 0, 10_000, int(100 * row_bytes)) in (99, 100)
    assert source.plan(0, 0, 10_000, 1) == 1
    assert source.plan(0, 1_000, 10_000, 1) == 1_000


def test_reading_is_zero_copy_and_keeps_row_counts_without_columns() -> None:
    """law: pieces are views of the batches given; without columns a piece still has its rows."""
    batch = numbered(0, 10)
    source = MemorySource([batch])
    (piece,) = source.read(0, 2, 7, ("id",))
    assert piece.data.column("id").buffers()[1].address == batch.column("id").buffers()[1].address
    (empty,) = source.read(0, 2, 7, ())
    assert empty.data.num_rows == 5


def test_partitions_are_dealt_evenly() -> None:
    """law: rows are dealt to the partitions in turn."""
    source = MemorySource([numbered(0, 10)], partitions=3)
    assert [source.end_offset(p) for p in source.partitions()] == [4, 4, 2]
    exact = MemorySource.partitioned([[numbered(0, 3)], []])
    assert [exact.end_offset(p) for p in exact.partitions()] == [3, 0]


def test_appending() -> None:
    """law: an unbounded memory source grows, and `finish` ends it."""
    source = MemorySource([], bounded=False, schema=numbered(0, 0).schema)
    assert source.plan(0, 0, 10, 1_000) == 0
    source.append(numbered(0, 4))
    source.wait(10.0)
    assert drain(source, 0, 3, 1_000) == [0, 1, 2, 3]
    with pytest.raises(RecordError, match=r"columns \['other'\], expected \['id', 'text'\]"):
        source.append(pa.record_batch({"other": [1]}))
    source.finish()
    assert source.bounded
    with pytest.raises(LogError, match="nothing can be appended"):
        source.append(numbered(4, 1))


def test_iterators_are_pulled_lazily_and_only_once() -> None:
    """law: only what an epoch needs is pulled (and at most the lookahead); rows long gone are refused clearly."""
    pulled = 0

    def endless() -> Iterator[pa.RecordBatch]:
        nonlocal pulled
        while True:
            pulled += 1
            yield numbered((pulled - 1) * 10, 10)

    source = IteratorSource(endless())
    assert (pulled, source.bounded, source.replayable) == (1, False, False)
    assert source.plan(0, 0, 25, 1 << 20) == 25
    assert pulled == 3
    assert source.plan(0, 25, 1_000, 1 << 20) == 70
    for start in (70, 80, 90):
        assert source.plan(0, start, 10, 1 << 20) == start + 10
    assert [piece.data.num_rows for piece in source.read(0, 80, 100, ("id",))] == [10, 10]
    with pytest.raises(LogError, match="cannot be read again"):
        source.plan(0, 0, 10, 1 << 20)


def test_wrong_items_of_an_iterator_are_named() -> None:
    """law: another schema, another type of item, or no item at all is refused with the item's number."""
    other = pa.record_batch({"id": ["a"], "text": ["b"]})
    with pytest.raises(RecordError, match="batch 2 of the iterator: column 'id' is string, expected int64"):
        drain(IteratorSource([numbered(0, 1), other]), 0, 10, 1_000)
    with pytest.raises(RecordError, match="item 1 of the iterator is a dict"):
        IteratorSource([{"id": 1}])  # type: ignore[list-item]
    with pytest.raises(PlanError, match="pass schema"):
        IteratorSource([])
    with pytest.raises(PlanError, match="pass schema"):
        MemorySource([])
    with pytest.raises(PlanError, match="batch 1"):
        MemorySource([numbered(0, 1), other])


def test_rows_that_are_gone_are_refused() -> None:
    """law: a position beyond the end means that the data is not what the job read before."""
    with pytest.raises(LogError, match="row 11 was asked for"):
        MemorySource([numbered(0, 10)]).plan(0, 11, 1, 1)


def test_sink_shows_rows_only_when_committed() -> None:
    """crash: staged rows are invisible until published; after a failure `open` publishes or discards them."""
    sink = MemorySink(schema=numbered(0, 0).schema)
    sink.open("job", 0)
    assert sink.table().num_rows == 0
    assert list(sink.stage(1, [numbered(0, 2), numbered(2, 0)])) == []
    assert sink.batches == []
    sink.publish(1)
    sink.publish(1)
    assert sink.table().column("id").to_pylist() == [0, 1]
    sink.stage(2, [numbered(2, 2)])
    sink.stage(3, [numbered(4, 2)])
    sink.open("job", 2)  # 2 was committed before the failure, 3 was not
    assert sink.table().column("id").to_pylist() == [0, 1, 2, 3]
    sink.stage(2, [numbered(2, 2)])  # a repeat of what was published
    sink.publish(2)
    sink.stage(3, [numbered(4, 1)])
    sink.publish(3)
    assert sink.table().column("id").to_pylist() == [0, 1, 2, 3, 4]
    assert sorted(sink.epochs) == [1, 2, 3]
    assert sum(batch.num_rows for batch in sink.take()) == 5
    assert sink.take() == []
    sink.close()
