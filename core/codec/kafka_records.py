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

from windrow.batch import ALL_VALID, Bytes, Int32s, Int64s, bitmap
from windrow.codec.base import Decoded, Decoder
from windrow.codec.json import JsonDecoder
from windrow.codec.kafka_compression import NAMES, decompressed
from windrow.errors import RecordError
from windrow.kernels import kafka_records as kernels

#: What one record batch may take when it is decompressed.
MAX_BATCH_BYTES = 128 << 20
#: What the batches of one answer may take together: more is left for the next request.
MAX_ANSWER_BYTES = 512 << 20
HEADERS = pa.list_(pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.binary())]))

_TABLE_BATCHES = 4_096
_GROUP_BYTES = 768 << 10  # what stays in the cache of a core between checksum and reading
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_CRC_FROM = 40  # bytes before the records
_NO_LIMIT = 2**63 - 1
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


def read(
    buffer: pa.Buffer,
    position: int,
    size: int,
    aborted: Sequence[tuple[int, int]],
    wanted: int,
    limit: int = _NO_LIMIT,
) -> Batches:
    """The records from offset `wanted` on in the `size` bytes at `position` of `buffer`.

    `aborted`: (producer id, first offset) of the transactions that were aborted, as the broker lists them with this
    very answer. A batch that reaches offset `limit`, where the partition ends, cannot be what it says. One that is cut
    off at the end is no error; when `next_offset` is `wanted` and nothing is broken, not even the first was whole. At
    most 2 GiB.
    """
    data = np.frombuffer(buffer, np.uint8, size, position) if size else np.empty(0, np.uint8)
    table, reason = _walked(data)
    last = table[:, kernels.BASE_OFFSET] + table[:, kernels.LAST_DELTA]
    beyond = np.flatnonzero(last >= limit)
    if beyond.size:
        reason = f"it says that it ends at offset {last[beyond[0]]}, behind the end of the partition"
        table = table[: beyond[0]]
    plain = not aborted and not (table[:, kernels.ATTRIBUTES] & _CODEC).any()
    reading = _Plain(data, table, wanted) if plain else _Reading(data, table, wanted, aborted)
    rows = reading.read()
    broken = reading.broken
    if broken is None and reason and not reading.full:
        broken = Broken(reading.next_offset, reason)
    nbytes = size if rows is None else rows.data.size + 36 * len(rows)
    return Batches(rows, reading.next_offset, nbytes, reading.leader_epoch, broken)


def _walked(data: Bytes) -> tuple[npt.NDArray[np.int64], str]:
    """The whole batches in `data`, a row each, and what is wrong with the next, if anything."""
    progress = np.zeros(2, np.int64)
    tables = []
    while True:
        table = np.empty((_TABLE_BATCHES, kernels.BATCH_SLOTS), np.int64)
        found = int(kernels.walk(data, table.ravel(), progress))
        tables.append(table[:found])
        if found < _TABLE_BATCHES:
            whole = tables[0] if len(tables) == 1 else np.concatenate(tables)
            return whole, _REASONS.get(int(progress[1]), "")


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


def decode_values(decoder: Decoder, rows: Rows) -> Decoded:
    """The values decoded; JSON where it lies, without a copy of it."""
    if not isinstance(decoder, JsonDecoder):
        return decoder.decode(rows.values())
    starts, sizes = rows.value_starts, rows.value_sizes
    present = (sizes >= 0).view(np.uint8)
    if present.all():
        return decoder.decode_places(rows.data, starts, starts + sizes, ALL_VALID)
    return decoder.decode_places(rows.data, starts, starts + np.maximum(sizes, 0), present)


class _Columns:
    """Where the records of batches are found: room for `count`, filled call by call."""

    def __init__(self, count: int) -> None:
        # memory from Arrow's pool, which keeps pages that are already mapped
        longs, ints = pa.allocate_buffer(16 * count), pa.allocate_buffer(20 * count)
        self._longs = np.frombuffer(longs, np.int64).reshape(2, count)
        self._ints = np.frombuffer(ints, np.int32).reshape(5, count)
        self.found = 0

    def locate(self, data: Bytes, batches: npt.NDArray[np.int64], wanted: int) -> tuple[int, int]:
        """(batches that were right, the record that is wrong in the next); `batches` as `kernels.locate` takes them."""
        progress = np.zeros(2, np.int64)
        longs = [column[self.found :] for column in self._longs]
        ints = [column[self.found :] for column in self._ints]
        self.found += int(kernels.locate(data, batches.ravel(), wanted, *longs, *ints, progress))
        return int(progress[0]), int(progress[1])

    def rows(self, data: Bytes) -> Rows | None:
        if not self.found:
            return None
        offsets, times = self._longs[:, : self.found]
        key_starts, key_sizes, value_starts, value_sizes, stops = self._ints[:, : self.found]
        return Rows(offsets, times, key_starts, key_sizes, value_starts, value_sizes, stops, data)


def _described(table: npt.NDArray[np.int64], wanted: int) -> npt.NDArray[np.int64]:
    """Batches as `kernels.locate` takes them; markers, and what ends before `wanted`, as batches without a record."""
    flags = table[:, kernels.ATTRIBUTES]
    out = np.empty((len(table), kernels.LOCATE_SLOTS), np.int64)
    out[:, : kernels.APPEND_TIME] = table[:, _LOCATED]
    out[:, kernels.APPEND_TIME] = np.where(flags & _APPEND_TIME, table[:, kernels.LAST_TIME], kernels.NULL)
    behind = table[:, kernels.BASE_OFFSET] + table[:, kernels.LAST_DELTA] + 1
    marks = ((flags & _CONTROL) != 0) | (behind <= wanted)
    out[marks, kernels.RECORDS] = 0
    out[marks, kernels.TO] = out[marks, kernels.FROM]
    return out


_LOCATED = [kernels.AT, kernels.END, kernels.COUNT, kernels.BASE_OFFSET, kernels.LAST_DELTA, kernels.BASE_TIME]


class _Plain:
    """Batches as most answers have them, none compressed and none aborted: some at a time are checked and at once read.

    For values of 170 bytes the checksums of 178 MB alone take 18 ns a record and reading alone 45, both one after the
    other 62; in groups, whose bytes are read while they are in the core's cache, 43 (CPU time, three runs in turn).
    """

    full = False

    def __init__(self, data: Bytes, table: npt.NDArray[np.int64], wanted: int) -> None:
        self._data = data
        self._wanted = wanted
        self._table = table
        self.next_offset = wanted
        self.leader_epoch = -1
        self.broken: Broken | None = None

    def read(self) -> Rows | None:
        table = self._table
        first_offsets, behind = (
            table[:, kernels.BASE_OFFSET],
            table[:, kernels.BASE_OFFSET] + table[:, kernels.LAST_DELTA] + 1,
        )
        right = len(table)
        overlaps = np.flatnonzero(first_offsets[1:] < behind[:-1])
        if overlaps.size:
            right = int(overlaps[0]) + 1
            self._break(right, f"it follows a batch that ends at offset {behind[right - 1] - 1}")
        described = _described(table[:right], self._wanted)
        columns = _Columns(int(described[:, kernels.RECORDS].sum()))
        starts, ends = (table[:right, kernels.AT] - _CRC_FROM).tolist(), table[:right, kernels.END].tolist()
        sums = table[:right, kernels.CRC].tolist()
        view, at = self._data.data, 0
        while at < right:
            to = int(np.searchsorted(table[:right, kernels.END], starts[at] + _GROUP_BYTES)) + 1
            to = min(to, right)
            whole = to
            for batch in range(at, to):
                if crc32c.crc32c(view[starts[batch] : ends[batch]]) != sums[batch]:
                    self._break(batch, "its checksum (CRC-32C) is not that of its bytes")
                    whole = right = batch
                    break
            good, record = columns.locate(self._data, described[at:whole], self._wanted)
            if at + good < whole:
                self._break(at + good, f"its record {record} does not add up")
                right = at + good
            at = to
        if right and behind[right - 1] > self._wanted:
            self.next_offset = int(behind[right - 1])
            self.leader_epoch = int(table[right - 1, kernels.LEADER_EPOCH])
        return columns.rows(self._data)

    def _break(self, batch: int, reason: str) -> None:
        self.broken = Broken(int(self._table[batch, kernels.BASE_OFFSET]), reason)


class _Reading:
    """Batches that may be compressed or aborted, one after the other."""

    def __init__(
        self, data: Bytes, table: npt.NDArray[np.int64], wanted: int, aborted: Sequence[tuple[int, int]]
    ) -> None:
        self._data = data
        self._view = data.data
        self._table = table
        self._wanted = wanted
        self._aborted = sorted(aborted, key=lambda entry: entry[1], reverse=True)
        self._aborting: set[int] = set()
        self._chosen: list[int] = []  # batches with records to give
        self._parts: list[Bytes] = []  # their records
        self._room = 0
        self._behind = 0  # the offset after the last batch, wanted or not
        self.next_offset = wanted
        self.leader_epoch = -1
        self.broken: Broken | None = None
        self.full = False  # there was too much for one answer

    def read(self) -> Rows | None:
        for number, batch in enumerate(self._table.tolist()):
            if not self._take(number, batch):
                break
        return self._rows()

    # -- batches

    def _take(self, number: int, batch: list[int]) -> bool:
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
        if committed and end > at:
            self.full = self._room > MAX_ANSWER_BYTES
            if self.full or not self._choose(number, batch, flags & _CODEC):
                return False
        self.next_offset = last + 1
        self.leader_epoch = batch[kernels.LEADER_EPOCH]
        return True

    def _choose(self, number: int, batch: list[int], codec: int) -> bool:
        records = self._data[batch[kernels.AT] : batch[kernels.END]]
        if codec:
            try:
                records = decompressed(records.data, codec, MAX_BATCH_BYTES)
            except RecordError as error:
                return self._break(batch, str(error))
            if batch[kernels.COUNT] * kernels.LEAST_RECORD_BYTES > records.size:
                return self._break(batch, f"{_REASONS[kernels.BAD_COUNT]} ({NAMES[codec]})")
        self._parts.append(records)
        self._room += records.size
        self._chosen.append(number)
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

    def _end_behind(self, number: int) -> None:
        """Nothing behind this batch (-1: nothing at all) can be read."""
        self.next_offset, self.leader_epoch = self._wanted, -1
        if number >= 0:
            last = self._table[number]
            behind = int(last[kernels.BASE_OFFSET] + last[kernels.LAST_DELTA]) + 1
            if behind > self._wanted:
                self.next_offset, self.leader_epoch = behind, int(last[kernels.LEADER_EPOCH])

    def _rows(self) -> Rows | None:
        """The records of the chosen batches, whose bytes are put together."""
        if not self._chosen:
            return None
        chosen = self._table[self._chosen]
        described = _described(chosen, self._wanted)
        ends = np.cumsum([part.size for part in self._parts])
        described[:, kernels.FROM], described[:, kernels.TO] = np.concatenate(([0], ends[:-1])), ends
        data = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        columns = _Columns(int(described[:, kernels.RECORDS].sum()))
        good, record = columns.locate(data, described, self._wanted)
        if good < len(chosen):
            self._break(chosen[good].tolist(), f"its record {record} does not add up")
            self._end_behind(self._chosen[good] - 1)
        return columns.rows(data)
