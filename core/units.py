"""Durations and times: what users may write, and the int64 microseconds that everything inside uses."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from windrow.errors import PlanError

#: A length of time as users write it: a timedelta, ``"10s"``, ``"1h30m"``, or an int of milliseconds.
Duration = timedelta | str | int

_UNIT_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|min|s|m|h|d|w)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: A time no event has reached yet; the watermark of a source that has ended.
END_OF_TIME_US = 2**62
#: A watermark that has not seen an event.
BEFORE_TIME_US = -(2**62)


def duration_us(value: Duration, what: str = "duration") -> int:
    """Microseconds of `value`; raises `PlanError` naming `what` when it is not a duration of zero or more."""
    if isinstance(value, bool):
        raise PlanError(f"{what}: expected a duration such as '10s' or a timedelta, got {value!r}")
    if isinstance(value, timedelta):
        us = value // timedelta(microseconds=1)
    elif isinstance(value, int):
        us = value * 1_000
    else:
        us = _parse(value, what)
    if us < 0:
        raise PlanError(f"{what}: a duration cannot be negative, got {value!r}")
    return us


def _parse(text: str, what: str) -> int:
    compact = text.strip().lower()
    parts = _PART.findall(compact)
    if not parts or _PART.sub("", compact).strip():
        raise PlanError(f"{what}: cannot read {text!r} as a duration; write for example '500ms', '10s', '1h30m', '2d'")
    return sum(round(float(number) * _UNIT_US[unit]) for number, unit in parts)


def format_us(us: int) -> str:
    """The shortest text that `duration_us` reads back: ``10_000_000`` becomes ``'10s'``."""
    if us == 0:
        return "0s"
    text = ""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, us = divmod(us, _UNIT_US[unit])
        if count:
            text += f"{count}{unit}"
    return text


def time_us(value: datetime) -> int:
    """Microseconds since the epoch; a datetime without a zone is taken as UTC."""
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def format_time_us(us: int) -> str:
    """A time for people: ISO with milliseconds, or a word for the two ends."""
    if us >= END_OF_TIME_US:
        return "end"
    if us <= BEFORE_TIME_US:
        return "none"
    return (_EPOCH + timedelta(microseconds=us)).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")
