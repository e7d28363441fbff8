"""Dead letters counted, in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

#: What can be grouped by.
COLUMNS = ("reason", "topic", "partition", "job", "step", "field")


@dataclass(slots=True)
class Group:
    """How many letters, how many of them were sent to where they came from, and what they span: origin offsets and
    timestamps; `first`: where the first of them lies."""

    count: int = 0
    replayed: int = 0
    first: tuple[int, int] = (-1, -1)
    offsets: tuple[int, int] | None = None
    times: tuple[datetime, datetime] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON can say it."""
        offsets, times = self.offsets or (None, None), self.times or (None, None)
        return {
            "count": self.count,
            "replayed": self.replayed,
            "first_letter": "{}:{}".format(*self.first),
            "first_offset": offsets[0],
            "last_offset": offsets[1],
            "first_timestamp": times[0].isoformat() if times[0] else None,
            "last_timestamp": times[1].isoformat() if times[1] else None,
        }


@dataclass(slots=True)
class Summary:
    """Groups by `by`, some of `COLUMNS`; memory as there are groups."""

    by: Sequence[str]
    groups: dict[tuple[Any, ...], Group] = field(default_factory=dict)

    def add(self, letters: pa.RecordBatch, replayed: np.ndarray) -> None:
        """Count these; `replayed` says which were sent."""
        if not letters.num_rows:
            return
        table = pa.Table.from_batches([letters]).append_column("sent", pa.array(replayed.astype(np.int64)))
        keys = [f"by_{name}" for name in self.by]
        for name, key in zip(self.by, keys, strict=True):
            table = table.append_column(key, table.column(name))
        measures = [("sent", "count"), ("sent", "sum"), ("at_partition", "first"), ("at_offset", "first"),
                    ("offset", "min"), ("offset", "max"), ("timestamp", "min"), ("timestamp", "max")]  # fmt: skip
        for row in table.group_by(keys, use_threads=False).aggregate(measures).to_pylist():
            group = self.groups.setdefault(tuple(row[key] for key in keys), Group())
            group.first = group.first if group.count else (row["at_partition_first"], row["at_offset_first"])
            group.count += row["sent_count"]
            group.replayed += row["sent_sum"]
            group.offsets = _wider(group.offsets, row["offset_min"], row["offset_max"])
            group.times = _wider(group.times, row["timestamp_min"], row["timestamp_max"])

    def largest_first(self) -> list[tuple[tuple[Any, ...], Group]]:
        """The groups."""
        return sorted(self.groups.items(), key=lambda item: (-item[1].count, str(item[0])))


def _wider(known: Any, least: Any, greatest: Any) -> Any:
    if least is None:
        return known
    return (least, greatest) if known is None else (min(known[0], least), max(known[1], greatest))
