"""User-defined aggregates: four functions over a short vector of numbers, compiled by numba."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np
import pyarrow as pa

from windrow.batch import ALL_VALID, Bytes, Int32s
from windrow.errors import PlanError
from windrow.plan.window import Aggregate
from windrow.state.accumulators.base import Chosen, Lane, Lanes, NumericAccumulator
from windrow.state.columns import Inputs, from_floats, from_ints

Function = Callable[..., Any]


class UserAggregate(NumericAccumulator):
    """Options: ``init(state)``, ``update(state, value)``, ``merge(state, other)``, ``finish(state)``, `slots`, `dtype`.

    Null for a group without values, as for any other aggregate. The functions are compiled when first needed.
    """

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self._slots = int(aggregate.option("slots", 1))
        name = aggregate.option("dtype", "float64")
        if name not in ("float64", "int64") or self._slots < 1:
            raise PlanError(
                f"{aggregate.name}: a udaf has 1 or more slots of float64 or int64, not {self._slots} {name}"
            )
        self._dtype = np.float64 if name == "float64" else np.int64
        self.lanes = tuple(Lane(f"slot{k}", self._dtype) for k in range(self._slots))
        functions = [aggregate.option(name) for name in ("init", "update", "merge", "finish")]
        self._init, self._update, self._merge, self._finish = loops(*functions)

    def new(self, capacity: int) -> Lanes:
        states = np.zeros((capacity, self._slots), self._dtype)
        self._init(states, 0)
        return Lanes([states])

    def grow(self, lanes: Lanes, capacity: int) -> None:
        held = lanes.arrays[0]
        states = np.zeros((capacity, self._slots), self._dtype)
        states[: len(held)] = held
        self._init(states, len(held))
        lanes.arrays[0] = states
        if lanes.seen is not None:
            seen = np.zeros(capacity, np.uint8)
            seen[: len(lanes.seen)] = lanes.seen
            lanes.seen = seen

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        column = str(self.aggregate.column)
        valid = inputs.valid(column, self.aggregate.where)
        values = inputs.floats(column) if self._takes_floats else inputs.ints(column)
        self._update(ids, np.array(values), np.array(valid), lanes.arrays[0])
        self.see(lanes, flags, ids, valid)

    @property
    def _takes_floats(self) -> bool:
        return self._dtype is np.float64 or not pa.types.is_integer(self.argument)

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        valid = ALL_VALID if other.seen is None else other.seen
        self._merge(ids, np.ascontiguousarray(other.arrays[0]), np.array(valid), lanes.arrays[0])
        self.merge_seen(lanes, flags, ids, other)

    def save(self, lanes: Lanes, rows: Chosen) -> dict[str, pa.Array]:
        chosen = self.select(lanes, rows)
        slots = [np.ascontiguousarray(chosen.arrays[0][:, k]) for k in range(self._slots)]
        return super().save(Lanes(slots, chosen.seen), slice(0, len(chosen.arrays[0])))

    def load(self, columns: Mapping[str, pa.Array]) -> Lanes:
        made = super().load(columns)
        return Lanes([np.column_stack(made.arrays)], made.seen)

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        seen = None if lanes.seen is None else lanes.seen[:size]
        states = np.ascontiguousarray(lanes.arrays[0][:size])
        if pa.types.is_floating(self.type):
            results = np.empty(size, np.float64)
            self._finish(states, results)
            return from_floats(results, seen, self.type)
        whole = np.empty(size, np.int64)
        self._finish(states, whole)
        return from_ints(whole, seen, self.type)


@functools.lru_cache(maxsize=256)
def loops(init: Function, update: Function, merge: Function, finish: Function) -> tuple[Function, ...]:
    """The four functions over all groups or rows at once; each is compiled on its first call."""
    init, update, merge, finish = (_compiled(function) for function in (init, update, merge, finish))

    @numba.njit(nogil=True)
    def init_all(states: Any, first: int) -> None:
        for group in range(first, states.shape[0]):
            init(states[group])

    @numba.njit(nogil=True)
    def update_all(ids: Any, values: Any, valid: Any, states: Any) -> None:
        for i in range(ids.size):
            if ids[i] >= 0 and (valid.size == 0 or valid[i] != 0):
                update(states[ids[i]], values[i])

    @numba.njit(nogil=True)
    def merge_all(ids: Any, others: Any, valid: Any, states: Any) -> None:
        for i in range(ids.size):
            if ids[i] >= 0 and (valid.size == 0 or valid[i] != 0):
                merge(states[ids[i]], others[i])

    @numba.njit(nogil=True)
    def finish_all(states: Any, results: Any) -> None:
        for group in range(states.shape[0]):
            results[group] = finish(states[group])

    return init_all, update_all, merge_all, finish_all


def _compiled(function: Function) -> Function:
    if hasattr(function, "py_func"):
        return function
    made: Function = numba.njit(nogil=True)(function)
    return made
