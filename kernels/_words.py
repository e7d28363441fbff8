"""Unaligned little-endian loads and stores of 8 and 4 bytes, for kernels that walk over bytes.

numba has no such access to a uint8 array of its own; these make the plain LLVM instruction. No bounds are checked.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, bits: int) -> Any:
    made = context.make_array(array_type)(context, builder, array)
    pointer = builder.gep(made.data, [index])
    return builder.bitcast(pointer, ir.IntType(bits).as_pointer())


def _load(typing: Any, data: Any, at: Any, bits: int) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], bits)
        loaded = builder.load(pointer, align=1)
        return loaded if bits == 64 else builder.zext(loaded, ir.IntType(64))

    return types.uint64(data, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def load64(typing: Any, data: Any, at: Any) -> Any:
    """``data[at : at + 8]`` as a little-endian uint64."""
    return _load(typing, data, at, 64)


@intrinsic  # type: ignore[untyped-decorator]
def load32(typing: Any, data: Any, at: Any) -> Any:
    """``data[at : at + 4]`` as a little-endian number, in a uint64."""
    return _load(typing, data, at, 32)


def _store(data: Any, bits: int) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], bits)
        value = args[2] if bits == 64 else builder.trunc(args[2], ir.IntType(bits))
        builder.store(value, pointer, align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def store64(typing: Any, data: Any, at: Any, value: Any) -> Any:
    """Write `value`, a uint64, to ``data[at : at + 8]``, little-endian."""
    return _store(data, 64)


@intrinsic  # type: ignore[untyped-decorator]
def store32(typing: Any, data: Any, at: Any, value: Any) -> Any:
    """Write the lower half of `value`, a uint64, to ``data[at : at + 4]``, little-endian."""
    return _store(data, 32)


@intrinsic  # type: ignore[untyped-decorator]
def copy_bytes(typing: Any, source: Any, start: Any, target: Any, to: Any, count: Any) -> Any:
    """memcpy of `count` bytes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source_at = _pointer(context, builder, signature.args[0], args[0], args[1], 8)
        target_at = _pointer(context, builder, signature.args[2], args[2], args[3], 8)
        cgutils.raw_memcpy(builder, target_at, source_at, args[4], 1)
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64, types.int64), codegen
