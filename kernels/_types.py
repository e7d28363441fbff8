"""Array types of kernel signatures: ``R_`` read-only input, ``W_`` writable output; all contiguous, one dimension."""

from __future__ import annotations

from numba import types

I64 = types.int64
I32 = types.int32
U64 = types.uint64
F64 = types.float64
U8 = types.uint8
B1 = types.boolean
NONE = types.void


def _read(item: types.Type) -> types.Array:
    return types.Array(item, 1, "C", readonly=True)


def _write(item: types.Type) -> types.Array:
    return types.Array(item, 1, "C")


R_I64, W_I64 = _read(I64), _write(I64)
R_I32, W_I32 = _read(I32), _write(I32)
R_U64, W_U64 = _read(U64), _write(U64)
R_F64, W_F64 = _read(F64), _write(F64)
R_U8, W_U8 = _read(U8), _write(U8)
R_B1, W_B1 = _read(B1), _write(B1)
