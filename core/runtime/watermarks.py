"""Event time while a job runs: the newest time of each partition, and what follows for the windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from windrow.progress.decide import PartitionTime, combine_watermarks
from windrow.units import BEFORE_TIME_US, END_OF_TIME_US


@dataclass(slots=True)
class PartitionClock:
    """The newest event time seen in one task's rows, and when (processing time) a row was last seen there."""

    highest_us: int = BEFORE_TIME_US
    seen_us: int = 0
    ended: bool = False


@dataclass(slots=True)
class Timeline:
    """One watermark step of the plan: a clock for each partition (or shard) whose rows pass it."""

    delay_us: int
    idle_us: int | None
    processing: bool = False  # the time is that of the epoch, whatever rows come
    clocks: dict[str, PartitionClock] = field(default_factory=dict)
    watermark_us: int = BEFORE_TIME_US

    def clock(self, task: str, now_us: int) -> PartitionClock:
        return self.clocks.setdefault(task, PartitionClock(seen_us=now_us))

    def settle(self, now_us: int, at_end: bool) -> int:
        """Combine the partitions after an epoch; gives the watermark, which never goes back."""
        if at_end:
            self.watermark_us = END_OF_TIME_US
            return self.watermark_us
        if self.processing:
            self.watermark_us = max(self.watermark_us, now_us)
            return self.watermark_us
        times = [self._time(clock, now_us) for clock in self.clocks.values()]
        self.watermark_us = combine_watermarks(times, self.watermark_us)
        return self.watermark_us

    def _time(self, clock: PartitionClock, now_us: int) -> PartitionTime:
        idle = clock.ended or (self.idle_us is not None and now_us - clock.seen_us >= self.idle_us)
        reached = BEFORE_TIME_US if clock.highest_us == BEFORE_TIME_US else clock.highest_us - self.delay_us
        return PartitionTime(reached, idle)

    def save(self) -> dict[str, Any]:
        """What a restart needs to know; JSON."""
        return {
            "watermark_us": self.watermark_us,
            "highest_us": {k: c.highest_us for k, c in self.clocks.items()},
            "seen_us": {k: c.seen_us for k, c in self.clocks.items()},
        }

    def restore(self, saved: Mapping[str, Any], now_us: int | None) -> None:
        """Be as `save` said. With `now_us`, every partition counts as just heard of: while the job was down, nobody
        listened. Without (a redo), idleness goes on as it was."""
        self.watermark_us = saved["watermark_us"]
        self.clocks = {
            k: PartitionClock(highest, saved["seen_us"][k] if now_us is None else now_us)
            for k, highest in saved["highest_us"].items()
        }
