"""The table that turns key columns into dense ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import ALL_VALID, Bytes, Int32s, Int64s, UInt64s, validity
from windrow.datatypes import DataType
from windrow.kernels import grouping
from windrow.state.keys import rowcode
from windrow.state.keys.local import group_rows
from windrow.state.keys.secret import secret_hashes
from windrow.state.keys.slots import Slots
from windrow.state.keys.words import bytes_array, bytes_of, check_key_types, kind_of, word_array, words

__all__ = ["KeyTable", "check_key_types", "group_rows"]


class KeyTable:
    """Key columns to dense int32 ids, in order of first appearance.

    A null is a key value of its own, as in SQL's GROUP BY; NaN is equal to NaN, -0.0 to 0.0. Ids depend on nothing
    but the keys and their order. Used by one thread at a time. `expected` keys fit without growing.

    Raises `PlanError` for a type that cannot be a key, `StateError` when there are too many keys for int32 ids.
    """

    def __init__(self, types: Sequence[DataType], expected: int = 0) -> None:
        check_key_types(types)
        self._types = [to_arrow_type(type_) for type_ in types]
        kinds = [kind_of(type_) for type_ in self._types]
        self._store: _Words | _Strings | _Rows
        if kinds == ["word"]:
            self._store = _Words(self._types[0], expected)
        elif kinds == ["bytes"]:
            self._store = _Strings(self._types[0], expected)
        else:
            self._store = _Rows(self._types, expected)

    def __len__(self) -> int:
        return self._store.slots.groups

    @property
    def nbytes(self) -> int:
        """Bytes held, including room for keys to come."""
        return self._store.nbytes

    def ids(self, keys: Sequence[pa.Array]) -> Int32s:
        """The id of each row's key; a key that was not there gets the next id."""
        return self._store.ids(self._cast(keys), add=True)

    def find(self, keys: Sequence[pa.Array]) -> Int32s:
        """The id of each row's key, -1 for a key that is not there."""
        return self._store.ids(self._cast(keys), add=False)

    @property
    def by_value(self) -> bool:
        """Whether keys are placed by their value, as in a dense array, and not hashed."""
        return self._store.slots.by_value

    def settle(self) -> None:
        """All keys that are expected have come: place them by value if they lie close together."""
        if isinstance(self._store, _Words):
            self._store.settle()

    def keys(self, ids: Int32s | None = None) -> list[pa.Array]:
        """The key columns of these ids, or of all in order, with the declared types."""
        return self._store.keys(ids)

    def keep(self, mask: npt.NDArray[np.generic]) -> None:
        """Drop the ids where `mask` (as long as the table) is 0; the others move together and keep their order."""
        self._store.keep(np.flatnonzero(mask))

    def clear(self) -> None:
        """Drop all keys, and the memory they took."""
        self._store.clear()

    def _cast(self, keys: Sequence[pa.Array]) -> list[pa.Array]:
        cast = []
        for column, type_ in zip(keys, self._types, strict=True):
            whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            cast.append(whole if whole.type == type_ else whole.cast(type_))
        return cast


def _moved_null(null_id: int, kept: npt.NDArray[np.intp]) -> int:
    """The null key's id after only `kept` (sorted) are left."""
    place = int(np.searchsorted(kept, null_id))
    return place if null_id >= 0 and place < len(kept) and kept[place] == null_id else -1


class _Words:
    """Keys that are an int64 each."""

    def __init__(self, type_: pa.DataType, expected: int) -> None:
        self._type = type_
        self.slots = Slots(expected)
        self._words: Int64s = np.empty(self.slots.room, np.int64)

    @property
    def nbytes(self) -> int:
        return self._words.nbytes + self.slots.slots.nbytes

    def ids(self, keys: Sequence[pa.Array], add: bool) -> Int32s:
        values, valid = words(keys[0]), validity(keys[0])
        slots = self.slots
        ids = np.empty(len(values), np.int32)
        row = 0
        while True:
            slots.allow(len(values) - row)
            row = grouping.group_int64(
                values, valid, row, slots.multiplier, slots.shift, int(add), slots.state, slots.slots, self._words, ids
            )
            if row < len(values) or slots.overspent:
                self._rehash(slots.next_bits())
            if row == len(values):
                return ids

    def settle(self) -> None:
        if not self.slots.by_value and self.slots.lie_close(self._words.view(np.uint64)):
            self._rehash(self.slots.bits)

    def _rehash(self, bits: int) -> None:
        self.slots.refill(self._words.view(np.uint64), bits, placing=True)
        if len(self._words) != self.slots.room:
            larger = np.empty(self.slots.room, np.int64)
            larger[: self.slots.groups] = self._words[: self.slots.groups]
            self._words = larger

    def keys(self, ids: Int32s | None) -> list[pa.Array]:
        n = self.slots.groups
        values = self._words[:n].copy() if ids is None else self._words.take(ids)
        null_id = self.slots.null_id
        if null_id < 0:
            return [word_array(values, ALL_VALID, self._type)]
        present = np.arange(n, dtype=np.int32) != null_id if ids is None else ids != null_id
        return [word_array(values, present.view(np.uint8), self._type)]

    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        values = self._words.take(kept)
        null_id = _moved_null(self.slots.null_id, kept)
        self.slots.clear()
        self.slots.state[:2] = (len(kept), null_id)
        self._words = values
        self._rehash(self.slots.bits_for(len(kept)))

    def clear(self) -> None:
        self.slots.clear()
        self._words = np.empty(self.slots.room, np.int64)


class _Strings:
    """Keys that are a run of bytes each, kept one after the other in an arena."""

    def __init__(self, type_: pa.DataType, expected: int) -> None:
        self._type = type_
        self.slots = Slots(expected)
        self._reset(expected)

    def _reset(self, expected: int = 0) -> None:
        self._hashes: UInt64s = np.empty(self.slots.room, np.uint64)
        self._offsets: Int64s = np.zeros(self.slots.room + 1, np.int64)
        self._arena: Bytes = np.empty(max(1024, 16 * expected), np.uint8)

    @property
    def nbytes(self) -> int:
        return self._hashes.nbytes + self._offsets.nbytes + self._arena.nbytes + self.slots.slots.nbytes

    def ids(self, keys: Sequence[pa.Array], add: bool) -> Int32s:
        offsets, data = bytes_of(keys[0])
        return self._ids(offsets, data, validity(keys[0]), add)

    def _ids(self, offsets: Int64s, data: Bytes, valid: Bytes, add: bool) -> Int32s:
        rows = len(offsets) - 1
        hashes = secret_hashes(offsets, data)
        slots = self.slots
        ids = np.empty(rows, np.int32)
        row = 0
        while True:
            slots.allow(rows - row)
            row = grouping.group_bytes(
                offsets, data, hashes, valid, row, slots.multiplier, slots.shift, int(add),
                slots.state, slots.slots, self._hashes, self._offsets, self._arena, ids,
            )  # fmt: skip
            full = slots.groups >= slots.room
            if full or slots.overspent:
                self._rehash(slots.next_bits())
            elif row < rows:
                self._grow_arena(int(offsets[row + 1] - offsets[row]))
            if row == rows:
                return ids

    def _rehash(self, bits: int) -> None:
        self.slots.refill(self._hashes, bits)
        room, n = self.slots.room, self.slots.groups
        if len(self._hashes) != room:
            hashes, offsets = np.empty(room, np.uint64), np.zeros(room + 1, np.int64)
            hashes[:n] = self._hashes[:n]
            offsets[: n + 1] = self._offsets[: n + 1]
            self._hashes, self._offsets = hashes, offsets

    def _grow_arena(self, needed: int) -> None:
        used = int(self._offsets[self.slots.groups])
        larger = np.empty(max(2 * len(self._arena), used + needed), np.uint8)
        larger[:used] = self._arena[:used]
        self._arena = larger

    def keys(self, ids: Int32s | None) -> list[pa.Array]:
        wanted = np.arange(self.slots.groups, dtype=np.int32) if ids is None else ids
        offsets, data = self._taken(wanted)
        null = wanted == self.slots.null_id
        return [bytes_array(offsets, data, (~null).view(np.uint8) if null.any() else ALL_VALID, self._type)]

    def _taken(self, ids: npt.NDArray[np.signedinteger]) -> tuple[Int64s, Bytes]:
        """Offsets and bytes of these groups; only what they need is copied."""
        n = self.slots.groups
        there = bytes_array(self._offsets[: n + 1], self._arena, ALL_VALID, pa.large_binary())
        offsets, data = bytes_of(there.take(pa.array(ids)))
        return offsets - offsets[0], data[int(offsets[0]) : int(offsets[-1])]

    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        hashes = self._hashes.take(kept)
        offsets, data = self._taken(kept)
        null_id = _moved_null(self.slots.null_id, kept)
        self.slots.clear()
        self.slots.state[:2] = (len(kept), null_id)
        self._hashes, self._offsets = hashes, offsets
        self._arena = np.array(data)
        self._rehash(self.slots.bits_for(len(kept)))

    def clear(self) -> None:
        self.slots.clear()
        self._reset()


class _Rows(_Strings):
    """Compound keys, encoded row by row into bytes; nulls are inside the bytes."""

    def __init__(self, types: Sequence[pa.DataType], expected: int) -> None:
        super().__init__(pa.large_binary(), expected)
        self._types = list(types)

    def ids(self, keys: Sequence[pa.Array], add: bool) -> Int32s:
        offsets, data = rowcode.encode(keys)
        return self._ids(offsets, data, ALL_VALID, add)

    def keys(self, ids: Int32s | None) -> list[pa.Array]:
        starts = self._offsets[: self.slots.groups]
        return rowcode.decode(self._arena, starts if ids is None else starts.take(ids), self._types)
