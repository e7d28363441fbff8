"""Aggregates as users write them: a function, what it is taken of, and which rows count.

Nulls are ignored as in SQL: the count of no values is 0, everything else of no values is null.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import polars as pl

from windrow.errors import PlanError

Argument = pl.Expr | str


@dataclass(frozen=True, eq=False)
class AggregateExpr:
    """One aggregate that is yet to be bound to a stream; made by `count`, `sum` and the others below."""

    function: str
    argument: Argument | None = None
    where: pl.Expr | None = None
    name: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def filter(self, *predicates: pl.Expr) -> AggregateExpr:
        """Only rows for which all of `predicates` are true count."""
        both = list(predicates) if self.where is None else [self.where, *predicates]
        if not both:
            raise PlanError(f"{self.function}.filter(): nothing to filter by")
        return replace(self, where=both[0] if len(both) == 1 else pl.all_horizontal(both))

    def alias(self, name: str) -> AggregateExpr:
        """The name of the output column."""
        return replace(self, name=name)

    @property
    def default_name(self) -> str:
        if self.name is not None:
            return self.name
        if self.argument is None:
            return self.function
        source = self.argument if isinstance(self.argument, str) else self.argument.meta.output_name()
        return f"{source}_{self.function}"


def count(argument: Argument | None = None) -> AggregateExpr:
    """How many rows; with an argument: how many values that are not null. int64."""
    return AggregateExpr("count", argument)


def sum(argument: Argument) -> AggregateExpr:
    """The sum: int64 of integers (an error, never a wrap, when it leaves int64), decimal of decimals, else float64.

    Float sums are carried with twice the precision, so that they do not depend on the order of the events.
    """
    return AggregateExpr("sum", argument)


def min(argument: Argument) -> AggregateExpr:
    """The smallest value; of any type that has an order."""
    return AggregateExpr("min", argument)


def max(argument: Argument) -> AggregateExpr:
    """The largest value; of any type that has an order."""
    return AggregateExpr("max", argument)


def mean(argument: Argument) -> AggregateExpr:
    """The arithmetic mean, float64."""
    return AggregateExpr("mean", argument)


def var(argument: Argument, ddof: int = 1) -> AggregateExpr:
    """The variance with `ddof` degrees of freedom taken off, float64; null of `ddof` values or fewer."""
    return AggregateExpr("var", argument, options={"ddof": ddof})


def stddev(argument: Argument, ddof: int = 1) -> AggregateExpr:
    """The standard deviation with `ddof` degrees of freedom taken off, float64; null of `ddof` values or fewer."""
    return AggregateExpr("stddev", argument, options={"ddof": ddof})


def first(argument: Argument) -> AggregateExpr:
    """The value of the earliest event (by event time, then by arrival) that is not null."""
    return AggregateExpr("first", argument)


def last(argument: Argument) -> AggregateExpr:
    """The value of the latest event (by event time, then by arrival) that is not null."""
    return AggregateExpr("last", argument)


def count_distinct(argument: Argument) -> AggregateExpr:
    """How many different values that are not null, exactly. int64."""
    return AggregateExpr("count_distinct", argument)


def collect_list(argument: Argument, limit: int) -> AggregateExpr:
    """The values that are not null in event order, the first `limit` of them; a bound is required."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise PlanError(f"collect_list: limit must be 1 or more, got {limit!r}")
    return AggregateExpr("collect_list", argument, options={"limit": limit})


def count_if(condition: Argument) -> AggregateExpr:
    """How many rows for which `condition` is true. int64."""
    named = condition if isinstance(condition, str) else condition.meta.output_name()
    predicate = pl.col(condition) if isinstance(condition, str) else condition
    return AggregateExpr("count", None, where=predicate, name=f"{named}_count_if")


def bool_and(argument: Argument) -> AggregateExpr:
    """Whether all values that are not null are true."""
    return AggregateExpr("bool_and", argument)


def bool_or(argument: Argument) -> AggregateExpr:
    """Whether any value is true."""
    return AggregateExpr("bool_or", argument)


def arg_min(argument: Argument, by: Argument) -> AggregateExpr:
    """The value where `by` (numbers, times or bool) is least; of several such rows, of the one that came first.

    Rows where either is null do not count.
    """
    return _of_pair("arg_min", argument, by)


def arg_max(argument: Argument, by: Argument) -> AggregateExpr:
    """The value where `by` (numbers, times or bool) is greatest; of several such rows, of the one that came first.

    Rows where either is null do not count. NaN is greater than all numbers.
    """
    return _of_pair("arg_max", argument, by)


def corr(x: Argument, y: Argument) -> AggregateExpr:
    """Pearson's correlation of the pairs without nulls, float64; null of fewer than two, or when one does not vary."""
    return _of_pair("corr", x, y)


def covar_samp(x: Argument, y: Argument) -> AggregateExpr:
    """The covariance of a sample (divided by one less than there are pairs without nulls), float64; null of one."""
    return _of_pair("covar_samp", x, y)


def covar_pop(x: Argument, y: Argument) -> AggregateExpr:
    """The covariance of a whole population (divided by the number of pairs without nulls), float64."""
    return _of_pair("covar_pop", x, y)


def collect_set(argument: Argument, limit: int) -> AggregateExpr:
    """The different values that are not null, ascending, the first `limit` of them; a bound is required."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise PlanError(f"collect_set: limit must be 1 or more, got {limit!r}")
    return AggregateExpr("collect_set", argument, options={"limit": limit})


def approx_count_distinct(argument: Argument, error: float = 0.02) -> AggregateExpr:
    """How many different values that are not null, about: HyperLogLog with a standard error of at most `error`. int64.

    At most ``2 * (1.04 / error)**2`` small registers a group are held (0.005 to 0.26). It does not depend on order.
    """
    if not 0.005 <= error <= 0.26:
        raise PlanError(f"approx_count_distinct: error must be from 0.005 to 0.26, got {error!r}")
    return AggregateExpr("approx_count_distinct", argument, options={"error": float(error)})


def heavy_hitters(argument: Argument, n: int = 10, *, capacity: int = 1000) -> AggregateExpr:
    """The `n` values that come most often, most frequent first: a list of structs of value, count and error (int64).

    Of a value that is not null and came f times, the count is from ``f - error`` to f; the error is the same for all
    and at most the number of values divided by ``capacity + 1``, so that every value with a larger share is among the
    `capacity` that are held (Misra-Gries). With at most `capacity` different values it is 0 and all counts are exact;
    beyond that, which counts come out between these bounds depends on how the input was cut. Equal counts are ordered
    by value. Null for a group without values, empty when none of them comes often enough to be held.
    """
    for name, value in (("n", n), ("capacity", capacity)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PlanError(f"heavy_hitters: {name} must be 1 or more, got {value!r}")
    if n > capacity:
        raise PlanError(f"heavy_hitters: n must be at most the capacity, got {n} and {capacity}")
    return AggregateExpr("heavy_hitters", argument, options={"n": n, "capacity": capacity})


def quantile(argument: Argument, q: float, *, error: float = 0.01, exact: bool = False) -> AggregateExpr:
    """The quantile `q` (0 to 1) of numbers, float64.

    A value within the relative `error` of the one of rank ``floor(q * (n - 1))`` (DDSketch, bounded memory). `exact`:
    interpolated between the two values next to rank ``q * (n - 1)``; every different value is held.
    """
    if not 0 <= q <= 1:
        raise PlanError(f"quantile: q must be from 0 to 1, got {q!r}")
    if not 0.0001 <= error <= 0.5:
        raise PlanError(f"quantile: error must be from 0.0001 to 0.5, got {error!r}")
    return AggregateExpr("quantile", argument, options={"q": float(q), "error": float(error), "exact": bool(exact)})


def median(argument: Argument, *, error: float = 0.01, exact: bool = False) -> AggregateExpr:
    """The quantile 0.5; see `quantile`."""
    expression = quantile(argument, 0.5, error=error, exact=exact)
    source = argument if isinstance(argument, str) else argument.meta.output_name()
    return expression.alias(f"{source}_median")


def _of_pair(function: str, first: Argument, second: Argument) -> AggregateExpr:
    """An aggregate of two arguments: they travel as one struct."""
    parts = [pl.col(part) if isinstance(part, str) else part for part in (first, second)]
    named = f"{parts[0].meta.output_name()}_{function}"
    return AggregateExpr(function, pl.struct(first=parts[0], second=parts[1]), name=named)


def udaf(
    argument: Argument,
    *,
    init: Callable[..., Any],
    update: Callable[..., Any],
    merge: Callable[..., Any],
    finish: Callable[..., Any],
    slots: int = 1,
    dtype: Literal["float64", "int64"] = "float64",
) -> AggregateExpr:
    """A user's aggregate over `slots` numbers of state, compiled by numba.

    ``init(state)`` sets the numbers of an empty group, ``update(state, value)`` takes one value,
    ``merge(state, other)`` takes another partial state in, ``finish(state)`` gives the result; `state` and `other` are
    one-dimensional arrays of `slots` values of `dtype`. `merge` must not care how values were divided: the engine
    aggregates in parts.
    """
    options = {"init": init, "update": update, "merge": merge, "finish": finish, "slots": slots, "dtype": dtype}
    return AggregateExpr("udaf", argument, options=options)
