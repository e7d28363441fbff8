"""Sources of files that hold batches of rows already: Parquet and Arrow IPC. Offset = row number in the file."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from windrow.arrow_types import from_arrow_schema
from windrow.datatypes import Schema
from windrow.errors import CorruptionError, LogError, PlanError
from windrow.io.base import Fetched
from windrow.io.files.paths import File, Paths, default_name, find_files

#: Rows of one piece that `read` gives, and bytes of one that is decoded, which bounds the rows where they are wide.
#: Joins and aggregates took 10 to 25 % longer with 64 k rows; with 512 k page faults undid it (q7 113 and 152 ms).
PIECE_ROWS = 262_144
PIECE_BYTES = 256 << 20

Cursor = Iterator[pa.RecordBatch]


class RowFile(Protocol):
    """One file: how many rows it has, how large they are, and its batches from any row on."""

    schema: pa.Schema
    starts: list[int]  # rows from which it can be read without what is before them; last the number of all rows
    row_bytes: float  # on average, uncompressed

    def batches_from(self, row: int, columns: tuple[str, ...]) -> tuple[int, Cursor]:
        """The batches from the last of `starts` that is not after `row`, and that."""


class RowSource:
    """Bounded and replayable: one partition a file, in the order of their paths; offset = row number.

    All files must have the same columns. Raises `PlanError` for files that are missing or do not fit, when it is made;
    `LogError` from `plan` and `read` when a file has changed since then.
    """

    bounded = True
    replayable = True
    what = "files"

    def __init__(self, paths: Paths, *, name: str | None = None) -> None:
        self._files = find_files(paths, self.what)
        self.name = name or default_name(self._files)
        self._row_files = [self._opened(file) for file in self._files]
        self.arrow_schema: pa.Schema = self._row_files[0].schema
        for file, row_file in zip(self._files[1:], self._row_files[1:], strict=True):
            _check_same_columns(self.what, file, row_file.schema, self._files[0], self.arrow_schema)
        self.schema: Schema = from_arrow_schema(self.arrow_schema)
        # where reading of a partition stopped between two starts: (row, columns, rest of a batch, batches after it)
        self._cursors: dict[int, tuple[int, tuple[str, ...], pa.RecordBatch | None, Cursor]] = {}

    def _opened(self, file: File) -> RowFile:
        try:
            return self.open_file(file)
        except (pa.ArrowException, OSError) as error:
            raise PlanError(f"{self.what}: cannot read {file.path}: {error}") from error

    def open_file(self, file: File) -> RowFile:
        raise NotImplementedError

    def partitions(self) -> Sequence[int]:
        return range(len(self._files))

    def start_offset(self, partition: int) -> int:
        return 0

    def end_offset(self, partition: int) -> int:
        return self._row_files[partition].starts[-1]

    def plan(self, partition: int, next_offset: int, max_rows: int, max_bytes: int) -> int:
        rows = self.end_offset(partition)
        if not 0 <= next_offset <= rows:
            raise LogError(
                f"{self.name}: {self._files[partition].path} has {rows} rows, row {next_offset} was asked for: "
                "it is not the file that the job read before"
            )
        self._files[partition].check()
        fitting = int(max_bytes / max(self._row_files[partition].row_bytes, 1.0))
        return min(rows, next_offset + max(min(max_rows, fitting), 1))

    def cuts(self, partition: int, start_offset: int, end_offset: int) -> Sequence[int]:
        """Where row groups, or batches of a file, meet."""
        starts, found = self._row_files[partition].starts, []
        for at in starts[bisect_right(starts, start_offset) : bisect_left(starts, end_offset)]:
            if at - start_offset >= PIECE_ROWS:
                found.append(start_offset := at)
        return found

    def read(self, partition: int, start_offset: int, end_offset: int, columns: tuple[str, ...]) -> Iterator[Fetched]:
        self._files[partition].check()
        rest, batches = self._cursor(partition, start_offset, columns)
        row = start_offset
        try:
            while row < end_offset:
                if rest is None:
                    rest = next(batches, None)
                    if rest is None:
                        raise CorruptionError(
                            f"{self._files[partition].path} ends after row {row}, {end_offset} rows were announced"
                        )
                count = min(rest.num_rows, end_offset - row, PIECE_ROWS)
                piece = rest.slice(0, count)
                rest = rest.slice(count) if count < rest.num_rows else None
                if count:
                    yield Fetched(piece, row, piece.nbytes)
                row += count
        except (pa.ArrowException, OSError) as error:
            raise CorruptionError(f"{self._files[partition].path}, after row {row}: {error}") from error
        starts = self._row_files[partition].starts
        if starts[bisect_left(starts, row)] != row:
            self._cursors[partition] = (row, columns, rest, batches)

    def _cursor(self, partition: int, row: int, columns: tuple[str, ...]) -> tuple[pa.RecordBatch | None, Cursor]:
        """Go on where the last `read` stopped, or start at the batch that has the row."""
        at, of_columns, rest, batches = self._cursors.get(partition, (-1, (), None, iter(())))
        if (at, of_columns) == (row, columns):
            del self._cursors[partition]
            return rest, batches
        try:
            first, batches = self._row_files[partition].batches_from(row, columns)
            while first < row:
                batch = next(batches)
                if first + batch.num_rows > row:
                    return batch.slice(row - first), batches
                first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise CorruptionError(f"{self._files[partition].path}, before row {row}: {error}") from error
        return None, batches

    def wait(self, timeout_s: float) -> None:
        """Nothing comes any more."""

    def close(self) -> None:
        self._cursors.clear()


class ParquetSource(RowSource):
    """Rows of Parquet files; only the columns asked for are read and decoded."""

    what = "parquet files"

    def open_file(self, file: File) -> RowFile:
        return _ParquetFile(file)


class _ParquetFile:
    def __init__(self, file: File) -> None:
        self._path = file.path
        with pq.ParquetFile(file.path) as opened:
            self.schema = opened.schema_arrow.remove_metadata()
            self._metadata: Any = opened.metadata
        groups = [self._metadata.row_group(i) for i in range(self._metadata.num_row_groups)]
        self.starts = [0, *accumulate(group.num_rows for group in groups)]
        self.row_bytes = sum(group.total_byte_size for group in groups) / max(self.starts[-1], 1)

    def batches_from(self, row: int, columns: tuple[str, ...]) -> tuple[int, Cursor]:
        group = max(bisect_right(self.starts, row) - 1, 0)
        return self.starts[group], self._batches(group, columns)

    def _batches(self, first_group: int, columns: tuple[str, ...]) -> Cursor:
        with pq.ParquetFile(self._path, metadata=self._metadata) as opened:
            groups = range(first_group, self._metadata.num_row_groups)
            # without columns there would be no rows either: read one, drop it
            wanted = list(columns) or self.schema.names[:1]
            rows = min(PIECE_ROWS, max(int(PIECE_BYTES / max(self.row_bytes, 1.0)), 1))
            for batch in opened.iter_batches(rows, row_groups=list(groups), columns=wanted, use_threads=False):
                yield batch.select(list(columns))


class IpcSource(RowSource):
    """Rows of Arrow IPC files (Feather version 2 is one) or streams, memory-mapped: not copied unless compressed."""

    what = "arrow files"

    def open_file(self, file: File) -> RowFile:
        with pa.memory_map(str(file.path)) as source:
            is_file = file.size >= 8 and source.read(6) == b"ARROW1"
        return _IpcFile(file) if is_file else _IpcStream(file)


class _IpcFile:
    def __init__(self, file: File) -> None:
        self._path = str(file.path)
        with pa.ipc.open_file(pa.memory_map(self._path)) as reader:
            self.schema = reader.schema.remove_metadata()
            self._batches = reader.num_record_batches
            self._compressed = self._batches > 0 and _is_compressed(reader.get_batch(0))
        with self._reader(self.schema.names[:1]) as reader:
            sizes = [reader.get_batch(i).num_rows for i in range(self._batches)]
        self.starts = [0, *accumulate(sizes)]
        self.row_bytes = file.size / max(self.starts[-1], 1)

    def batches_from(self, row: int, columns: tuple[str, ...]) -> tuple[int, Cursor]:
        first = max(bisect_right(self.starts, row) - 1, 0)
        return self.starts[min(first, self._batches)], self._read(first, columns)

    def _reader(self, columns: Sequence[str]) -> Any:
        """Of a compressed file only the columns that are needed are unpacked; naming them for one that is not
        compressed would make pyarrow 26 copy them out of the mapped memory."""
        options = _options(self.schema, columns) if self._compressed else None
        return pa.ipc.open_file(pa.memory_map(self._path), options=options)

    def _read(self, first: int, columns: tuple[str, ...]) -> Cursor:
        with self._reader(columns) as reader:
            for i in range(first, self._batches):
                yield reader.get_batch(i).select(list(columns))


class _IpcStream:
    def __init__(self, file: File) -> None:
        self._path = str(file.path)
        with pa.ipc.open_stream(pa.memory_map(self._path)) as reader:
            self.schema = reader.schema.remove_metadata()
        options = pa.ipc.IpcReadOptions(included_fields=[0], use_threads=False)
        with pa.ipc.open_stream(pa.memory_map(self._path), options=options) as reader:
            self.starts = [0, sum(batch.num_rows for batch in reader)]
        self.row_bytes = file.size / max(self.starts[-1], 1)

    def batches_from(self, row: int, columns: tuple[str, ...]) -> tuple[int, Cursor]:
        """A stream has no index: from its beginning, which costs reading the headers of the batches before."""
        return 0, self._read(columns)

    def _read(self, columns: tuple[str, ...]) -> Cursor:
        with pa.ipc.open_stream(pa.memory_map(self._path), options=_options(self.schema, columns)) as reader:
            for batch in reader:
                yield batch.select(list(columns))


def _is_compressed(batch: pa.RecordBatch) -> bool:
    """Whether any memory of a batch that was read from mapped memory is its own."""
    buffers = (buffer for column in batch.columns for buffer in column.buffers())
    return any(buffer is not None and buffer.size and buffer.parent is None for buffer in buffers)


def _options(schema: pa.Schema, columns: Sequence[str]) -> Any:
    wanted = sorted(schema.get_field_index(name) for name in columns) or [0]
    return pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)


def _check_same_columns(what: str, file: File, schema: pa.Schema, first: File, expected: pa.Schema) -> None:
    if schema.names != expected.names:
        raise PlanError(
            f"{what}: {file.path} has the columns {schema.names}, {first.path} has {expected.names}; "
            "all files must have the same ones"
        )
    for got, want in zip(schema, expected, strict=True):
        if got.type != want.type:
            raise PlanError(f"{what}: column {got.name!r} is {got.type} in {file.path} and {want.type} in {first.path}")
