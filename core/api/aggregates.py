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
