"""What a decoder is, whatever the format: bytes in, the columns of a schema out, bad documents set aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from windrow.batch import Int64s


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rows that were not decoded: `rows` (int64, ascending); for each the field (None: the document) and the reason."""

    rows: Int64s
    fields: tuple[str | None, ...]
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The good rows in order, and what became of the others.

    `counts`: how many rows each good document gave; None when it is one each.
    """

    data: pa.RecordBatch
    rejected: Rejected
    counts: Int64s | None = None


class Decoder(Protocol):
    """Decodes documents; may be used by several threads at once."""

    def decode(self, documents: pa.Array) -> Decoded:
        """`documents`: binary or string array, one document a row; null is rejected."""


#: Makes a decoder for the columns of these names.
DecoderFactory = Callable[[tuple[str, ...]], Decoder]
