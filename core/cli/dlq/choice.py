"""Which dead letters are meant."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from windrow.errors import PlanError

_RANGE = re.compile(r"(\d*)\.\.(\d*)|(\d+)")


@dataclass(frozen=True, slots=True)
class Choice:
    """All that is given has to hold; offsets are those of the origin, ``[first, end)``."""

    reason: str | None = None  # a part of it
    topic: str | None = None
    partition: int | None = None
    offsets: tuple[int, int] | None = None
    job: str | None = None

    @property
    def given(self) -> bool:
        """Whether it says anything."""
        return self != Choice()

    def of(self, letters: pa.RecordBatch) -> pa.RecordBatch:
        """Those that are meant."""
        mask = pa.array([True] * letters.num_rows)
        for name in ("topic", "partition", "job"):
            if getattr(self, name) is not None:
                mask = pc.and_(mask, pc.equal(letters.column(name), getattr(self, name)))
        if self.offsets is not None:
            offsets, (first, end) = letters.column("offset"), self.offsets
            mask = pc.and_(mask, pc.and_(pc.greater_equal(offsets, first), pc.less(offsets, end)))
        if self.reason is not None:
            mask = pc.and_(mask, pc.match_substring(letters.column("reason"), self.reason))
        return letters.filter(mask)  # null: not known, and so not meant


def offset_range(text: str | None) -> tuple[int, int] | None:
    """``5..9`` as [5, 9), either side may be missing; ``5`` alone is that one. Raises `PlanError` for other texts."""
    if text is None:
        return None
    found = _RANGE.fullmatch(text)
    if found is None:
        raise PlanError(f"offsets are FIRST..END (without END itself) or one offset, not {text!r}")
    first, end, one = found.groups()
    if one is not None:
        return int(one), int(one) + 1
    return int(first or 0), int(end) if end else 2**63 - 1


def place(text: str) -> tuple[int, int]:
    """``PARTITION:OFFSET``; raises `PlanError` for other texts."""
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None:
        raise PlanError(f"a dead letter is named by PARTITION:OFFSET of its own topic, as ls shows them, not {text!r}")
    return int(found[1]), int(found[2])
