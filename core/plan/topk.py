"""The first rows of each group as data: what is asked for, without any way to compute it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from windrow.datatypes import DataType, Schema
from windrow.plan.nodes import Node, Stateful

Ties = Literal["row_number", "rank", "dense_rank"]


@dataclass(frozen=True, slots=True)
class TopK:
    """Of the rows with equal `per`, those of rank 1 to `n` when ordered by `by` (nulls last), then by arrival.

    `latest`: of equal rows the last to arrive comes first.

    `ties`: row_number counts rows, so that no two have the same rank; with rank and dense_rank rows that are equal in
    `by` do, and all of them are among the first or none. `rank` is the output column for it, if wanted. With `closes`,
    a column with the end of the row's window, a group is given once, when the watermark has passed that; without,
    groups have no end and the result is a Table.
    """

    name: str
    columns: tuple[tuple[str, DataType], ...]
    per: tuple[str, ...]
    by: tuple[str, ...]
    descending: tuple[bool, ...]
    n: int
    latest: bool = False
    ties: Ties = "row_number"
    rank: str | None = None
    closes: str | None = None

    def __str__(self) -> str:
        order = ", ".join(f"{name} desc" if down else name for name, down in zip(self.by, self.descending, strict=True))
        per = f" per [{', '.join(self.per)}]" if self.per else ""
        ties = "" if self.ties == "row_number" else f" ({self.ties})"
        return f"{self.n}{ties} by [{order}]{per}"


@dataclass(frozen=True, slots=True, eq=False)
class TopKNode(Stateful):
    """The first rows of each group."""

    input: Node
    top: TopK

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def spec(self) -> TopK:
        return self.top

    @property
    def updating(self) -> bool:
        return self.top.closes is None

    @property
    def deleting(self) -> bool:
        """A place that is taken stays taken; without ranks, rows are all that there is to tell them apart."""
        return self.updating and self.top.rank is None and self.top.n > 1

    @property
    def ordered(self) -> bool:
        return True

    def reads(self, side: int, output: tuple[str, ...]) -> set[str]:
        closes = {self.top.closes} if self.top.closes is not None else set()
        wanted = {*output, *self.top.per, *self.top.by, *closes} - {self.top.rank}
        return {name for name in self.input.schema.names if name in wanted}

    def passes(self, columns: tuple[str, ...]) -> tuple[int, ...]:
        return (0,) if columns and set(columns) <= set(self.top.per) else ()

    def describe_state(self, output: tuple[str, ...]) -> str:
        kinds = dict(self.top.columns)
        held = ", ".join(f"{name}: {kinds[name]}" for name in sorted(self.reads(0, output)))
        return f"top {self.top} {self.top.ties} {self.top.latest} [{held}]{' by window' if self.top.closes else ''}"


def key_of(top: TopK, schema: Schema) -> tuple[str, ...] | None:
    """The columns by which rows of the result replace each other; None: by nothing less than all."""
    if top.rank is not None:
        return (*top.per, top.rank)
    return top.per if top.n == 1 else None
