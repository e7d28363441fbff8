"""first and last of any type, and min and max of what does not fit into 64 bits (strings, binary, long decimals)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from windrow.batch import ALL_VALID, Bytes, Int32s, Int64s, validity
from windrow.errors import StateError
from windrow.kernels.groupagg import pick
from windrow.plan.window import Aggregate
from windrow.state.accumulators.base import Chosen, Lane, Lanes, NumericAccumulator
from windrow.state.accumulators.moments import pair_valid, parts_of
from windrow.state.columns import Inputs, fits_int, from_floats, from_ints, is_float, to_floats, to_ints
from windrow.state.keys.order import sortable
from windrow.state.values import ValueStore, storage_type


class _Winners:
    """One row of a batch for each group."""

    def __init__(
        self, ids: Int32s, times: Int64s, origins: Int64s, valid: Bytes, latest: bool, groups_from: int = 0
    ) -> None:
        groups, local = np.unique(ids, return_inverse=True)
        size = len(groups)
        self.times, self.origins, rows = (np.zeros(size, np.int64) for _ in range(3))
        held = np.zeros(size, np.uint8)
        numbers = np.arange(len(ids), dtype=np.int64)
        pick(local.astype(np.int32), times, origins, numbers, valid, latest, self.times, self.origins, rows, held)
        won = (held == 1) & (groups >= groups_from)
        self.groups: Int32s = groups[won].astype(np.int32)
        self.rows: Int64s = rows[won]
        self.times, self.origins = self.times[won], self.origins[won]


class Pick(NumericAccumulator):
    """first and last: by event time where the window looks at it, then by order of arrival."""

    lanes = (Lane("time", np.int64), Lane("origin", np.int64), Lane("value", np.int64))

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self._latest = aggregate.function in ("last", "arg_max")
        plain = fits_int(self.argument) or is_float(self.argument)
        self._store = None if plain else ValueStore(self.argument)
        self.apart = plain

    def new(self, capacity: int) -> Lanes:
        lanes = super().new(capacity)
        lanes.seen = np.zeros(capacity, np.uint8)
        return lanes

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        column, valid, times, origins = self._candidates(inputs)
        if self._store is None:
            self._offer(lanes, ids, times, origins, self._bits(column), valid)
            return
        winners = _Winners(ids, times, origins, valid, self._latest)
        refs = self._store.add(_plain(column).take(pa.array(winners.rows)))
        self._offer(lanes, winners.groups, winners.times, winners.origins, refs, ALL_VALID)

    def _candidates(self, inputs: Inputs) -> tuple[pa.Array, Bytes, Int64s, Int64s]:
        """The values, which of them count, and the two numbers they are ordered by."""
        valid = inputs.valid(self.aggregate.column, self.aggregate.where)
        return inputs.column(str(self.aggregate.column)), valid, inputs.times, inputs.origins

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        times, origins, values = other.arrays
        self._offer(lanes, ids, times, origins, values, ALL_VALID if other.seen is None else other.seen)

    def _offer(self, lanes: Lanes, ids: Int32s, times: Int64s, origins: Int64s, values: Int64s, valid: Bytes) -> None:
        pick(ids, times, origins, values, valid, self._latest, *lanes.arrays, lanes.seen)

    def _bits(self, column: pa.Array) -> Int64s:
        return to_floats(column).view(np.int64) if is_float(column.type) else to_ints(column)

    def _values(self, bits: Int64s, seen: Bytes | None) -> pa.Array:
        if self._store is not None:
            return self._store.column(bits, seen)
        if is_float(self.argument):
            return from_floats(bits.view(np.float64), seen, self.argument)
        return from_ints(bits, seen, self.argument)

    def save(self, lanes: Lanes, rows: Chosen) -> dict[str, pa.Array]:
        chosen = self.select(lanes, rows)
        saved = super().save(chosen, slice(0, len(chosen.arrays[0])))
        saved[self.prefix + "value"] = self._values(chosen.arrays[2], chosen.seen)
        return saved

    def load(self, columns: Mapping[str, pa.Array]) -> Lanes:
        name = self.prefix + "value"
        values = _saved_values(columns, name, self.argument, self.describe())
        bits = self._bits(values) if self._store is None else self._store.add(values)
        return super().load({**columns, name: pa.array(bits)})

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        return self._values(lanes.arrays[2][:size], None if lanes.seen is None else lanes.seen[:size])

    def sweep(self, held: Sequence[Lanes]) -> None:
        if self._store is not None and self._store.full_of_garbage:
            _sweep(self._store, [(lanes.arrays[2], np.asarray(lanes.seen == 1)) for lanes in held])


class PickBy(Pick):
    """arg_min and arg_max: the value where another is least or greatest; of several such the one that came first."""

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(replace(aggregate, argument_type=aggregate.type), number)

    def _candidates(self, inputs: Inputs) -> tuple[pa.Array, Bytes, Int64s, Int64s]:
        value, by = parts_of(inputs, self.aggregate)
        origins = ~inputs.origins if self._latest else inputs.origins
        return value, pair_valid(inputs, self.aggregate), sortable(by, False), origins


class ExtremeValue(NumericAccumulator):
    """min and max of values that are compared in Arrow."""

    lanes = (Lane("value", np.int64, -1),)
    apart = False

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self._largest = aggregate.function == "max"
        self._store = ValueStore(self.argument)

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        column = _plain(inputs.column(str(self.aggregate.column)))
        self._offer(lanes, ids, column, inputs.valid(self.aggregate.column, self.aggregate.where))

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        there = other.arrays[0] >= 0
        self._offer(lanes, ids[there], self._store.take(other.arrays[0][there]), ALL_VALID)

    def _offer(self, lanes: Lanes, ids: Int32s, column: pa.Array, valid: Bytes) -> None:
        if len(ids) == 0:
            return
        ranks = to_ints(pc.rank(column, tiebreaker="dense").cast(pa.int64()))
        winners = _Winners(ids, ranks, np.zeros(len(ids), np.int64), valid, self._largest)
        offered = column.take(pa.array(winners.rows))
        refs = lanes.arrays[0][winners.groups]
        better = refs < 0
        held = np.flatnonzero(~better)
        if len(held):
            compare = pc.greater if self._largest else pc.less
            wins = compare(offered.take(pa.array(held)), self._store.take(refs[held]))
            better[held] = wins.to_numpy(zero_copy_only=False)
        lanes.arrays[0][winners.groups[better]] = self._store.add(offered.filter(pa.array(better)))

    def save(self, lanes: Lanes, rows: Chosen) -> dict[str, pa.Array]:
        refs = lanes.arrays[0][rows]
        return {self.prefix + "value": self._store.column(refs, refs >= 0)}

    def load(self, columns: Mapping[str, pa.Array]) -> Lanes:
        values = _saved_values(columns, self.prefix + "value", self.argument, self.describe())
        refs = self._store.add(values)
        valid = validity(values)
        return Lanes([refs if len(valid) == 0 else np.where(valid == 1, refs, -1)])

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        refs = lanes.arrays[0][:size]
        return self._store.column(refs, refs >= 0)

    def sweep(self, held: Sequence[Lanes]) -> None:
        if self._store.full_of_garbage:
            _sweep(self._store, [(lanes.arrays[0], lanes.arrays[0] >= 0) for lanes in held])


def _sweep(store: ValueStore, held: Sequence[tuple[Int64s, npt.NDArray[np.bool_]]]) -> None:
    parts = [refs[live] for refs, live in held]
    store.sweep(parts)
    for (refs, live), part in zip(held, parts, strict=True):
        refs[live] = part


def _plain(column: pa.Array) -> pa.Array:
    stored = storage_type(column.type)
    return column if column.type == stored else column.cast(stored)


def _saved_values(columns: Mapping[str, pa.Array], name: str, type_: pa.DataType, what: str) -> pa.Array:
    held = columns.get(name)
    if held is None or held.type != type_:
        there = "missing" if held is None else str(held.type)
        raise StateError(f"saved state column {name} is {there}; {what} expects {type_}")
    return held
