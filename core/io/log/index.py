"""Where events lie: the chunk index of SQLite, cached page by page for readers that go forward.

A cached page is a run of consecutive chunks of one partition. Nothing is asked of SQLite, apart from whether anybody
has committed, while a reader stays inside what is cached.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import crc32c
import pyarrow as pa

from windrow.errors import CorruptionError, LogError
from windrow.io.log.store import Store

_PAGE_CHUNKS = 512
_PAGES = 64  # cached in all: about 5 MB


class Chunk(NamedTuple):
    """One record batch of a partition: offsets ``[base, base + rows)``, `length` bytes at `position` of `file`."""

    base: int
    rows: int
    file: int
    position: int
    length: int
    crc: int
    min_us: int
    max_us: int
    created_us: int

    @property
    def end(self) -> int:
        return self.base + self.rows


CHUNK_COLUMNS = "base_offset, rows, file, position, length, crc, min_us, max_us, created_us"


def chunk_crc(crc: int, topic: int, partition: int, chunk: Chunk) -> int:
    """The checksum that the index holds: of the bytes and of what the index says about them, so that neither can rot
    unseen."""
    said = struct.pack(
        "<8q", topic, partition, chunk.base, chunk.rows, chunk.position, chunk.length, chunk.min_us, chunk.max_us
    )
    return int(crc32c.crc32c(said, crc))


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as it was created, and what its partitions hold now (offsets per partition, bytes of all)."""

    id: int
    name: str
    partitions: int
    raw: bool
    schema: pa.Schema
    retention_bytes: int | None
    retention_us: int | None
    start_offsets: tuple[int, ...]
    end_offsets: tuple[int, ...]
    bytes: int

    @property
    def rows(self) -> int:
        return sum(self.end_offsets) - sum(self.start_offsets)


@dataclass(slots=True)
class _Page:
    chunks: list[Chunk] = field(default_factory=list)
    bases: list[int] = field(default_factory=list)

    def add(self, chunks: list[Chunk]) -> None:
        self.chunks.extend(chunks)
        self.bases.extend(chunk.base for chunk in chunks)

    @property
    def end(self) -> int:
        return self.chunks[-1].end


class Index:
    """Topics, bounds and chunks, as fresh as the last commit of anybody. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._topics: dict[str, TopicInfo] = {}
        self._pages: OrderedDict[tuple[int, int, int], _Page] = OrderedDict()  # (topic, partition, first base)
        self._files: dict[int, str] = {}

    def topic(self, name: str) -> TopicInfo:
        """Raises `LogError` naming the topics there are."""
        with self._store.reading():
            if self._store.changed():
                self._topics.clear()
            info = self._topics.get(name)
            if info is None:
                info = self._topics[name] = self._load(name)
            return info

    def names(self) -> list[str]:
        with self._store.reading() as connection:
            return [name for (name,) in connection.execute("SELECT name FROM topics ORDER BY name")]

    def bounds(self, name: str, partition: int) -> tuple[int, int]:
        """The first offset that is there and the next that will be given."""
        info = self.topic(name)
        if not 0 <= partition < info.partitions:
            raise LogError(f"topic {name!r} has partitions 0 to {info.partitions - 1}, not {partition}")
        return info.start_offsets[partition], info.end_offsets[partition]

    def chunks(self, name: str, partition: int, start: int, end: int) -> Iterator[Chunk]:
        """The chunks that hold ``[start, end)``, which must be there: `LogError` says what is, if it is not."""
        topic = self.topic(name).id
        while start < end:
            self.check(name, partition, start, end)
            found = self._find(topic, partition, start)
            if not found:
                self._hole(name, partition, start, end)
            for chunk in found:
                if start >= end:
                    return
                if not chunk.base <= start < chunk.end:
                    self._hole(name, partition, start, end)
                yield chunk
                start = chunk.end

    def _hole(self, name: str, partition: int, start: int, end: int) -> NoReturn:
        self.check(name, partition, start, end)  # retention may have come between
        raise CorruptionError(
            f"{name}[{partition}]: the index has no chunk with offset {start}: run `windrow log verify`"
        )

    def check(self, name: str, partition: int, start: int, end: int) -> None:
        first, next_offset = self.bounds(name, partition)
        if start < first:
            raise LogError(
                f"{name}[{partition}]: offset {start} is no longer there: retention has removed what lies before "
                f"{first}; offsets {first} to {next_offset - 1} are there"
            )
        if end > next_offset:
            raise LogError(f"{name}[{partition}]: offset {end - 1} is not there yet; the next one is {next_offset}")

    def file_name(self, file: int) -> str:
        name = self._files.get(file)
        if name is None:
            with self._store.reading() as connection:
                row = connection.execute("SELECT name FROM files WHERE id = ?", (file,)).fetchone()
            if row is None:
                raise LogError(f"the index names file {file}, which it does not know: run `windrow log verify`")
            name = self._files[file] = str(row[0])
        return name

    def _load(self, name: str) -> TopicInfo:
        with self._store.reading() as connection:
            row = connection.execute(
                "SELECT id, name, partitions, raw, schema, retention_bytes, retention_us FROM topics WHERE name = ?",
                (name,),
            ).fetchone()
            if row is None:
                there = ", ".join(self.names()) or "none"
                raise LogError(f"no topic {name!r} in the log at {self._store.root}; there are: {there}")
            partitions = connection.execute(
                "SELECT start_offset, next_offset, bytes FROM partitions WHERE topic = ? ORDER BY partition", (row[0],)
            ).fetchall()
        identity, name, count, raw, schema, retention_bytes, retention_us = row
        starts, ends, sizes = zip(*partitions, strict=True)
        return TopicInfo(
            identity, name, count, bool(raw), pa.ipc.read_schema(pa.py_buffer(schema)),
            retention_bytes, retention_us, starts, ends, sum(sizes),
        )  # fmt: skip

    def _find(self, topic: int, partition: int, start: int) -> list[Chunk]:
        """Chunks from the one that holds `start` to the end of its page, which is loaded when it is not cached."""
        with self._store.reading():
            page = self._page(topic, partition, start)
            if page is None:
                return []
            return page.chunks[bisect_right(page.bases, start) - 1 :]

    def _page(self, topic: int, partition: int, start: int) -> _Page | None:
        growing = None
        for key, page in self._pages.items():
            if key[:2] == (topic, partition) and key[2] <= start <= page.end:
                if start < page.end:
                    self._pages.move_to_end(key)
                    return page
                if len(page.chunks) < _PAGE_CHUNKS:
                    growing = page
        room = _PAGE_CHUNKS - len(growing.chunks) if growing else _PAGE_CHUNKS
        chunks = self._query(topic, partition, start, room)
        if not chunks:
            return None
        if growing is None:
            growing = self._pages[(topic, partition, chunks[0].base)] = _Page()
            if len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        growing.add(chunks)
        return growing

    def _query(self, topic: int, partition: int, start: int, count: int) -> list[Chunk]:
        with self._store.reading() as connection:
            rows = connection.execute(
                f"SELECT {CHUNK_COLUMNS} FROM chunks WHERE topic = ?1 AND partition = ?2 AND base_offset >= coalesce("
                "(SELECT max(base_offset) FROM chunks WHERE topic = ?1 AND partition = ?2 AND base_offset <= ?3), ?3)"
                " ORDER BY base_offset LIMIT ?4",
                (topic, partition, start, count),
            )
            return [Chunk(*row) for row in rows]
