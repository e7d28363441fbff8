"""A hash of whole rows: by which a row that is taken back is found among those of its key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from windrow.batch import UInt64s, validity
from windrow.kernels import hashing
from windrow.state.words import bytes_of, kind_of, pair, words


def row_hashes(columns: Sequence[pa.Array]) -> UInt64s:
    """One hash a row over all columns. Equal rows have equal hashes; of different rows two in 2**64 have."""
    combined = _hashes(columns[0])
    for column in columns[1:]:
        hashing.combine_hashes(_hashes(column), combined)
    return combined


def _hashes(column: pa.Array) -> UInt64s:
    hashes = np.empty(len(column), np.uint64)
    valid = validity(column)
    match kind_of(column.type):
        case "word":
            hashing.hash_int64(words(column), valid, hashes)
        case "bytes":
            hashing.hash_bytes(*bytes_of(column), valid, hashes)
        case "pair":
            upper = np.empty(len(column), np.uint64)
            for part, out in zip(pair(column), (hashes, upper), strict=True):
                hashing.hash_int64(part, valid, out)
            hashing.combine_hashes(upper, hashes)
        case None:
            # lists and structs are rare in tables that update: their text is hashed
            texts = pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())
            hashing.hash_bytes(*bytes_of(texts), valid, hashes)
    return hashes
