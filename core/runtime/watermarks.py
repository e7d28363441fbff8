"""Event time while a job runs: the newest time of each partition, and what follows for the windows."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from windrow.progress.decide import PartitionTime, combine_watermarks
from windrow.units import BEFORE_TIME_US, END_OF_TIME_US


@dataclass(slots=True)
class PartitionClock:
    """The newest event time seen in one task's rows, and when (processing time) a row was last seen there.

    The pieces of a partition may be read side by side, but what is late goes by their order: each moves the clock when
    it is its turn, which the ones before it give away as soon as they know their newest time.
    """

    highest_us: int = BEFORE_TIME_US
    seen_us: int = 0
    ended: bool = False
    _turn: int = 0  # the number of the piece that is next to move the clock
    _moved: threading.Condition = field(default_factory=threading.Condition)

    def begin(self) -> None:
        """An epoch starts: its pieces are numbered from 0."""
        self._turn = 0

    def move(self, newest_us: int, piece: int, last: bool) -> int:
        """Some rows of a piece are there, the latest of them of `newest_us`; gives the latest time before them.

        Waits for the pieces before. `last`: no more rows of this piece will come here.
        """
        with self._moved:
            self._moved.wait_for(lambda: self._turn == piece)
            before_us = self.highest_us
            self.highest_us = max(before_us, newest_us)
            if last:
                self._give_turn()
        return before_us

    def leave(self, piece: int) -> None:
        """The piece is done, whether or not any of its rows came here."""
        with self._moved:
            self._moved.wait_for(lambda: self._turn >= piece)
            if self._turn == piece:
                self._give_turn()

    def _give_turn(self) -> None:
        self._turn += 1
        self._moved.notify_all()


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

    def begin(self) -> None:
        """An epoch starts."""
        for clock in self.clocks.values():
            clock.begin()

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
