"""The events of a run: the same ones as Arrow in memory, as JSON in an embedded log, and for the reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

import windrow as wr
from windrow.api.stream import Stream
from windrow.cli.nexmark.queries import Events
from windrow.io.nexmark.generator import SCHEMAS, Nexmark, split_kinds

if TYPE_CHECKING:
    from windrow.cli.bars import Advance

DELAY = "4s"
_PIECE = 500_000  # events that are generated at once
_KINDS = ("person", "auction", "bid")


@dataclass(frozen=True, slots=True)
class Generated:
    """`tables`: the events of each kind in event order; `numbers`: their places among all events, int64."""

    tables: dict[str, pa.Table]
    numbers: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]

    def streams(self) -> Events:
        """As bounded streams, one partition each."""
        return Events(*(_timed(wr.from_arrow(self.tables[kind], name=kind)) for kind in _KINDS))

    def with_arrival(self, partitions: int) -> dict[str, pa.Table]:
        """The tables with `seq`, the order in which the engine takes events that are otherwise alike to have come when
        event n is in partition ``n % partitions``."""
        arrived = {k: (n % partitions << 48) | n // partitions for k, n in self.numbers.items()}
        return {kind: table.append_column("seq", pa.array(arrived[kind])) for kind, table in self.tables.items()}


def generate(events: int, seed: int, advance: Advance | None = None) -> Generated:
    """The first so many events; about 250 bytes each."""
    config = Nexmark(seed)
    pieces: dict[str, list[pa.RecordBatch]] = {kind: [] for kind in _KINDS}
    numbers: dict[str, list[np.ndarray[tuple[int], np.dtype[np.int64]]]] = {kind: [] for kind in _KINDS}
    for first in range(0, events, _PIECE):
        last = min(first + _PIECE, events)
        for kind, (found, _) in split_kinds(config, first, last).items():
            pieces[kind].append(config.batch(kind, found))
            numbers[kind].append(found)
        if advance is not None:
            advance(last, events, "")
    tables = {kind: pa.Table.from_batches(pieces[kind], SCHEMAS[kind]) for kind in _KINDS}
    return Generated(tables, {kind: np.concatenate(numbers[kind]) for kind in _KINDS})


def from_log(path: Path, topic: str) -> Events:
    """From the mixed JSON documents of an embedded log."""
    return split_mixed(wr.read_log(path, topic, schema=MIXED, end="latest"))


def split_mixed(mixed: Stream) -> Events:
    """The three kinds of a stream of mixed events, whose columns are called kind_column."""
    return Events(*(_timed(_of_kind(mixed, number, kind)) for number, kind in enumerate(_KINDS)))


def _of_kind(mixed: Stream, number: int, kind: str) -> Stream:
    columns = {name: f"{kind}_{name}" for name in SCHEMAS[kind].names}
    return mixed.filter(pl.col("event_type") == number).select(**columns)


def _timed(stream: Stream) -> Stream:
    return stream.watermark("dateTime", delay=DELAY)


def _mixed_schema() -> wr.schema:
    columns = {"event_type": "int64"}
    for kind in _KINDS:
        for field in SCHEMAS[kind]:
            type_ = "timestamp" if pa.types.is_timestamp(field.type) else str(field.type)
            columns[f"{kind}_{field.name}"] = wr.field(type_, path=f"{kind}.{field.name}")
    return wr.schema(**columns)


#: {"event_type": 2, "person": null, "auction": null, "bid": {...}}
MIXED = _mixed_schema()
