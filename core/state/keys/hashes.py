"""Hashes of keys, by which rows go to shards, and of whole rows, by which one that is taken back is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from windrow.batch import UInt64s, validity
from windrow.errors import PlanError
from windrow.kernels import hashing
from windrow.state.keys.words import bytes_of, kind_of, pair, words


def key_hashes(keys: Sequence[pa.Array]) -> UInt64s:
    """One hash a row over all key columns, the same in every process, on every machine, in every version.

    Raises `PlanError` for a column whose type cannot be a key.
    """
    return _combined(keys, _not_a_key)


def row_hashes(columns: Sequence[pa.Array]) -> UInt64s:
    """One hash a row over columns of any type. Equal rows have equal hashes; of different rows two in 2**64 have."""
    return _combined(columns, _text_hashes)


def _combined(columns: Sequence[pa.Array], nested: Callable[[pa.Array], UInt64s]) -> UInt64s:
    combined = _hashes(columns[0], nested)
    for column in columns[1:]:
        hashing.combine_hashes(_hashes(column, nested), combined)
    return combined


def _hashes(column: pa.Array, nested: Callable[[pa.Array], UInt64s]) -> UInt64s:
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
            return nested(column)
    return hashes


def _not_a_key(column: pa.Array) -> UInt64s:
    raise PlanError(f"rows cannot be exchanged by a key of type {column.type}")


def _text_hashes(column: pa.Array) -> UInt64s:
    return _hashes(as_text(column), _not_a_key)


def as_text(column: pa.Array) -> pa.Array:
    """Lists and structs are rare in tables that update: they are told apart by their text."""
    return pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())
