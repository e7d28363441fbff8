"""Logical nodes of rankings."""

from __future__ import annotations

from dataclasses import dataclass

from windrow.plan.expr import Expression
from windrow.plan.nodes import Node, Stateful, columns_of, described
from windrow.plan.rank import Rank


@dataclass(frozen=True, slots=True, eq=False)
class RankNode(Stateful):
    """The first rows of each group; `arguments` are what they are ordered by where that is not a column."""

    input: Node
    rank: Rank
    arguments: tuple[tuple[str, Expression], ...] = ()

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def spec(self) -> Rank:
        return self.rank

    @property
    def arguments_of(self) -> tuple[tuple[tuple[str, Expression], ...], ...]:
        return (self.arguments,)

    @property
    def updating(self) -> bool:
        return not self.rank.closed

    @property
    def deleting(self) -> bool:
        return self.updating and not self.rank.stable

    @property
    def ordered(self) -> bool:
        return self.rank.arrival

    def passes(self, columns: tuple[str, ...]) -> tuple[int, ...]:
        keyed = bool(columns) and set(columns) <= set(self.rank.per) & set(self.input.schema.names)
        return (0,) if keyed else ()

    def reads(self, side: int, output: tuple[str, ...]) -> set[str]:
        computed = dict(self.arguments)
        wanted = {*output, *self.rank.per, *(order.column for order in self.rank.order)}
        if self.rank.hashed:  # rows are told apart by all they have
            wanted |= set(self.input.schema.names)
        reads = {name for name in wanted if name in self.input.schema.names}
        for expression in computed.values():
            reads |= set(columns_of(expression, self.input))
        return reads

    def describe_state(self, output: tuple[str, ...]) -> str:
        kinds = dict(self.rank.columns)
        held = ", ".join(f"{name}: {kinds[name]}" for name in sorted(self.reads(0, output)) if name in kinds)
        arguments = "; ".join(f"{name}={described(expression)}" for name, expression in self.arguments)
        weighted = " changes" if self.rank.weighted else ""
        given = "closed" if self.rank.closed else "current"
        return f"{self.rank} {given} {self.rank.kept} [{held}] [{arguments}]{weighted}"
