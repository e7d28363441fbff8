"""Mapped files, and chunks of them as record batches: checked once, copied never."""

from __future__ import annotations

import mmap
import os
import threading
from collections import OrderedDict
from pathlib import Path

import crc32c
import pyarrow as pa

from windrow.errors import CorruptionError, LogError
from windrow.io.log.index import Chunk, TopicInfo, chunk_crc
from windrow.io.log.store import translated

# Resident pages of a mapped file count as memory of this process, so only a few files stay mapped.
_FILES = 6
_BYTES = 384 << 20


class _Map:
    __slots__ = ("buffer", "checked")

    def __init__(self, buffer: pa.Buffer, checked: set[int]) -> None:
        self.buffer = buffer
        self.checked = checked  # positions of chunks whose checksum was right


class Maps:
    """Files of a log directory, mapped when needed; what was read from a map keeps it alive. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._maps: OrderedDict[str, _Map] = OrderedDict()
        self._lock = threading.Lock()

    def slice(self, name: str, position: int, length: int, what: str) -> tuple[pa.Buffer, _Map]:
        """The bytes, unchecked. Raises `CorruptionError` naming `what` when the file is gone or too short."""
        with self._lock:
            mapped = self._maps.get(name)
            if mapped is None or mapped.buffer.size < position + length:
                checked = mapped.checked if mapped is not None else set()
                mapped = self._maps[name] = _Map(self._map(name, position + length, what), checked)
                self._trim()
            self._maps.move_to_end(name)
        return mapped.buffer.slice(position, length), mapped

    def chunk(self, topic: TopicInfo, partition: int, chunk: Chunk, name: str) -> pa.RecordBatch:
        """One chunk, zero-copy; its checksum is computed the first time it is mapped."""
        what = f"{topic.name}[{partition}] offsets {chunk.base} to {chunk.end - 1}"
        data, mapped = self.slice(name, chunk.position, chunk.length, what)
        if chunk.position not in mapped.checked:
            if chunk_crc(crc32c.crc32c(data), topic.id, partition, chunk) != chunk.crc:
                raise damaged(self.root / name, chunk.position, chunk.length, what)
            mapped.checked.add(chunk.position)
        batch = pa.ipc.read_record_batch(data, topic.schema)
        if batch.num_rows != chunk.rows:
            raise damaged(self.root / name, chunk.position, chunk.length, what)
        return batch

    def forget(self) -> None:
        """Let go of everything mapped that nobody reads any more."""
        with self._lock:
            self._maps.clear()

    def _map(self, name: str, needed: int, what: str) -> pa.Buffer:
        path = self.root / name
        with translated(f"cannot read {path}"):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError as error:
                raise MissingFileError(f"{path} is not there; it holds {what}") from error
            try:
                # As long as the file is now: one that a dead writer left is cut at any moment, to what is named in it.
                whole = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if needed else b""
            except ValueError:  # what mmap says of an empty file
                whole = b""
            finally:
                os.close(descriptor)
            if len(whole) < needed:
                raise CorruptionError(f"{path} ends at byte {len(whole)}; {what} reaches to byte {needed}")
            return pa.py_buffer(whole)

    def _trim(self) -> None:
        total = sum(mapped.buffer.size for mapped in self._maps.values())
        while len(self._maps) > 1 and (len(self._maps) > _FILES or total > _BYTES):
            _, dropped = self._maps.popitem(last=False)
            total -= dropped.buffer.size


class MissingFileError(CorruptionError):
    """A file that the index names is not there; retention may just have removed it."""


def damaged(path: Path, position: int, length: int, what: str) -> LogError:
    return CorruptionError(
        f"{path} is damaged between bytes {position} and {position + length}: the checksum of {what} does not match"
    )
