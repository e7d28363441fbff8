"""From an aggregate as data to the accumulator that computes it."""

from __future__ import annotations

import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.errors import PlanError
from windrow.plan.window import Aggregate, Aggregation
from windrow.state.accumulators.base import Accumulator
from windrow.state.accumulators.collections import CollectList, CountDistinct
from windrow.state.accumulators.heavy import HeavyHitters
from windrow.state.accumulators.moments import Comoment
from windrow.state.accumulators.numbers import Count, ExtremeFloat, ExtremeInt, SumFloat, SumInt, SumWide, Variance
from windrow.state.accumulators.order import ExtremeValue, Pick, PickBy
from windrow.state.accumulators.sketches import HyperLogLog, QuantileSketch
from windrow.state.accumulators.user import UserAggregate
from windrow.state.accumulators.values import CollectSet, DistinctOfBag, ExactQuantile, ExtremeOfBag
from windrow.state.columns import fits_int, is_float


def make_accumulators(aggregation: Aggregation) -> list[Accumulator]:
    """One accumulator an aggregate; they may share nothing with those of another state."""
    return [_make(aggregate, number) for number, aggregate in enumerate(aggregation.aggregates)]


def _make(aggregate: Aggregate, number: int) -> Accumulator:
    function = aggregate.function
    if function == "count":
        return Count(aggregate, number)
    if aggregate.column is None:
        raise PlanError(f"{aggregate.name}: {function} needs a column")
    type_ = to_arrow_type(aggregate.argument_type or aggregate.type)
    undone = bool(aggregate.option("counted"))  # values may be taken back
    match function:
        case "min" | "max" if undone:
            return ExtremeOfBag(aggregate, number)
        case "count_distinct" if undone:
            return DistinctOfBag(aggregate, number)
        case "sum" | "mean":
            return _sum(aggregate, number, type_)
        case "min" | "max":
            if is_float(type_):
                return ExtremeFloat(aggregate, number)
            return ExtremeInt(aggregate, number) if fits_int(type_) else ExtremeValue(aggregate, number)
        case "var" | "stddev":
            return Variance(aggregate, number)
        case "first" | "last":
            return Pick(aggregate, number)
        case "count_distinct":
            return CountDistinct(aggregate, number)
        case "arg_min" | "arg_max":
            return PickBy(aggregate, number)
        case "corr" | "covar_samp" | "covar_pop":
            return Comoment(aggregate, number)
        case "collect_set":
            return CollectSet(aggregate, number)
        case "approx_count_distinct":
            return HyperLogLog(aggregate, number)
        case "heavy_hitters":
            return HeavyHitters(aggregate, number)
        case "quantile":
            return (ExactQuantile if aggregate.option("exact") else QuantileSketch)(aggregate, number)
        case "collect_list":
            return CollectList(aggregate, number)
        case "udaf":
            return UserAggregate(aggregate, number)
    raise PlanError(f"{aggregate.name}: there is no aggregate {function} of {type_}")


def _sum(aggregate: Aggregate, number: int, type_: pa.DataType) -> Accumulator:
    if is_float(type_):
        return SumFloat(aggregate, number)
    if pa.types.is_decimal128(type_) or pa.types.is_uint64(type_):
        return SumWide(aggregate, number)
    if pa.types.is_integer(type_) or pa.types.is_boolean(type_) or pa.types.is_duration(type_):
        return SumInt(aggregate, number)
    raise PlanError(f"{aggregate.name}: {aggregate.function} needs numbers, {aggregate.column} is {type_}")
