"""Unaligned little-endian loads, stores and copies by address, for kernels that walk over bytes.

numba has no such access to a uint8 array of its own; these make the plain LLVM instruction. By address, because a
helper that is given an array takes and drops a reference to it. Whoever calls these has checked the bounds.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic

from windrow.kernels._compile import device

intrinsic: Any = _intrinsic
_I8 = ir.IntType(8)
_I64 = ir.IntType(64)


@intrinsic  # type: ignore[untyped-decorator]
def address(typing: Any, array: Any) -> Any:
    """Address of the first item of an array, as int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, _I64)

    return types.int64(array), codegen


def _load(bits: int) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loaded = builder.load(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), align=1)
        return loaded if bits == 64 else builder.zext(loaded, _I64)

    return intrinsic(lambda typing, at: (types.uint64(types.int64), codegen))


def _store(bits: int) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[1] if bits == 64 else builder.trunc(args[1], ir.IntType(bits))
        builder.store(value, builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), align=1)
        return context.get_dummy_value()

    return intrinsic(lambda typing, at, value: (types.void(types.int64, types.uint64), codegen))


#: The number of 8, 4 or 1 bytes at an address, as uint64.
load64, load32, load8 = _load(64), _load(32), _load(8)
#: Write the lower 8, 4 or 1 bytes of a uint64 to an address.
store64, store32, store8 = _store(64), _store(32), _store(8)


@intrinsic  # type: ignore[untyped-decorator]
def copy_bytes(typing: Any, source: Any, target: Any, count: Any) -> Any:
    """memcpy of `count` bytes from one address to another."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source_at, target_at = (builder.inttoptr(at, _I8.as_pointer()) for at in args[:2])
        cgutils.raw_memcpy(builder, target_at, source_at, args[2], 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@device
def copy_run(source, target, count):  # type: ignore[no-untyped-def]
    """Copy `count` bytes, touching no byte outside: overlapping words up to 32 bytes, memcpy above."""
    if count > 32:
        copy_bytes(source, target, count)
    elif count >= 8:
        if count > 16:
            store64(target + 8, load64(source + 8))
            store64(target + count - 16, load64(source + count - 16))
        store64(target, load64(source))
        store64(target + count - 8, load64(source + count - 8))
    elif count >= 4:
        store32(target, load32(source))
        store32(target + count - 4, load32(source + count - 4))
    else:
        for i in range(count):
            store8(target + i, load8(source + i))
