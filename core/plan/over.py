"""Aggregates over a frame around each row as data: SQL's ``OVER (PARTITION BY ... ORDER BY ... ROWS | RANGE ...)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from windrow.datatypes import DataType
from windrow.plan.expr import Expression
from windrow.plan.nodes import Node, Stateful, columns_of, described
from windrow.plan.window import Aggregate
from windrow.units import format_us

#: Aggregates that can be taken over a frame.
FRAMED = ("count", "sum", "mean", "min", "max")


@dataclass(frozen=True, slots=True)
class Over:
    """For each row, `aggregates` of the rows around it among those with equal `per`, ordered by `by` (ascending).

    rows: from `before` rows before it to `after` rows after it; range: those whose first `by` (a time, or a number) is
    from `before` less to `after` more, in microseconds or as it is. `key` names the columns that tell the rows of a
    Table apart; None: rows of a stream, which all stay. `columns` are those of the input, with their types.
    """

    name: str
    columns: tuple[tuple[str, DataType], ...]
    per: tuple[str, ...]
    by: tuple[str, ...]
    unit: Literal["rows", "range"]
    before: int
    after: int
    aggregates: tuple[Aggregate, ...]
    key: tuple[str, ...] | None

    def __str__(self) -> str:
        reach = (self.before, self.after)
        shown = ", ".join(str(n) if self.unit == "rows" else format_us(n) for n in reach)
        return f"per [{', '.join(self.per)}] by [{', '.join(self.by)}] {self.unit}({shown})"


@dataclass(frozen=True, slots=True, eq=False)
class OverNode(Stateful):
    """Each row with aggregates of the rows around it."""

    input: Node
    over: Over
    arguments: tuple[tuple[str, Expression], ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def spec(self) -> Over:
        return self.over

    @property
    def updating(self) -> bool:
        """A row that comes later, or goes, changes what is around others."""
        return True

    @property
    def deleting(self) -> bool:
        return self.input.deleting

    @property
    def arguments_of(self) -> tuple[tuple[tuple[str, Expression], ...], ...]:
        return (self.arguments,)

    def reads(self, side: int, output: tuple[str, ...]) -> set[str]:
        computed = dict(self.arguments)
        made = {a.name for a in self.over.aggregates}
        wanted = {*(name for name in output if name not in made), *self.over.per, *self.over.by, *(self.over.key or ())}
        for aggregate in self.over.aggregates:
            wanted |= {
                name for name in (aggregate.column, aggregate.where) if name is not None and name not in computed
            }
        for expression in computed.values():
            wanted |= set(columns_of(expression, self.input))
        return wanted

    def passes(self, columns: tuple[str, ...]) -> tuple[int, ...]:
        return (0,) if columns and set(columns) <= set(self.over.per) else ()

    def describe_state(self, output: tuple[str, ...]) -> str:
        arguments = dict(self.arguments)
        parts = []
        for a in self.over.aggregates:
            names = [described(arguments[n]) if n in arguments else n or "" for n in (a.column, a.where)]
            parts.append(f"{a.name}={a.function}({names[0]}) where {names[1]}: {a.argument_type}")
        kinds = dict(self.over.columns)
        held = ", ".join(f"{name}: {kinds[name]}" for name in sorted(self.reads(0, output)))
        return f"over {self.over} key {self.over.key} [{held}] [{'; '.join(parts)}]"
