"""The values that come most often, in bounded memory: a mergeable Misra-Gries summary for each group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Bytes, Int32s, Int64s
from windrow.plan.window import Aggregate
from windrow.state.accumulators.base import Chosen, Lanes
from windrow.state.accumulators.multiset import Multiset
from windrow.state.accumulators.values import ValueBag
from windrow.state.columns import all_rows, from_ints, grown
from windrow.state.values import list_column


class HeavyHitters(ValueBag):
    """The ``n`` most frequent values, most frequent first, as structs of value, count and error.

    Misra and Gries, "Finding repeated elements", 1982, merged after Agarwal et al., "Mergeable summaries", PODS 2012:
    when a group holds more than ``capacity`` values, the count of the one of rank ``capacity + 1`` is taken off all,
    and those that have nothing left are dropped. What was taken off is the error: a value that came f times has a
    count from ``f - error`` to f, and the error is at most ``values / (capacity + 1)``. With no more different values
    than the capacity nothing is ever taken off.

    Lanes: the counts; what was taken off; and at most how many values a group holds, so that they need not be counted
    with each row.
    """

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self._capacity = int(aggregate.option("capacity"))
        self._n = int(aggregate.option("n"))

    def new(self, capacity: int) -> Lanes:
        return Lanes([Multiset(capacity), np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)])

    def grow(self, lanes: Lanes, capacity: int) -> None:
        super().grow(lanes, capacity)
        lanes.arrays[1:] = [grown(array, capacity) for array in lanes.arrays[1:]]

    def added(self, lanes: Lanes, ids: Int32s) -> None:
        _, errors, held = lanes.arrays
        np.add.at(held, ids[ids >= 0], 1)
        many = np.unique(ids[ids >= 0])
        many = many[held[many] > self._capacity]
        if len(many):
            self._prune(lanes.arrays[0], errors, held, many)

    def _prune(self, bag: Multiset, errors: Int64s, held: Int64s, groups: Int32s) -> None:
        """Have at most as many values as allowed in these groups."""
        places, owners = bag.of(groups)
        amounts = bag.amounts[places]
        order = np.lexsort((-amounts, owners))
        starts = np.searchsorted(owners, np.arange(len(groups) + 1))
        counts = np.diff(starts)
        over = counts > self._capacity
        cuts = np.zeros(len(groups), np.int64)
        cuts[over] = amounts[order[starts[:-1][over] + self._capacity]]
        left = np.maximum(amounts - cuts[owners], 0)
        bag.amounts[places] = left
        errors[groups] += cuts
        held[groups] = np.bincount(owners[left > 0], minlength=len(groups))

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        there = ids >= 0
        np.add.at(lanes.arrays[1], ids[there], other.arrays[1][: len(ids)][there])
        super().merge(lanes, flags, ids, other)

    def select(self, lanes: Lanes, rows: Chosen) -> Lanes:
        made = super().select(lanes, rows)
        made.arrays += [array[rows] for array in lanes.arrays[1:]]
        return made

    def put(self, lanes: Lanes, flags: Bytes, rows: Chosen, other: Lanes) -> None:
        super().put(lanes, flags, rows, other)
        for k in (1, 2):
            lanes.arrays[k][rows] = other.arrays[k]

    def save(self, lanes: Lanes, rows: Chosen) -> dict[str, pa.Array]:
        plain = {self.prefix + name: pa.array(lanes.arrays[k][rows]) for k, name in ((1, "errors"), (2, "held"))}
        return super().save(lanes, rows) | plain

    def load(self, columns: Mapping[str, pa.Array]) -> Lanes:
        made = super().load(columns)
        made.arrays += [self.saved_ints(columns, name).copy() for name in ("errors", "held")]
        return made

    def results(self, lanes: Lanes, rows: Int32s) -> pa.Array:
        bag: Multiset = lanes.arrays[0]
        places, owners = bag.of(rows)
        amounts = bag.amounts[places]
        by_value = self.order(owners, bag.codes[places])
        order = by_value[np.lexsort((-amounts[by_value], owners[by_value]))]  # stable: equal counts stay by value
        groups = owners[order]
        order = order[np.arange(len(order)) - np.searchsorted(groups, groups) < self._n]
        counts = np.bincount(owners[order], minlength=len(rows)).astype(np.int64)
        errors = np.repeat(lanes.arrays[1][rows], counts)
        parts = [self.decoded(bag.codes[places[order]]), _int64s(amounts[order]), _int64s(errors)]
        found = pa.StructArray.from_arrays(parts, names=["value", "count", "error"])
        made = list_column(found, counts, (counts > 0) | (lanes.arrays[1][rows] > 0))
        return made if made.type == self.type else made.cast(self.type)

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        return self.results(lanes, all_rows(size))

    def value_of(self, owners: Int64s, codes: Int64s, amounts: Int64s, size: int) -> pa.Array:
        raise AssertionError("results need the errors, too")

    def nbytes(self, lanes: Lanes) -> int:
        return super().nbytes(lanes) + sum(int(array.nbytes) for array in lanes.arrays[1:])


def _int64s(values: npt.NDArray[np.int64]) -> pa.Array:
    return from_ints(np.ascontiguousarray(values), None, pa.int64())
