"""Joins as data: which columns come out of which side, what rows match, and how long they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from windrow.datatypes import DataType
from windrow.plan.expr import Expression
from windrow.plan.window import Window
from windrow.units import format_us

How = Literal["inner", "left", "right", "full", "semi", "anti"]
Strategy = Literal["backward", "forward", "nearest"]
LEFT, RIGHT = 0, 1


@dataclass(frozen=True, slots=True)
class JoinColumn:
    """A column of the result: `source` is its name on `side`; with `other`, where that side has no row, its name on
    the other side."""

    name: str
    side: int
    source: str
    type: DataType
    other: str | None = None


@dataclass(frozen=True, slots=True)
class JoinSide:
    """One input: its keys, the type of each column, and whether its rows are changes of a Table."""

    keys: tuple[str, ...]
    columns: tuple[tuple[str, DataType], ...]
    weighted: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """Rows of two inputs with equal keys (null equals nothing) for which `where` is true.

    With bounds, the right row's event time is from `lower_us` to `upper_us` after the left row's; without, rows are
    kept for ever. With a `window`, both rows are in the same one. `where` reads `where_columns`. `key` names columns of
    the result that identify a row of it, if there are such; `timed` says whether both sides have event time. With a
    `strategy`, each left row meets the one right row that is nearest to it in event time, at most `tolerance_us` away.
    """

    name: str
    how: How
    sides: tuple[JoinSide, JoinSide]
    key_types: tuple[DataType, ...]
    columns: tuple[JoinColumn, ...]
    where: Expression | None = None
    where_columns: tuple[JoinColumn, ...] = ()
    lower_us: int | None = None
    upper_us: int | None = None
    window: Window | None = None
    key: tuple[str, ...] | None = None
    timed: bool = False
    strategy: Strategy | None = None
    tolerance_us: int | None = None

    @property
    def bounded(self) -> bool:
        """Whether time ends how long a row is kept."""
        return self.lower_us is not None

    @property
    def singles(self) -> tuple[bool, bool]:
        """For each side, whether rows without a match (or, semi: with one) come out alone."""
        return self.how in ("left", "full", "semi", "anti"), self.how in ("right", "full")

    @property
    def pairs(self) -> bool:
        """Whether pairs of rows come out."""
        return self.how not in ("semi", "anti")

    @property
    def updating(self) -> bool:
        """Whether a row of the result can be taken back."""
        waits = self.how not in ("inner", "semi") and not self.bounded
        return waits or any(side.weighted for side in self.sides)

    def kept_us(self, side: int) -> int:
        """How long after its event time a row of that side can still meet a new one."""
        if self.window is not None:
            return self.window.size_us - 1
        if self.strategy is not None:
            return 0 if side == LEFT and self.strategy == "backward" else self.tolerance_us or 0
        return max(0, (self.upper_us if side == LEFT else -(self.lower_us or 0)) or 0)

    def __str__(self) -> str:
        pairs = zip(self.sides[LEFT].keys, self.sides[RIGHT].keys, strict=True)
        keys = ", ".join(left if left == right else f"{left} = {right}" for left, right in pairs)
        text = f"{self.how} on [{keys}]"
        if self.window is not None:
            text += f" in {self.window}"
        elif self.strategy is not None:
            within = "" if self.tolerance_us is None else f" within {format_us(self.tolerance_us)}"
            text += f" as of event time, {self.strategy}{within}"
        elif self.lower_us is not None and self.upper_us is not None:
            text += f" within [{_signed(self.lower_us)}, {_signed(self.upper_us)}]"
        return text if self.where is None else f"{text} where {self.where}"


def _signed(us: int) -> str:
    return f"-{format_us(-us)}" if us < 0 else format_us(us)
