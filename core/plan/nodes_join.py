"""Logical nodes of joins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from windrow.plan.join import LEFT, RIGHT, Join
from windrow.plan.nodes import Node, Stateful, Unary, described


@dataclass(frozen=True, slots=True, eq=False)
class JoinNode(Stateful):
    """Two inputs by equal keys; side 0 is left, side 1 right."""

    left: Node
    right: Node
    join: Join

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.left, self.right)

    @property
    def spec(self) -> Join:
        return self.join

    @property
    def updating(self) -> bool:
        return self.join.updating

    @property
    def deleting(self) -> bool:
        return self.updating

    @property
    def hold_us(self) -> int:
        """Rows that come out alone leave when no match can come any more."""
        join = self.join
        if join.strategy is not None:
            return join.kept_us(LEFT)
        if not join.bounded or join.window is not None or join.how in ("inner", "semi"):
            return 0
        return max(join.kept_us(side) if join.singles[side] else 0 for side in (LEFT, RIGHT))

    def passes(self, columns: tuple[str, ...]) -> tuple[int, ...]:
        """Conditions on keys go to both sides, those on columns of a side whose rows all come out go to that side."""
        join = self.join
        names = {column.name: column for column in join.columns}
        if any(names[name].source != name for name in columns):
            return ()
        types = [dict(side.columns) for side in join.sides]
        pairs = zip(join.sides[LEFT].keys, join.sides[RIGHT].keys, strict=True)
        shared = {left for left, right in pairs if left == right and types[LEFT][left] == types[RIGHT][right]}
        if set(columns) <= shared:
            return (LEFT, RIGHT)
        sides = {names[name].side for name in columns}
        if sides == {LEFT} and join.how in ("inner", "left", "semi", "anti"):
            return (LEFT,)
        return (RIGHT,) if sides == {RIGHT} and join.how in ("inner", "right") else ()

    def reads(self, side: int, output: tuple[str, ...]) -> set[str]:
        join = self.join
        wanted = [column for column in join.columns if column.name in output]
        reads = {*join.sides[side].keys}
        for column in (*wanted, *join.where_columns):
            if column.side == side:
                reads.add(column.source)
            elif column.other is not None:
                reads.add(column.other)
        return reads

    def describe_state(self, output: tuple[str, ...]) -> str:
        sides = []
        for number, side in enumerate(self.join.sides):
            kinds = dict(side.columns)
            held = ", ".join(f"{name}: {kinds[name]}" for name in sorted(self.reads(number, output)))
            sides.append(f"[{held}]{' changes' if side.weighted else ''}")
        where = "" if self.join.where is None else f" {described(self.join.where)}"
        return f"join {self.join}{where} {' '.join(sides)}{' timed' if self.join.timed else ''}"


@dataclass(frozen=True, slots=True, eq=False)
class Lookup(Unary):
    """Rows with what a table beside the stream has for their keys. `load()` gives that table, an Arrow table.

    Side 1 of `join` is that table; it is loaded when a job starts, and again after `refresh_us` of processing time.
    """

    join: Join
    describe: str
    load: Any
    refresh_us: int | None

    def reads(self, output: tuple[str, ...]) -> set[str]:
        """The columns of the stream that are needed for these columns of the result."""
        join = self.join
        wanted = [column for column in join.columns if column.name in output]
        return {*join.sides[LEFT].keys, *(c.source for c in (*wanted, *join.where_columns) if c.side == LEFT)}
