"""Ranking of rows within groups as data: the first n rows of each, by what order, and what counts as a tie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from windrow.datatypes import DataType
from windrow.plan.window import Window

#: row_number counts rows, so that no two have the same rank; with the others rows that are equal in what they are
#: ordered by have one rank, and are among the first all or none
Ties = Literal["row_number", "rank", "dense_rank"]
#: How a ranking is kept. ``slots``: n places a group, for rows that nothing takes back. ``waiting``: rows of windows
#: wait for their window's end and are ranked then. ``runs``: a sorted run a group, for everything else.
Kept = Literal["slots", "waiting", "runs"]


@dataclass(frozen=True, slots=True)
class Order:
    """A column that rows are ordered by; null comes last either way."""

    column: str
    type: DataType
    descending: bool

    def __str__(self) -> str:
        return f"{self.column} {'descending' if self.descending else 'ascending'}"


@dataclass(frozen=True, slots=True)
class Rank:
    """The rows of each group (equal `per`) whose rank is at most `n`.

    Rows that `order` does not tell apart are in the order of arrival when `arrival` is set (`latest`: the newest
    first), else as they come to the state, or where rows are taken back in that of a hash of all their columns. With
    `window`, groups are also told apart by the window that a row's time lies in. `closed`: a group comes once, when the
    watermark has passed its rows' time; otherwise the result is a Table, of which `key` identifies a row. `alone`: only
    groups that have no other row. `rank` is the name of the column that the rank goes to; `columns` are those of the
    input.
    """

    name: str
    per: tuple[str, ...]
    per_types: tuple[DataType, ...]
    order: tuple[Order, ...]
    n: int
    ties: Ties
    columns: tuple[tuple[str, DataType], ...]
    rank: str | None = None
    arrival: bool = False
    latest: bool = False
    weighted: bool = False
    closed: bool = False
    window: Window | None = None
    alone: bool = False
    key: tuple[str, ...] | None = None

    @property
    def kept(self) -> Kept:
        """How it is kept: the fastest way that can do it (`kernels_topk` measures slots; runs sort in numpy)."""
        if self.weighted or self.alone or self.window is not None:
            return "runs"
        if self.closed:
            return "waiting"
        return "slots" if self.ties == "row_number" else "runs"

    @property
    def hashed(self) -> bool:
        """Whether rows that are equal in what they are ordered by are told apart by all their columns."""
        return self.kept == "runs" and not self.arrival

    @property
    def stable(self) -> bool:
        """Whether a row of the result, told by its key, never goes away without another one in its place."""
        numbered = self.ties == "row_number" and (self.rank is not None or self.n == 1)
        return numbered and not self.weighted and not self.alone

    def __str__(self) -> str:
        shown = [str(order) for order in self.order]
        if self.arrival:
            shown.append("latest arrival" if self.latest else "arrival")
        text = "only rows" if self.alone else f"first {self.n}"
        text += f" per [{', '.join(self.per)}]" + (f" in {self.window}" if self.window is not None else "")
        return f"{text} by [{', '.join(shown)}] {self.ties}"
