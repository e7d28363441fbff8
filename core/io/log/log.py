"""The embedded log: partitioned topics in a directory, for any number of processes of one machine."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windrow.clock import Clock, SystemClock
from windrow.errors import CorruptionError, LogError
from windrow.io.log import retention, stats, sweep, verify
from windrow.io.log.batches import RAW, RAW_WITH_HEADERS, Values, check_schema, fitted, plain_schema, raw_batches, split
from windrow.io.log.index import Chunk, Index, TopicInfo
from windrow.io.log.maps import Maps, MissingFileError
from windrow.io.log.partitioner import partitions_of
from windrow.io.log.segments import SegmentWriter
from windrow.io.log.store import Store
from windrow.io.log.work import Work
from windrow.io.log.writers import WriterLock
from windrow.units import Duration, duration_us, time_us

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
SEGMENT_BYTES = 64 << 20
SEGMENT_AGE: Duration = "1h"


class Log:
    """A log directory. Safe to share between threads; several processes may have it open at once.

    `create` makes the directory when it is not there; `read_only` never writes, and works on a read-only directory
    that was closed properly. Data files are left for a new one at `segment_bytes` or `segment_age`. Raises `LogError`
    when `path` is not a log of this version or cannot be used. Do not use an open log in a forked child.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        create: bool = True,
        read_only: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        segment_age: Duration = SEGMENT_AGE,
        busy_timeout: Duration = "30s",
        clock: Clock | None = None,
    ) -> None:
        self.path = Path(path)
        self.clock: Clock = clock or SystemClock()
        self._segment_bytes = segment_bytes
        self._segment_age_s = duration_us(segment_age, "segment_age") / 1e6
        timeout_s = duration_us(busy_timeout, "busy_timeout") / 1e6
        self.store = Store(self.path, create=create, read_only=read_only, busy_timeout_s=timeout_s)
        self.index = Index(self.store)
        self.maps = Maps(self.path)
        self._write_lock = threading.RLock()
        self._lock: WriterLock | None = None
        self._writer: SegmentWriter | None = None
        self._turns: dict[str, int] = {}  # topic -> turn of the round-robin
        self._closed = False
        self._appended = threading.Condition()  # told of every commit of this object

    # --- topics

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        schema: pa.Schema | None = None,
        headers: bool = False,
        retention_bytes: int | None = None,
        retention: Duration | None = None,
        if_exists: Literal["error", "ok"] = "error",
    ) -> TopicInfo:
        """Make a topic: raw (key, value, timestamp, with `headers` those too), or typed when a `schema` is given.

        Retention drops whole chunks from the front of a partition: by age since the append, and by size as long as
        at least `retention_bytes` stay in the partition. It does not ask who has read them. ``if_exists="ok"`` takes a
        topic that is there as it is, when its columns and partitions are those asked for.
        """
        if not _NAME.fullmatch(name):
            raise LogError(f"{name!r} is no name for a topic: letters, digits, '.', '_' and '-', at most 200 of them")
        if partitions < 1:
            raise LogError(f"topic {name!r} needs at least one partition, not {partitions}")
        if schema is not None:
            check_schema(schema, name)
        kept = plain_schema(schema) if schema is not None else RAW_WITH_HEADERS if headers else RAW
        retention_us = duration_us(retention, "retention") if retention is not None else None
        with self.store.transaction() as transaction:
            there = transaction.execute("SELECT 1 FROM topics WHERE name = ?", (name,)).fetchone()
            if there is None:
                row = transaction.execute(
                    "INSERT INTO topics (name, partitions, raw, schema, retention_bytes, retention_us, created_us)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
                    (name, partitions, schema is None, kept.serialize().to_pybytes(), retention_bytes, retention_us,
                     self.clock.now_us()),
                ).fetchone()  # fmt: skip
                transaction.executemany(
                    "INSERT INTO partitions VALUES (?, ?, 0, 0, 0)", [(row[0], number) for number in range(partitions)]
                )
        info = self.topic(name)
        if there is not None:
            _check_same(info, partitions, kept, if_exists)
        return info

    def topics(self) -> list[TopicInfo]:
        return [self.topic(name) for name in self.index.names()]

    def topic(self, name: str) -> TopicInfo:
        """The topic, its bounds as of the last commit. Raises `LogError` naming the topics there are."""
        return self.index.topic(name)

    # --- writing

    def append(
        self,
        topic: str,
        values: Values,
        *,
        keys: Values | None = None,
        timestamps: Any = None,
        headers: Any = None,
        partition: int | None = None,
    ) -> dict[int, tuple[int, int]]:
        """Append events to a raw topic in one commit; durable on return.

        `values`, `keys`: bytes or Arrow arrays of bytes, None and null allowed. `timestamps`: int microseconds for all,
        or a list or array with one for each; default: now. The partition is `partition`, or the key's hash (Kafka's
        murmur2), or for events without a key one partition after the other, call by call. Returns partition ->
        (first offset, next offset).
        """
        info = self.topic(topic)
        if not info.raw:
            raise LogError(f"topic {topic!r} has columns of its own; use append_arrow")
        batches = raw_batches(info.schema, values, keys, timestamps, headers, self.clock.now_us())
        return self._append(info, ((batch, batch.column("key")) for batch in batches), partition)

    def append_arrow(
        self, topic: str, data: pa.RecordBatch | pa.Table, *, key: str | None = None, partition: int | None = None
    ) -> dict[int, tuple[int, int]]:
        """Append rows that have the topic's columns, in one commit; `key` names the column that chooses the partition.

        Without `key` the rows go to `partition`, or to one partition after the other, call by call. Returns partition
        -> (first offset, next offset).
        """
        info = self.topic(topic)
        if isinstance(data, pa.RecordBatch):
            data = pa.Table.from_batches([data])
        if key is not None and key not in data.schema.names:
            raise LogError(f"no column {key!r} to choose the partition by; there are: {', '.join(data.schema.names)}")
        if key is None and info.raw and "key" in data.schema.names:
            key = "key"
        batches = (fitted(batch, info.schema, topic) for batch in data.to_batches())
        return self._append(
            info, ((batch, batch.column(key) if key is not None else None) for batch in batches), partition
        )

    def _append(
        self, info: TopicInfo, batches: Iterator[tuple[pa.RecordBatch, pa.Array | None]], partition: int | None
    ) -> dict[int, tuple[int, int]]:
        with self.work() as work:
            turn = self._turn(info) if partition is None else partition
            rows = 0
            for batch, key in batches:
                rows += batch.num_rows
                for number, part in route(batch, key, info.partitions, turn, partition).items():
                    work.rows(info, number, part)
            if not rows:
                return {}
            with work.commit():
                pass
        return work.appended[info.name]

    def _turn(self, info: TopicInfo) -> int:
        """The partition whose turn it is; producers start at different ones."""
        assert self._lock is not None
        turn = self._turns.get(info.name, int(self._lock.id, 16))
        self._turns[info.name] = turn + 1
        return turn % info.partitions

    @contextlib.contextmanager
    def work(self) -> Iterator[Work]:
        """One atomic write: write into it, then ``with work.commit() as transaction``. One at a time in this object."""
        with self._write_lock:
            work = Work(self.store, self._segments(), self.clock.now_us())
            try:
                yield work
            except BaseException:
                work.writer.abandon(certain=not work.committing)
                raise
        if work.appended:
            self.tell(work.appended)

    def tell(self, topics: Iterable[str]) -> None:
        """Something was appended to `topics`: wake who waits in this process, and apply retention where it is due."""
        with self._appended:
            self._appended.notify_all()
        for name in topics:
            info = self.topic(name)
            if retention.is_due(info):
                self.apply_retention(topic=name)

    def _segments(self) -> SegmentWriter:
        """This object's writer; the first write makes it, and clears away what crashed writers left."""
        if self._closed:
            raise LogError(f"the log at {self.path} is closed")
        if self.store.read_only:
            raise LogError(f"the log at {self.path} was opened for reading only")
        if self._writer is None:
            self._lock = WriterLock(self.path)
            self._writer = SegmentWriter(self.path, self._lock.id, self._segment_bytes, self._segment_age_s)
            sweep.sweep_crashed(self.store, self._lock.id)
        return self._writer

    # --- reading

    def start_offset(self, topic: str, partition: int) -> int:
        """The first offset that is still there."""
        return self.index.bounds(topic, partition)[0]

    def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next event will get."""
        return self.index.bounds(topic, partition)[1]

    def offset_for_time(self, topic: str, partition: int, time: datetime | int) -> int:
        """The first offset whose timestamp is at `time` (an int: microseconds) or later; the end offset if none is.

        In a typed topic the time of an event is that of its append.
        """
        at_us = time if isinstance(time, int) else time_us(time)
        info = self.topic(topic)
        start, end = self.index.bounds(topic, partition)
        for chunk in self.index.chunks(topic, partition, start, end):
            if chunk.max_us >= at_us:
                if not info.raw:
                    return chunk.base
                times = self.chunk(info, partition, chunk).column("timestamp").cast(pa.int64())
                first = int(np.argmax(pc.greater_equal(times, at_us).to_numpy(zero_copy_only=False)))
                return max(chunk.base + first, start)
        return end

    def read(
        self, topic: str, partition: int, start: int, *, max_rows: int = 65_536, max_bytes: int = 16 << 20
    ) -> list[pa.RecordBatch]:
        """Events from offset `start` on, mapped and not copied, within both bounds (but at least one if there is one).

        Offsets are dense: row i of all batches together has offset ``start + i``. Raises `LogError` when `start` is no
        longer there or beyond the end, `CorruptionError` when the bytes are not the ones that were written.
        """
        info = self.topic(topic)
        self.index.check(topic, partition, start, start)
        end = self.plan(topic, partition, start, max_rows, max_bytes)
        return [batch for batch, _ in self.batches(info, partition, start, end)]

    def plan(self, topic: str, partition: int, start: int, max_rows: int, max_bytes: int) -> int:
        """The end of a range from `start` within both bounds; never empty when something is there."""
        self.index.check(topic, partition, start, start)
        _, last = self.index.bounds(topic, partition)
        last = min(last, start + max_rows)
        end = start
        for chunk in self.index.chunks(topic, partition, start, last):
            until = min(chunk.end, last)
            needed = chunk.length * (until - end) // chunk.rows
            if needed > max_bytes:
                until = end + max_bytes * chunk.rows // chunk.length
                return max(until, start + 1)
            max_bytes -= needed
            end = until
        return end

    def batches(self, info: TopicInfo, partition: int, start: int, end: int) -> Iterator[tuple[pa.RecordBatch, Chunk]]:
        """The rows ``[start, end)`` chunk by chunk: each chunk's part of them, zero-copy."""
        for chunk in self.index.chunks(info.name, partition, start, end):
            batch = self.chunk(info, partition, chunk)
            first = max(start - chunk.base, 0)
            yield batch.slice(first, min(end, chunk.end) - chunk.base - first), chunk

    def chunk(self, info: TopicInfo, partition: int, chunk: Chunk) -> pa.RecordBatch:
        try:
            return self.maps.chunk(info, partition, chunk, self.index.file_name(chunk.file))
        except MissingFileError as error:
            self.index.check(info.name, partition, chunk.base, chunk.end)  # retention: says so
            raise CorruptionError(str(error)) from error

    def wait(self, timeout_s: float, version: int | None = None) -> None:
        """Return when somebody has committed since `version` (of `Store.data_version`; default now), or after a time.

        A commit through this object wakes it at once; others are looked for every 1 to 10 ms.
        """
        if version is None:
            version = self.store.data_version()
        pause_s = 0.001
        while timeout_s > 0 and self.store.data_version() == version:
            step_s = min(pause_s, timeout_s)
            with self._appended:
                self._appended.wait(step_s)
            timeout_s -= step_s
            pause_s = min(pause_s * 1.5, 0.010)

    # --- housekeeping

    def apply_retention(self, now: datetime | int | None = None, *, topic: str | None = None) -> dict[str, int]:
        """Drop what the topics' retention no longer keeps; topic -> events removed."""
        now_us = self.clock.now_us() if now is None else now if isinstance(now, int) else time_us(now)
        infos = [self.topic(topic)] if topic is not None else self.topics()
        with self._write_lock:
            active = self._writer.is_active if self._writer is not None else None
            return retention.apply(self.store, infos, now_us, active)

    def remove_files(self, files: set[int]) -> list[str]:
        """Remove those of `files` (ids of the index) that nothing names and nobody writes."""
        with self._write_lock:
            active = self._writer.is_active if self._writer is not None else None
            return retention.remove_files(self.store, files, active)

    def sweep(self, *, crashed_only: bool = False) -> list[str]:
        """Remove files and tails of files that no commit names and no living writer may still name; says which.

        `crashed_only` looks after writers that did not close properly alone: that costs next to nothing.
        """
        with self._write_lock:
            own = self._lock.id if self._lock is not None else None
            return sweep.sweep_crashed(self.store, own) if crashed_only else sweep.sweep(self.store, own)

    def verify(self) -> list[verify.Problem]:
        """Read everything and check it against its checksum and the index; every problem with its place."""
        return verify.verify(self.store, self.index)

    def stats(self) -> dict[str, Any]:
        """What the log holds, as JSON can say it: bytes and files, partitions with offsets, jobs with positions."""
        return stats.stats(self.store)

    def close(self) -> None:
        """Give everything back. What was read stays valid."""
        with self._write_lock:
            if self._closed:
                return
            self._closed = True
            if self._writer is not None:
                self._writer.close()
                with contextlib.suppress(LogError), self.store.transaction() as transaction:
                    transaction.execute("UPDATE files SET sealed = 1 WHERE writer = ?", (self._writer.identity,))
            if self._lock is not None:
                self._lock.release()
            self.maps.forget()
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_log(path: str | Path, *, create: bool = True, read_only: bool = False) -> Log:
    """The log at `path`; made when it is not there and `create`. See `Log` for more options."""
    return Log(path, create=create, read_only=read_only)


def route(
    batch: pa.RecordBatch, key: pa.Array | None, partitions: int, turn: int, fixed: int | None = None
) -> dict[int, pa.RecordBatch]:
    """The rows for each partition: by the key's hash, rows without a key to partition `turn`, or all to `fixed`."""
    if fixed is not None or key is None or partitions == 1 or key.null_count == len(key):
        return {turn if fixed is None else fixed: batch}
    chosen = partitions_of(key, partitions)
    chosen[chosen < 0] = turn
    return split(batch, chosen)


def _check_same(info: TopicInfo, partitions: int, schema: pa.Schema, if_exists: Sequence[str]) -> None:
    if if_exists == "error":
        raise LogError(f"topic {info.name!r} is there already; if_exists='ok' takes it as it is")
    if info.partitions != partitions:
        raise LogError(f"topic {info.name!r} is there already with {info.partitions} partitions, not {partitions}")
    if not info.schema.equals(schema):
        raise LogError(
            f"topic {info.name!r} is there already with other columns: {_columns(info.schema)}, not {_columns(schema)}"
        )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
