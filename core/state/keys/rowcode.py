"""Compound keys as one run of bytes a row, and back: the Arrow side of ``kernels/rowcode.py``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from windrow.batch import ALL_VALID, Bytes, Int64s, validity
from windrow.kernels import rowcode
from windrow.state.keys.words import Kind, bytes_array, bytes_of, kind_of, pair, pair_array, word_array, words

_FIXED_BYTES: dict[Kind, int] = {"word": 9, "pair": 18, "bytes": 5}


def encode(columns: Sequence[pa.Array]) -> tuple[Int64s, Bytes]:
    """Offsets and bytes of the rows; equal keys, and only those, have equal bytes.

    Null is equal to null, NaN to NaN, -0.0 to 0.0.
    """
    parts = [_prepared(column) for column in columns]
    offsets = _offsets(len(columns[0]), parts)
    places = offsets[:-1].copy()
    rows = np.empty(int(offsets[-1]), np.uint8)
    for part in parts:
        part.write(places, rows)
    return offsets, rows


class _Part:
    """One column, ready to be written into the rows."""

    def __init__(self, kind: Kind, column: pa.Array) -> None:
        self.kind = kind
        self.valid = validity(column)
        self.words: tuple[Int64s, ...] = ()
        self.offsets, self.data = np.empty(0, np.int64), ALL_VALID
        if kind == "bytes":
            self.offsets, self.data = bytes_of(column)
        else:
            self.words = pair(column) if kind == "pair" else (words(column),)

    def write(self, places: Int64s, rows: Bytes) -> None:
        for values in self.words:
            rowcode.encode_int64(values, self.valid, places, rows)
        if self.kind == "bytes":
            rowcode.encode_bytes(self.offsets, self.data, self.valid, places, rows)

    def sizes(self) -> Int64s | None:
        """Bytes a row needs beyond the fixed ones, for a column where that differs."""
        if self.kind != "bytes":
            return None
        sizes = np.diff(self.offsets)
        return np.where(self.valid, sizes, -4) if len(self.valid) else sizes


def _prepared(column: pa.Array) -> _Part:
    kind = kind_of(column.type)
    assert kind is not None, column.type
    return _Part(kind, column)


def _offsets(rows: int, parts: Sequence[_Part]) -> Int64s:
    fixed = sum(_FIXED_BYTES[part.kind] for part in parts)
    offsets = np.arange(0, (rows + 1) * fixed, fixed, dtype=np.int64)
    varying = [sizes for part in parts if (sizes := part.sizes()) is not None]
    if varying:
        total = varying[0] if len(varying) == 1 else np.sum(varying, axis=0)
        offsets[1:] += np.cumsum(total)
    return offsets


def decode(rows: Bytes, starts: Int64s, types: Sequence[pa.DataType]) -> list[pa.Array]:
    """The key columns, of these types, of the rows that start at `starts`."""
    places = starts.astype(np.int64, copy=True)
    return [_decoded(rows, places, type_) for type_ in types]


def _decoded(rows: Bytes, places: Int64s, type_: pa.DataType) -> pa.Array:
    n = len(places)
    valid = np.empty(n, np.uint8)
    if kind_of(type_) == "bytes":
        offsets = np.empty(n + 1, np.int64)
        nulls = rowcode.decode_offsets(rows, places, offsets, valid)
        data = np.empty(int(offsets[-1]), np.uint8)
        rowcode.decode_bytes(rows, offsets, places, data)
        return bytes_array(offsets, data, valid if nulls else ALL_VALID, type_)
    values = np.empty(n, np.int64)
    nulls = rowcode.decode_int64(rows, places, values, valid)
    if kind_of(type_) == "pair":
        upper = np.empty(n, np.int64)
        rowcode.decode_int64(rows, places, upper, valid)
        return pair_array(values, upper, valid if nulls else ALL_VALID, type_)
    return word_array(values, valid if nulls else ALL_VALID, type_)
