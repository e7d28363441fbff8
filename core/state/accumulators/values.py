"""Aggregates that keep every value as often as it came: exact quantiles, sets, and min, max and count_distinct of rows
that may be taken back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windrow.arrow_types import from_arrow_type
from windrow.batch import Int64s
from windrow.plan.window import Aggregate
from windrow.state.accumulators.bags import Bags
from windrow.state.accumulators.base import Lanes
from windrow.state.accumulators.multiset import Multiset
from windrow.state.columns import fits_int, from_floats, from_ints, is_float, to_floats, to_ints
from windrow.state.keys.order import sortable
from windrow.state.keys.table import KeyTable
from windrow.state.values import list_column, storage_type

_SLACK = 1 << 16
_LARGEST = np.int64(2**63 - 1)


class ValueBag(Bags):
    """Codes are the values themselves where 64 bits hold them in their order, else numbers of a table of values."""

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        plain = fits_int(self.argument) or is_float(self.argument)
        self.code_type = pa.int64() if plain else storage_type(self.argument)
        self._values = None if plain else KeyTable([from_arrow_type(self.code_type)])
        self.apart = plain
        self._kept = 0

    def items(self, column: pa.Array) -> tuple[Int64s, Int64s | int]:
        if self._values is not None:
            return self._values.ids([column]).astype(np.int64), 1
        return sortable(column, False) if is_float(self.argument) else to_ints(column), 1

    def saved_codes(self, codes: Int64s) -> pa.Array:
        if self._values is None:
            return pa.array(codes)
        return self._values.keys(codes.astype(np.int32))[0]

    def loaded_codes(self, saved: pa.Array) -> Int64s:
        return super().loaded_codes(saved) if self._values is None else self._values.ids([saved]).astype(np.int64)

    def decoded(self, codes: Int64s) -> pa.Array:
        """The values of these codes."""
        if self._values is not None:
            kept = self.saved_codes(codes)
            return kept if kept.type == self.argument else kept.cast(self.argument)
        if not is_float(self.argument):
            return from_ints(codes, None, self.argument)
        bits = np.where(codes < 0, codes ^ _LARGEST, codes)
        return from_floats(bits.view(np.float64), None, self.argument)

    def order(self, owners: Int64s, codes: Int64s) -> Int64s:
        """Places of the items by group and value, ascending."""
        if self._values is not None and len(codes):
            codes = to_ints(pc.rank(self.saved_codes(codes), tiebreaker="dense").cast(pa.int64()))
        return np.lexsort((codes, owners))

    def sweep(self, held: Sequence[Lanes]) -> None:
        super().sweep(held)
        if self._values is None or len(self._values) <= 2 * self._kept + _SLACK:
            return
        bags: list[Multiset] = [lanes.arrays[0] for lanes in held]
        used = np.zeros(len(self._values), np.bool_)
        for bag in bags:
            used[bag.codes[bag.amounts != 0]] = True
        self._values.keep(used)
        moved = np.cumsum(used) - 1
        for bag in bags:
            bag.keep(bag.amounts != 0, moved[bag.codes])
        self._kept = len(self._values)


class ExtremeOfBag(ValueBag):
    """min and max, of values that may be taken back: the next one has to be known then."""

    def value_of(self, owners: Int64s, codes: Int64s, amounts: Int64s, size: int) -> pa.Array:
        order = self.order(owners, codes)
        groups = owners[order]
        numbers = np.arange(size)
        if self.aggregate.function == "max":
            places = np.searchsorted(groups, numbers, "right") - 1
        else:
            places = np.searchsorted(groups, numbers, "left")
        some = np.bincount(owners, minlength=size) > 0
        rows = np.zeros(size, np.int64)
        rows[some] = order[places[some]]
        return self.decoded(codes).take(pa.array(rows, mask=~some))


class DistinctOfBag(ValueBag):
    """count_distinct, of values that may be taken back. int64."""

    def value_of(self, owners: Int64s, codes: Int64s, amounts: Int64s, size: int) -> pa.Array:
        return from_ints(np.bincount(owners, minlength=size).astype(np.int64), None, self.type)


class CollectSet(ValueBag):
    """The different values, ascending, the first ``limit`` of them; null for a group of none."""

    def value_of(self, owners: Int64s, codes: Int64s, amounts: Int64s, size: int) -> pa.Array:
        order = self.order(owners, codes)
        groups = owners[order]
        kept = order[np.arange(len(order)) - np.searchsorted(groups, groups) < int(self.aggregate.option("limit"))]
        counts = np.bincount(owners[kept], minlength=size).astype(np.int64)
        made = list_column(self.decoded(codes[kept]), counts, counts > 0)
        return made if made.type == self.type else made.cast(self.type)


class ExactQuantile(ValueBag):
    """The quantile ``q`` with linear interpolation between the two values it lies between, float64."""

    def value_of(self, owners: Int64s, codes: Int64s, amounts: Int64s, size: int) -> pa.Array:
        order = self.order(owners, codes)
        values = to_floats(self.decoded(codes[order]))
        counts, ends = ranks(owners, amounts[order], size)
        some = counts > 0
        rank = float(self.aggregate.option("q")) * (counts[some] - 1)
        below = np.floor(rank).astype(np.int64)
        first = ends.searchsorted(_before(counts)[some] + below, "right")
        second = ends.searchsorted(_before(counts)[some] + np.minimum(below + 1, counts[some] - 1), "right")
        low, high = values[first], values[second]
        results = np.zeros(size)
        share = rank - below
        results[some] = np.where(share == 0, low, low * (1 - share) + high * share)
        return from_floats(results, None if some.all() else some.view(np.uint8), self.type)


def ranks(owners: Int64s, amounts: Int64s, size: int) -> tuple[Int64s, Int64s]:
    """How many values each group has, and how many all items up to each have; in the order of the items."""
    ends: Int64s = np.cumsum(amounts)
    places = np.searchsorted(owners, np.arange(size + 1))
    counts: Int64s = np.diff(np.concatenate([[0], ends])[places])
    return counts, ends


def _before(counts: Int64s) -> Int64s:
    """How many values the groups before each have."""
    before: Int64s = np.cumsum(counts) - counts
    return before
