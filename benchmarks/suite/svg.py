"""Two kinds of plots as SVG text: dots on a row each, and lines over an axis.

Colours are CSS classes that follow the reader's light or dark scheme; shapes differ as well, so that colour is never
the only difference. Axes are logarithmic where values span orders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_LIGHT = ("#0b5fae", "#c4470b", "#0f7a4d", "#8b3fa8", "#a07000", "#b3123f", "#3d6f7d", "#6b5b4b", "#4b4bd0", "#5d7a12")
_DARK = ("#6cb4ff", "#ff9b62", "#4fd69c", "#d08cf0", "#e6bd4a", "#ff7c9f", "#86c5d4", "#c8b39c", "#a3a3ff", "#b5d95b")
_WIDTH = 760
_ROW = 26
_CHARACTER = 6.6  # width of one at 12 px, about


@dataclass(frozen=True, slots=True)
class Axis:
    """`label` says what it shows, with its unit."""

    label: str
    log: bool = True
    least: float | None = None  # where it begins, if not at the least value


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        a, b, v = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return self.start + (v - a) / (b - a) * (self.end - self.start)


def dots(
    title: str,
    rows: Mapping[str, Sequence[tuple[str, float]]],
    axis: Axis,
    marks: Mapping[str, float] | None = None,
    reference: float | None = None,
) -> str:
    """A row of dots for each label: (series, value), positive. `marks`: a value of the row shown as a bar with its
    figure, such as a mean; `reference`: a line across all rows."""
    series = list(dict.fromkeys(name for found in rows.values() for name, _ in found))
    values = [value for found in rows.values() for _, value in found] + list((marks or {}).values())
    if reference is not None:
        values.append(reference)
    left = 16 + _CHARACTER * max((len(label) for label in rows), default=4)
    legend, used = _legend(series if len(series) > 1 else [], left)
    top = 34 + used
    bottom = top + _ROW * len(rows) + 6
    low, high = _bounds(values, axis)
    x = _Scale(low, high, left, _WIDTH - 60, axis.log)
    parts = [*legend, *_x_axis(x, axis, top, bottom)]
    if reference is not None:
        parts.append(f'<line class="ref" x1="{x(reference):.1f}" x2="{x(reference):.1f}" y1="{top}" y2="{bottom}"/>')
    for number, (label, found) in enumerate(rows.items()):
        y = top + _ROW * (number + 0.5)
        parts.append(f'<text x="{left - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<line class="grid" x1="{left:.0f}" x2="{_WIDTH - 60}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts += [
            _shape(series.index(name), x(value), y, f"{label}, {name}: {_number(value)}") for name, value in found
        ]
        if marks and label in marks:
            at = x(marks[label])
            parts.append(f'<rect class="mark" x="{at - 2:.1f}" y="{y - 10:.1f}" width="4" height="20"/>')
            parts.append(f'<text class="figure" x="{_WIDTH - 54}" y="{y + 4:.1f}">{_number(marks[label])}x</text>')
    return _document(title, bottom + 44, parts)


def curves(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_axis: Axis,
    y_axis: Axis,
    dashed: Sequence[str] = (),
) -> str:
    """A line for each series of (x, y) points; `dashed`: names of those that are not measured, such as an ideal."""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    left, (legend, used) = 74.0, _legend(list(series), 74.0)
    top, height = 34 + used, 240
    x = _Scale(*_bounds(xs, x_axis, tight=True), left, _WIDTH - 24, x_axis.log)
    y = _Scale(*_bounds(ys, y_axis), top + height, top, y_axis.log)
    parts = [*legend, *_x_axis(x, x_axis, top, top + height), *_y_axis(y, y_axis, left, _WIDTH - 24)]
    for number, (name, points) in enumerate(series.items()):
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in sorted(points))
        style = " dashed" if name in dashed else ""
        parts.append(f'<polyline class="line s{number % len(_LIGHT)}{style}" points="{path}"/>')
        if name not in dashed and len(points) <= 40:
            said = f"{name}: "
            parts += [_shape(number, x(a), y(b), f"{said}{_number(a)}, {_number(b)}") for a, b in points]
    return _document(title, top + height + 44, parts)


def _document(title: str, height: float, parts: Sequence[str]) -> str:
    light = "".join(f".s{n}{{fill:{c};stroke:{c}}}" for n, c in enumerate(_LIGHT))
    dark = "".join(f".s{n}{{fill:{c};stroke:{c}}}" for n, c in enumerate(_DARK))
    style = (
        "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:14px}"
        ".figure{font-weight:600}.grid{stroke:#8c959f;stroke-opacity:.35}.ref{stroke:#57606a;stroke-dasharray:4 3}"
        f".mark{{fill:#24292f}}{light}.line{{fill:none;stroke-width:2}}.dashed{{stroke-dasharray:5 4}}"
        "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ref{stroke:#9da7b3}"
        f".mark{{fill:#e6edf3}}{dark}.line{{fill:none}}}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f'<text class="title" x="12" y="20">{escape(title)}</text>' + "".join(parts) + "</svg>\n"
    )


def _legend(names: Sequence[str], left: float) -> tuple[list[str], float]:
    """Its parts, and how many pixels of height it takes."""
    parts, x, y = [], left, 40.0
    for number, name in enumerate(names):
        width = 26 + _CHARACTER * len(name)
        if x + width > _WIDTH - 20 and x > left:
            x, y = left, y + 18
        parts.append(_shape(number, x + 5, y, name))
        parts.append(f'<text x="{x + 14:.1f}" y="{y + 4:.1f}">{escape(name)}</text>')
        x += width
    return parts, (y - 40 + 24 if names else 0)


def _shape(number: int, x: float, y: float, said: str) -> str:
    name = f'class="s{number % len(_LIGHT)}"'
    tip = f"<title>{escape(said)}</title>"
    if number % 3 == 0:
        return f'<circle {name} cx="{x:.1f}" cy="{y:.1f}" r="4">{tip}</circle>'
    if number % 3 == 1:
        return f'<rect {name} x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7">{tip}</rect>'
    points = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y + 4:.1f} {x - 5:.1f},{y + 4:.1f}"
    return f'<polygon {name} points="{points}">{tip}</polygon>'


def _x_axis(x: _Scale, axis: Axis, top: float, bottom: float) -> list[str]:
    parts = []
    for value in _ticks(x):
        at = x(value)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{_number(value)}</text>')
    middle = (x.start + x.end) / 2
    parts.append(f'<text x="{middle:.0f}" y="{bottom + 34:.1f}" text-anchor="middle">{escape(axis.label)}</text>')
    return parts


def _y_axis(y: _Scale, axis: Axis, left: float, right: float) -> list[str]:
    parts = []
    for value in _ticks(y):
        at = y(value)
        parts.append(f'<line class="grid" x1="{left:.0f}" x2="{right:.0f}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{left - 8:.0f}" y="{at + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    middle = (y.start + y.end) / 2
    turned = f'transform="rotate(-90 16 {middle:.0f})"'
    parts.append(f'<text x="16" y="{middle:.0f}" text-anchor="middle" {turned}>{escape(axis.label)}</text>')
    return parts


def _bounds(values: Sequence[float], axis: Axis, tight: bool = False) -> tuple[float, float]:
    """Where the axis begins and ends; `tight`: at the values themselves."""
    low = axis.least if axis.least is not None else min(values, default=1.0)
    high = max([*values, low])
    if axis.log:
        low = max(low, 1e-9)
        if tight and high > low:
            return low, high
        return 10 ** math.floor(math.log10(low) + 1e-9), max(10 ** math.ceil(math.log10(high) - 1e-9), low * 10)
    return (low if tight or axis.least is not None else min(low, 0.0)), (high if tight else high * 1.06) or 1.0


def _ticks(scale: _Scale) -> list[float]:
    if scale.log:
        first, last = math.ceil(math.log10(scale.low) - 1e-9), math.floor(math.log10(scale.high) + 1e-9)
        found = [10.0**power for power in range(first, last + 1)]
        if last - first < 2:  # within two orders, more of them are wanted
            powers = range(math.floor(math.log10(scale.low)), last + 1)
            found = [m * 10.0**power for power in powers for m in (1, 2, 5)]
        return [value for value in found if scale.low * 0.999 <= value <= scale.high * 1.001]
    step = 10 ** math.floor(math.log10((scale.high - scale.low) or 1.0))
    for part in (step / 5, step / 2, step, step * 2):
        if (scale.high - scale.low) / part <= 7:
            step = part
            break
    first = math.ceil(scale.low / step - 1e-9)
    return [n * step for n in range(first, math.floor(scale.high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    """1200 -> 1.2k; three digits that matter."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
