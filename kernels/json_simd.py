"""Loads, stores and byte classification by address, 64 bytes at a time, for the JSON kernels.

Plain LLVM vectors: on AVX-512 a classification is one instruction, elsewhere LLVM lowers it to what the machine has.
Addresses are int64; bit k of a mask says something about byte ``address + k``. Nothing here checks bounds: callers
see to it that 64 bytes from any address they pass may be read (and written, for the stores).
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core import config as _numba_config
from numba.extending import intrinsic

#: Makes a helper that LLVM must inline, for the few lines that run for every value.
hot: Any = numba.njit(nogil=True, error_model="numpy", forceinline=True)

_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_BLOCK = ir.VectorType(_BYTE, 64)


def _fast_compress() -> bool:
    """Whether this machine squeezes bytes out of a vector in one instruction (AVX-512 VBMI2)."""
    if _numba_config.CPU_NAME not in (None, "host") or _numba_config.CPU_FEATURES is not None:
        return False
    features = binding.get_host_cpu_features()
    return bool(features.get("avx512vbmi2") and features.get("avx512bw"))


#: Without that instruction LLVM would write the squeeze as 64 single steps.
FAST_COMPRESS = _fast_compress()


def _at(builder: Any, address: Any, type_: Any) -> Any:
    return builder.inttoptr(address, type_.as_pointer())


def _splat(value: int, lanes: int = 64) -> Any:
    return ir.Constant(ir.VectorType(_BYTE, lanes), [value] * lanes)


def _load(builder: Any, address: Any, type_: Any) -> Any:
    return builder.load(_at(builder, address, type_), align=1)


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, _at(builder, address, value.type), align=1)


def _mask(builder: Any, lanes: Any) -> Any:
    return builder.bitcast(lanes, _WORD)


def _loader(bits: int, result: Any) -> Any:
    """An intrinsic ``(address) -> result`` that reads `bits` bits, zero-extended."""

    @intrinsic  # type: ignore[untyped-decorator]
    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = _load(builder, args[0], ir.IntType(bits))
            return value if bits == 64 else builder.zext(value, _WORD)

        return result(types.int64), generate

    return load


def _storer(bits: int, source: Any) -> Any:
    """An intrinsic ``(address, value)`` that writes the low `bits` bits of a value."""

    @intrinsic  # type: ignore[untyped-decorator]
    def store(typing_context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = args[1] if bits == 64 else builder.trunc(args[1], ir.IntType(bits))
            _store(builder, value, args[0])
            return context.get_dummy_value()

        return types.void(types.int64, source), generate

    return store


byte_at = _loader(8, types.int64)
half_at = _loader(32, types.int64)
int_at = _loader(64, types.int64)
word_at = _loader(64, types.uint64)
put_byte = _storer(8, types.int64)
put_half = _storer(32, types.int64)
put_int = _storer(64, types.int64)
put_word = _storer(64, types.uint64)


@intrinsic  # type: ignore[untyped-decorator]
def put_float(typing_context: Any, address: Any, value: Any) -> Any:
    """``(address, float64)``: write a float."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _store(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def first_bit(typing_context: Any, mask: Any) -> Any:
    """``(uint64) -> int64``: the number of the lowest set bit; 64 when there is none."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def leading_zeros(typing_context: Any, word: Any) -> Any:
    """``(uint64) -> int64``: zero bits above the highest set one."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def bit_count(typing_context: Any, mask: Any) -> Any:
    """``(uint64) -> int64``: how many bits are set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply_high(typing_context: Any, left: Any, right: Any) -> Any:
    """``(uint64, uint64) -> uint64``: the upper half of the 128-bit product."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), _WORD)

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def text_masks(typing_context: Any, address: Any) -> Any:
    """``(address) -> (quote, backslash, odd)``: where `odd` marks control characters and bytes over 127."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = _load(builder, args[0], _BLOCK)
        masks = [
            _mask(builder, builder.icmp_signed("==", block, _splat(ord('"')))),
            _mask(builder, builder.icmp_signed("==", block, _splat(ord("\\")))),
            # signed: bytes over 127 are negative
            _mask(builder, builder.icmp_signed("<", block, _splat(0x20))),
        ]
        return cgutils.pack_array(builder, masks)

    return types.UniTuple(types.uint64, 3)(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def same_bytes(typing_context: Any, left: Any, right: Any) -> Any:
    """``(address, address) -> int64``: mask of which of the first 64 bytes at both addresses are equal."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _mask(builder, builder.icmp_unsigned("==", *(_load(builder, arg, _BLOCK) for arg in args)))

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def copy_block(typing_context: Any, target: Any, source: Any) -> Any:
    """``(target, source)``: copy 64 bytes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _store(builder, _load(builder, args[1], _BLOCK), args[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def squeeze_block(typing_context: Any, target: Any, source: Any, keep: Any) -> Any:
    """``(target, source, keep)``: the bytes of a block whose bit is set, side by side; 64 bytes are written."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = _load(builder, args[1], _BLOCK)
        lanes = ir.VectorType(ir.IntType(1), 64)
        kind = ir.FunctionType(_BLOCK, [_BLOCK, lanes, _BLOCK])
        compress = cgutils.get_or_insert_function(builder.module, kind, "llvm.experimental.vector.compress.v64i8")
        kept = builder.call(compress, [block, builder.bitcast(args[2], lanes), _splat(0)])
        _store(builder, kept, args[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.uint64), generate
