"""Lines of comma-separated values as documents: one row each, without a header, columns in the order of the schema."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from windrow.arrow_types import to_arrow_schema
from windrow.codec.base import Decoded, Rejected
from windrow.datatypes import Schema

_LINE_BREAKS = r"[\r\n]"


class CsvDecoder:
    """Decodes RFC 4180 rows to some columns of a schema. An empty field is null, in a text column too unless quoted.

    Rejected is a document with a line break in it, with more or fewer fields than the schema has columns, or with a
    field that does not fit its type. One bad row costs a search by halves, so that the others stay quick.
    """

    def __init__(self, schema: Schema, wanted: tuple[str, ...] | None = None) -> None:
        self._names = list(schema.names)
        self._wanted = list(schema.names if wanted is None else wanted)
        self._types = {field.name: field.type for field in to_arrow_schema(schema)}
        self._schema = pa.schema([(name, self._types[name]) for name in self._wanted])

    def decode(self, documents: pa.Array) -> Decoded:
        lines = documents if pa.types.is_binary(documents.type) else documents.cast(pa.binary())
        tables: list[pa.Table] = []
        bad: list[tuple[int, str]] = []
        self._rows(lines, 0, tables, bad)
        table = pa.concat_tables([self._schema.empty_table(), *tables]).combine_chunks()
        batches = table.to_batches()
        data = batches[0] if batches else pa.RecordBatch.from_pylist([], self._schema)
        bad.sort()
        rows = np.array([row for row, _ in bad], np.int64)
        return Decoded(data, Rejected(rows, (None,) * len(bad), tuple(reason for _, reason in bad)))

    def _rows(self, lines: pa.Array, first: int, tables: list[pa.Table], bad: list[tuple[int, str]]) -> None:
        if not len(lines):
            return
        try:
            tables.append(self._table(lines))
        except (pa.ArrowException, ValueError) as error:
            if len(lines) == 1:
                bad.append((first, "no value" if lines.null_count else str(error)))
                return
            half = len(lines) // 2
            self._rows(lines.slice(0, half), first, tables, bad)
            self._rows(lines.slice(half), first + half, tables, bad)

    def _table(self, lines: pa.Array) -> pa.Table:
        if lines.null_count:
            raise ValueError("no value")
        if pc.any(pc.match_substring_regex(lines, _LINE_BREAKS)).as_py():
            raise ValueError("a row must not contain a line break")
        if pc.any(pc.equal(pc.binary_length(lines), 0)).as_py():
            raise ValueError("the row is empty")
        joined = pc.binary_join(
            pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), pa.scalar(b"\n", pa.binary())
        )
        table = pyarrow.csv.read_csv(
            pa.BufferReader(joined[0].as_buffer()),
            read_options=pyarrow.csv.ReadOptions(column_names=self._names, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=self._types, include_columns=self._wanted, strings_can_be_null=True,
                quoted_strings_can_be_null=False, null_values=[""],
            ),
        )  # fmt: skip
        if table.num_rows != len(lines):
            raise ValueError(f"{len(lines)} rows were read as {table.num_rows}")
        return table.cast(self._schema)
