"""Approximate aggregates of bounded size with a stated error: HyperLogLog and DDSketch. Both merge without any loss."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Float64s, Int64s
from windrow.plan.window import Aggregate
from windrow.state.accumulators.bags import Bags
from windrow.state.accumulators.values import ranks
from windrow.state.columns import from_floats, from_ints, to_floats
from windrow.state.keys.hashes import row_hashes

_RANK_BITS = 52  # so many bits of a hash tell the rank: as many as a float64 holds exactly
_ZERO_BUCKET = np.int64(1 << 20)  # codes of positive values lie around it, those of negative ones around its negative
_INFINITE, _NOT_A_NUMBER = np.int64(1 << 40), np.int64(1 << 41)


def precision_of(error: float) -> int:
    """Bits of a register's number with which the standard error, 1.04 / sqrt(registers), is at most `error`."""
    return max(4, math.ceil(math.log2((1.04 / error) ** 2)))


class HyperLogLog(Bags):
    """How many different values, about: int64.

    Registers after Flajolet et al. 2007 (only those that are not 0 are held), the estimate after Ertl, "New cardinality
    estimation algorithms for HyperLogLog sketches", 2017, algorithm 6, which needs no correction for few or many.
    """

    combine = np.maximum

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        self._bits = precision_of(float(aggregate.option("error")))
        self._ranks = min(_RANK_BITS, 64 - self._bits)

    def items(self, column: pa.Array) -> tuple[Int64s, Int64s | int]:
        hashes = row_hashes([column])
        rest = hashes & np.uint64((1 << self._ranks) - 1)
        leading = self._ranks - np.frexp(rest.astype(np.float64))[1].astype(np.int64)
        return (hashes >> np.uint64(64 - self._bits)).astype(np.int64), leading + 1

    def value_of(self, owners: Int64s, codes: Int64s, amounts: Int64s, size: int) -> pa.Array:
        registers, most = 1 << self._bits, self._ranks + 1
        histogram = np.bincount(owners * (most + 1) + amounts, minlength=size * (most + 1)).reshape(size, most + 1)
        histogram = histogram.astype(np.float64)
        histogram[:, 0] = registers - histogram.sum(axis=1)
        z = registers * _tau(1 - histogram[:, most] / registers)
        for rank in range(most - 1, 0, -1):
            z = 0.5 * (z + histogram[:, rank])
        z += registers * _sigma(histogram[:, 0] / registers)
        estimates = registers * registers / (2 * math.log(2) * z)
        return from_ints(np.rint(estimates).astype(np.int64), None, self.type)


def _sigma(x: Float64s) -> Float64s:
    """``x + sum of x**(2**k) * 2**(k-1)`` over k from 1; infinite for 1."""
    total, weight, power = x.copy(), 1.0, x
    with np.errstate(under="ignore"):
        for _ in range(64):
            power = power * power
            before, total = total, total + power * weight
            weight += weight
            if (total == before)[x < 1].all():
                break
    return np.where(x == 1, np.inf, total)


def _tau(x: Float64s) -> Float64s:
    """``(1 - x - sum of (1 - x**(2**-k))**2 * 2**-k) / 3`` over k from 1; 0 for 0 and 1."""
    total, weight, root = 1 - x, 1.0, x
    for _ in range(64):
        root = np.sqrt(root)
        weight *= 0.5
        before, total = total, total - (1 - root) ** 2 * weight
        if (total == before).all():
            break
    return np.where((x == 0) | (x == 1), 0.0, total / 3)


class QuantileSketch(Bags):
    """The quantile ``q`` within a relative ``error``, float64: DDSketch (Masson, Rim and Lee, VLDB 2019).

    Buckets are powers of ``(1 + error) / (1 - error)``: at most ``1455 / error`` for a group, whatever doubles it has.
    """

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        super().__init__(aggregate, number)
        error = float(aggregate.option("error"))
        self._log_base = math.log((1 + error) / (1 - error))
        self._middle = 1 - error  # of a bucket's upper end: where both ends are as far away, relatively

    def items(self, column: pa.Array) -> tuple[Int64s, Int64s | int]:
        values = to_floats(column)
        sizes = np.abs(values)
        plain = np.isfinite(values) & (values != 0)
        buckets = np.ceil(np.log(np.where(plain, sizes, 1.0)) / self._log_base).astype(np.int64) + _ZERO_BUCKET
        buckets[values == 0] = 0
        buckets[np.isinf(values)] = _INFINITE
        codes: Int64s = np.where(values < 0, -buckets, buckets)
        codes[np.isnan(values)] = _NOT_A_NUMBER
        return codes, 1

    def value_of(self, owners: Int64s, codes: Int64s, amounts: Int64s, size: int) -> pa.Array:
        order = np.lexsort((codes, owners))
        counts, ends = ranks(owners, amounts[order], size)
        some = counts > 0
        below = np.floor(float(self.aggregate.option("q")) * (counts[some] - 1)).astype(np.int64)
        places = ends.searchsorted((np.cumsum(counts) - counts)[some] + below, "right")
        results = np.zeros(size)
        results[some] = self._values(codes[order][places])
        return from_floats(results, None if some.all() else some.view(np.uint8), self.type)

    def _values(self, codes: Int64s) -> npt.NDArray[np.float64]:
        sizes = np.abs(codes)
        plain = (sizes > 0) & (sizes < _INFINITE)
        exponents = np.where(plain, sizes - _ZERO_BUCKET, 0) * self._log_base
        with np.errstate(over="ignore", under="ignore"):
            values = np.minimum(np.exp(exponents) * self._middle, np.finfo(np.float64).max)
        values = np.where(sizes == _INFINITE, np.inf, np.where(plain, values, 0.0)) * np.sign(codes)
        return np.where(codes == _NOT_A_NUMBER, np.nan, values)
