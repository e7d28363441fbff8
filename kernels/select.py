"""Rows by condition: tests of text and of whole numbers, and the row numbers of a mask (an Arrow bitmap)."""

from __future__ import annotations

import numpy as np

from windrow.kernels._bytes import address, get8, get64, trailing_zeros
from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, NONE, R_I32, R_I64, R_U8, W_I64, W_U8
from windrow.kernels.grouping import same_bytes

#: Bits that are looked at together: a word of 64 from any bit of its first byte on has at least so many.
_RUN = 56
_SPARSE = 8  # set bits in a run: fewer are gone to one by one, more are written without a branch
_ONE = np.uint64(1)

#: How `compare_ints` compares.
EQUAL, LESS, GREATER = 0, 1, 2
_LEAST = -(2**63)


@kernel(I64(R_U8, I64, I64, W_I64))
def rows_of_bits(bits, first, count, rows):  # type: ignore[no-untyped-def]
    """The numbers of those of `count` rows whose bit is set, bit `first` being that of row 0; returns how many.

    Many are written without a branch: each row number is, and the next one overwrites it unless its bit is set. So
    `rows` has room for `count`.
    """
    start, end = address(bits), bits.shape[0]
    found = np.int64(0)
    row = 0
    while row < count:
        at = (first + row) >> 3
        left = min(count - row, _RUN)
        if at + 8 <= end:
            word = get64(start + at) >> np.uint64((first + row) & 7)
        else:
            left = min(left, 8 - ((first + row) & 7))
            word = np.uint64(get8(start + at)) >> np.uint64((first + row) & 7)
        word &= (_ONE << np.uint64(left)) - _ONE
        few = word
        for _ in range(_SPARSE):
            few &= few - _ONE
        if few == 0:
            while word != 0:
                rows[found] = row + trailing_zeros(word)
                found += 1
                word &= word - _ONE
        else:
            for i in range(left):
                rows[found] = row + i
                found += np.int64(word & _ONE)
                word >>= _ONE
        row += left
    return found


@kernel(NONE(R_I32, R_U8, R_U8, I64, W_U8))
def same_text(offsets, data, text, wanted, bits):  # type: ignore[no-untyped-def]
    """Set bit i of `bits` when string i is `text` (`wanted` 1) or is not (0).

    A text of up to 8 bytes is compared as one word, eight rows at a time without a branch, up to the rows that end
    less than a word before the data does.
    """
    source, other, size = address(data), address(text), text.shape[0]
    count = offsets.shape[0] - 1
    plain = count if size <= 8 else 0
    while plain > 0 and offsets[plain - 1] + 8 > data.shape[0]:
        plain -= 1
    word, mask = np.uint64(0), np.uint64(0)
    for i in range(min(size, 8)):
        word |= np.uint64(get8(other + i)) << np.uint64(8 * i)
        mask |= np.uint64(0xFF) << np.uint64(8 * i)
    same = np.uint64(wanted)
    for place in range(plain >> 3):
        byte = np.uint64(0)
        for bit in range(8):
            row = np.uint64(8 * place + bit)
            begin = np.int64(offsets[row])
            longer = np.int64(offsets[row + _ONE]) - begin - size
            differs = ((get64(source + begin) ^ word) & mask) | np.uint64(longer)
            byte |= np.uint64((differs == 0) == same) << np.uint64(bit)
        bits[place] = np.uint8(byte)
    bits[plain >> 3 :] = 0
    for at in range(plain & ~7, count):
        begin = np.int64(offsets[at])
        equal = np.int64(offsets[at + 1]) - begin == size and same_bytes(source + begin, other, size)
        bits[at >> 3] |= np.uint8(np.uint64(equal == same) << np.uint64(at & 7))


@kernel(NONE(R_I64, I64, I64, I64, W_U8))
def compare_ints(values, compare, limit, wanted, results):  # type: ignore[no-untyped-def]
    """``results[i]`` is 1 when value i is equal to, less or greater than `limit` (`wanted` 1), or is not (0)."""
    flip = np.uint8(1 - wanted)
    if compare == EQUAL:
        for i in range(values.size):
            results[i] = np.uint8(values[i] == limit) ^ flip
    elif compare == LESS:
        for i in range(values.size):
            results[i] = np.uint8(values[i] < limit) ^ flip
    else:
        for i in range(values.size):
            results[i] = np.uint8(values[i] > limit) ^ flip


@kernel(NONE(R_I64, I64, I64, I64, W_U8))
def same_remainder(values, divisor, remainder, wanted, results):  # type: ignore[no-untyped-def]
    """``results[i]`` is 1 when value i divided by `divisor` leaves `remainder` (`wanted` 1), or does not (0).

    0 <= remainder < divisor; the remainder of a negative value is not negative. Without a division: a number is a
    multiple of an odd one when its product with the inverse of that modulo 2**64 is small (Granlund and Montgomery,
    Division by Invariant Integers using Multiplication, PLDI 1994, section 9): 0.4 ns a value, polars takes 2.1.
    """
    flip = np.uint8(1 - wanted)
    least = np.int64(0)
    for i in range(values.size):
        least = min(least, values[i])
    if least < _LEAST + divisor:  # less than the remainder would leave the 64 bits
        for i in range(values.size):
            results[i] = np.uint8(values[i] % divisor == remainder) ^ flip
        return
    twos = np.uint64(trailing_zeros(np.uint64(divisor)))
    odd = np.uint64(divisor) >> twos
    inverse = odd  # right to 3 bits, and to twice as many with each step
    for _ in range(5):
        inverse *= np.uint64(2) - odd * inverse
    bound = (np.uint64(2**63 - 1) // odd) & ~((_ONE << twos) - _ONE)
    most = (bound + bound) >> twos
    rest = np.uint64(64) - twos
    for i in range(values.size):
        product = np.uint64(values[i] - remainder) * inverse + bound
        turned = (product >> twos) | ((product << (rest - _ONE)) << _ONE)
        results[i] = np.uint8(turned <= most) ^ flip
