"""The grid of time windows: which panes there are, and which windows a pane is part of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from windrow.batch import Int64s
from windrow.kernels.windows import open_codes, pane_codes
from windrow.plan.window import Window
from windrow.state.columns import extent

_NONE = np.empty(0, np.int64)
#: Times that lie less apart are told exactly by a float.
_EXACT_US = 1 << 52


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows have numbers; window k ends at ``k * step_us + span_us + offset_us``.

    A pane is known by its code, ``pane * per_pane + skip`` (see `windrow.kernels.windows`).
    """

    width_us: int
    size_us: int
    slide_us: int
    offset_us: int
    per_pane: int
    cumulate: bool
    lateness_us: int = 0  # how long after its end a window still takes rows

    @property
    def step_us(self) -> int:
        return self.width_us if self.cumulate else self.slide_us

    @property
    def span_us(self) -> int:
        return self.width_us if self.cumulate else self.size_us

    def codes(self, times: Int64s, watermarks: Int64s | None, closed_us: int) -> tuple[Int64s | int, int]:
        """The code of every row (of at least one), or the one that all have, and how many are late."""
        if watermarks is None:
            low, high = extent(times)
            pane = (low - self.offset_us) // self.width_us
            if self._is_open(pane, closed_us):
                if (high - self.offset_us) // self.width_us == pane:
                    return pane * self.per_pane, 0
                if self.covers and high - low < _EXACT_US:
                    codes = np.empty(len(times), np.int64)
                    open_codes(times, pane * self.width_us + self.offset_us, pane, self.width_us, self.per_pane, codes)
                    return codes, 0
        return self._codes(times, watermarks, closed_us)

    def _is_open(self, pane: int, closed_us: int) -> bool:
        """Whether it has windows, none of which is closed."""
        first, last = self.windows_of(np.array([pane * self.per_pane], np.int64))
        return bool(first[0] <= last[0]) and self.end_us(int(first[0])) > closed_us - self.lateness_us

    @property
    def is_plain(self) -> bool:
        """Whether every pane is a window, as tumbling ones are."""
        return self.width_us == self.size_us == self.slide_us

    @property
    def covers(self) -> bool:
        """Whether every time is in a window."""
        return self.cumulate or self.size_us >= self.slide_us

    def _codes(self, times: Int64s, watermarks: Int64s | None, closed_us: int) -> tuple[Int64s, int]:
        codes = np.empty(len(times), np.int64)
        late = pane_codes(
            times,
            _NONE if watermarks is None else watermarks - self.lateness_us,
            closed_us - self.lateness_us,
            self.offset_us,
            self.width_us,
            self.size_us,
            self.slide_us,
            self.per_pane,
            int(self.cumulate),
            codes,
        )
        return codes, int(late)

    def windows_of(self, codes: Int64s) -> tuple[Int64s, Int64s]:
        """First and last window that the panes are part of."""
        if self.is_plain:
            return codes, codes
        panes = codes // self.per_pane
        skips = codes - panes * self.per_pane
        if self.cumulate:
            count = self.size_us // self.width_us
            return panes + skips, panes // count * count + count - 1
        starts = panes * self.width_us
        return -((self.size_us - starts - self.width_us) // self.slide_us) + skips, starts // self.slide_us

    def end_us(self, window: int) -> int:
        return window * self.step_us + self.span_us + self.offset_us

    def last_closed(self, watermark_us: int) -> int:
        """The latest window that takes no more rows: the watermark has passed its end, by the allowed lateness."""
        return self.last_ended(watermark_us - self.lateness_us)

    def last_ended(self, watermark_us: int) -> int:
        """The latest window that ends at or before the watermark."""
        return (watermark_us - self.offset_us - self.span_us) // self.step_us

    def bounds(self, windows: Int64s) -> tuple[Int64s, Int64s]:
        """Start and end of windows, in microseconds."""
        ends = windows * self.step_us + self.span_us + self.offset_us
        if self.cumulate:
            count = self.size_us // self.width_us
            return windows // count * self.size_us + self.offset_us, ends
        return ends - self.size_us, ends


def grid_of(window: Window, lateness_us: int = 0) -> Grid:
    """The grid of a tumbling, hopping or cumulate window."""
    if window.kind == "cumulate":
        per_pane = window.size_us // window.slide_us
        return Grid(window.slide_us, window.size_us, window.slide_us, window.offset_us, per_pane, True, lateness_us)
    slide = window.slide_us if window.kind == "hopping" else window.size_us
    width = math.gcd(window.size_us, slide)
    per_pane = math.ceil(window.size_us / slide)
    return Grid(width, window.size_us, slide, window.offset_us, per_pane, False, lateness_us)
