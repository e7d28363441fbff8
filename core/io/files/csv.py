"""The source of CSV files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from windrow.arrow_types import from_arrow_schema, to_arrow_type
from windrow.batch import Int64s
from windrow.datatypes import Schema
from windrow.errors import PlanError, RecordError
from windrow.io.base import Fetched
from windrow.io.files.paths import File, Paths
from windrow.io.files.text import WINDOW_BYTES, TextSource, as_bytes, empty_lines, select_columns
from windrow.kernels.text_lines import record_ends


class CsvSource(TextSource):
    """Rows of CSV files (RFC 4180) with a header line; fields in quotes may hold newlines.

    `schema` picks columns of the header by name; without it the types of all columns are taken from the first rows
    of the first file. An empty field is null, of a string column the empty string. Raises `RecordError` with file and
    place for a record that does not fit.
    """

    def __init__(
        self, paths: Paths, *, schema: Schema | None = None, delimiter: str = ",", name: str | None = None
    ) -> None:
        if len(delimiter.encode()) != 1 or delimiter in '"\r\n':
            raise PlanError(f"csv files: the delimiter must be one ASCII character, got {delimiter!r}")
        self.quote, self.delimiter = ord('"'), ord(delimiter)
        self._headers: list[list[str]] = []
        super().__init__(paths, "csv files", name)
        self.schema = self._inferred() if schema is None else schema
        for file, header in zip(self._files, self._headers, strict=True):
            missing = [column for column in self.schema.names if column not in header]
            if missing:
                raise PlanError(f"csv files: {file.path} has no column {', '.join(missing)}; it has {header}")
        self._types = {field.name: to_arrow_type(field.type) for field in self.schema}
        self._local = {name for name, type_ in self._types.items() if pa.types.is_timestamp(type_) and type_.tz}
        self._local &= self._without_zone()

    def _first_record(self, file: File) -> int:
        start = super()._first_record(file)
        with pa.OSFile(str(file.path)) as opened:
            opened.seek(start)
            buffer = opened.read_buffer(min(WINDOW_BYTES, file.size))
        end = np.zeros(1, np.int64)
        if not record_ends(as_bytes(buffer), self.quote, self.delimiter, np.zeros(1, np.int64), end):
            end[0] = buffer.size
        if not buffer.slice(0, int(end[0])).to_pybytes().strip():
            raise PlanError(f"csv files: {file.path} begins without a header line")
        read = pv.ReadOptions(use_threads=False)
        header = pv.read_csv(pa.BufferReader(buffer.slice(0, int(end[0]))), read, self._parse_options()).column_names
        if len(set(header)) < len(header):
            raise PlanError(f"csv files: {file.path} has two columns of the same name: {header}")
        self._headers.append(header)
        return start + int(end[0])

    def _parse_options(self) -> Any:
        return pv.ParseOptions(delimiter=chr(self.delimiter), newlines_in_values=True)

    def _first_rows(self) -> tuple[list[str], pa.Buffer]:
        """Some records of the first file that has any."""
        for file, header, start in zip(self._files, self._headers, self._starts, strict=True):
            with pa.OSFile(str(file.path)) as opened:
                opened.seek(start)
                buffer = opened.read_buffer(min(WINDOW_BYTES, file.size - start))
            ends = self._ends(buffer, start + buffer.size == file.size)
            if ends.size:
                return header, buffer.slice(0, int(ends[-1]))
        return self._headers[0], pa.py_buffer(b"")

    def _inferred(self) -> Schema:
        header, buffer = self._first_rows()
        if not buffer.size:
            return from_arrow_schema(pa.schema([(column, pa.string()) for column in header]))
        table = self._parsed(header, buffer, {}, header)
        fields = []
        for field in table.schema:
            type_ = field.type
            if pa.types.is_timestamp(type_):
                type_ = pa.timestamp("us", type_.tz)
            elif pa.types.is_null(type_):
                type_ = pa.string()
            fields.append(pa.field(field.name, type_))
        return from_arrow_schema(pa.schema(fields))

    def _without_zone(self) -> set[str]:
        """The columns whose first times do not say a zone: they are taken as UTC."""
        header, buffer = self._first_rows()
        found = set()
        for column in sorted(self._local) if buffer.size else ():
            try:
                self._parsed(header, buffer, {column: self._types[column]}, [column])
            except pa.ArrowInvalid:
                found.add(column)
        return found

    def _parsed(self, header: list[str], buffer: pa.Buffer, types: dict[str, pa.DataType], columns: list[str]) -> Any:
        return pv.read_csv(
            pa.BufferReader(buffer),
            pv.ReadOptions(column_names=header, use_threads=False, block_size=buffer.size + 1),
            self._parse_options(),
            pv.ConvertOptions(column_types=types, include_columns=columns),
        )

    def _piece(
        self, partition: int, at: int, buffer: pa.Buffer, ends: Int64s, columns: tuple[str, ...]
    ) -> Fetched | None:
        starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
        starts = starts[~empty_lines(as_bytes(buffer), starts, ends)]
        if not starts.size:
            return None
        wanted = list(columns) or self._headers[partition][:1]
        where = f"{self.name}: {self._files[partition].path}, records from byte {at} to {at + buffer.size}"
        types = {name: self._types[name] for name in columns}
        parsed = types | {name: pa.timestamp("us") for name in columns if name in self._local}
        try:
            table = self._parsed(self._headers[partition], buffer, parsed, wanted).combine_chunks()
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise RecordError(f"{where}: {error}") from error
        if table.num_rows != starts.size:
            raise RecordError(f"{where}: {starts.size} lines are {table.num_rows} records: is there a stray quote?")
        (batch,) = table.to_batches()
        data = select_columns(_in_utc(batch, self._local), columns, starts.size)
        return Fetched(data, at, buffer.size, pa.array(starts + at))


def _in_utc(batch: pa.RecordBatch, local: set[str]) -> pa.RecordBatch:
    for i, name in enumerate(batch.schema.names):
        if name in local:
            batch = batch.set_column(i, name, pc.assume_timezone(batch.column(i), "UTC"))
    return batch
