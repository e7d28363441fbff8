"""Logical nodes of joins."""

from __future__ import annotations

from dataclasses import dataclass

from windrow.plan.join import LEFT, RIGHT, Join
from windrow.plan.nodes import Node, Stateful


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
    def hold_us(self) -> int:
        """Rows that come out alone leave when no match can come any more."""
        join = self.join
        if not join.bounded or join.window is not None or join.how in ("inner", "semi"):
            return 0
        return max(join.kept_us(side) if join.singles[side] else 0 for side in (LEFT, RIGHT))

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
        return f"join {self.join} {' '.join(sides)}{' timed' if self.join.timed else ''}"
