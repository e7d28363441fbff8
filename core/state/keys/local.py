"""Group the rows of one batch, for partial aggregation before the exchange. Keeps nothing but scratch space."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from windrow.batch import ALL_VALID, Bytes, Int32s, Int64s, validity
from windrow.kernels import grouping
from windrow.state.keys import rowcode
from windrow.state.keys.secret import secret_hashes
from windrow.state.keys.slots import Slots
from windrow.state.keys.words import bytes_of, kind_of, words

_SAMPLE_ROWS = 8_192
_KEPT_BITS = 20  # scratch space up to this many slots is kept for the thread's next batch

Key = Any  # a pa.Array of a key type, or int64s as they are
Grouped = tuple[Int32s, Int64s]


def group_rows(keys: Sequence[Key], panes: Int64s | None = None, limit: float | None = None) -> Grouped | None:
    """Group id of each row (int32, dense, in order of first appearance), and the first row of each group (int64).

    Rows are one group when all `keys` (Arrow columns, or int64 arrays) and `panes` are equal; null is a value of its
    own.
    With a `limit`, gives up and returns None once at least 8192 rows have been seen and more than `limit` of them were
    the first of their group: grouping would not make the batch much smaller. Thread-safe.
    """
    columns = [*keys] if panes is None else [panes, *keys]
    if not columns:
        raise ValueError("group_rows needs a key or panes")
    scratch = _scratch()
    simple = all(_is_word(column) for column in columns)
    nulls = [not isinstance(column, np.ndarray) and column.null_count > 0 for column in columns]
    if simple and len(columns) == 1:
        ids = _by_word(scratch, _words(columns[0]), _valid(columns[0]), limit)
    elif simple and len(columns) == 2 and not any(nulls):
        ids = _by_pair(scratch, _words(columns[0]), _words(columns[1]), limit)
    else:
        ids = _by_bytes(scratch, columns, limit)
    if ids is None:
        return None
    first = np.empty(scratch.slots.groups, np.int64)
    grouping.first_rows(ids, 0, len(first), first)
    return ids, first


class _Scratch:
    """Slots and group arrays that one thread uses again and again."""

    def __init__(self) -> None:
        self.slots = Slots()
        self.arena: Bytes = np.empty(1 << 16, np.uint8)
        self.fit()

    def fit(self) -> None:
        """As many places for groups as the slots allow; what was in them is kept."""
        room = self.slots.room
        self.first_words: Int64s = _resized(getattr(self, "first_words", np.empty(0, np.int64)), room)
        self.second_words: Int64s = _resized(getattr(self, "second_words", np.empty(0, np.int64)), room)
        self.offsets: Int64s = _resized(getattr(self, "offsets", np.zeros(1, np.int64)), room + 1)


def _resized(array: Int64s, size: int) -> Int64s:
    larger = np.empty(size, np.int64)
    kept = min(size, len(array))
    larger[:kept] = array[:kept]
    return larger


_of_thread = threading.local()


def _scratch() -> _Scratch:
    scratch: _Scratch | None = getattr(_of_thread, "scratch", None)
    if scratch is None or len(scratch.arena) > 1 << 24:
        scratch = _of_thread.scratch = _Scratch()
    before = scratch.slots.bits
    # twice as large as the last batch needed: the next one will be much like it, and sparse slots need fewer probes
    scratch.slots.clear(min(_KEPT_BITS, scratch.slots.bits_for(2 * scratch.slots.groups)))
    if before != scratch.slots.bits:
        scratch.fit()
    return scratch


def _is_word(column: Key) -> bool:
    return isinstance(column, np.ndarray) or kind_of(column.type) == "word"


def _words(column: Key) -> Int64s:
    return column if isinstance(column, np.ndarray) else words(column)


def _valid(column: Key) -> Bytes:
    return ALL_VALID if isinstance(column, np.ndarray) else validity(column)


def _drive(
    scratch: _Scratch, rows: int, limit: float | None, step: Callable[[int, int], int], again: Callable[[], None]
) -> bool:
    """Call ``step(start, stop)`` until all rows are done, making room with `again`; False when it was given up."""
    slots = scratch.slots
    row = 0
    stop = min(rows, _SAMPLE_ROWS) if limit is not None else rows
    while row < rows:
        slots.allow(stop - row)
        row = step(row, stop)
        if limit is not None and row >= _SAMPLE_ROWS and slots.groups > limit * row:
            return False
        if row < stop:
            again()
        else:
            stop = rows
    return True


def _by_word(scratch: _Scratch, values: Int64s, valid: Bytes, limit: float | None) -> Int32s | None:
    slots = scratch.slots
    ids = np.empty(len(values), np.int32)

    def step(start: int, stop: int) -> int:
        done: int = grouping.group_int64(
            values[:stop], valid[:stop], start, slots.multiplier, slots.shift, 1,
            slots.state, slots.slots, scratch.first_words, ids,
        )  # fmt: skip
        return done

    def again() -> None:
        slots.refill(scratch.first_words.view(np.uint64), slots.next_bits())
        scratch.fit()

    return ids if _drive(scratch, len(values), limit, step, again) else None


def _by_pair(scratch: _Scratch, first: Int64s, second: Int64s, limit: float | None) -> Int32s | None:
    slots = scratch.slots
    ids = np.empty(len(first), np.int32)

    def step(start: int, stop: int) -> int:
        done: int = grouping.group_int64x2(
            first[:stop], second[:stop], start, slots.multiplier, slots.shift,
            slots.state, slots.slots, scratch.first_words, scratch.second_words, ids,
        )  # fmt: skip
        return done

    def again() -> None:
        n = slots.groups
        panes, keys = scratch.first_words[:n].view(np.uint64), scratch.second_words[:n].view(np.uint64)
        slots.refill(keys + panes * np.uint64(grouping.PANE_FACTOR), slots.next_bits())
        scratch.fit()

    return ids if _drive(scratch, len(first), limit, step, again) else None


def _by_bytes(scratch: _Scratch, columns: Sequence[Key], limit: float | None) -> Int32s | None:
    slots = scratch.slots
    arrays = [pa.array(column) if isinstance(column, np.ndarray) else column for column in columns]
    valid = ALL_VALID
    if len(arrays) == 1 and kind_of(arrays[0].type) == "bytes":
        offsets, data = bytes_of(arrays[0])
        valid = validity(arrays[0])
    else:
        offsets, data = rowcode.encode(arrays)
    rows = len(offsets) - 1
    hashes = secret_hashes(offsets, data)
    if len(scratch.arena) < len(data):
        scratch.arena = np.empty(len(data), np.uint8)
    scratch.offsets[0] = 0
    ids = np.empty(rows, np.int32)

    def step(start: int, stop: int) -> int:
        done: int = grouping.group_bytes(
            offsets, data, hashes[:stop], valid[:stop], start, slots.multiplier, slots.shift, 1, slots.state,
            slots.slots, scratch.first_words.view(np.uint64), scratch.offsets, scratch.arena, ids,
        )  # fmt: skip
        return done

    def again() -> None:
        slots.refill(scratch.first_words.view(np.uint64), slots.next_bits())
        scratch.fit()

    return ids if _drive(scratch, rows, limit, step, again) else None
