"""Numbers as people read them."""

from __future__ import annotations

_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: int) -> str:
    """All digits, grouped: 5,000,000."""
    return f"{value:,}"


def short(value: float) -> str:
    """Three digits and a letter: 3.42 M; below a thousand just the number."""
    for step, letter in _STEPS:
        if abs(value) >= step:
            return f"{value / step:.{_decimals(value / step)}f} {letter}"
    return f"{value:.0f}"


def size(value: float) -> str:
    """Bytes with three digits and a decimal unit: 812 MB."""
    text = short(value)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def duration(seconds: float) -> str:
    """12.3 s below a minute, then 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _decimals(value: float) -> int:
    return max(0, 3 - len(str(int(abs(value)))))
