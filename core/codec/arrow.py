"""Arrow IPC streams as documents: each holds record batches of one schema, so that one document gives many rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windrow.arrow_types import to_arrow_schema
from windrow.codec.arrow_sizes import decompressed_bytes
from windrow.codec.base import Decoded, Rejected
from windrow.datatypes import Schema

#: What a document may take decoded (or its own size, where that is more), and all documents of one call together.
MAX_DOCUMENT_BYTES, MAX_BYTES = 64 << 20, 1 << 30


class ArrowDecoder:
    """Decodes IPC streams to the columns of a schema; columns that are not wanted are left out.

    Rejected is a document that is no complete IPC stream, lacks a column, has it with another type, or has contents
    that Arrow's own validation refuses (offsets outside their buffers, text that is not UTF-8), or takes more bytes
    than it may: what it decompresses to is read from it first, so that nothing of that size is made.
    """

    def __init__(
        self, schema: Schema, *, max_document_bytes: int = MAX_DOCUMENT_BYTES, max_bytes: int = MAX_BYTES
    ) -> None:
        self._schema = to_arrow_schema(schema)
        self._max_document_bytes = max_document_bytes
        self._max_bytes = max_bytes

    def decode(self, documents: pa.Array) -> Decoded:
        batches: list[pa.RecordBatch] = []
        counts: list[int] = []
        bad: list[tuple[int, str | None, str]] = []
        left = self._max_bytes
        for row, document in enumerate(documents):
            try:
                found, taken = self._batches(document, left)
            except _Unfit as error:
                bad.append((row, error.field, str(error)))
                continue
            left -= taken
            counts.append(sum(batch.num_rows for batch in found))
            batches += found
        table = pa.Table.from_batches(batches, self._schema).combine_chunks()
        whole = table.to_batches()
        data = whole[0] if whole else pa.RecordBatch.from_pylist([], self._schema)
        rejected = Rejected(
            np.array([row for row, _, _ in bad], np.int64),
            tuple(field for _, field, _ in bad),
            tuple(reason for _, _, reason in bad),
        )
        return Decoded(data, rejected, np.array(counts, np.int64))

    def _batches(self, document: pa.Scalar, left: int) -> tuple[list[pa.RecordBatch], int]:
        """The batches of a document, and the bytes that they take of the `left`."""
        buffer = document.as_buffer()
        if buffer is None:
            raise _Unfit(None, "no value")
        try:
            taken = self._room(buffer, left)
            with pa.ipc.open_stream(buffer) as reader:
                found = [self._picked(batch) for batch in reader]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _Unfit(None, f"not a whole Arrow IPC stream: {error}") from error
        taken = max(taken, sum(batch.nbytes for batch in found))
        self._check(taken, buffer.size, left)  # buffers that are not compressed may still share bytes of the document
        return found, taken

    def _room(self, buffer: pa.Buffer, left: int) -> int:
        """What the document decompresses to, read without decompressing it."""
        taken = 0
        for message in pa.ipc.MessageReader.open_stream(buffer):
            taken += decompressed_bytes(message)
            self._check(taken, buffer.size, left)
        return taken

    def _check(self, taken: int, size: int, left: int) -> None:
        most = max(self._max_document_bytes, size)
        if taken > most:
            raise _Unfit(
                None, f"{taken} bytes when decoded, where a message may take {most}: write fewer rows to a message"
            )
        if taken > left:
            raise _Unfit(
                None,
                f"{taken} bytes when decoded, and the messages read together may take {self._max_bytes}, of which "
                f"{left} are left: read fewer at a time",
            )

    def _picked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for field in self._schema:
            at = batch.schema.get_all_field_indices(field.name)
            if len(at) != 1:
                raise _Unfit(field.name, f"the stream has {len(at)} columns of this name")
            if batch.schema.field(at[0]).type != field.type:
                raise _Unfit(field.name, f"{field.type} expected, got {batch.schema.field(at[0]).type}")
        picked = pa.RecordBatch.from_arrays([batch.column(name) for name in self._schema.names], schema=self._schema)
        picked.validate(full=True)
        return picked


class _Unfit(Exception):
    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field = field
