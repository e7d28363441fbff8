"""Reading a whole log and saying where it is not what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import crc32c
import pyarrow as pa

from windrow.errors import CorruptionError, LogError
from windrow.io.log.index import CHUNK_COLUMNS, Chunk, Index, TopicInfo
from windrow.io.log.maps import Maps
from windrow.io.log.records import JOB_COLUMNS, STATE_COLUMNS, JobRow, StateRow, job_crc, read_positions, state_crc
from windrow.io.log.store import DATABASE, Store

_PAGE_CHUNKS = 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """One damaged place: bytes ``[first_byte, end_byte)`` of `file`, and what lies there, as far as it is known."""

    reason: str
    file: str
    first_byte: int = 0
    end_byte: int = 0
    topic: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    next_offset: int | None = None
    job: str | None = None

    def __str__(self) -> str:
        where = f"{self.file} bytes {self.first_byte} to {self.end_byte}" if self.end_byte else self.file
        if self.topic is not None:
            offsets = f" offsets {self.first_offset} to {self.next_offset}" if self.next_offset is not None else ""
            part = f"[{self.partition}]" if self.partition is not None else ""
            where += f", {self.topic}{part}{offsets}"
        if self.job is not None:
            where += f", job {self.job}"
        return f"{where}: {self.reason}"


def verify(store: Store, index: Index) -> list[Problem]:
    """Check the index, every event and every saved state; all problems, not only the first."""
    problems = list(_database(store))
    maps = Maps(store.root)  # its own: what others have checked is read again
    try:
        for name in index.names():
            problems += _topic(store, index, maps, index.topic(name))
        problems += _jobs(store, index, maps)
    except CorruptionError as error:  # the index itself cannot be read any further
        problems.append(Problem(str(error), DATABASE))
    return problems


def _database(store: Store) -> Iterator[Problem]:
    try:
        with store.reading() as connection:
            for (found,) in connection.execute("PRAGMA integrity_check"):
                if found != "ok":
                    yield Problem(str(found), DATABASE)
    except CorruptionError as error:
        yield Problem(str(error), DATABASE)


def _topic(store: Store, index: Index, maps: Maps, topic: TopicInfo) -> Iterator[Problem]:
    seen: set[int] = set()
    for partition in range(topic.partitions):
        expected = topic.start_offsets[partition]
        for chunk in _chunks(store, topic, partition):
            if chunk.base >= topic.end_offsets[partition]:
                break  # appended since the bounds were read
            if chunk.base != expected:
                reason = f"the index jumps from offset {expected} to {chunk.base}"
                yield Problem(reason, DATABASE, 0, 0, topic.name, partition, expected, chunk.base)
            expected = chunk.end
            yield from _chunk(index, maps, topic, partition, chunk)
            if chunk.file not in seen:
                seen.add(chunk.file)
                yield from _header(index, maps, topic, chunk.file)
        if expected != topic.end_offsets[partition]:
            reason = f"the index ends at offset {expected}, the partition at {topic.end_offsets[partition]}"
            yield Problem(reason, DATABASE, 0, 0, topic.name, partition, expected, topic.end_offsets[partition])


def _chunks(store: Store, topic: TopicInfo, partition: int) -> Iterator[Chunk]:
    after = -1
    while True:
        with store.reading() as connection:
            rows = connection.execute(
                f"SELECT {CHUNK_COLUMNS} FROM chunks WHERE topic = ? AND partition = ? AND base_offset > ?"
                " ORDER BY base_offset LIMIT ?",
                (topic.id, partition, after, _PAGE_CHUNKS),
            ).fetchall()
        if not rows:
            return
        yield from (Chunk(*row) for row in rows)
        after = rows[-1][0]


def _chunk(index: Index, maps: Maps, topic: TopicInfo, partition: int, chunk: Chunk) -> Iterator[Problem]:
    def read() -> None:
        try:
            maps.chunk(topic, partition, chunk, index.file_name(chunk.file)).validate(full=True)
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptionError(f"not a record batch of this topic: {error}") from error

    def is_there() -> bool:
        return index.bounds(topic.name, partition)[0] <= chunk.base

    place = Problem(
        "", _name(index, chunk.file), chunk.position, chunk.position + chunk.length, topic.name, partition,
        chunk.base, chunk.end,
    )  # fmt: skip
    yield from _tried(read, is_there, place)


def _header(index: Index, maps: Maps, topic: TopicInfo, file: int) -> Iterator[Problem]:
    """The schema at the start of a data file: we do not need it, other Arrow tools do."""
    name, schema = _name(index, file), topic.schema.serialize()

    def read() -> None:
        if not maps.slice(name, 0, schema.size, "the schema")[0].equals(schema):
            raise CorruptionError("the schema at the start of the file is damaged")

    yield from _tried(read, (maps.root / name).exists, Problem("", name, 0, schema.size, topic.name))


def _jobs(store: Store, index: Index, maps: Maps) -> Iterator[Problem]:
    with store.reading() as connection:
        jobs = connection.execute(f"SELECT name, {JOB_COLUMNS} FROM jobs ORDER BY name").fetchall()
    for name, *columns in jobs:
        job = JobRow(*columns)
        with store.reading() as connection:
            now = JobRow(*connection.execute(f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?", (job.id,)).fetchone())
            positions = read_positions(connection, job.id)
            state = connection.execute(f"SELECT {STATE_COLUMNS} FROM state WHERE job = ?", (job.id,)).fetchall()
        if job_crc(now.epoch, now.progress, now.planned, positions) != now.crc:
            yield Problem(f"what the ledger says of epoch {now.epoch} is damaged", DATABASE, job=name)
        for row in state:
            yield from _state(store, index, maps, name, job.id, StateRow(*row))


def _state(store: Store, index: Index, maps: Maps, job: str, job_id: int, row: StateRow) -> Iterator[Problem]:
    what = f"state of operator {row.operator!r}, shard {row.shard}, epoch {row.epoch}"
    name = _name(index, row.file)

    def read() -> None:
        data, _ = maps.slice(name, row.position, row.length, what)
        if state_crc(crc32c.crc32c(data), row) != row.crc:
            raise CorruptionError(f"the checksum of the {what} does not match")

    def is_there() -> bool:
        with store.reading() as connection:
            found = connection.execute(
                "SELECT 1 FROM state WHERE job = ? AND operator = ? AND shard = ? AND epoch = ?",
                (job_id, row.operator, row.shard, row.epoch),
            )
            return found.fetchone() is not None

    yield from _tried(read, is_there, Problem("", name, row.position, row.position + row.length, job=job))


def _tried(read: Callable[[], None], is_there: Callable[[], bool], place: Problem) -> Iterator[Problem]:
    """`place` with the reason why `read` failed, unless what it read is no longer part of the log."""
    try:
        read()
    except LogError as error:
        if is_there():
            yield replace(place, reason=str(error))


def _name(index: Index, file: int) -> str:
    try:
        return index.file_name(file)
    except LogError:
        return f"file {file}"
