"""One atomic write to the log: bytes first, durable; then one transaction that names them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from windrow.errors import LogError
from windrow.io.log.batches import fitted, pieces, time_bounds
from windrow.io.log.index import Chunk, TopicInfo, chunk_crc
from windrow.io.log.segments import OpenFile, Placed, SegmentWriter, stream_bytes
from windrow.io.log.store import DATA, STATE, Store

#: topic -> partition -> (first offset, next offset) of what was appended
Appended = dict[str, dict[int, tuple[int, int]]]


class Rows(NamedTuple):
    """A record batch in a file that is not yet part of its partition; `crc` is of the bytes alone."""

    topic: int
    name: str  # of the topic
    partition: int
    rows: int
    file: int
    position: int
    length: int
    crc: int
    min_us: int
    max_us: int


@dataclass(slots=True)
class Work:
    """Bytes on their way into the log; made by ``Log.work()``, which holds the log's writer lock meanwhile."""

    store: Store
    writer: SegmentWriter
    now_us: int
    appended: Appended = field(default_factory=dict)
    committing: bool = False  # a failure from here on leaves open whether the commit happened
    _written: list[tuple[Rows, OpenFile]] = field(default_factory=list)
    _files: dict[str, int] = field(default_factory=dict)  # ids that are true once the commit is

    def rows(self, topic: TopicInfo, partition: int, batch: pa.RecordBatch) -> None:
        """Write rows for one partition; they get their offsets in the commit."""
        if not 0 <= partition < topic.partitions:
            raise LogError(f"topic {topic.name!r} has partitions 0 to {topic.partitions - 1}, not {partition}")
        for part in pieces(fitted(batch, topic.schema, topic.name)):
            placed = self.writer.append(f"{DATA}/{topic.id}-{topic.name}", topic.schema.serialize(), part.serialize())
            bounds = time_bounds(part, topic.raw, self.now_us)
            rows = Rows(
                topic.id, topic.name, partition, part.num_rows, -1, placed.position, placed.length, placed.crc, *bounds
            )
            self._written.append((rows, placed.file))

    def state(self, job: int, tables: Mapping[str, pa.RecordBatch]) -> Placed:
        """Write one operator's tables of one shard, one IPC stream after the other."""
        return self.writer.append(f"{STATE}/job-{job}", None, stream_bytes(tables.values()))

    @contextmanager
    def commit(self, *, publish: bool = True) -> Iterator[sqlite3.Connection]:
        """Sync, then a transaction in which the rows are appended, the block does its part, and all becomes true.

        Without `publish` the rows stay nameless; `written` tells the block where they are.
        """
        self.writer.sync()
        with self.store.transaction() as transaction:
            transaction.executemany("UPDATE files SET sealed = 1 WHERE id = ?", [(id_,) for id_ in self.writer.left])
            if publish:
                self.appended = append_rows(transaction, self.written(transaction), self.now_us)
            yield transaction
            self.committing = True
        self.writer.accept(self._files)

    def written(self, transaction: sqlite3.Connection) -> list[Rows]:
        """What `rows` wrote, with its files' ids."""
        return [rows._replace(file=self.file_id(transaction, file)) for rows, file in self._written]

    def file_id(self, transaction: sqlite3.Connection, file: OpenFile) -> int:
        """The id of a file in the index; a new file gets its row here."""
        known = file.id if file.id is not None else self._files.get(file.name)
        if known is None:
            row = transaction.execute(
                "INSERT INTO files (name, writer) VALUES (?, ?) RETURNING id", (file.name, self.writer.identity)
            ).fetchone()
            known = self._files[file.name] = int(row[0])
        return known


def append_rows(transaction: sqlite3.Connection, written: Sequence[Rows], now_us: int) -> Appended:
    """Append to partitions what lies in files: dense offsets, in the order of `written`."""
    appended: Appended = {}
    chunks = []
    sizes: dict[tuple[int, int], int] = {}
    for item in written:
        ranges = appended.setdefault(item.name, {})
        if item.partition not in ranges:
            next_offset = _next_offset(transaction, item)
            ranges[item.partition] = (next_offset, next_offset)
        first, base = ranges[item.partition]
        chunk = Chunk(
            base, item.rows, item.file, item.position, item.length, 0, item.min_us, item.max_us, now_us
        )  # fmt: skip
        crc = chunk_crc(item.crc, item.topic, item.partition, chunk)
        chunks.append((item.topic, item.partition, *chunk._replace(crc=crc)))
        ranges[item.partition] = (first, base + item.rows)
        sizes[item.topic, item.partition] = sizes.get((item.topic, item.partition), 0) + item.length
    transaction.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", chunks)
    ids = {item.name: item.topic for item in written}
    transaction.executemany(
        "UPDATE partitions SET next_offset = ?, bytes = bytes + ? WHERE topic = ? AND partition = ?",
        [
            (end, sizes[ids[name], partition], ids[name], partition)
            for name, ranges in appended.items()
            for partition, (_, end) in ranges.items()
        ],
    )
    return appended


def _next_offset(transaction: sqlite3.Connection, item: Rows) -> int:
    row = transaction.execute(
        "SELECT next_offset FROM partitions WHERE topic = ? AND partition = ?", (item.topic, item.partition)
    ).fetchone()
    if row is None:
        raise LogError(f"topic {item.name!r} is not there any more")
    return int(row[0])
