"""Windows as users write them; half-open, ``[start, end)``, on a grid that starts at the epoch plus `offset`."""

from __future__ import annotations

from typing import Literal

from windrow.errors import PlanError
from windrow.plan.window import Firing, Window
from windrow.units import Duration, duration_us

Time = Literal["event", "processing"]
Every = Duration | Literal["epoch", "close"]


def tumbling(size: Duration, *, offset: Duration = 0, time: Time = "event") -> Window:
    """Windows of `size` that follow each other without gap or overlap.

    ``time="processing"``: an event belongs to the time at which it is read, and no `.watermark()` is needed.
    """
    size_us, offset_us = _positive(size, "tumbling: size"), duration_us(offset, "offset")
    return Window("tumbling", size_us=size_us, offset_us=offset_us, processing=_processing(time))


def hopping(size: Duration, slide: Duration, *, offset: Duration = 0, time: Time = "event") -> Window:
    """Windows of `size`, a new one every `slide`; `size` must be a multiple of `slide`. `time` as for `tumbling`."""
    size_us, slide_us = _positive(size, "hopping: size"), _positive(slide, "hopping: slide")
    if size_us % slide_us:
        raise PlanError(f"hopping: size {size!r} must be a multiple of slide {slide!r}")
    if size_us == slide_us:
        return tumbling(size, offset=offset, time=time)
    offset_us = duration_us(offset, "offset")
    return Window("hopping", size_us=size_us, slide_us=slide_us, offset_us=offset_us, processing=_processing(time))


def cumulate(step: Duration, size: Duration, *, offset: Duration = 0) -> Window:
    """Windows that share a start and grow by `step` until they reach `size`, then start anew."""
    step_us, size_us = _positive(step, "cumulate: step"), _positive(size, "cumulate: size")
    if size_us % step_us:
        raise PlanError(f"cumulate: size {size!r} must be a multiple of step {step!r}")
    return Window("cumulate", size_us=size_us, slide_us=step_us, offset_us=duration_us(offset, "offset"))


def session(gap: Duration, *, time: Time = "event") -> Window:
    """Per key: a window from the first event until `gap` has passed without another; ends at the last event + gap.

    `time` as for `tumbling`.
    """
    return Window("session", gap_us=_positive(gap, "session: gap"), processing=_processing(time))


def count_window(size: int) -> Window:
    """Per key: every `size` events in the order of arrival."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise PlanError(f"count window: size must be a number of events of 1 or more, got {size!r}")
    return Window("count", count=size)


def lateness_us(window: Window, allowed: Duration) -> int:
    """How long a window takes rows after its end, in microseconds; raises `PlanError` where no row is ever late."""
    us = duration_us(allowed, "window: allowed_lateness")
    if us and window.kind == "count":
        raise PlanError(f"window: {window} goes by arrival: nothing is ever late; leave allowed_lateness out")
    if us and window.processing:
        raise PlanError(f"window: no event is late in {window}; leave allowed_lateness out")
    return us


def firing(window: Window | None, every: Every, time: Time) -> Firing | None:
    """When windows that are followed are sent; None: in every epoch."""
    processing = _processing(time)
    if every == "epoch":
        return None
    if window is None:
        raise PlanError(
            "current: a grouping without a window has no end and is followed in every epoch; every= is for windows"
        )
    if every == "close":
        return Firing(None)
    if window.kind == "count":
        raise PlanError(
            f"current: {window} goes by arrival, and knows no time at which its results could be sent early; leave "
            'every= out, or say every="close"'
        )
    return Firing(_positive(every, "current: every"), processing)


def _processing(time: Time) -> bool:
    if time not in ("event", "processing"):
        raise PlanError(f"window: time must be 'event' or 'processing', got {time!r}")
    return time == "processing"


def _positive(value: Duration, what: str) -> int:
    us = duration_us(value, what)
    if us == 0:
        raise PlanError(f"{what} must be longer than zero")
    return us
