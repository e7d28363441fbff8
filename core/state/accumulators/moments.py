"""corr, covar_samp and covar_pop: moments of pairs of numbers, summed in double-double so that they merge exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import ALL_VALID, Bytes, Float64s, Int32s
from windrow.kernels.groupagg import count_values, sum_float, sum_int
from windrow.plan.window import Aggregate
from windrow.state.accumulators.base import Lane, Lanes, NumericAccumulator
from windrow.state.accumulators.numbers import comoments, exact_product
from windrow.state.columns import Inputs, from_floats, to_floats, true_bytes

_NO_FLOATS: Float64s = np.empty(0, np.float64)
_SUMS = ("x", "y", "xy", "xx", "yy")


class Comoment(NumericAccumulator):
    """Of the pairs of which neither value is null. Null where undefined: of too few pairs, or of no spread (corr)."""

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self._corr = aggregate.function == "corr"
        self._sums = _SUMS if self._corr else _SUMS[:3]
        pairs = [Lane(name + part, np.float64) for name in self._sums for part in ("", "_error")]
        self.lanes = (Lane("count", np.int64), *pairs)

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        valid = pair_valid(inputs, self.aggregate)
        x, y = (to_floats(part) for part in parts_of(inputs, self.aggregate))
        count_values(ids, valid, lanes.arrays[0])
        for k, name in enumerate(self._sums):
            values, errors = (x if name == "x" else y), _NO_FLOATS
            if len(name) == 2:
                with np.errstate(all="ignore"):
                    values, errors = exact_product(y if name == "yy" else x, x if name == "xx" else y)
            sum_float(ids, values, errors, valid, lanes.arrays[1 + 2 * k], lanes.arrays[2 + 2 * k])

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        sum_int(ids, other.arrays[0], ALL_VALID, lanes.arrays[0])
        for k in range(1, len(self.lanes), 2):
            values, errors = other.arrays[k], other.arrays[k + 1]
            sum_float(ids, values, errors, ALL_VALID, lanes.arrays[k], lanes.arrays[k + 1])

    def negate(self, lanes: Lanes) -> None:
        lanes.arrays = [-array for array in lanes.arrays]

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        counts = lanes.arrays[0][:size]
        sums = {
            name: (lanes.arrays[1 + 2 * k][:size], lanes.arrays[2 + 2 * k][:size]) for k, name in enumerate(self._sums)
        }
        some = np.maximum(counts, 1)
        with np.errstate(all="ignore"):
            together = comoments(some, sums["x"], sums["y"], sums["xy"])
            if not self._corr:
                ddof = 1 if self.aggregate.function == "covar_samp" else 0
                return self._column(together / np.where(counts > ddof, counts - ddof, 1), counts > ddof)
            apart = [comoments(some, sums[name], sums[name], sums[name * 2]) for name in "xy"]
            scale = np.sqrt(apart[0]) * np.sqrt(apart[1])
            defined = (counts > 1) & ~((apart[0] <= 0) | (apart[1] <= 0))
            return self._column(np.clip(together / np.where(scale == 0, 1, scale), -1, 1), defined)

    def _column(self, values: Float64s, defined: npt.NDArray[np.bool_]) -> pa.Array:
        return from_floats(values, None if defined.all() else defined.view(np.uint8), self.type)


def parts_of(inputs: Inputs, aggregate: Aggregate) -> tuple[pa.Array, pa.Array]:
    """The two columns of an argument that is a pair."""
    pair = inputs.column(str(aggregate.column))
    return pair.field(0), pair.field(1)


def pair_valid(inputs: Inputs, aggregate: Aggregate) -> Bytes:
    """One byte a row: 1 where both values of the pair are there and the condition is true."""
    valid = inputs.valid(aggregate.column, aggregate.where)
    made: npt.NDArray[np.bool_] = np.ones(inputs.rows, np.bool_) if len(valid) == 0 else valid != 0
    for part in parts_of(inputs, aggregate):
        if part.null_count:
            made = made & (true_bytes(part.is_valid()) != 0)
    return ALL_VALID if made.all() else made.view(np.uint8)
