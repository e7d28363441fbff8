"""Reading a whole log and saying where it is not what was written."""

from __future__ import annotations

from dataclasses import dataclass

from windrow.io.log.index import Index
from windrow.io.log.store import Store


@dataclass(frozen=True, slots=True)
class Problem:
    """One damaged place. `file` and its bytes ``[first_byte, end_byte)``; topic, partition and offsets where known."""

    reason: str
    file: str
    first_byte: int = 0
    end_byte: int = 0
    topic: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    next_offset: int | None = None


def verify(store: Store, index: Index) -> list[Problem]:
    return []
