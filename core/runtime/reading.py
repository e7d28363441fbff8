"""The first half of an epoch: its ranges are fetched and decoded, and go through the steps up to the shards' doors.

Partitions, and pieces of a partition where its source can be read from several places at once, are read side by side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa

from windrow.batch import ORIGIN, origin_of
from windrow.io.base import DEAD_LETTER, Fetched
from windrow.operators import base
from windrow.progress.ledger import EpochInput
from windrow.runtime.pipeline import Pipeline, SourceHead
from windrow.runtime.steps import Task
from windrow.runtime.workers import Workers

#: Fewer offsets are read by one thread: to wake another one takes as long as to decode some thousand records.
_FEW_OFFSETS = 16_384


@dataclass(slots=True)
class Read:
    """What reading a piece gave: the task has taken its rows, and counted what the steps made of them."""

    head: SourceHead
    task: Task
    rows: int = 0
    bytes: int = 0
    rejected: list[pa.RecordBatch] = field(default_factory=list)  # of schema DEAD_LETTER


@dataclass(frozen=True, slots=True)
class _Piece:
    """A range of offsets; `number` counts the pieces of its partition in this epoch, `alone`: it is the only one."""

    head: SourceHead
    partition: int
    number: int
    alone: bool
    start: int
    end: int


class Reader:
    """Reads the epochs of one job."""

    def __init__(self, pipeline: Pipeline, workers: Workers, job: str) -> None:
        self._pipeline = pipeline
        self._workers = workers
        self._job = job

    def read(self, planned: EpochInput) -> list[Read]:
        """Everything of an epoch, in the order of sources, partitions and offsets. Raises what the first piece that
        failed has raised."""
        pieces = [piece for head in self._pipeline.sources for piece in self._pieces(head, planned)]
        much = sum(piece.end - piece.start for piece in pieces) >= _FEW_OFFSETS
        return self._workers.each(lambda piece: self._read(piece, planned.now_us), pieces, side_by_side=much)

    def _pieces(self, head: SourceHead, planned: EpochInput) -> Iterator[_Piece]:
        divisible = head.divisible if self._workers.count > 1 else None
        for partition, (start, end) in planned.ranges.get(head.source.name, {}).items():
            if end > start:
                cuts = () if divisible is None else divisible.cuts(partition, start, end)
                for number, (first, until) in enumerate(pairwise([start, *cuts, end])):
                    yield _Piece(head, partition, number, not cuts, first, until)

    def _read(self, piece: _Piece, now_us: int) -> Read:
        head = piece.head
        task = Task(f"{head.source.name}/{piece.partition}", now_us, piece.number)
        read = Read(head, task)
        try:
            for fetched in self._fetched(piece, task):
                self._take(read, piece, fetched)
            self._pipeline.deal(task, base.LEFT_ROWS)
        finally:
            for timeline in head.timelines:  # those behind it may have to wait for it
                timeline.clock(task.name, now_us).leave(piece.number)
        return read

    def _fetched(self, piece: _Piece, task: Task) -> Iterator[Fetched]:
        """The batches of a piece as the source gives them, timed."""
        name = f"decode {piece.head.source.name}"
        given = piece.head.source.read(piece.partition, piece.start, piece.end, piece.head.columns)
        ahead: list[Fetched] = []
        while True:
            begun = time.perf_counter_ns()
            fetched = next(given, None)
            if fetched is not None:
                spent = time.perf_counter_ns() - begun
                task.tally.add(name, fetched.data.num_rows, spent, fetched.input_bytes)
                ahead.append(fetched)
            # the next piece waits to hear that nothing more comes of this one; where none does, nothing is held back
            task.last = fetched is None
            if ahead and (piece.alone or task.last or len(ahead) > 1):
                yield ahead.pop(0)
            if fetched is None:
                return

    def _take(self, read: Read, piece: _Piece, fetched: Fetched) -> None:
        head = piece.head
        rows = fetched.data.num_rows
        read.bytes += fetched.input_bytes
        read.rows += rows
        if fetched.rejected is not None and fetched.rejected.num_rows:
            read.rejected.append(_dead_letters(fetched.rejected, f"decode {head.source.name}", self._job))
            read.rows += fetched.rejected.num_rows
        if rows:
            data = _with_origin(fetched, head.number, piece.partition) if head.ordered else fetched.data
            head.entry.run(data, read.task)


def _dead_letters(rejected: pa.RecordBatch, step: str, job: str) -> pa.RecordBatch:
    """`REJECTED` as `DEAD_LETTER`."""
    added = [pa.repeat(step, rejected.num_rows), pa.repeat(job, rejected.num_rows)]
    return pa.RecordBatch.from_arrays([*rejected.columns, *added], schema=DEAD_LETTER)


def _with_origin(fetched: Fetched, source: int, partition: int) -> pa.RecordBatch:
    rows = fetched.data.num_rows
    if fetched.offsets is None:
        offsets = np.arange(fetched.first_offset, fetched.first_offset + rows, dtype=np.int64)
    else:
        offsets = fetched.offsets.to_numpy(zero_copy_only=False)
    return fetched.data.append_column(ORIGIN, pa.array(offsets + origin_of(source * 1_024 + partition, 0)))
