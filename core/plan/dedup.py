"""One row of each interval of event time in which rows have equal values, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from windrow.datatypes import DataType
from windrow.plan.nodes import Node, Stateful
from windrow.units import format_us

Keep = Literal["first", "last", "none"]


@dataclass(frozen=True, slots=True)
class Dedup:
    """Of the rows with equal `per`, by event time: the first one begins an interval ``[time, time + within_us)``, to
    which all rows in it belong; the first row after its end begins the next. `keep` says which row of an interval is
    given; "none": the only one.

    Rows of the same time are in the order of arrival when `arrival` is set, else in that of a hash of all their
    columns. `columns` are those of the input.
    """

    name: str
    per: tuple[str, ...]
    within_us: int
    keep: Keep
    columns: tuple[tuple[str, DataType], ...]
    arrival: bool

    def __str__(self) -> str:
        which = "only rows" if self.keep == "none" else f"{self.keep} row"
        return f"{which} per [{', '.join(self.per)}] within {format_us(self.within_us)}"


@dataclass(frozen=True, slots=True, eq=False)
class DedupNode(Stateful):
    """The rows that are left of a stream."""

    input: Node
    dedup: Dedup

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def spec(self) -> Dedup:
        return self.dedup

    @property
    def updating(self) -> bool:
        return False

    @property
    def deleting(self) -> bool:
        return False

    @property
    def ordered(self) -> bool:
        return self.dedup.arrival

    @property
    def hold_us(self) -> int:
        """A row leaves when it is known to be the first, or when its interval has ended."""
        return 0 if self.dedup.keep == "first" else self.dedup.within_us

    def passes(self, columns: tuple[str, ...]) -> tuple[int, ...]:
        return (0,) if columns and set(columns) <= set(self.dedup.per) else ()

    def reads(self, side: int, output: tuple[str, ...]) -> set[str]:
        wanted = {*output, *self.dedup.per}
        if not self.dedup.arrival:  # rows are told apart by all they have
            wanted |= set(self.input.schema.names)
        return {name for name in self.input.schema.names if name in wanted}

    def describe_state(self, output: tuple[str, ...]) -> str:
        kinds = dict(self.dedup.columns)
        held = ", ".join(f"{name}: {kinds[name]}" for name in sorted(self.reads(0, output)))
        return f"{self.dedup} by {'arrival' if self.dedup.arrival else 'hash'} [{held}]"
