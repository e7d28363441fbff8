"""Loads, stores and byte classification by address, 64 bytes at a time, for the JSON kernels.

Plain LLVM vectors: on AVX-512 a classification is one instruction, elsewhere LLVM lowers it to what the machine has.
Addresses are int64; bit k of a mask says something about byte ``address + k``. Nothing here checks bounds: callers
see to it that 64 bytes from any address they pass may be read (and written, for the stores).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils as _cgutils
from numba.core import config as _config
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _helper(**options: bool) -> Callable[[_Function], _Function]:
    """njit without the wrappers that would let Python or C call the function: only kernels do; it compiles sooner."""
    njit: Any = numba.njit
    made: Callable[[_Function], _Function] = njit(
        nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, **options
    )
    return made


#: Makes a helper that kernels call.
helper = _helper()
#: As `helper`, and always inlined, for what runs for every value.
hot = _helper(forceinline=True)

# numba has no annotations for these
cgutils: Any = _cgutils
config: Any = _config
_PAIR: Any = types.UniTuple
#: int64 of any number, also of a literal: numba would compile a helper anew for every literal it is given.
whole: Callable[[Any], int] = np.int64  # type: ignore[assignment]

_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_BLOCK = ir.VectorType(_BYTE, 64)
I64, U64 = types.int64, types.uint64


def _fast_compress() -> bool:
    """Whether this machine squeezes bytes out of a vector in one instruction (AVX-512 VBMI2)."""
    if config.CPU_NAME not in (None, "host") or config.CPU_FEATURES is not None:
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


def _emits_word(result: Any, *params: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make an intrinsic of a function that builds LLVM values: ``(builder, *arguments) -> value`` or None."""

    def make(build: Callable[..., Any]) -> Any:
        signature = result(*params)

        def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:
            value = build(builder, *args)
            return context.get_dummy_value() if value is None else value

        def one(typing_context: Any, a: Any) -> Any:
            return signature, generate

        def two(typing_context: Any, a: Any, b: Any) -> Any:
            return signature, generate

        def three(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
            return signature, generate

        typed = (one, two, three)[len(params) - 1]
        typed.__name__ = build.__name__
        typed.__doc__ = build.__doc__
        return intrinsic(typed)

    return make


def _emits(result: Any, *params: Any) -> Callable[[Callable[..., Any]], Callable[..., int]]:
    """As `_emits_word`, for intrinsics that give an int64 or nothing, so that type checkers know it."""
    return _emits_word(result, *params)


def _constant(value: int) -> Any:
    return ir.Constant(_WORD, value)


def _loader(bits: int, result: Any) -> Callable[..., int]:
    """``(address, offset) -> result``: read `bits` bits, zero-extended."""

    @_emits(result, I64, I64)
    def load(builder: Any, address: Any, offset: Any) -> Any:
        value = _load(builder, builder.add(address, offset), ir.IntType(bits))
        return value if bits == 64 else builder.zext(value, _WORD)

    return load


def _storer(bits: int, source: Any) -> Callable[..., int]:
    """``(address, value)``: write the low `bits` bits of a value."""

    @_emits(types.void, I64, source)
    def store(builder: Any, address: Any, value: Any) -> None:
        _store(builder, value if bits == 64 else builder.trunc(value, ir.IntType(bits)), address)

    return store


byte_at = _loader(8, I64)
half_at = _loader(32, I64)
slot = _loader(64, I64)
word_at: Any = _loader(64, U64)
put_byte = _storer(8, I64)
put_half = _storer(32, I64)
put_int = _storer(64, I64)
put_word = _storer(64, U64)


@_emits(types.void, I64, types.float64)
def put_float(builder: Any, address: Any, value: Any) -> None:
    """``(address, float64)``: write a float."""
    _store(builder, value, address)


@_emits(I64, I64, I64)
def fail(builder: Any, address: Any, code: Any) -> Any:
    """``(address, code) -> negative int64``: the result that says what is wrong at an address."""
    return builder.neg(builder.or_(builder.shl(address, _constant(8)), code))


@_emits(I64, U64)
def first_bit(builder: Any, mask: Any) -> Any:
    """``(uint64) -> int64``: the number of the lowest set bit; 64 when there is none."""
    return builder.cttz(mask, ir.Constant(ir.IntType(1), 0))


@_emits(I64, U64)
def leading_zeros(builder: Any, word: Any) -> Any:
    """``(uint64) -> int64``: zero bits above the highest set one."""
    return builder.ctlz(word, ir.Constant(ir.IntType(1), 0))


@_emits(I64, U64)
def bit_count(builder: Any, mask: Any) -> Any:
    """``(uint64) -> int64``: how many bits are set."""
    return builder.ctpop(mask)


@_emits_word(_PAIR(U64, 3), I64)
def text_masks(builder: Any, address: Any) -> Any:
    """``(address) -> (quote, backslash, odd)``: where `odd` marks control characters and bytes over 127."""
    block = _load(builder, address, _BLOCK)
    return cgutils.pack_array(
        builder,
        [
            _mask(builder, builder.icmp_signed("==", block, _splat(ord('"')))),
            _mask(builder, builder.icmp_signed("==", block, _splat(ord("\\")))),
            # signed: bytes over 127 are negative
            _mask(builder, builder.icmp_signed("<", block, _splat(0x20))),
        ],
    )


@_emits_word(_PAIR(U64, 2), U64)
def escape_masks(builder: Any, slash: Any) -> Any:
    """``(backslashes) -> (escaping backslashes, escaped bytes)`` of a block whose first byte is not escaped.

    Runs of backslashes are told odd from even by one subtraction, without a loop: Langdale and Lemire, Parsing
    Gigabytes of JSON per Second, VLDB Journal 2019, as simplified in simdjson 3.
    """
    odd_bits = _constant(0xAAAAAAAAAAAAAAAA)
    code = builder.or_(builder.shl(slash, _constant(1)), odd_bits)
    code = builder.xor(builder.sub(code, slash), odd_bits)
    return cgutils.pack_array(builder, [builder.and_(code, slash), builder.xor(code, slash)])


@_emits(I64, I64, I64)
def same_bytes(builder: Any, left: Any, right: Any) -> Any:
    """``(address, address) -> int64``: mask of which of the first 64 bytes at both addresses are equal."""
    return _mask(builder, builder.icmp_unsigned("==", _load(builder, left, _BLOCK), _load(builder, right, _BLOCK)))


@_emits(types.void, I64, I64)
def copy_block(builder: Any, target: Any, source: Any) -> None:
    """``(target, source)``: copy 64 bytes."""
    _store(builder, _load(builder, source, _BLOCK), target)


@_emits(types.void, I64, I64, U64)
def squeeze_block(builder: Any, target: Any, source: Any, keep: Any) -> None:
    """``(target, source, keep)``: the bytes of a block whose bit is set, side by side; 64 bytes are written."""
    lanes = ir.VectorType(ir.IntType(1), 64)
    kind = ir.FunctionType(_BLOCK, [_BLOCK, lanes, _BLOCK])
    compress = cgutils.get_or_insert_function(builder.module, kind, "llvm.experimental.vector.compress.v64i8")
    block = _load(builder, source, _BLOCK)
    _store(builder, builder.call(compress, [block, builder.bitcast(keep, lanes), _splat(0)]), target)


@_emits_word(U64, I64)
def digit_lanes(builder: Any, address: Any) -> Any:
    """``(address) -> uint64``: eight bytes, digits as 0 to 9 (anything else is anything else)."""
    return builder.xor(_load(builder, address, _WORD), _constant(0x3030303030303030))


@_emits(I64, U64)
def digit_count(builder: Any, lanes: Any) -> Any:
    """``(lanes) -> int64``: how many of the eight lanes from the first on are digits: 0 to 8."""
    # a carry out of a lane that is no digit only reaches lanes behind it
    over = builder.or_(builder.add(lanes, _constant(0x7676767676767676)), lanes)
    mask = builder.and_(over, _constant(0x8080808080808080))
    return builder.lshr(builder.cttz(mask, ir.Constant(ir.IntType(1), 0)), _constant(3))


@_emits_word(U64, U64, I64)
def digits_value(builder: Any, lanes: Any, count: Any) -> Any:
    """``(lanes, count) -> uint64``: the number that the first `count` digits make; `count` is 1 to 8."""
    lanes = builder.shl(lanes, builder.sub(_constant(64), builder.shl(count, _constant(3))))
    for mask, factor, shift in (
        (0x0F0F0F0F0F0F0F0F, 2561, 8),
        (0x00FF00FF00FF00FF, 6553601, 16),
        (0x0000FFFF0000FFFF, 42949672960001, 32),
    ):
        lanes = builder.lshr(builder.mul(builder.and_(lanes, _constant(mask)), _constant(factor)), _constant(shift))
    return lanes


@_emits(types.boolean, I64)
def is_number(builder: Any, byte: Any) -> Any:
    """``(byte) -> bool``: whether a value that starts with this byte is a number."""
    digit = builder.icmp_unsigned("<", builder.sub(byte, _constant(ord("0"))), _constant(10))
    return builder.or_(digit, builder.icmp_unsigned("==", byte, _constant(ord("-"))))
