"""Settings, named with their units; given once when a job is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one epoch.

    `epoch_rows` (default: 8 million, of more than two workers 4 million for each) and `epoch_bytes` bound its input (of
    NDJSON files rows as long as they have been); `epoch_ms` is how long one should take: the engine offers fewer rows
    when the last ones took longer; `interval_ms` is the least time between the starts of two epochs while events only
    trickle in, which trades latency for fewer commits.
    """

    epoch_rows: int | None = None
    epoch_bytes: int = 512 << 20
    epoch_ms: int = 1_000
    interval_ms: int = 20


#: Number of shards of a job unless it is told otherwise. Fixed when the job first commits: more shards than workers
#: so that work can be dealt out evenly, few enough that a small epoch does not drown in per-shard overhead.
DEFAULT_SHARDS = 8
