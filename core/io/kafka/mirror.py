"""A copy of changelog partitions on a local disk: what a restart need not fetch. Only ever a cache.

A file holds the committed records of one partition from some offset on, each with its offset and a CRC-32C over both.
Records are added after their transaction is committed, so what was aborted is never in it; nothing is synced, and
nothing is believed: a file is taken only when its head names the very topic (by id) and partition, every record's
checksum is right, offsets ascend, nothing is cut off, and the broker still has its last record, byte for byte. Anything
else is thrown away with a line in the log, and the state comes from the changelog. What was written after the last
record of a sound file always comes from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import mmap
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import crc32c
import numpy as np

from windrow.codec.kafka_records import Rows
from windrow.errors import StateError

log = logging.getLogger(__name__)

FORMAT = 1
_HEAD = struct.Struct("<II")  # size and CRC-32C of the JSON document that a file begins with
_RECORD = struct.Struct("<Iqii")  # CRC-32C of what follows it, offset, sizes of key and value
_PART_BYTES = 64 << 20  # places in `Rows` are int32
_LEAST_TRIM_BYTES = 1 << 20

#: (start, end) -> the committed records there, from the brokers
Fetch = Callable[[int, int], Iterator[Rows]]


class BadCopyError(Exception):
    """A file cannot be used; says why."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a sound file has: committed records from `first_offset` on, up to and with `last_offset`."""

    first_offset: int
    last_offset: int
    rows: list[Rows]

    def last(self) -> tuple[bytes, bytes]:
        """Key and value of the last record."""
        rows = self.rows[-1].slice(len(self.rows[-1]) - 1, len(self.rows[-1]))
        return rows.keys()[0].as_py(), rows.values()[0].as_py()


class Folder:
    """The copies of one job's changelog in `folder`; used by one process at a time, others do without.

    `identity` is what the head of each file has to say, besides the partition.
    """

    def __init__(self, folder: Path, name: str, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        self._name = name
        self._identity = dict(identity)
        self._copies: dict[int, Mirror] = {}
        self._lock: IO[bytes] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / f"{name}.lock").open("wb")
            self._lock = lock
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            log.warning("the state cache in %s is not used: %s", folder, error)

    def of(self, partition: int) -> Mirror | None:
        """The copy of a partition; None when the folder cannot be used."""
        if self._lock is None:
            return None
        if partition not in self._copies:
            path = self._folder / f"{self._name}-{partition}.state"
            self._copies[partition] = Mirror(path, {**self._identity, "partition": partition})
        return self._copies[partition]

    def close(self) -> None:
        for copy in self._copies.values():
            copy.close()
        if self._lock is not None:
            self._lock.close()
        self._lock = None


class Mirror:
    """The copy of one partition. Errors of the disk end the copy, never the job."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path = path
        self._identity = {"windrow": FORMAT, **identity}
        self._file: IO[bytes] | None = None
        self._places: list[tuple[int, int]] = []  # (offset, where the record begins in the file)
        self._size = 0
        self.taken = 0  # records that a restart took from here

    def begin(self, first_offset: int) -> None:
        """A new file, for records from this offset on."""
        self._start(first_offset, b"", [])

    def add(self, offsets: Iterable[int], keys: Iterable[Any], values: Iterable[Any]) -> None:
        """Keep committed records, which follow what is there; does nothing when there is no file."""
        if self._file is None:
            return
        parts: list[bytes] = []
        size = self._size
        for offset, key, value in zip(offsets, keys, values, strict=True):
            frame = _frame(offset, key, value)
            self._places.append((offset, size))
            parts.append(frame)
            size += len(frame)
        try:
            self._file.write(b"".join(parts))
            self._file.flush()
        except OSError as error:
            self.drop(f"{error}")
        self._size = size

    def through(self, start: int, end: int, fetch: Fetch) -> Iterator[Rows]:
        """The committed records in ``[start, end)``: those that are held, then what `fetch` gives, which is kept."""
        held = self._sound(start, end, fetch)
        if held is None:
            self.begin(start)
        else:
            for rows in held.rows:
                cut = int(np.searchsorted(rows.offsets, start))
                self.taken += len(rows) - cut
                if cut < len(rows):
                    yield rows.slice(cut, len(rows))
            start = held.last_offset + 1
        for rows in fetch(start, end):
            self.add(rows.offsets.tolist(), rows.keys(), rows.values())
            yield rows

    def trim(self, keep: int) -> None:
        """Records before this offset are not needed any more; they go when they are most of the file."""
        if self._file is None:
            return
        at = next((number for number, (offset, _) in enumerate(self._places) if offset >= keep), len(self._places))
        live = self._places[at:]
        first = live[0][1] if live else self._size
        if first < max(self._size // 2, _LEAST_TRIM_BYTES):
            return
        try:
            with self._path.open("rb") as file:
                file.seek(first)
                body = file.read()
        except OSError as error:
            self.drop(f"{error}")
            return
        self._start(keep, body, [(offset, place - first) for offset, place in live])

    def drop(self, reason: str) -> None:
        """No copy any more."""
        log.warning("the state cache %s is thrown away: %s", self._path, reason)
        self.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        file, self._file = self._file, None
        self._places = []
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    # -- the file

    def _start(self, first_offset: int, body: bytes, places: Sequence[tuple[int, int]]) -> None:
        """A file of this content in place of the one there, whole or not at all."""
        self.close()
        said = json.dumps({**self._identity, "first_offset": first_offset}).encode()
        head = _HEAD.pack(len(said), crc32c.crc32c(said)) + said
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_bytes(head + body)
            fresh.replace(self._path)
            self._file = self._path.open("ab")
        except OSError as error:
            self.drop(f"{error}")
            return
        self._size = len(head) + len(body)
        self._places = [(offset, place + len(head)) for offset, place in places]

    def _sound(self, start: int, end: int, fetch: Fetch) -> Held | None:
        """What the file has of ``[start, end)``, ready to be added to; None when it is not there or not to be used."""
        try:
            held = self._read()
            if held is None or held.last_offset < start:
                return None
            if held.first_offset > start:
                raise BadCopyError(f"it begins at offset {held.first_offset}, and {start} is needed")
            if held.last_offset >= end:
                raise BadCopyError(f"it has a record at offset {held.last_offset}, the topic ends at {end}")
            if _at(fetch, held.last_offset) != held.last():
                raise BadCopyError(f"the topic has another record at offset {held.last_offset}")
            self._file = self._path.open("ab")
        except (BadCopyError, OSError, ValueError, KeyError) as error:
            self.drop(str(error))
            return None
        return held

    def _read(self) -> Held | None:
        if not self._path.exists() or not self._path.stat().st_size:
            return None
        with self._path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        first_offset, at = self._head(data)
        found: list[tuple[int, int, int, int]] = []  # offset, where the record begins, sizes of key and value
        whole = memoryview(data)
        while at < len(whole):
            if len(whole) - at < _RECORD.size:
                raise BadCopyError("it is cut off")
            crc, offset, key_size, value_size = _RECORD.unpack_from(whole, at)
            end = at + _RECORD.size + key_size + value_size
            if key_size < 0 or value_size < 0 or end > len(whole):
                raise BadCopyError(f"a record at byte {at} is cut off, or damaged")
            if crc32c.crc32c(whole[at + 4 : end]) != crc:
                raise BadCopyError(f"the checksum of a record at byte {at} is wrong")
            if offset < first_offset or (found and offset <= found[-1][0]):
                raise BadCopyError(f"the record at byte {at} has offset {offset}, which cannot follow")
            found.append((offset, at, key_size, value_size))
            at = end
        self._places, self._size = [(offset, place) for offset, place, _, _ in found], at
        return Held(first_offset, found[-1][0], list(_rows(whole, found))) if found else None

    def _head(self, data: mmap.mmap) -> tuple[int, int]:
        """(offset from which on the file has everything, where records begin)."""
        if len(data) < _HEAD.size:
            raise BadCopyError("it is cut off")
        size, crc = _HEAD.unpack_from(data, 0)
        said = data[_HEAD.size : _HEAD.size + size]
        if len(said) < size or crc32c.crc32c(said) != crc:
            raise BadCopyError("its head is damaged")
        head = json.loads(said)
        first_offset = head.pop("first_offset")
        if head != self._identity:
            raise BadCopyError(f"it is of {_shown(head)}, not of {_shown(self._identity)}")
        return int(first_offset), _HEAD.size + size


def _frame(offset: int, key: Any, value: Any) -> bytes:
    """A record as it stands in the file."""
    key, value = (memoryview(one.as_buffer()) if hasattr(one, "as_buffer") else memoryview(one) for one in (key, value))
    said = _RECORD.pack(0, offset, len(key), len(value))[4:] + bytes(key) + bytes(value)
    return struct.pack("<I", crc32c.crc32c(said)) + said


def _rows(data: memoryview, found: Sequence[tuple[int, int, int, int]]) -> Iterator[Rows]:
    """The records over the bytes of the file, in parts whose places are int32."""
    at = 0
    while at < len(found):
        first = found[at][1]
        stop = next((n for n in range(at + 1, len(found)) if found[n][1] - first > _PART_BYTES), len(found))
        some = np.array(found[at:stop], np.int64)
        keys = some[:, 1] - first + _RECORD.size
        values = keys + some[:, 2]
        stops = values + some[:, 3]
        starts, key_sizes, value_starts, sizes, ends = (
            np.ascontiguousarray(one, np.int32) for one in (keys, some[:, 2], values, some[:, 3], stops)
        )
        body = np.frombuffer(data[first : first + int(stops[-1])], np.uint8)
        offsets, times = np.ascontiguousarray(some[:, 0]), np.zeros(len(some), np.int64)
        yield Rows(offsets, times, starts, key_sizes, value_starts, sizes, ends, body)
        at = stop


def _at(fetch: Fetch, offset: int) -> tuple[bytes, bytes] | None:
    """Key and value of the record that the brokers have there."""
    try:
        for rows in fetch(offset, offset + 1):
            if len(rows) and int(rows.offsets[0]) == offset:
                return rows.keys()[0].as_py(), rows.values()[0].as_py()
    except StateError:  # gone
        pass
    return None


def _shown(head: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in head.items())
