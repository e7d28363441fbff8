"""count_distinct and collect_list: aggregates whose state is a set or a list for each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from windrow.batch import Bytes, Int32s, Int64s
from windrow.datatypes import DataType
from windrow.errors import StateError
from windrow.plan.window import Aggregate
from windrow.state.accumulators.base import Accumulator, Chosen, Lanes
from windrow.state.columns import Inputs, from_ints, grown
from windrow.state.keys.pairs import PairIndex
from windrow.state.keys.table import KeyTable
from windrow.state.keys.words import kind_of, words
from windrow.state.values import ValueStore, gather, list_column, lists

_SLACK = 1 << 16


class CountDistinct(Accumulator):
    """How many different values: a set of (value, group) pairs. int64."""

    mergeable = False  # a batch's sets would be as large as the batch

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self._name = self.prefix + "values"
        direct = kind_of(self.argument) == "word" and not pa.types.is_decimal(self.argument)
        self._values = None if direct and pa.types.is_int64(self.argument) else KeyTable([DataType(str(self.argument))])
        self.apart = self._values is None
        self._kept = 0

    def new(self, capacity: int) -> Lanes:
        return Lanes([PairIndex(), np.zeros(capacity, np.int64)])  # the pairs; how many of them a group has

    def grow(self, lanes: Lanes, capacity: int) -> None:
        lanes.arrays[1] = grown(lanes.arrays[1], capacity)

    def _add(self, lanes: Lanes, codes: Int64s, ids: Int32s) -> None:
        index, counts = lanes.arrays
        before = index.size
        index.rows(codes, ids)
        np.add.at(counts, index.numbers[before:], 1)

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        valid = inputs.valid(self.aggregate.column, self.aggregate.where)
        column = inputs.column(str(self.aggregate.column))
        if len(valid):
            chosen = np.flatnonzero(valid)
            column, ids = column.take(pa.array(chosen)), ids[chosen]
        self._add(lanes, self._codes(column), ids)

    def _codes(self, column: pa.Array) -> Int64s:
        if self._values is None:
            return words(column)
        return self._values.ids([column]).astype(np.int64)

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        index = other.arrays[0]
        self._add(lanes, index.codes, ids[index.numbers])

    def select(self, lanes: Lanes, rows: Chosen) -> Lanes:
        index = lanes.arrays[0]
        places, counts = gather(index.numbers, rows)
        made = PairIndex()
        made.replace(index.codes[places], np.repeat(np.arange(len(counts), dtype=np.int32), counts))
        return Lanes([made, counts.astype(np.int64)])

    def results(self, lanes: Lanes, rows: Int32s) -> pa.Array:
        return from_ints(lanes.arrays[1][rows], None, self.type)

    def put(self, lanes: Lanes, flags: Bytes, rows: Chosen, other: Lanes) -> None:
        index = lanes.arrays[0]
        targets = np.arange(rows.start or 0, rows.stop, dtype=np.int32) if isinstance(rows, slice) else rows
        stale = np.isin(index.numbers, targets)
        if stale.any():
            index.keep(np.flatnonzero(~stale).astype(np.int32))
        lanes.arrays[1][targets] = 0
        self._add(lanes, other.arrays[0].codes, targets[other.arrays[0].numbers])

    def save(self, lanes: Lanes, rows: Chosen) -> dict[str, pa.Array]:
        index = lanes.arrays[0]
        places, counts = gather(index.numbers, rows)
        codes = index.codes[places]
        values = (
            from_ints(codes, None, self.argument)
            if self._values is None
            else self._values.keys(codes.astype(np.int32))[0]
        )
        return {self._name: list_column(values, counts)}

    def load(self, columns: Mapping[str, pa.Array]) -> Lanes:
        values, rows = lists(_list_of(columns, self._name, self.argument, self.describe()))
        made = PairIndex()
        made.replace(self._codes(values), rows)
        return Lanes([made, np.bincount(rows, minlength=len(columns[self._name])).astype(np.int64)])

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        return from_ints(lanes.arrays[1][:size], None, self.type)

    def sweep(self, held: Sequence[Lanes]) -> None:
        if self._values is None or len(self._values) <= 2 * self._kept + _SLACK:
            return
        used = np.zeros(len(self._values), np.bool_)
        for lanes in held:
            used[lanes.arrays[0].codes] = True
        self._values.keep(used)
        moved = np.cumsum(used) - 1
        for lanes in held:
            lanes.arrays[0].replace(moved[lanes.arrays[0].codes], lanes.arrays[0].numbers.copy())
        self._kept = len(self._values)

    def nbytes(self, lanes: Lanes) -> int:
        return int(lanes.arrays[0].nbytes + lanes.arrays[1].nbytes)


class Bag:
    """Items of many groups in the order in which they came."""

    def __init__(self) -> None:
        self.size = 0
        self.pruned = 0  # size after the last pruning
        self._rows: Int32s = np.empty(0, np.int32)
        self._times: Int64s = np.empty(0, np.int64)
        self._origins: Int64s = np.empty(0, np.int64)
        self._refs: Int64s = np.empty(0, np.int64)

    @property
    def rows(self) -> Int32s:
        return self._rows[: self.size]

    @property
    def times(self) -> Int64s:
        return self._times[: self.size]

    @property
    def origins(self) -> Int64s:
        return self._origins[: self.size]

    @property
    def refs(self) -> Int64s:
        return self._refs[: self.size]

    def append(self, rows: Int32s, times: Int64s, origins: Int64s, refs: Int64s) -> None:
        size = self.size + len(rows)
        if size > len(self._rows):
            room = max(size, 2 * self.size, 64)
            self._rows = grown(self.rows, room)  # type: ignore[assignment]
            self._times = grown(self.times, room)  # type: ignore[assignment]
            self._origins = grown(self.origins, room)  # type: ignore[assignment]
            self._refs = grown(self.refs, room)  # type: ignore[assignment]
        new = slice(self.size, size)
        self._rows[new], self._times[new], self._origins[new], self._refs[new] = rows, times, origins, refs
        self.size = size

    def keep(self, places: np.ndarray[tuple[int], np.dtype[np.intp]]) -> None:
        """Have only the items at these places, in this order."""
        self._rows, self._times = self._rows[places], self._times[places]
        self._origins, self._refs = self._origins[places], self._refs[places]
        self.size = self.pruned = len(places)

    def sorted(self, limit: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Places of the first `limit` items of each group, by group, time, and order of arrival."""
        order = np.lexsort((self.origins, self.times, self.rows))
        rows = self.rows[order]
        first = np.searchsorted(rows, rows, "left")
        return order[np.arange(len(rows)) - first < limit]

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes + self._times.nbytes + self._origins.nbytes + self._refs.nbytes


class CollectList(Accumulator):
    """The first values of a group in event order, as many as the option ``limit`` says; null for a group of none."""

    mergeable = False
    apart = False

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self._limit = int(aggregate.option("limit") or 2**31 - 1)
        self._store = ValueStore(self.argument)

    def new(self, capacity: int) -> Lanes:
        return Lanes([Bag()])

    def grow(self, lanes: Lanes, capacity: int) -> None:
        pass

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        valid = inputs.valid(self.aggregate.column, self.aggregate.where)
        chosen = np.flatnonzero(ids >= 0 if len(valid) == 0 else (ids >= 0) & (valid != 0))
        values = inputs.column(str(self.aggregate.column))
        refs = self._store.add(values.take(pa.array(chosen)))
        self._append(lanes.arrays[0], ids[chosen], inputs.times[chosen], inputs.origins[chosen], refs)

    def _append(self, bag: Bag, rows: Int32s, times: Int64s, origins: Int64s, refs: Int64s) -> None:
        bag.append(rows, times, origins, refs)
        if bag.size > 2 * bag.pruned + 4096:
            bag.keep(bag.sorted(self._limit))

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        bag: Bag = other.arrays[0]
        rows = ids[bag.rows]
        some = rows >= 0
        self._append(lanes.arrays[0], rows[some], bag.times[some], bag.origins[some], bag.refs[some])

    def select(self, lanes: Lanes, rows: Chosen) -> Lanes:
        bag: Bag = lanes.arrays[0]
        places, counts = gather(bag.rows, rows)
        numbers = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        made = Bag()
        made.append(numbers, bag.times[places], bag.origins[places], bag.refs[places])
        return Lanes([made])

    def put(self, lanes: Lanes, flags: Bytes, rows: Chosen, other: Lanes) -> None:
        bag: Bag = lanes.arrays[0]
        targets = np.arange(rows.start or 0, rows.stop, dtype=np.int32) if isinstance(rows, slice) else rows
        stale = np.isin(bag.rows, targets)
        if stale.any():
            bag.keep(np.flatnonzero(~stale))
        new: Bag = other.arrays[0]
        bag.append(targets[new.rows], new.times, new.origins, new.refs)

    def save(self, lanes: Lanes, rows: Chosen) -> dict[str, pa.Array]:
        bag: Bag = lanes.arrays[0]
        places, counts = gather(bag.rows, rows)
        return {
            self.prefix + "times": list_column(pa.array(bag.times[places]), counts),
            self.prefix + "origins": list_column(pa.array(bag.origins[places]), counts),
            self.prefix + "values": list_column(self._store.column(bag.refs[places], None), counts),
        }

    def load(self, columns: Mapping[str, pa.Array]) -> Lanes:
        parts = {
            name: lists(_list_of(columns, self.prefix + name, type_, self.describe()))
            for name, type_ in (("times", pa.int64()), ("origins", pa.int64()), ("values", self.argument))
        }
        made = Bag()
        refs = self._store.add(parts["values"][0])
        made.append(parts["times"][1], parts["times"][0].to_numpy(), parts["origins"][0].to_numpy(), refs)
        return Lanes([made])

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        bag: Bag = lanes.arrays[0]
        places = bag.sorted(self._limit)
        counts = np.bincount(bag.rows[places], minlength=size)[:size]
        made = list_column(self._store.column(bag.refs[places], None), counts, counts > 0)
        return made if made.type == self.type else made.cast(self.type)

    def sweep(self, held: Sequence[Lanes]) -> None:
        if self._store.full_of_garbage:
            self._store.sweep([lanes.arrays[0].refs for lanes in held])

    def nbytes(self, lanes: Lanes) -> int:
        return int(lanes.arrays[0].nbytes)


def _list_of(columns: Mapping[str, pa.Array], name: str, type_: pa.DataType, what: str) -> pa.Array:
    held = columns.get(name)
    if held is None or not pa.types.is_list(held.type) or held.type.value_type != type_:
        there = "missing" if held is None else str(held.type)
        raise StateError(f"saved state column {name} is {there}; {what} expects lists of {type_}")
    return held
