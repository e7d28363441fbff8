"""When results that are followed as they grow are sent: early, by event time or the clock, or from their end on."""

from __future__ import annotations

import pyarrow as pa

from windrow.plan.window import Firing
from windrow.units import BEFORE_TIME_US

_FIRED = pa.schema([("early", pa.bool_()), ("now_us", pa.int64())])


class FiringClock:
    """Of one shard: whether an epoch sends what has not ended, too. `offset_us`: where the multiples of time begin."""

    def __init__(self, firing: Firing | None, offset_us: int = 0) -> None:
        self._firing = firing
        self._offset_us = offset_us
        self._now_us: int | None = None
        self._fired_us: int | None = None  # the time of the last epoch
        self.early = False  # what the last epoch did

    def at(self, now_us: int) -> None:
        """The processing time of the epoch."""
        self._now_us = now_us

    def due(self, now_us: int) -> bool:
        """Whether what has changed is to be sent although no row has come."""
        return self._firing is not None and self._firing.processing and self._clock_passed(self._firing, now_us)

    def fires_early(self, before_us: int, watermark_us: int) -> bool:
        """Whether the epoch that takes the watermark from `before_us` on does so. Asked once in each epoch."""
        self.early = self._passed(before_us, watermark_us)
        self._fired_us = self._now_us
        return self.early

    def _passed(self, before_us: int, watermark_us: int) -> bool:
        firing = self._firing
        if firing is None:
            return True
        if firing.every_us is None:
            return False
        if firing.processing:
            return self._clock_passed(firing, self._now_us)
        passed = (watermark_us - self._offset_us) // firing.every_us
        return before_us > BEFORE_TIME_US and passed > (before_us - self._offset_us) // firing.every_us

    def _clock_passed(self, firing: Firing, now_us: int | None) -> bool:
        before_us, every_us = self._fired_us, firing.every_us
        known = before_us is not None and now_us is not None and every_us is not None
        return known and now_us // every_us > before_us // every_us  # type: ignore[operator]

    def save(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(
            [pa.array([self.early]), pa.array([self._fired_us], pa.int64())], schema=_FIRED
        )

    def load(self, saved: pa.RecordBatch) -> None:
        self.early, self._fired_us = bool(saved.column(0)[0].as_py()), saved.column(1)[0].as_py()
