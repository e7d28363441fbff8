"""An expression as plans hold it: what it reads and what it is called; how to compute it is opaque to the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class TextTest:
    """Whether a column of text is equal to a text (or is not)."""

    column: str
    value: str
    equal: bool


@dataclass(frozen=True, slots=True)
class IntTest:
    """Whether a column of int64, or what is left when it is divided by `divisor`, is equal to, less or greater than a
    value (or is not)."""

    column: str
    divisor: int | None  # positive; then compare is "equal", and the value a possible remainder
    compare: Literal["equal", "less", "greater"]
    value: int
    wanted: bool


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """One output column computed row by row.

    `text` is for people: two expressions may be written alike (polars writes ``round(1)`` and ``round(2)`` alike) and
    be different; those of the same `identity` are the same. `reads` are the columns it needs (None: all of them);
    `column` is set when it is nothing but that column, `test` when it is such a test; `compiled` belongs to
    ``windrow.expressions``, which made it.
    """

    text: str
    reads: tuple[str, ...] | None
    column: str | None
    compiled: Any
    identity: str
    test: TextTest | IntTest | None = None

    def __str__(self) -> str:
        return self.text
