"""Sources and a sink that live in this process: Arrow batches in, Arrow batches out, nothing copied."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import pyarrow as pa

from windrow.arrow_types import from_arrow_schema
from windrow.datatypes import Schema
from windrow.errors import LogError, PlanError, RecordError
from windrow.io.base import Fetched, Guarantee, TopicWrite

#: Rows of one piece that `read` gives; larger batches are sliced. What a piece costs in Python, in every shard, shows
#: with fewer: q20 took one worker 465 ms with 128 k rows, 425 with 256 k and 390 with these, no less with 1 M.
PIECE_ROWS = 524_288
#: Batches that an `IteratorSource` pulls ahead of what an epoch needs.
LOOKAHEAD_BATCHES = 4

#: A table, or batches of one schema in order.
Batches: TypeAlias = pa.Table | Sequence[pa.RecordBatch]


class BatchList:
    """The batches of one partition in order, addressed by row number; the oldest can be dropped.

    Appending in one thread while others read is safe: a batch is there before its rows are counted.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch] = ()) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._ends: list[int] = []  # row number after each batch
        self._row_bytes: list[float] = []  # of each batch, on average
        self.first_offset = 0
        self.end_offset = 0
        for batch in batches:
            self.append(batch)

    def append(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._batches.append(batch)
            self._row_bytes.append(max(batch.nbytes / batch.num_rows, 1.0))
            self._ends.append(self.end_offset + batch.num_rows)
            self.end_offset += batch.num_rows

    def drop_before(self, offset: int) -> None:
        """Forget the batches that lie wholly before `offset`."""
        gone = bisect_right(self._ends, offset)
        if gone:
            self.first_offset = self._ends[gone - 1]
            del self._batches[:gone], self._ends[:gone], self._row_bytes[:gone]

    def fit(self, next_offset: int, max_rows: int, max_bytes: int) -> int:
        """The end of the longest range from `next_offset` within both bounds, at least one row if there is one.

        A row counts as many bytes as its batch has on average.
        """
        end, bytes_left = next_offset, float(max_bytes)
        for i in range(bisect_right(self._ends, next_offset), len(self._ends)):
            row_bytes = self._row_bytes[i]
            rows = min(self._ends[i] - end, next_offset + max_rows - end, int(bytes_left // row_bytes))
            if rows <= 0:
                break
            bytes_left -= rows * row_bytes
            end += rows
            if end < self._ends[i]:
                break
        if end == next_offset and next_offset < self.end_offset:
            return next_offset + 1
        return end

    def cuts(self, start: int, end: int) -> list[int]:
        """Where `pieces` of the rows ``[start, end)`` meet."""
        found = []
        while (start := self._end_of_piece(start, end)) < end:
            found.append(start)
        return found

    def pieces(self, start: int, end: int, columns: tuple[str, ...]) -> Iterator[Fetched]:
        """Zero-copy slices of the rows ``[start, end)``, of at most `PIECE_ROWS` rows each."""
        while start < end:
            i = bisect_right(self._ends, start)
            batch = self._batches[i]
            until = self._end_of_piece(start, end)
            piece = batch.select(list(columns)).slice(start - self._ends[i] + batch.num_rows, until - start)
            yield Fetched(piece, start, piece.nbytes)
            start = until

    def _end_of_piece(self, start: int, end: int) -> int:
        return min(end, self._ends[bisect_right(self._ends, start)], start + PIECE_ROWS)


class MemorySource:
    """Arrow batches as a replayable source.

    The rows are dealt to `partitions` partitions in turn, in pieces of at most `PIECE_ROWS` rows, so that event times
    of the partitions run side by side; `MemorySource.partitioned` takes them as they are. With ``bounded=False`` more
    can be appended while a job runs.
    """

    replayable = True

    def __init__(
        self,
        data: Batches,
        name: str = "memory",
        *,
        partitions: int = 1,
        bounded: bool = True,
        schema: pa.Schema | None = None,
    ) -> None:
        if partitions < 1:
            raise PlanError(f"{name}: partitions must be at least 1, got {partitions}")
        batches = _batches(data)
        self._set_up([[] for _ in range(partitions)], name, bounded, _common_schema(name, data, batches, schema))
        rows = sum(batch.num_rows for batch in batches)
        piece_rows = max(min(PIECE_ROWS, -(-rows // partitions)), 1)
        dealt = 0
        for batch in batches:
            pieces = [batch] if partitions == 1 else _sliced(batch, piece_rows)
            for piece in pieces:
                self._lists[dealt % partitions].append(piece)
                dealt += 1

    @classmethod
    def partitioned(
        cls,
        partitions: Sequence[Batches],
        name: str = "memory",
        *,
        bounded: bool = True,
        schema: pa.Schema | None = None,
    ) -> MemorySource:
        """A source with exactly these partitions."""
        if not partitions:
            raise PlanError(f"{name}: at least one partition is needed")
        lists = [_batches(data) for data in partitions]
        source = cls.__new__(cls)
        together = [batch for batches in lists for batch in batches]
        source._set_up(lists, name, bounded, _common_schema(name, partitions[0], together, schema))
        return source

    def _set_up(self, lists: Sequence[Sequence[pa.RecordBatch]], name: str, bounded: bool, schema: pa.Schema) -> None:
        self.name = name
        self.bounded = bounded
        self.arrow_schema = schema
        self.schema: Schema = from_arrow_schema(schema)
        self._lists = [BatchList(batches) for batches in lists]
        self._grown = threading.Event()

    def append(self, batch: pa.RecordBatch, partition: int = 0) -> None:
        """Add rows at the end of a partition; may be called from any one thread while a job runs."""
        if self.bounded:
            raise LogError(f"{self.name}: made with bounded=True, nothing can be appended")
        _check_schema(batch, self.arrow_schema, f"{self.name}: appended batch")
        self._lists[partition].append(batch)
        self._grown.set()

    def finish(self) -> None:
        """Nothing will be appended any more: the source is bounded from here on."""
        self.bounded = True
        self._grown.set()

    def partitions(self) -> Sequence[int]:
        return range(len(self._lists))

    def start_offset(self, partition: int) -> int:
        return 0

    def end_offset(self, partition: int) -> int:
        return self._lists[partition].end_offset

    def plan(self, partition: int, next_offset: int, max_rows: int, max_bytes: int) -> int:
        rows = self._lists[partition]
        if not 0 <= next_offset <= rows.end_offset:
            raise LogError(
                f"{self.name}: partition {partition} has rows 0 to {rows.end_offset}, row {next_offset} was asked for: "
                "it does not hold the rows that the job read before"
            )
        self._grown.clear()
        return rows.fit(next_offset, max_rows, max_bytes)

    def cuts(self, partition: int, start_offset: int, end_offset: int) -> Sequence[int]:
        return self._lists[partition].cuts(start_offset, end_offset)

    def read(self, partition: int, start_offset: int, end_offset: int, columns: tuple[str, ...]) -> Iterator[Fetched]:
        return self._lists[partition].pieces(start_offset, end_offset, columns)

    def wait(self, timeout_s: float) -> None:
        if not self.bounded:
            self._grown.wait(timeout_s)

    def close(self) -> None:
        self._grown.set()


class IteratorSource:
    """An iterator of record batches as a source of one partition, pulled in the thread that plans epochs.

    Rows are kept until two more epochs were planned, so that an epoch can be read while the next one is planned;
    after a restart they are gone (``replayable`` is False). ``bounded`` becomes True when the iterator has ended.
    Raises `RecordError` when a batch has other columns than `schema`, or than the first batch when none was given.
    """

    replayable = False

    def __init__(
        self, batches: Iterable[pa.RecordBatch], name: str = "iterator", *, schema: pa.Schema | None = None
    ) -> None:
        self.name = name
        self.bounded = False
        self._iterator = iter(batches)
        self._pulled = 0
        self._rows = BatchList()
        self._planned = [0, 0]  # next_offset of the last two different calls of `plan`
        if schema is None:
            first = self._pull()
            if first is None:
                raise PlanError(f"{name}: the iterator gave no batch, so its columns are unknown; pass schema=...")
            schema = first.schema
            self._rows.append(first)
        self.arrow_schema: pa.Schema = schema
        self.schema: Schema = from_arrow_schema(schema)

    def _pull(self) -> pa.RecordBatch | None:
        try:
            batch = next(self._iterator)
        except StopIteration:
            self.bounded = True
            return None
        self._pulled += 1
        if not isinstance(batch, pa.RecordBatch):
            raise RecordError(
                f"{self.name}: item {self._pulled} of the iterator is a {type(batch).__name__}, "
                "expected a pyarrow.RecordBatch"
            )
        return batch

    def partitions(self) -> Sequence[int]:
        return (0,)

    def start_offset(self, partition: int) -> int:
        return 0

    def end_offset(self, partition: int) -> int:
        return self._rows.end_offset

    def plan(self, partition: int, next_offset: int, max_rows: int, max_bytes: int) -> int:
        rows = self._rows
        if not rows.first_offset <= next_offset <= rows.end_offset:
            raise LogError(
                f"{self.name}: row {next_offset} was asked for, kept are {rows.first_offset} to {rows.end_offset}: "
                "an iterator cannot be read again; use a source that can (a log, files, from_arrow of a table)"
            )
        if next_offset > self._planned[1]:
            rows.drop_before(self._planned[0])
            self._planned = [self._planned[1], next_offset]
        for _ in range(LOOKAHEAD_BATCHES):
            end = rows.fit(next_offset, max_rows, max_bytes)
            if self.bounded or end < rows.end_offset or end - next_offset >= max_rows:
                break
            batch = self._pull()
            if batch is None:
                break
            _check_schema(batch, self.arrow_schema, f"{self.name}: batch {self._pulled} of the iterator")
            rows.append(batch)
        return rows.fit(next_offset, max_rows, max_bytes)

    def cuts(self, partition: int, start_offset: int, end_offset: int) -> Sequence[int]:
        return self._rows.cuts(start_offset, end_offset)

    def read(self, partition: int, start_offset: int, end_offset: int, columns: tuple[str, ...]) -> Iterator[Fetched]:
        return self._rows.pieces(start_offset, end_offset, columns)

    def wait(self, timeout_s: float) -> None:
        """Returns at once: pulling the iterator is what waits."""

    def close(self) -> None:
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()


class MemorySink:
    """Keeps the rows of committed epochs; rows of an epoch that is not committed are not to be seen.

    One object can be handed to the next job object after a failure: it then behaves as a store outside would.
    """

    guarantee: Guarantee = "exactly-once"

    def __init__(self, name: str = "memory", *, schema: pa.Schema | None = None) -> None:
        self.name = name
        self.schema = schema
        self.epochs: dict[int, list[pa.RecordBatch]] = {}  # committed, by epoch number; epochs without rows left out
        self._staged: dict[int, list[pa.RecordBatch]] = {}
        self._published = 0

    def open(self, job: str, committed_epoch: int, owner: int = 0) -> None:
        for epoch in sorted(self._staged):
            if epoch <= committed_epoch:
                self.publish(epoch)
        self._staged.clear()

    def stage(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> Sequence[TopicWrite]:
        if epoch > self._published:
            self._staged[epoch] = [batch for batch in batches if batch.num_rows]
        return ()

    def publish(self, epoch: int) -> None:
        batches = self._staged.pop(epoch, None)
        if batches:
            self.epochs[epoch] = batches
        self._published = max(self._published, epoch)

    @property
    def batches(self) -> list[pa.RecordBatch]:
        return [batch for epoch in sorted(self.epochs) for batch in self.epochs[epoch]]

    def table(self) -> pa.Table:
        """All committed rows in order; without rows a table of the schema given, or of no columns."""
        batches = self.batches
        if batches:
            return pa.Table.from_batches(batches)
        return self.schema.empty_table() if self.schema is not None else pa.table({})

    def take(self) -> list[pa.RecordBatch]:
        """The committed rows that were not taken yet; they are kept here no longer."""
        taken = self.batches
        self.epochs.clear()
        return taken

    def close(self) -> None:
        """What was committed stays."""


def _batches(data: Batches) -> list[pa.RecordBatch]:
    return data.to_batches() if isinstance(data, pa.Table) else list(data)


def _sliced(batch: pa.RecordBatch, rows: int) -> list[pa.RecordBatch]:
    return [batch.slice(start, rows) for start in range(0, batch.num_rows, rows)]


def _common_schema(name: str, data: Batches, batches: list[pa.RecordBatch], schema: pa.Schema | None) -> pa.Schema:
    if schema is None:
        if isinstance(data, pa.Table):
            schema = data.schema
        elif batches:
            schema = batches[0].schema
        else:
            raise PlanError(f"{name}: no batches, so the columns are unknown; pass schema=...")
    for i, batch in enumerate(batches):
        try:
            _check_schema(batch, schema, f"{name}: batch {i}")
        except RecordError as error:
            raise PlanError(str(error)) from None
    return schema


def _check_schema(batch: pa.RecordBatch, expected: pa.Schema, what: str) -> None:
    """Raise `RecordError` naming the first column that differs."""
    if batch.schema.names != expected.names:
        raise RecordError(f"{what} has the columns {batch.schema.names}, expected {expected.names}")
    for got, want in zip(batch.schema, expected, strict=True):
        if got.type != want.type:
            raise RecordError(f"{what}: column {got.name!r} is {got.type}, expected {want.type}")
