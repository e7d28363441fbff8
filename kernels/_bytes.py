"""Helpers on bytes for kernels: reads, writes and short copies by address, 32-byte masks, bit counting.

Why addresses: a helper that is handed an array takes and drops a reference to it, two atomic operations a call that
LLVM does not always remove: 60 ns for the size of one integer, against 2 ns by address. Why fixed widths:
LLVM turns a byte loop of a few dozen rounds into a vector loop with a long scalar tail. Vectors of 32 bytes are plain
LLVM vectors; on a processor without such registers LLVM splits them.

Whoever calls these has checked the bounds. The arrays must outlive the call: a kernel's arguments do.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic as _intrinsic
from numba.np import arrayobj as _arrayobj

from windrow.kernels._compile import device, inline

intrinsic: Any = _intrinsic
arrayobj: Any = _arrayobj
cgutils: Any = _cgutils
_I8 = ir.IntType(8)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_FALSE = ir.Constant(ir.IntType(1), 0)


@intrinsic  # type: ignore[untyped-decorator]
def address(typing_context: Any, array: Any) -> Any:
    """Address of the first item of an array, as int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = arrayobj.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, _I64)

    return types.int64(array), codegen


def _load(item: Any, result: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], item.as_pointer()), align=1)

    return intrinsic(lambda typing_context, at: (result(types.int64), codegen))


def _store(item: Any, argument: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], item.as_pointer()), align=1)
        return context.get_dummy_value()

    return intrinsic(lambda typing_context, at, value: (types.void(types.int64, argument), codegen))


def _copy(item: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(builder.inttoptr(args[0], item.as_pointer()), align=1)
        builder.store(value, builder.inttoptr(args[1], item.as_pointer()), align=1)
        return context.get_dummy_value()

    return intrinsic(lambda typing_context, source, target: (types.void(types.int64, types.int64), codegen))


get8 = _load(_I8, types.uint8)
get32 = _load(_I32, types.uint32)
get64 = _load(_I64, types.uint64)
put8 = _store(_I8, types.uint8)
put16 = _store(ir.IntType(16), types.uint16)
put32 = _store(_I32, types.uint32)
put64 = _store(_I64, types.uint64)
copy4 = _copy(_I32)
copy8 = _copy(_I64)
copy16 = _copy(ir.VectorType(_I8, 16))
copy32 = _copy(ir.VectorType(_I8, 32))


@intrinsic  # type: ignore[untyped-decorator]
def multiply_high(typing_context: Any, left: Any, right: Any) -> Any:
    """The upper half of the 128-bit product of two uint64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in args))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), _I64)

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing_context: Any, at: Any) -> Any:
    """Begin to bring the cache line at an address near, and wait for nothing; the address may be any at all."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], _I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(_I32, number) for number in (0, 3, 1))])  # to read, keep, data
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def copy_long(typing_context: Any, source: Any, target: Any, count: Any) -> Any:
    """The C library's memcpy."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = builder.inttoptr(args[0], _I8.as_pointer())
        cgutils.raw_memcpy(builder, builder.inttoptr(args[1], _I8.as_pointer()), start, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def escapes32(typing_context: Any, at: Any) -> Any:
    """Bit i is set when byte ``at + i`` of 32 bytes is a quote, a backslash or a control character (below 0x20)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(_I8, 32)
        data = builder.load(builder.inttoptr(args[0], vector.as_pointer()), align=1)

        def all_of(byte: int) -> Any:
            return ir.Constant(vector, [byte] * 32)

        control = builder.icmp_unsigned("<", data, all_of(0x20))
        quote = builder.icmp_unsigned("==", data, all_of(0x22))
        backslash = builder.icmp_unsigned("==", data, all_of(0x5C))
        hit = builder.or_(control, builder.or_(quote, backslash))
        return builder.zext(builder.bitcast(hit, _I32), _I64)

    return types.uint64(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def equals32(typing_context: Any, at: Any, byte: Any) -> Any:
    """Bit i is set when byte ``at + i`` of 32 bytes is `byte` (uint8)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(_I8, 32)
        data = builder.load(builder.inttoptr(args[0], vector.as_pointer()), align=1)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), args[1], ir.Constant(_I32, 0))
        lanes = ir.Constant(ir.VectorType(_I32, 32), [0] * 32)
        wanted = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), lanes)
        hit = builder.icmp_unsigned("==", data, wanted)
        return builder.zext(builder.bitcast(hit, _I32), _I64)

    return types.uint64(types.int64, types.uint8), codegen


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typing_context: Any, value: Any) -> Any:
    """Index of the lowest set bit of a uint64; 64 when there is none."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], _FALSE)

    return types.int64(types.uint64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def leading_zeros(typing_context: Any, value: Any) -> Any:
    """Zero bits above the highest set bit of a uint64; 64 when there is none."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], _FALSE)

    return types.int64(types.uint64), codegen


@device
def copy_run(source, target, count):  # type: ignore[no-untyped-def]
    """Copy `count` bytes, touching no byte outside: two overlapping fixed copies up to 64 bytes, memcpy above."""
    if count >= 16:
        if count > 64:
            copy_long(source, target, count)
        elif count >= 32:
            copy32(source, target)
            copy32(source + count - 32, target + count - 32)
        else:
            copy16(source, target)
            copy16(source + count - 16, target + count - 16)
    elif count >= 8:
        copy8(source, target)
        copy8(source + count - 8, target + count - 8)
    elif count >= 4:
        copy4(source, target)
        copy4(source + count - 4, target + count - 4)
    else:
        for i in range(count):
            put8(target + i, get8(source + i))


@inline
def is_null(valid, i):  # type: ignore[no-untyped-def]
    """Whether value i is null; `valid` of length zero means that none is."""
    return valid.size != 0 and valid[i] == 0
