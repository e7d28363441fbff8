"""count, sum, mean, min, max, var and stddev over numbers (and whatever else fits into 64 bits, for min and max)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import ALL_VALID, Bytes, Float64s, Int32s, Int64s
from windrow.errors import AggregateError
from windrow.kernels.groupagg import (
    count_values,
    extreme_float,
    extreme_int,
    sum_float,
    sum_int,
    sum_squares,
    sum_wide,
)
from windrow.plan.window import Aggregate
from windrow.state.accumulators.base import Chosen, Lane, Lanes, NumericAccumulator
from windrow.state.columns import Inputs, from_floats, from_ints, from_limbs, limbs, magnitude

_NO_INTS: Int64s = np.empty(0, np.int64)
_NO_FLOATS: Float64s = np.empty(0, np.float64)
#: Sums that stay below this cannot wrap when two of them are added.
_SAFE = float(2**62)
#: Numbers with twice the precision: high and low parts.
_Double = tuple[Float64s, Float64s]


class Count(NumericAccumulator):
    """Rows, or values that are not null: int64."""

    lanes = (Lane("count", np.int64),)

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        count_values(ids, inputs.valid(self.aggregate.column, self.aggregate.where), lanes.arrays[0])

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        sum_int(ids, other.arrays[0], ALL_VALID, lanes.arrays[0])

    def merge_aligned(self, lanes: Lanes, flags: Bytes, other: Lanes, present: npt.NDArray[np.bool_]) -> None:
        size = len(present)  # groups that are not present count 0
        lanes.arrays[0][:size] += other.arrays[0][:size]

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        return from_ints(lanes.arrays[0][:size], None, self.type)

    def negate(self, lanes: Lanes) -> None:
        lanes.arrays[0] = -lanes.arrays[0]


class _Sum(NumericAccumulator):
    """What sums and means have in common: a mean has one more lane, the count, and is null where it is 0.

    So does a sum of values that may be taken back: without, nothing would tell when the last one has gone.
    """

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self.mean = aggregate.function == "mean"
        self.counted = self.mean or bool(aggregate.option("counted"))
        if self.counted:
            self.lanes = (*self.lanes, Lane("count", np.int64))

    def seen_of(self, lanes: Lanes, size: int) -> Bytes | None:
        """Which of the first groups have a sum; None: all."""
        if self.counted:
            some: Bytes = (lanes.arrays[-1][:size] > 0).view(np.uint8)
            return None if some.all() else some
        return None if lanes.seen is None else lanes.seen[:size]

    def negate(self, lanes: Lanes) -> None:
        if self.counted:
            lanes.arrays[-1] = -lanes.arrays[-1]
        self.negate_sum(lanes)

    def negate_sum(self, lanes: Lanes) -> None:
        """Of 128 bits, in two halves, the upper one left out while it is only the sign."""
        low, high = lanes.arrays[0], lanes.arrays[1]
        lanes.arrays[0] = -low
        if high is not None:
            lanes.arrays[1] = ~high + (low == 0)

    def note(self, lanes: Lanes, flags: Bytes, ids: Int32s, valid: Bytes) -> None:
        if self.counted:
            count_values(ids, valid, lanes.arrays[-1])
        else:
            self.see(lanes, flags, ids, valid)

    def merge_note(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        if self.counted:
            sum_int(ids, other.arrays[-1], ALL_VALID, lanes.arrays[-1])
        else:
            self.merge_seen(lanes, flags, ids, other)

    def average(self, sums: Float64s, counts: Int64s) -> pa.Array:
        some = counts > 0
        means = np.divide(sums, counts, out=np.zeros(len(sums)), where=some)
        return from_floats(means, None if some.all() else some.view(np.uint8), self.type)


class SumInt(_Sum):
    """Exact sums of int64: 64 bits while a bound shows that they suffice, 128 bits from then on."""

    lanes = (Lane("sum", np.int64), Lane("high", np.int64, optional=True))

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        column = str(self.aggregate.column)
        valid = inputs.valid(column, self.aggregate.where)
        self._add(lanes, ids, inputs.ints(column), None, valid, inputs.bound(column))
        self.note(lanes, flags, ids, valid)

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        low, high = other.arrays[0], other.arrays[1]
        valid = ALL_VALID if other.seen is None else other.seen
        self._add(lanes, ids, low, high, valid, magnitude(low) * len(low))
        self.merge_note(lanes, flags, ids, other)

    def merge_aligned(self, lanes: Lanes, flags: Bytes, other: Lanes, present: npt.NDArray[np.bool_]) -> None:
        size = len(present)
        narrow = lanes.arrays[1] is None and other.arrays[1] is None and lanes.bound + other.bound < _SAFE
        if not narrow or lanes.seen is not None or other.seen is not None or self.counted:
            super().merge_aligned(lanes, flags, other, present)
            return
        lanes.arrays[0][:size] += other.arrays[0][:size]
        lanes.bound += other.bound

    def put(self, lanes: Lanes, flags: Bytes, rows: Chosen, other: Lanes) -> None:
        low, high = other.arrays[0], other.arrays[1]
        if high is not None and lanes.arrays[1] is None:
            lanes.arrays[1] = lanes.arrays[0] >> 63
        if high is None and lanes.arrays[1] is not None:
            high = low >> 63
        other = Lanes([low, high, *other.arrays[2:]], other.seen, magnitude(low))
        super().put(lanes, flags, rows, other)

    def _add(self, lanes: Lanes, ids: Int32s, low: Int64s, high: Int64s | None, valid: Bytes, bound: float) -> None:
        lanes.bound += bound
        if lanes.arrays[1] is None and (high is not None or lanes.bound >= _SAFE):
            lanes.bound = magnitude(lanes.arrays[0]) + bound
            if high is not None or lanes.bound >= _SAFE:
                lanes.arrays[1] = lanes.arrays[0] >> 63
        if lanes.arrays[1] is None:
            sum_int(ids, low, valid, lanes.arrays[0])
        else:
            sum_wide(ids, low, _NO_INTS if high is None else high, valid, lanes.arrays[0], lanes.arrays[1])

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        low, high = lanes.arrays[0][:size], lanes.arrays[1]
        seen = self.seen_of(lanes, size)
        if self.mean:
            exact = low.astype(np.float64) if high is None else _limbs_to_float(low, high[:size])
            return self.average(exact, lanes.arrays[-1][:size])
        if high is not None and (high[:size] != low >> 63).any():
            raise AggregateError(f"{self.describe()}: a sum does not fit into int64; cast to float64 or decimal first")
        return from_ints(low, seen, self.type)


class SumWide(_Sum):
    """Exact sums of decimals (and uint64) in 128 bits."""

    lanes = (Lane("sum", np.int64), Lane("high", np.int64))

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        column = str(self.aggregate.column)
        valid = inputs.valid(column, self.aggregate.where)
        self._add(lanes, ids, *limbs(inputs.column(column)), valid)
        self.note(lanes, flags, ids, valid)

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        valid = ALL_VALID if other.seen is None else other.seen
        self._add(lanes, ids, other.arrays[0], other.arrays[1], valid)
        self.merge_note(lanes, flags, ids, other)

    def _add(self, lanes: Lanes, ids: Int32s, low: Int64s, high: Int64s, valid: Bytes) -> None:
        if sum_wide(ids, low, high, valid, lanes.arrays[0], lanes.arrays[1]):
            raise AggregateError(f"{self.describe()}: a sum left 128 bits")

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        low, high = lanes.arrays[0][:size], lanes.arrays[1][:size]
        seen = self.seen_of(lanes, size)
        argument = self.argument
        if self.mean:
            scale = argument.scale if pa.types.is_decimal(argument) else 0
            return self.average(_limbs_to_float(low, high) / 10.0**scale, lanes.arrays[-1][:size])
        if pa.types.is_decimal128(self.type):
            self._check_digits(low, high, self.type.precision)
            return from_limbs(low, high, seen, self.type)
        unsigned = pa.types.is_uint64(self.type)
        if (high != (0 if unsigned else low >> 63)).any():
            raise AggregateError(f"{self.describe()}: a sum does not fit into {self.type}")
        return from_ints(low ^ np.int64(-(2**63)) if unsigned else low, seen, self.type)

    def _check_digits(self, low: Int64s, high: Int64s, precision: int) -> None:
        limit = 10**precision
        near = np.abs(_limbs_to_float(low, high)) >= limit * 0.999
        for i in np.flatnonzero(near):
            value = (int(high[i]) << 64) + (int(low[i]) & (2**64 - 1))
            if abs(value) >= limit:
                raise AggregateError(f"{self.describe()}: a sum does not fit into {self.type}: {value} (unscaled)")


class SumFloat(_Sum):
    """Sums of float64 in double-double, so that no order of adding shows in the result."""

    lanes = (Lane("sum", np.float64), Lane("error", np.float64))

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        column = str(self.aggregate.column)
        valid = inputs.valid(column, self.aggregate.where)
        sum_float(ids, inputs.floats(column), _NO_FLOATS, valid, lanes.arrays[0], lanes.arrays[1])
        self.note(lanes, flags, ids, valid)

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        valid = ALL_VALID if other.seen is None else other.seen
        sum_float(ids, other.arrays[0], other.arrays[1], valid, lanes.arrays[0], lanes.arrays[1])
        self.merge_note(lanes, flags, ids, other)

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        sums = _rounded(lanes.arrays[0][:size], lanes.arrays[1][:size])
        if self.mean:
            return self.average(sums, lanes.arrays[-1][:size])
        return from_floats(sums, self.seen_of(lanes, size), self.type)

    def negate_sum(self, lanes: Lanes) -> None:
        lanes.arrays[0], lanes.arrays[1] = -lanes.arrays[0], -lanes.arrays[1]


class ExtremeInt(NumericAccumulator):
    """min and max of what fits into an int64 with its order."""

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self.largest = aggregate.function == "max"
        self.lanes = (Lane(aggregate.function, np.int64, -(2**63) if self.largest else 2**63 - 1),)

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        column = str(self.aggregate.column)
        valid = inputs.valid(column, self.aggregate.where)
        extreme_int(ids, inputs.ints(column), valid, self.largest, lanes.arrays[0])
        self.see(lanes, flags, ids, valid)

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        valid = ALL_VALID if other.seen is None else other.seen
        extreme_int(ids, other.arrays[0], valid, self.largest, lanes.arrays[0])
        self.merge_seen(lanes, flags, ids, other)

    def merge_aligned(self, lanes: Lanes, flags: Bytes, other: Lanes, present: npt.NDArray[np.bool_]) -> None:
        if lanes.seen is not None or other.seen is not None:
            super().merge_aligned(lanes, flags, other, present)
            return
        held = lanes.arrays[0][: len(present)]
        (np.maximum if self.largest else np.minimum)(held, other.arrays[0][: len(present)], out=held)

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        return from_ints(lanes.arrays[0][:size], None if lanes.seen is None else lanes.seen[:size], self.type)


class ExtremeFloat(NumericAccumulator):
    """min and max of floats; NaN is larger than every number."""

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self.largest = aggregate.function == "max"
        self.lanes = (Lane(aggregate.function, np.float64, -np.inf if self.largest else np.nan),)

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        column = str(self.aggregate.column)
        valid = inputs.valid(column, self.aggregate.where)
        extreme_float(ids, inputs.floats(column), valid, self.largest, lanes.arrays[0])
        self.see(lanes, flags, ids, valid)

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        valid = ALL_VALID if other.seen is None else other.seen
        extreme_float(ids, other.arrays[0], valid, self.largest, lanes.arrays[0])
        self.merge_seen(lanes, flags, ids, other)

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        return from_floats(lanes.arrays[0][:size], None if lanes.seen is None else lanes.seen[:size], self.type)


class Variance(NumericAccumulator):
    """var and stddev of numbers taken as float64, from double-double sums of values and of squares.

    Option ``ddof`` (default 1): null for groups with no more values than that.
    """

    lanes = (
        Lane("count", np.int64),
        Lane("sum", np.float64),
        Lane("error", np.float64),
        Lane("squares", np.float64),
        Lane("squares_error", np.float64),
    )

    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        column = str(self.aggregate.column)
        valid = inputs.valid(column, self.aggregate.where)
        values = inputs.floats(column)
        counts, sums, errors, squares, squares_errors = lanes.arrays
        count_values(ids, valid, counts)
        sum_float(ids, values, _NO_FLOATS, valid, sums, errors)
        sum_squares(ids, values, valid, squares, squares_errors)

    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        sum_int(ids, other.arrays[0], ALL_VALID, lanes.arrays[0])
        sum_float(ids, other.arrays[1], other.arrays[2], ALL_VALID, lanes.arrays[1], lanes.arrays[2])
        sum_float(ids, other.arrays[3], other.arrays[4], ALL_VALID, lanes.arrays[3], lanes.arrays[4])

    def negate(self, lanes: Lanes) -> None:
        lanes.arrays = [-array for array in lanes.arrays]

    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        counts, sums, errors, squares, squares_errors = (array[:size] for array in lanes.arrays)
        ddof = int(self.aggregate.option("ddof", 1))
        enough = counts > max(ddof, 0)
        with np.errstate(all="ignore"):
            variances = _variances(np.maximum(counts, 1), sums, errors, squares, squares_errors)
            results = variances / np.where(enough, counts - ddof, 1)
            if self.aggregate.function == "stddev":
                results = np.sqrt(results)
        return from_floats(results, None if enough.all() else enough.view(np.uint8), self.type)


def _variances(counts: Int64s, sums: Float64s, errors: Float64s, squares: Float64s, more: Float64s) -> Float64s:
    """Sum of squared distances from the mean."""
    result = comoments(counts, (sums, errors), (sums, errors), (squares, more))
    return np.where(np.isfinite(result), np.maximum(result, 0.0), result)


def comoments(counts: Int64s, xs: _Double, ys: _Double, products: _Double) -> Float64s:
    """Sum of products of distances from the means, ``products - xs * ys / counts``, in double-double throughout."""
    n = counts.astype(np.float64)
    (x_high, x_low), (y_high, y_low) = _normal(xs), _normal(ys)
    product, product_error = exact_product(x_high, y_high)
    product_error = product_error + (x_high * y_low + x_low * y_high)
    quotient = product / n
    back, back_error = exact_product(quotient, n)
    quotient_error = ((product - back) - back_error + product_error) / n
    held, more = products
    difference = held - quotient
    part = difference - held
    error = (held - (difference - part)) - (quotient + part)
    return np.asarray(difference + (error + more - quotient_error))


def _normal(value: _Double) -> _Double:
    high = value[0] + value[1]
    return high, value[1] - (high - value[0])


def exact_product(a: Float64s, b: Float64s) -> tuple[Float64s, Float64s]:
    """``a * b`` as rounded product and exact error (Dekker 1971)."""
    product = a * b
    a_head = a * 134217729.0 - (a * 134217729.0 - a)
    b_head = b * 134217729.0 - (b * 134217729.0 - b)
    a_tail, b_tail = a - a_head, b - b_head
    error = ((a_head * b_head - product) + a_head * b_tail + a_tail * b_head) + a_tail * b_tail
    return product, error


def _rounded(sums: Float64s, errors: Float64s) -> Float64s:
    """The sum as one float; what is not finite has no meaningful error term."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(sums), sums + errors, sums)


def _limbs_to_float(low: Int64s, high: Int64s) -> Float64s:
    wide = high.astype(np.float64) * 2.0**64 + low.view(np.uint64).astype(np.float64)
    return np.where(high == low >> 63, low.astype(np.float64), wide)
