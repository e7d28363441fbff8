"""Record batches as messages: Arrow IPC streams of a batch each, as `arrow.ArrowDecoder` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from windrow.batch import Int64s
from windrow.errors import PlanError

LEAST_MESSAGE_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Messages:
    """`values`: binary, an IPC stream each; message i holds `counts[i]` rows from row `first_rows[i]` on (int64).

    `too_large`: rows (int64) that take more than a message may by themselves, and are in none.
    """

    values: pa.Array
    first_rows: Int64s
    counts: Int64s
    too_large: Int64s


class ArrowEncoder:
    """Cuts batches into IPC streams of at most `max_bytes`, each complete, schema included."""

    def __init__(self, schema: pa.Schema, max_bytes: int) -> None:
        if max_bytes < LEAST_MESSAGE_BYTES:
            raise PlanError(f"an Arrow message takes at least {LEAST_MESSAGE_BYTES} bytes, the most is {max_bytes}")
        self._schema = schema
        self._max_bytes = max_bytes

    def encode(self, batch: pa.RecordBatch) -> Messages:
        """The rows as messages, in order; raises `PlanError` for a batch of another schema."""
        if not batch.schema.equals(self._schema):
            raise PlanError(f"the encoder was made for the columns {self._schema}, the batch has {batch.schema}")
        streams: list[bytes] = []
        places: list[tuple[int, int]] = []
        too_large: list[int] = []
        pending = [(0, batch.num_rows)] if batch.num_rows else []
        while pending:
            start, stop = pending.pop()
            stream = self._stream(batch.slice(start, stop - start))
            if stream.size <= self._max_bytes:
                places.append((start, stop - start))
                streams.append(stream.to_pybytes())
            elif stop - start == 1:
                too_large.append(start)
            else:  # as many pieces as its size asks for, at least two; each is looked at again
                pieces = min(-(-stream.size // self._max_bytes) + 1, stop - start)
                cuts = np.linspace(start, stop, pieces + 1).astype(np.int64).tolist()
                pending += list(pairwise(cuts))[::-1]
        first_rows, counts = np.array(places, np.int64).reshape(-1, 2).T
        return Messages(pa.array(streams, pa.binary()), first_rows, counts, np.array(too_large, np.int64))

    def _stream(self, batch: pa.RecordBatch) -> pa.Buffer:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._schema) as writer:
            writer.write_batch(batch)
        return sink.getvalue()
