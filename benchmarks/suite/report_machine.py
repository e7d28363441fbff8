"""The report's sections on the machine, its limits, and how near to them the kernels come."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.suite import svg
from benchmarks.suite.lines import Line
from benchmarks.suite.markdown import figure, paragraph, table
from benchmarks.suite.page import Page

_MODELS = Path(__file__).with_name("kernels.toml")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_LIMITS = """A copy counts what is read and what is written. Gathers are independent random loads of 8 bytes; dependent
loads need the last one's result."""
_KERNELS = """The ceiling of a kernel is the time in which one core could move the bytes of an event through memory
(bandwidth at the size of the input), or do its random loads (gathers at the size of the table), whichever is longer.
Cycles are by the clock that was measured in the same run. Below a third of its ceiling a kernel is explained."""
_ENOUGH = 1 / 3  # of the ceiling: below it, a kernel is explained


def machine(page: Page) -> str:
    """Where and with what, of the latest line; and a warning when lines come from several machines."""
    runs = [each.run for each in page.kept if each.run]
    if not runs:
        return "There are no results yet.\n"
    last = max(runs, key=lambda run: run.get("date", ""))
    about, versions = last.get("machine", {}), last.get("versions", {})
    caches = ", ".join(f"{name.upper()} {_size(about[name])}" for name in ("l1", "l2", "l3") if name in about)
    text = "## Machine and versions\n\n"
    text += (
        f"- {about.get('cpu')}, {about.get('cores')} cores{' of a virtual machine' if about.get('virtual') else ''}, "
    )
    text += f"{about.get('memory_gb')} GB, {caches}, {about.get('system')}\n"
    text += "- " + ", ".join(f"{name} {version}" for name, version in versions.items() if version) + "\n"
    text += f"- {min(r.get('date', '') for r in runs)} to {last.get('date')} (UTC), commit {last.get('commit')}\n"
    several = {str(run.get("machine", {}).get("cpu")) + str(run.get("machine", {}).get("cores")) for run in runs}
    if len(several) > 1:
        text += f"- The lines of this page come from {len(several)} different machines: run the whole suite on one.\n"
    return text


def limits(page: Page) -> str:
    """The ceilings."""
    lines = [line for line in page.lines if line.benchmark == "limit" and line.status == "measured"]
    if not lines:
        return ""
    rows = []
    for query, variant in dict.fromkeys((line.query, line.variant) for line in lines):
        found = [line for line in lines if (line.query, line.variant) == (query, variant)]
        cells = [f"{_extra(line)} ({line.cores} core{'s' * (line.cores > 1)}, {line.engine})" for line in found]
        rows.append([query, variant, "; ".join(cells)])
    text = "## Limits of this machine\n\n" + paragraph(_LIMITS)
    return text + table(["limit", "of", "figure"], rows, left=3)


def _extra(line: Line) -> str:
    names = {
        "gb_per_s": "GB/s",
        "million_per_s": "M/s",
        "ghz": "GHz",
        "ns": "ns",
        "p50_ms": "ms p50",
        "p99_ms": "ms p99",
    }
    told = [f"{figure(value)} {names[name]}" for name, value in line.extra.items() if name in names]
    if not told and line.events_per_s:
        told = [f"{figure(line.events_per_s / 1e6)} M events/s"]
    return ", ".join(told)


# -- kernels ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the machine can do, on one core: by working set in bytes."""

    read: dict[int, float]  # bytes a second
    copy: dict[int, float]
    gather: dict[int, float]  # loads a second
    ghz: float

    @classmethod
    def of(cls, lines: Sequence[Line]) -> Ceilings | None:
        found: dict[str, dict[int, float]] = {"read": {}, "copy": {}, "gather": {}}
        ghz = 0.0
        for line in lines:
            if line.benchmark == "limit" and line.cores == 1 and line.query in found:
                value = line.extra.get("gb_per_s", 0) * 1e9 or line.extra.get("million_per_s", 0) * 1e6
                found[line.query][_bytes(line.variant)] = value
            if line.benchmark == "limit" and line.query == "clock":
                ghz = line.extra["ghz"]
        return cls(**found, ghz=ghz) if ghz and all(found.values()) else None


def between(points: dict[int, float], at: float) -> float:
    """The value at a working set, between the two measured ones beside it, logarithmically."""
    known = sorted(points.items())
    if at <= known[0][0]:
        return known[0][1]
    for (a, low), (b, high) in pairwise(known):
        if at <= b:
            share = math.log(at / a) / math.log(b / a)
            return math.exp(math.log(low) * (1 - share) + math.log(high) * share)
    return known[-1][1]


def kernels(page: Page) -> str:
    """Each kernel with its cost and the fraction of what the machine could do; and how costs grow."""
    lines = [line for line in page.of_part("kernels") if line.status == "measured"]
    ceilings = Ceilings.of(page.lines)
    measured = [line for line in lines if line.benchmark == "kernel"]
    text = ""
    if measured and ceilings is not None:
        models = tomllib.loads(_MODELS.read_text())["model"]
        text += "## Kernels against the machine\n\n" + paragraph(_KERNELS)
        rows = [_kernel_row(line, models, ceilings) for line in measured]
        head = ["benchmark", "of", "ns an event", "cycles", "GB/s", "of its ceiling", "ceiling", "why"]
        text += table(head, rows, left=2).replace("---: |\n", "--- |\n", 1) + "\n"
    return text + _growth(page, lines)


def _kernel_row(line: Line, models: list[dict[str, Any]], ceilings: Ceilings) -> list[str]:
    ns = (line.second or 0) / line.events * 1e9
    model = next((m for m in models if m["benchmark"] == line.query and re.search(m.get("of", ""), line.variant)), {})
    share, bound = fraction(line, model, ceilings)
    why = model.get("why", "") if share < _ENOUGH else ""
    speed = figure(line.bytes / (line.second or 1) / 1e9)
    return [line.query, line.variant, figure(ns), figure(ns * ceilings.ghz), speed, f"{share:.0%}", bound, why]


def fraction(line: Line, model: dict[str, Any], ceilings: Ceilings) -> tuple[float, str]:
    """How much of its ceiling a kernel reaches, and what the ceiling is."""
    moved = float(model.get("bytes", line.bytes / line.events))
    streaming = moved / between(ceilings.copy, moved * line.events)
    gathering = sum(count / between(ceilings.gather, over) for count, over in model.get("gathers", []))
    least = max(streaming, gathering)
    return least / ((line.second or 1e9) / line.events), "gathers" if gathering > streaming else "bandwidth"


_AXES = {
    "keys": "different keys", "row width": "columns of 8 bytes a row", "batch": "rows a batch",
    "windows": "windows an event falls into",
}  # fmt: skip


def _growth(page: Page, lines: Sequence[Line]) -> str:
    text = ""
    for name, label in _AXES.items():
        series: dict[str, list[tuple[float, float]]] = {}
        for line in lines:
            if line.benchmark == "growth" and line.source == name and line.events:
                series.setdefault(line.query, []).append((line.extra["x"], (line.second or 0) / line.events * 1e9))
        if series:
            title = f"Cost of an event by number of {label}"
            picture = svg.curves(title, series, svg.Axis(label), svg.Axis("ns an event"))
            text += (
                f"### By number of {label}\n\n" + page.plot(f"growth_{name.replace(' ', '_')}", picture, title) + "\n"
            )
            places = sorted({x for points in series.values() for x, _ in points})
            rows = [[query, *(figure(dict(points).get(x)) for x in places)] for query, points in series.items()]
            text += table(["ns an event", *(f"{x:,.0f}" for x in places)], rows) + "\n"
    return text


def _bytes(size: str) -> int:
    number, unit = size.split()[:2]
    return int(number) * _UNITS[unit]


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
