"""Rows by condition: tests of text, and the row numbers of a mask. A mask is an Arrow bitmap, a bit a row."""

from __future__ import annotations

import numpy as np

from windrow.kernels._bytes import address, get8, get64, trailing_zeros
from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, NONE, R_I32, R_U8, W_I64, W_U8
from windrow.kernels.grouping import same_bytes

#: Bits that are looked at together: a word of 64 from any bit of its first byte on has at least so many.
_RUN = 56
_SPARSE = 8  # set bits in a run: fewer are gone to one by one, more are written without a branch
_ONE = np.uint64(1)


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
