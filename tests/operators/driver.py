"""Runs an operator as the runtime would: epochs of batches, lateness by partition, shards, saves and restarts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from windrow.batch import TIME, WATERMARK
from windrow.operators.base import OperatorContext, StatefulOperator, Tables
from windrow.operators.build import build_operator
from windrow.plan.window import Aggregation
from windrow.units import BEFORE_TIME_US, END_OF_TIME_US


@dataclass
class Cut:
    """How the input is cut, and where it is restarted from what was saved."""

    shards: int = 1
    epoch_rows: int = 50
    batch_rows: int = 20
    restart_every: int = 0  # epochs; 0: never
    snapshot_every: int = 3  # epochs
    save: bool = True
    few_keys: int = 4096  # with fewer keys there are no dense panes
    slide_from: int = 0  # groups in panes from which on windows of many panes are made from suffixes
    seed: int = 0
    retract: bool = False


@dataclass
class Result:
    outputs: list[pa.RecordBatch] = field(default_factory=list)
    late: list[pa.RecordBatch] = field(default_factory=list)
    epochs: list[list[pa.RecordBatch]] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.outputs for row in batch.to_pylist()]

    def late_rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.late for row in batch.to_pylist()]


def with_watermarks(partition: pa.RecordBatch, delay_us: int) -> pa.RecordBatch:
    """The partition with each row's own watermark before it, as the upstream step sets it."""
    times = partition.column(TIME).to_numpy()
    highest = np.maximum.accumulate(times) - delay_us if len(times) else times
    before = np.concatenate([[BEFORE_TIME_US], highest[:-1]]) if len(times) else times
    return partition.append_column(WATERMARK, pa.array(before.astype(np.int64)))


def _pieces(partition: pa.RecordBatch, start: int, end: int, cut: Cut, random: Random) -> list[pa.RecordBatch]:
    pieces = []
    while start < end:
        size = min(end - start, random.randint(1, cut.batch_rows))
        piece = partition.slice(start, size)
        late = (
            (piece.column(TIME).to_numpy() < piece.column(WATERMARK).to_numpy()).any()
            if WATERMARK in piece.schema.names
            else False
        )
        if WATERMARK in piece.schema.names and not late:
            piece = piece.drop_columns([WATERMARK])
        pieces.append(piece)
        start += size
    return pieces


def shard_of(batch: pa.RecordBatch, keys: Sequence[str], shards: int) -> np.ndarray:
    """Any stable function of the keys."""
    rows = zip(*(batch.column(key).to_pylist() for key in keys), strict=True)
    return np.array([sum(map(ord, repr(row))) % shards for row in rows] if keys else [0] * batch.num_rows)


class Saved:
    """What a ledger keeps of a shard."""

    def __init__(self) -> None:
        self.snapshot: Tables | None = None
        self.deltas: list[Tables] = []


class Runner:
    def __init__(self, aggregation: Aggregation, cut: Cut) -> None:
        self.aggregation, self.cut = aggregation, cut
        self.saved = [Saved() for _ in range(cut.shards)]
        self.closed_us = BEFORE_TIME_US
        self.result = Result()
        self.epoch = 0
        self.start()

    def start(self) -> None:
        columns = tuple(name for name, _ in getattr(self.aggregation, "columns", ()))  # of rows that are handed on
        self.operator: StatefulOperator = build_operator(
            self.aggregation, OperatorContext(self.cut.shards, columns, self.cut.retract)
        )
        self.operator.close_until(self.closed_us)  # type: ignore[attr-defined]
        self.shards = [self.operator.shard(number) for number in range(self.cut.shards)]
        if self.epoch:
            for shard, saved in zip(self.shards, self.saved, strict=True):
                shard.restore(saved.snapshot, saved.deltas)

    def run_epoch(self, pieces: Sequence[pa.RecordBatch], watermark_us: int) -> None:
        self.epoch += 1
        for piece in pieces:
            prepared = self.operator.prepare(piece)
            if prepared.late is not None:
                self.result.late.append(prepared.late)
            if prepared.data is None:
                continue
            target = shard_of(prepared.data, self.operator.keys[0], self.cut.shards)
            for number, shard in enumerate(self.shards):
                mine = np.flatnonzero(target == number)
                if len(mine):
                    shard.process(prepared.data.take(pa.array(mine)))
        outputs = [batch for shard in self.shards for batch in shard.advance(watermark_us)]
        self.result.outputs += outputs
        self.result.epochs.append(outputs)
        if self.cut.save:
            self.save()
        self.closed_us = max(self.closed_us, watermark_us)
        self.operator.close_until(watermark_us)  # type: ignore[attr-defined]
        if self.cut.restart_every and self.epoch % self.cut.restart_every == 0:
            self.start()

    def save(self) -> None:
        for shard, saved in zip(self.shards, self.saved, strict=True):
            if self.cut.snapshot_every and self.epoch % self.cut.snapshot_every == 0:
                saved.snapshot, saved.deltas = shard.snapshot(), []
            else:
                saved.deltas.append(shard.delta())


def run(
    aggregation: Aggregation, partitions: Sequence[pa.RecordBatch], delay_us: int, cut: Cut, finish: bool = True
) -> Result:
    """Run over whole partitions; with `finish`, all windows are closed at the end."""
    with (
        patch("windrow.state.aggregations.panes.FEW_KEYS", cut.few_keys),
        patch("windrow.state.aggregations.sliding._LEAST_GROUPS", cut.slide_from),
    ):
        return _run(aggregation, partitions, delay_us, cut, finish)


def _run(
    aggregation: Aggregation, partitions: Sequence[pa.RecordBatch], delay_us: int, cut: Cut, finish: bool
) -> Result:
    random = Random(cut.seed)
    runner = Runner(aggregation, cut)
    timed = TIME in partitions[0].schema.names
    marked = [with_watermarks(partition, delay_us) if timed else partition for partition in partitions]
    ends = [0] * len(marked)
    while any(end < part.num_rows for end, part in zip(ends, marked, strict=True)):
        pieces = []
        for number, part in enumerate(marked):
            end = min(part.num_rows, ends[number] + random.randint(0, cut.epoch_rows))
            pieces += _pieces(part, ends[number], end, cut, random)
            ends[number] = end
        runner.run_epoch(pieces, global_watermark(marked, ends, delay_us) if timed else BEFORE_TIME_US)
    if finish:
        runner.run_epoch([], END_OF_TIME_US)
    return runner.result


def global_watermark(partitions: Sequence[pa.RecordBatch], ends: Sequence[int], delay_us: int) -> int:
    watermarks = [
        int(part.column(TIME).to_numpy()[:end].max()) - delay_us if end else BEFORE_TIME_US
        for part, end in zip(partitions, ends, strict=True)
    ]
    return min(watermarks)
