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


#: Number of shards of a job that keeps its state, unless it is told otherwise. Fixed when the job first commits: more
#: shards than workers so that work can be dealt out evenly, and that it can go to a machine with more cores; few enough
#: that a small epoch does not drown in per-shard overhead.
KEPT_SHARDS = 8
#: Of an aggregate whose state ends with its job: keys are found faster in several small tables than in a large one
#: (windows of 1 M keys: 15 M events/s with one, 19 with 4).
FEWEST_SHARDS = 4


def passing_shards(workers: int, joins: bool) -> int:
    """Number of shards of an operator whose state ends with its job.

    Of a join as few as keep the workers at work, for all its rows are copied to their shards, and each batch costs
    something in every one of them (one worker, from memory: q7 in 70 ms with one shard and 145 with 8, q20 in 237 and
    380); from three workers on two for each, so that those that are done first have something left to do.
    """
    if joins:
        return workers if workers <= 2 else 2 * workers
    return max(FEWEST_SHARDS, 2 * workers)
