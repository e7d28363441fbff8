"""The open-addressing side of a key table: slots, their hash multiplier, growth and the guard against bad luck.

Keys live elsewhere; this only knows how many there are and what 64-bit word each one is found by.

Words that lie close together, as numbers that count something do, are placed by value: with the multiplier
``2 ** shift`` a word's slot is its lowest bits, so that a range that is not longer than the table meets nowhere, and
neighbours lie side by side. That is a dense array, by the same kernels; a word from outside the range is found too, and
when those meet too often the budget of probes runs out, as with any multiplier that turns out badly, and the table is
hashed. Of 100 k numbers in a row a row costs 3.1 ns instead of 5.6, of 1 k and of 10 M a tenth less.
"""

from __future__ import annotations

import secrets

import numpy as np

from windrow.batch import Int32s, Int64s, UInt64s
from windrow.errors import StateError
from windrow.kernels import grouping, windows

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST_BITS = 10
_LARGEST_BITS = 32
#: A table is at most 3/8 full: with 1 k keys it does 150 M rows/s at 1/2 and 330 M at 1/4 (an extra probe is a
#: mispredicted branch).
_ROOM = (3, 8)
_QUICK_BITS = 18  # below this a table grows fourfold
_PROBES_PER_ROW = 6  # random keys need 0.1 to 0.6
_RESEEDS = 4  # after so many new multipliers, slowness is accepted


class Slots:
    """Slots of one table; ``state`` is what the kernels in ``grouping`` call so."""

    def __init__(self, expected: int = 0) -> None:
        self.multiplier = np.uint64(_GOLDEN)
        self.by_value = False
        self.state: Int64s = np.array([0, -1, 0], np.int64)
        self._reseeds = 0
        self.slots: Int32s = np.empty(0, np.int32)
        self._size(self.bits_for(expected))
        self.slots.fill(-1)

    @property
    def groups(self) -> int:
        return int(self.state[0])

    @property
    def null_id(self) -> int:
        return int(self.state[1])

    @property
    def room(self) -> int:
        """How many groups these slots may hold."""
        return _room(self.bits)

    def _size(self, bits: int) -> None:
        """So many slots, with anything in them: whoever asks fills them, once (a page's first touch is what costs)."""
        if bits > _LARGEST_BITS:
            raise StateError("more than 1 500 million keys in one shard; create the job with more shards")
        self.bits = bits
        self.shift = np.uint64(64 - bits)
        if len(self.slots) != 1 << bits:
            self.slots = np.empty(1 << bits, np.int32)

    def clear(self, bits: int = _FIRST_BITS) -> None:
        """No groups, in slots of this size."""
        self.state[:] = (0, -1, 0)
        self._reseeds = 0
        self._hash()
        self._size(bits)
        self.slots.fill(-1)

    def allow(self, rows: int) -> None:
        """Set the budget of extra probes for `rows` rows."""
        self.state[2] = _PROBES_PER_ROW * rows + 4096 if self._reseeds < _RESEEDS else 2**62

    @property
    def overspent(self) -> bool:
        return bool(self.state[2] < 0)

    def bits_for(self, groups: int) -> int:
        """The smallest size for so many groups."""
        bits = _FIRST_BITS
        while _room(bits) < groups:
            bits += 1
        return bits

    def next_bits(self) -> int:
        """The size after this one: larger when the table is full, else the same."""
        if self.groups < self.room:
            return self.bits
        return self.bits + (2 if self.bits < _QUICK_BITS else 1)

    def refill(self, words: UInt64s, bits: int, *, placing: bool = False) -> None:
        """Put all groups into slots of this size: by value when `placing` and the words lie so close together, else
        hashed; with another multiplier if too many have met in one place."""
        met = self.overspent
        self._size(bits)
        if placing and not met and self.lie_close(words):
            self.multiplier, self.by_value = np.uint64(1 << (64 - bits)), True
        elif met:
            # which slot a key has is nobody's business: ids do not depend on it
            self.multiplier, self.by_value = np.uint64(secrets.randbits(64) | 1), False
            self._reseeds += 1
        else:
            self._hash()
        grouping.rehash(words, self.groups, self.null_id, self.multiplier, self.shift, self.slots)

    def _hash(self) -> None:
        """From placing by value back to a multiplier that suits any words."""
        if self.by_value:
            self.multiplier, self.by_value = np.uint64(_GOLDEN), False

    def lie_close(self, words: UInt64s) -> bool:
        """Whether the words of all groups (that of a null key is 0) span no more than the slots."""
        if not self.groups:
            return False
        bounds = np.empty(2, np.int64)
        windows.least_and_most(words[: self.groups].view(np.int64), bounds)
        return int(bounds[1]) - int(bounds[0]) < 1 << self.bits


def _room(bits: int) -> int:
    return (1 << bits) * _ROOM[0] // _ROOM[1]
