"""Sources of text files with a record a line: NDJSON here, CSV in `csv`. Offset = byte position of the record.

Byte positions make any range readable by itself, without counting the lines before it. A range is planned by reading
its bytes and looking for newlines, window by window in the processor's cache; they are kept until they are decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from windrow.batch import Bytes, Int64s
from windrow.codec.base import Decoder, DecoderFactory
from windrow.datatypes import Schema
from windrow.errors import LogError, RecordError
from windrow.io.base import Fetched, OnError
from windrow.io.files.paths import File, Paths, default_name, find_files
from windrow.io.rejected import record_error, rejected_records
from windrow.kernels.text_lines import record_ends

#: Bytes of one piece that `read` decodes (a hundred thousand records of a few hundred bytes; 8 MiB: a tenth slower).
PIECE_BYTES = 32 << 20
#: A record longer than this is an error, whatever `on_error` says: it cannot be held in memory with certainty.
MAX_RECORD_BYTES = 64 << 20

#: Bytes of all files that are held between `plan`, which looks for the ends of records, and `read`: to read a file a
#: second time takes half as long as to decode it. So few because of the processor's cache (128 MiB: a fifth slower).
AHEAD_BYTES = 32 << 20

WINDOW_BYTES = 1 << 20
#: With a bound of so many rows, a range may have about so many; with a lower one, it has no more.
_MANY_ROWS = 65_536
_NO_SPACE = np.empty(0, np.uint8)
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A planned range: `space` begins with its bytes, of which records end at `ends`."""

    start: int
    space: Bytes
    ends: Int64s

    @property
    def end(self) -> int:
        return self.start + int(self.ends[-1])


class TextSource:
    """Bounded and replayable: one partition a file, in the order of their paths; offset = byte position.

    Raises `PlanError` for missing files when it is made; `LogError` from `plan` and `read` when one has changed since.
    """

    bounded = True
    replayable = True
    quote = -1
    delimiter = -1
    schema: Schema

    def __init__(self, paths: Paths, what: str, name: str | None) -> None:
        self._files = find_files(paths, what)
        self.name = name or default_name(self._files)
        self._starts = [self._first_record(file) for file in self._files]
        self._ahead: dict[int, _Ahead] = {}  # what `plan` has read of each partition
        self._widths: dict[int, float] = {}  # least bytes a record, on average, of what has been read at once
        self._spaces: list[Bytes] = []  # what is free to be read into: fresh pages cost as much as reading

    def _first_record(self, file: File) -> int:
        with file.path.open("rb") as opened:
            return len(_BOM) if opened.read(len(_BOM)) == _BOM else 0

    def partitions(self) -> Sequence[int]:
        return range(len(self._files))

    def start_offset(self, partition: int) -> int:
        return self._starts[partition]

    def end_offset(self, partition: int) -> int:
        return max(self._files[partition].size, self._starts[partition])

    def plan(self, partition: int, next_offset: int, max_rows: int, max_bytes: int) -> int:
        file = self._files[partition]
        if not self._starts[partition] <= next_offset <= self.end_offset(partition):
            raise LogError(
                f"{self.name}: {file.path} has {file.size} bytes, position {next_offset} was asked for: "
                "it is not the file that the job read before"
            )
        file.check()
        size, share = min(max_bytes, file.size - next_offset), self._share
        if size <= 0:
            return next_offset
        if (end := self._far_end(partition, next_offset, max_rows, size)) > next_offset + share:
            return end
        if share < min(size, WINDOW_BYTES):  # too many files to hold enough of each
            ends = self._look(partition, next_offset, size, None, max_rows)
            return next_offset + int(ends[-1]) if ends.size else self._end_of_record(file, next_offset)
        size = min(size, share)
        space = self._space(size)
        ends = self._look(partition, next_offset, size, space, max_rows)
        if not ends.size:
            self._spaces.append(space)
            return self._end_of_record(file, next_offset)
        self._ahead[partition] = _Ahead(next_offset, space, ends)
        return next_offset + int(ends[-1])

    def _far_end(self, partition: int, start: int, max_rows: int, size: int) -> int:
        """Where the last record ends in so many bytes that they hold about `max_rows`, if every newline ends one; 0
        where that cannot be said. An epoch need not end where what is read ahead does (q5: 256 ns an event, 207)."""
        width = self._widths.get(partition)
        if width is None or self.quote >= 0 or max_rows < _MANY_ROWS:
            return 0
        file, end = self._files[partition], start + min(size, int(max_rows * width))
        if end == file.size:
            return end
        return self._line_end(file, start, end)

    def _line_end(self, file: File, start: int, end: int) -> int:
        """Where the last line ends that ends in this range; 0 where none ends in the last window of it."""
        begin = max(start, end - WINDOW_BYTES)
        with file.path.open("rb") as opened:
            opened.seek(begin)
            last = opened.read(end - begin).rfind(b"\n")
        return begin + last + 1 if last >= 0 else 0

    @property
    def _share(self) -> int:
        """Bytes of one file that are held between `plan` and `read`."""
        return AHEAD_BYTES // len(self._files)

    def _look(self, partition: int, start: int, size: int, space: Bytes | None, max_rows: int) -> Int64s:
        """Where records end in so many bytes from `start` on, and no more than so many; the bytes go to `space`."""
        file = self._files[partition]
        state, room = np.zeros(1, np.int64), np.empty(min(WINDOW_BYTES, size), np.int64)
        passing = np.empty(room.size, np.uint8) if space is None else _NO_SPACE
        found: list[Int64s] = []
        at, rows_left = 0, max_rows
        with file.path.open("rb", buffering=0) as opened:
            opened.seek(start)
            while at < size and rows_left:
                window = (passing if space is None else space[at:])[: min(WINDOW_BYTES, size - at)]
                read = opened.readinto(window.data)
                if not read:
                    raise self._shorter(partition, start + size)
                count = record_ends(window[:read], self.quote, self.delimiter, state, room[:rows_left])
                found.append(room[:count] + at)
                rows_left -= count
                at += read
        ends = np.concatenate(found)
        if rows_left and start + at == file.size and (not ends.size or ends[-1] < at):
            ends = np.append(ends, at)  # what follows the last newline is a record too
        return ends

    def _end_of_record(self, file: File, start: int) -> int:
        """Where the one record that begins there ends, however large."""
        state, end = np.zeros(1, np.int64), np.empty(1, np.int64)
        at = start
        with pa.OSFile(str(file.path)) as opened:
            opened.seek(start)
            while (window := as_bytes(opened.read_buffer(min(WINDOW_BYTES, file.size - at)))).size:
                if record_ends(window, self.quote, self.delimiter, state, end):
                    return at + int(end[0])
                at += window.size
        return file.size

    def cuts(self, partition: int, start_offset: int, end_offset: int) -> Sequence[int]:
        """Behind newlines, if every one ends a record."""
        found: list[int] = []
        file, at = self._files[partition], start_offset
        while self.quote < 0 and end_offset - at > PIECE_BYTES:
            at = self._line_end(file, at, at + PIECE_BYTES)
            if not at:
                break
            found.append(at)
        return found

    def read(self, partition: int, start_offset: int, end_offset: int, columns: tuple[str, ...]) -> Iterator[Fetched]:
        file = self._files[partition]
        file.check()
        ahead = self._ahead.pop(partition, None)
        if ahead is None or (ahead.start, ahead.end) != (start_offset, end_offset):
            space = self._space(min(PIECE_BYTES, end_offset - start_offset)) if ahead is None else ahead.space
            ahead = self._filled(partition, start_offset, end_offset, space)
        while True:
            yield from self._pieces(partition, ahead, columns)
            if ahead.end >= end_offset:
                break
            ahead = self._filled(partition, ahead.end, end_offset, ahead.space)
        if end_offset < self.end_offset(partition) and ahead.space.size <= PIECE_BYTES:
            self._spaces.append(ahead.space)

    def _space(self, size: int) -> Bytes:
        """So many bytes to read into. No more are kept than have been in use at the same time."""
        try:
            space = self._spaces.pop()
        except IndexError:
            space = _NO_SPACE
        return space if space.size >= size else np.empty(size, np.uint8)

    def _filled(self, partition: int, start: int, end: int, space: Bytes) -> _Ahead:
        """The next records of a range as they are in the file, with where they end."""
        size = min(PIECE_BYTES, end - start)
        while True:
            if space.size < size:
                space = np.empty(size, np.uint8)
            ends = self._look(partition, start, size, space, size)
            if ends.size:
                return _Ahead(start, space, ends)
            if size == end - start:
                raise self._shorter(partition, end)
            if size >= MAX_RECORD_BYTES:
                raise self._too_long(partition, start)
            size = min(2 * size, end - start)

    def _pieces(self, partition: int, ahead: _Ahead, columns: tuple[str, ...]) -> Iterator[Fetched]:
        """What was read, decoded. Its space is used again when every piece has been."""
        self._widths[partition] = min(self._widths.get(partition, np.inf), ahead.ends[-1] / len(ahead.ends))
        at, done, ends = 0, 0, ahead.ends
        while done < len(ends):
            upto = max(int(np.searchsorted(ends, at + PIECE_BYTES, "right")), done + 1)
            until = int(ends[upto - 1])
            if until - at > MAX_RECORD_BYTES:
                raise self._too_long(partition, ahead.start + at)
            buffer = pa.py_buffer(ahead.space[at:until])
            piece = self._piece(partition, ahead.start + at, buffer, ends[done:upto] - at, columns)
            if piece is not None:
                yield piece
            at, done = until, upto

    def _shorter(self, partition: int, end: int) -> LogError:
        path = self._files[partition].path
        return LogError(f"{self.name}: {path} ends before byte {end}: it has become shorter")

    def _too_long(self, partition: int, at: int) -> RecordError:
        path = self._files[partition].path
        return RecordError(f"{self.name}: the record at byte {at} of {path} is longer than {MAX_RECORD_BYTES} bytes")

    def _ends(self, buffer: pa.Buffer, last: bool) -> Int64s:
        """Where the records of a piece end; the last one of a range may have no newline."""
        ends = np.empty(max(buffer.size, 1), np.int64)
        count = record_ends(as_bytes(buffer), self.quote, self.delimiter, np.zeros(1, np.int64), ends)
        if last and buffer.size and (count == 0 or ends[count - 1] < buffer.size):
            ends[count] = buffer.size
            count += 1
        return ends[:count].copy()

    def _piece(
        self, partition: int, at: int, buffer: pa.Buffer, ends: Int64s, columns: tuple[str, ...]
    ) -> Fetched | None:
        """Decode the records of `buffer`, which lies at byte `at` of the file; None when there are only empty lines."""
        raise NotImplementedError

    def wait(self, timeout_s: float) -> None:
        """Nothing comes any more."""

    def close(self) -> None:
        """No file is open between calls."""
        self._spaces.clear()


class JsonSource(TextSource):
    """Rows of newline-delimited JSON files.

    `decoder` makes a decoder for the columns that are needed. A record that cannot be decoded raises `RecordError`
    (``on_error="fail"``) or is handed back as rejected; empty lines are passed over.
    """

    def __init__(
        self,
        paths: Paths,
        *,
        schema: Schema,
        decoder: DecoderFactory,
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> None:
        super().__init__(paths, "json files", name)
        self.schema = schema
        self._make_decoder = decoder
        self._decoders: dict[tuple[str, ...], Decoder] = {}
        self._on_error = on_error

    def _decoder(self, columns: tuple[str, ...]) -> Decoder:
        decoder = self._decoders.get(columns)
        if decoder is None:
            decoder = self._decoders[columns] = self._make_decoder(columns)
        return decoder

    def _piece(
        self, partition: int, at: int, buffer: pa.Buffer, ends: Int64s, columns: tuple[str, ...]
    ) -> Fetched | None:
        # a line keeps its newline: to a JSON parser that is white space, and so nothing has to be copied
        starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
        offsets = np.concatenate((starts[:1], ends)).astype(np.int32)
        lines = pa.Array.from_buffers(pa.binary(), ends.size, [None, pa.py_buffer(offsets), buffer], null_count=0)
        filled = ~empty_lines(as_bytes(buffer), starts, ends)
        if not filled.all():
            lines, starts = lines.filter(pa.array(filled)), starts[filled]
            if not len(lines):
                return None
        decoded = self._decoder(columns).decode(lines)
        bad = decoded.rejected
        positions, rejected = starts + at, None
        if len(bad.rows):
            values = [value.rstrip(b"\r\n") for value in lines.take(pa.array(bad.rows)).to_pylist()]
            path = str(self._files[partition].path)
            rejected = rejected_records(path, partition, positions[bad.rows], pa.array(values, pa.binary()), bad)
            if self._on_error == "fail":
                raise record_error(rejected, self.name, "{topic}, byte {offset}")
            positions = np.delete(positions, bad.rows)
        data = select_columns(decoded.data, columns, positions.size)
        return Fetched(data, at, buffer.size, pa.array(positions), rejected)


def as_bytes(buffer: pa.Buffer) -> Bytes:
    return np.frombuffer(buffer, np.uint8)


def empty_lines(data: Bytes, starts: Int64s, ends: Int64s) -> Any:
    """Which lines hold nothing but their end."""
    short = np.flatnonzero(ends - starts <= 2)
    empty = np.zeros(ends.size, bool)
    first, last = data[starts[short]], data[ends[short] - 1]
    blank = (last == 10) & ((ends[short] - starts[short] == 1) | (first == 13))
    empty[short[blank | ((ends[short] - starts[short] == 1) & (first == 13))]] = True
    return empty


def select_columns(batch: pa.RecordBatch, columns: tuple[str, ...], rows: int) -> pa.RecordBatch:
    """The wanted columns in their order; without any, a batch that still knows its rows."""
    if not columns:
        return pa.record_batch({"x": pa.nulls(rows)}).select([])
    return batch.select(list(columns))
