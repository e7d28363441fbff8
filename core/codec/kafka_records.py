"""Kafka's record batches (format v2, KIP-98) to columns: checked, decompressed within bounds, without what was aborted.

What is in an answer of a broker is untrusted: lengths, counts, checksums and sizes are verified before anything is made
of them, and the first batch that is wrong ends what can be read, with its offset and the reason. What comes before it
is good. Records are found, not copied: `Rows` says where keys and values lie in the bytes that came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Bytes, Int32s, Int64s, bitmap
from windrow.codec.kafka_compression import NAMES, decompressed
from windrow.errors import RecordError
from windrow.kernels import kafka_records as kernels

#: What one record batch may take when it is decompressed.
MAX_BATCH_BYTES = 128 << 20
#: What the batches of one answer may take together: more is left for the next request.
MAX_ANSWER_BYTES = 512 << 20
HEADERS = pa.list_(pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.binary())]))

_TABLE_BATCHES = 4_096
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_CRC_FROM = 40  # bytes before the records
_REASONS = {
    kernels.BAD_LENGTH: "its length is shorter than a header",
    kernels.BAD_MAGIC: "its format is not v2; messages written before Kafka 0.11 have to be copied to a new topic "
    "by a client of today",
    kernels.BAD_COUNT: "it counts more records than can be in it",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Records as columns; `offsets` ascend, with gaps where records were compacted away or not committed.

    Keys and values are int32 places in `data` (uint8): where each begins and its size, -1 for null. `stops`: where each
    record ends.
    """

    offsets: Int64s
    times_ms: Int64s  # -1: none
    key_starts: Int32s
    key_sizes: Int32s
    value_starts: Int32s
    value_sizes: Int32s
    stops: Int32s
    data: Bytes

    def __len__(self) -> int:
        return len(self.offsets)

    def slice(self, start: int, stop: int) -> Rows:
        """The rows ``[start, stop)``, over the same bytes."""
        part = slice(start, stop)
        return Rows(
            self.offsets[part], self.times_ms[part], self.key_starts[part], self.key_sizes[part],
            self.value_starts[part], self.value_sizes[part], self.stops[part], self.data,
        )  # fmt: skip

    def keys(self) -> pa.Array:
        """binary, null where there is none; raises `RecordError` when they exceed 2 GiB."""
        return gathered(self.data, self.key_starts, self.key_sizes)

    def values(self) -> pa.Array:
        """binary, null where there is none (a tombstone); raises `RecordError` when they exceed 2 GiB."""
        return gathered(self.data, self.value_starts, self.value_sizes)

    def times(self) -> pa.Array:
        """`timestamp[us, UTC]`, null where there is none."""
        missing = self.times_ms < 0
        return pa.array(self.times_ms * 1_000, pa.timestamp("us", "UTC"), mask=missing if missing.any() else None)

    def headers(self, rows: npt.ArrayLike | None = None) -> pa.Array:
        """Of all rows, or of these, as `HEADERS`; null where there are none. Wrong UTF-8 in a key is replaced."""
        at = slice(None) if rows is None else np.asarray(rows, np.int64)
        places = self.value_starts[at], self.value_sizes[at], self.stops[at]
        ends = np.empty(len(places[0]) + 1, np.int32)
        found = np.empty((4, 0), np.int32)
        count = int(kernels.locate_headers(self.data, *places, ends, *found))
        if count:
            found = np.empty((4, count), np.int32)
            kernels.locate_headers(self.data, *places, ends, *found)
        key_starts, key_sizes, starts, sizes = found
        keys = _text(gathered(self.data, key_starts, key_sizes))
        pairs = pa.StructArray.from_arrays([keys, gathered(self.data, starts, sizes)], fields=list(HEADERS.value_type))
        none = ends[1:] == ends[:-1]
        return pa.ListArray.from_arrays(pa.array(ends), pairs, HEADERS, mask=pa.array(none) if none.any() else None)


@dataclass(frozen=True, slots=True)
class Broken:
    """A record batch that cannot be read, by the offset at which it begins."""

    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class Batches:
    """What the record batches of one answer came to; `next_offset` is the one after the last that was read whole."""

    rows: Rows | None  # None: there is no record to give
    next_offset: int
    nbytes: int  # of memory that `rows` holds
    leader_epoch: int  # of the last batch; -1 when there is none
    broken: Broken | None


def read(buffer: pa.Buffer, position: int, size: int, aborted: Sequence[tuple[int, int]], wanted: int) -> Batches:
    """The records from offset `wanted` on in the `size` bytes at `position` of `buffer`.

    `aborted`: (producer id, first offset) of the transactions that were aborted, as the broker lists them with this
    very answer. A batch that is cut off at the end is no error; when `next_offset` is `wanted` and nothing is broken,
    not even the first was whole. At most 2 GiB.
    """
    data = np.frombuffer(buffer, np.uint8, size, position) if size else np.empty(0, np.uint8)
    reading = _Reading(data, wanted, aborted)
    reading.walk()
    rows = reading.locate()
    nbytes = size if rows is None else rows.data.size + 36 * len(rows)
    return Batches(rows, reading.next_offset, nbytes, reading.leader_epoch, reading.broken)


def gathered(data: Bytes, starts: Int32s, sizes: Int32s) -> pa.Array:
    """Values that lie anywhere in `data` as a binary array; size -1 is null."""
    count = len(sizes)
    ends_buffer = pa.allocate_buffer(4 * (count + 1))
    ends, there = np.frombuffer(ends_buffer, np.int32), np.empty(count, np.uint8)
    nulls = int(kernels.ends_of(sizes, ends, there))
    if nulls < 0:
        raise RecordError(f"{count} values are more than 2 GiB together: read smaller ranges")
    text = pa.allocate_buffer(int(ends[count]))
    kernels.gather(data, starts, ends, np.frombuffer(text, np.uint8))
    return pa.Array.from_buffers(pa.binary(), count, [bitmap(there) if nulls else None, ends_buffer, text], nulls)


def _text(keys: pa.Array) -> pa.Array:
    """A binary array without nulls as strings."""
    try:
        return keys.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([key.decode("utf-8", "replace") for key in keys.to_pylist()], pa.string())


class _Reading:
    """One call of `read`."""

    def __init__(self, data: Bytes, wanted: int, aborted: Sequence[tuple[int, int]]) -> None:
        self._data = data
        self._view = data.data
        self._wanted = wanted
        self._aborted = sorted(aborted, key=lambda entry: entry[1], reverse=True)
        self._aborting: set[int] = set()
        self._chosen: list[list[int]] = []  # batches with records to give
        self._parts: list[Bytes] = []  # their records, as soon as one had to be decompressed
        self._room = 0
        self._behind = 0  # the offset after the last batch, wanted or not
        self.next_offset = wanted
        self.leader_epoch = -1
        self.broken: Broken | None = None

    # -- batches

    def walk(self) -> None:
        """Choose the batches whose records are to come out."""
        progress = np.zeros(2, np.int64)
        table = np.empty(_TABLE_BATCHES * kernels.BATCH_SLOTS, np.int64)
        while True:
            found = int(kernels.walk(self._data, table, progress))
            for batch in table[: found * kernels.BATCH_SLOTS].reshape(-1, kernels.BATCH_SLOTS).tolist():
                if not self._take(batch):
                    return
            if progress[1] != kernels.FINE:
                self.broken = Broken(self.next_offset, _REASONS[int(progress[1])])
            if found < _TABLE_BATCHES:
                return

    def _take(self, batch: list[int]) -> bool:
        """Whether to go on after this batch."""
        at, end = batch[kernels.AT], batch[kernels.END]
        flags, last = batch[kernels.ATTRIBUTES], batch[kernels.BASE_OFFSET] + batch[kernels.LAST_DELTA]
        if crc32c.crc32c(self._view[at - _CRC_FROM : end]) != batch[kernels.CRC]:
            return self._break(batch, "its checksum (CRC-32C) is not that of its bytes")
        if batch[kernels.BASE_OFFSET] < self._behind:
            return self._break(batch, f"it follows a batch that ends at offset {self._behind - 1}")
        self._behind = last + 1
        committed = self._committed(batch, last)
        if last < self._wanted:
            return True
        if committed and batch[kernels.COUNT]:
            if self._room > MAX_ANSWER_BYTES:
                return False
            if not self._choose(batch, flags & _CODEC):
                return False
        self.next_offset = last + 1
        self.leader_epoch = batch[kernels.LEADER_EPOCH]
        return True

    def _choose(self, batch: list[int], codec: int) -> bool:
        records = self._data[batch[kernels.AT] : batch[kernels.END]]
        if codec:
            try:
                loose = decompressed(records.data, codec, MAX_BATCH_BYTES)
            except RecordError as error:
                return self._break(batch, str(error))
            if batch[kernels.COUNT] * kernels.LEAST_RECORD_BYTES > loose.size:
                return self._break(batch, f"{_REASONS[kernels.BAD_COUNT]} ({NAMES[codec]})")
            if not self._parts:  # from now on the records are in pieces
                self._parts = [self._data[row[kernels.AT] : row[kernels.END]] for row in self._chosen]
            self._parts.append(loose)
        elif self._parts:
            self._parts.append(records)
        self._room += self._parts[-1].size if self._parts else records.size
        self._chosen.append(batch)
        return True

    def _break(self, batch: list[int], reason: str) -> bool:
        self.broken = Broken(batch[kernels.BASE_OFFSET], reason)
        return False

    def _committed(self, batch: list[int], last: int) -> bool:
        """Whether it holds records and not those of an aborted transaction; follows the aborted transactions."""
        while self._aborted and self._aborted[-1][1] <= last:
            self._aborting.add(self._aborted.pop()[0])
        producer, flags = batch[kernels.PRODUCER], batch[kernels.ATTRIBUTES]
        if flags & _CONTROL:
            # a commit of a producer that is being aborted cannot come before its abort, so the marker's kind says
            # nothing that the list does not
            self._aborting.discard(producer)
            return False
        return not (flags & _TRANSACTIONAL and producer in self._aborting)

    # -- records

    def locate(self) -> Rows | None:
        """The records of the chosen batches."""
        chosen = self._chosen
        if not chosen:
            return None
        data, places = self._joined()
        batches = np.array([_located(*pair) for pair in zip(chosen, places, strict=True)], np.int64).ravel()
        count = sum(row[kernels.COUNT] for row in chosen)
        offsets, times = np.empty((2, count), np.int64)
        found_places = np.empty((5, count), np.int32)
        progress = np.zeros(2, np.int64)
        found = int(kernels.locate(data, batches, self._wanted, offsets, times, *found_places, progress))
        if progress[0] < len(chosen):
            row = chosen[int(progress[0])]
            self._break(row, f"its record {int(progress[1])} does not add up")
            self.next_offset = max(row[kernels.BASE_OFFSET], self._wanted)
            self.leader_epoch = chosen[int(progress[0]) - 1][kernels.LEADER_EPOCH] if progress[0] else -1
        if not found:
            return None
        key_starts, key_sizes, value_starts, value_sizes, stops = found_places[:, :found]
        return Rows(offsets[:found], times[:found], key_starts, key_sizes, value_starts, value_sizes, stops, data)

    def _joined(self) -> tuple[Bytes, list[tuple[int, int]]]:
        """The bytes that hold the chosen batches' records, and where each begins and ends."""
        if not self._parts:
            return self._data, [(row[kernels.AT], row[kernels.END]) for row in self._chosen]
        ends = np.cumsum([part.size for part in self._parts]).tolist()
        joined = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        return joined, list(zip([0, *ends[:-1]], ends, strict=True))


def _located(batch: list[int], place: tuple[int, int]) -> tuple[int, ...]:
    """A batch as `kernels.locate` takes it."""
    append_time = batch[kernels.LAST_TIME] if batch[kernels.ATTRIBUTES] & _APPEND_TIME else kernels.NULL
    first = batch[kernels.COUNT], batch[kernels.BASE_OFFSET], batch[kernels.LAST_DELTA], batch[kernels.BASE_TIME]
    return *place, *first, append_time
