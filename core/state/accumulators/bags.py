"""Aggregates whose state is a `Multiset` for each group: what they have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from windrow.batch import Bytes, Int32s, Int64s
from windrow.errors import InvariantError, StateError
from windrow.state.accumulators.base import Accumulator, Chosen, Lanes
from windrow.state.accumulators.multiset import Multiset
from windrow.state.columns import Inputs, all_rows
from windrow.state.values import list_column, lists


class Bags(Accumulator):
    """Items are made of the values of a batch by `items`; `value_of` makes a result of the items of each group.

    Groups are merged item by item, by adding amounts unless `combine` says otherwise, so that no order of merging
    shows; and they can be taken back, where amounts are added.
    """

    combine: np.ufunc = np.add
    code_type: pa.DataType = pa.int64()  # of codes as they are saved

    @abstractmethod
    def items(self, column: pa.Array) -> tuple[Int64s, Int64s | int]:
        """The code of each of some values that are not null, and its amount."""

    @abstractmethod
    def value_of(self, owners: Int64s, codes: Int64s, amounts: Int64s, size: int) -> pa.Array:
        """The result of groups ``0 .. size - 1`` by their items; `owners`, the group of each item, is ascending."""

    def order(self, owners: Int64s, codes: Int64s) -> Int64s:
        """Places of the items by group and code, ascending."""
        return np.lexsort((codes, owners))

    def saved_codes(self, codes: Int64s) -> pa.Array:
        return pa.array(codes)

    def loaded_codes(self, saved: pa.Array) -> Int64s:
        return np.asarray(saved.to_numpy(), np.int64)

    def new(self, capacity: int) -> Lanes:
        return Lanes([Multiset(capacity)])

    def grow(self, lanes: Lanes, capacity: int) -> None:
        lanes.arrays[0].grow(capacity)

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        valid = inputs.valid(self.aggregate.column, self.aggregate.where)
        counted = ids >= 0 if len(valid) == 0 else (ids >= 0) & (valid != 0)
        column = inputs.column(str(self.aggregate.column))
        if not counted.all():
            chosen = np.flatnonzero(counted)
            column, ids = column.take(pa.array(chosen)), ids[chosen]
        if len(ids):
            codes, amounts = self.items(column)
            lanes.arrays[0].add(ids, codes, amounts, self.combine)
            self.added(lanes, ids)

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        bag: Multiset = other.arrays[0]
        groups = ids[bag.groups]
        lanes.arrays[0].add(groups, bag.codes, bag.amounts, self.combine)
        self.added(lanes, groups)

    def added(self, lanes: Lanes, ids: Int32s) -> None:
        """An item has come to each of these groups; a negative one does not count. Here: any number is fine."""

    def select(self, lanes: Lanes, rows: Chosen) -> Lanes:
        bag: Multiset = lanes.arrays[0]
        groups = _numbers(rows)
        places, owners = bag.of(groups)
        made = Multiset(len(groups))
        made.add(owners.astype(np.int32), bag.codes[places], bag.amounts[places])
        return Lanes([made])

    def put(self, lanes: Lanes, flags: Bytes, rows: Chosen, other: Lanes) -> None:
        targets = _numbers(rows)
        bag: Multiset = other.arrays[0]
        lanes.arrays[0].clear(targets)
        lanes.arrays[0].add(targets[bag.groups], bag.codes, bag.amounts)

    def save(self, lanes: Lanes, rows: Chosen) -> dict[str, pa.Array]:
        bag: Multiset = lanes.arrays[0]
        groups = _numbers(rows)
        places, owners = bag.of(groups)
        counts = np.bincount(owners, minlength=len(groups)).astype(np.int64)
        places = places[self.order(owners, bag.codes[places])]  # equal bags are saved alike, however they came about
        return {
            self.prefix + "codes": list_column(self.saved_codes(bag.codes[places]), counts),
            self.prefix + "amounts": list_column(pa.array(bag.amounts[places]), counts),
        }

    def load(self, columns: Mapping[str, pa.Array]) -> Lanes:
        saved, groups = lists(self._saved(columns, "codes", self.code_type))
        amounts, _ = lists(self._saved(columns, "amounts", pa.int64()))
        made = Multiset(len(columns[self.prefix + "codes"]))
        made.add(groups, self.loaded_codes(saved), np.asarray(amounts.to_numpy(), np.int64))
        return Lanes([made])

    def _saved(self, columns: Mapping[str, pa.Array], name: str, type_: pa.DataType) -> pa.Array:
        held = columns.get(self.prefix + name)
        if held is None or not pa.types.is_list(held.type) or held.type.value_type != type_:
            there = "missing" if held is None else str(held.type)
            raise StateError(
                f"saved state column {self.prefix}{name} is {there}; {self.describe()} expects lists of {type_}"
            )
        return held

    def saved_ints(self, columns: Mapping[str, pa.Array], name: str) -> Int64s:
        """A saved column of one int64 a group."""
        held = columns.get(self.prefix + name)
        if held is None or held.type != pa.int64():
            there = "missing" if held is None else str(held.type)
            raise StateError(f"saved state column {self.prefix}{name} is {there}; {self.describe()} expects int64")
        return np.asarray(held.to_numpy(), np.int64)

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        return self.results(lanes, all_rows(size))

    def results(self, lanes: Lanes, rows: Int32s) -> pa.Array:
        bag: Multiset = lanes.arrays[0]
        places, owners = bag.of(rows)
        amounts = bag.amounts[places]
        if len(amounts) and amounts.min() < 0:
            raise InvariantError(f"{self.describe()} was told to take back a value that it was never given")
        return self.value_of(owners, bag.codes[places], amounts, len(rows))

    def negate(self, lanes: Lanes) -> None:
        lanes.arrays[0].negate()

    def sweep(self, held: Sequence[Lanes]) -> None:
        for lanes in held:
            lanes.arrays[0].compact()

    def nbytes(self, lanes: Lanes) -> int:
        return int(lanes.arrays[0].nbytes)


def _numbers(rows: Chosen) -> Int32s:
    return np.arange(rows.start or 0, rows.stop, dtype=np.int32) if isinstance(rows, slice) else rows
