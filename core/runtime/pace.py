"""How much to take into the next epoch, and when to start it."""

from __future__ import annotations

import time

from windrow.config import Limits

_LEAST_ROWS = 10_000
#: Rows of the first epoch and of all others, for two workers and for each two more. How fast the job is will be known
#: after the first one. Then large epochs cost less an event (2 M rows an epoch against 8 M: 85 ms and 68 for 8 M events
#: of 1,000 keys, 550 and 440 for 1 M keys), and what one thread does for all shows less.
_FIRST_ROWS, _MOST_ROWS = 2_000_000, 8_000_000
#: So many are never waited for: a source that fetches ahead holds no more than its own bounds let it, and would be left
#: to wait for the end of each interval (0.25 M records/s from Kafka with intervals of 1 s, where 1.4 M can be done).
_ENOUGH_ROWS = 200_000


class Pace:
    """Keeps epochs within the limits: in rows and bytes by what it offers, in time by what the last ones took."""

    def __init__(self, limits: Limits, workers: int = 1) -> None:
        pairs = max(workers / 2, 1)
        self._limits = limits
        self._most_rows = limits.epoch_rows or int(_MOST_ROWS * pairs)
        self._rows = min(self._most_rows, int(_FIRST_ROWS * pairs))
        self._started = 0.0

    def share(self, partitions: int) -> tuple[int, int]:
        """Most rows and bytes that each of `partitions` may give to the next epoch."""
        parts = max(partitions, 1)
        return max(self._rows // parts, 1), max(self._limits.epoch_bytes // parts, 1)

    def hold(self, rows: int) -> bool:
        """Whether to wait for more events before starting an epoch with so few `rows`."""
        return rows < min(self._rows // 10, _ENOUGH_ROWS) and self.pause_s() > 0

    def pause_s(self) -> float:
        """Seconds until a small epoch may start."""
        return self._started + self._limits.interval_ms / 1e3 - time.monotonic()

    def begin(self) -> None:
        self._started = time.monotonic()

    def took(self, rows: int, seconds: float) -> None:
        """Learn from a finished epoch: offer as many rows as fit the time an epoch should take."""
        if rows < _LEAST_ROWS or seconds <= 0:
            return
        fitting = int(rows / seconds * self._limits.epoch_ms / 1e3)
        self._rows = max(min(self._most_rows, (self._rows + fitting) // 2), min(_LEAST_ROWS, self._most_rows))
