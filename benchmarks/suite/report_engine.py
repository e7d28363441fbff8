"""The report's section on windrow by itself: what the benchmarks of `python -m benchmarks list` say."""

from __future__ import annotations

from benchmarks.suite.markdown import figure, millions, paragraph, table
from benchmarks.suite.page import Page

_SAID = "`python -m benchmarks list` says what each is; ratios are of the same rows in the same process."


def engine(page: Page) -> str:
    lines = [line for line in page.of_part("engine") if line.status == "measured"]
    rows = []
    for line in lines:
        besides = [f"{name} {_said(value)}" for name, value in line.extra.items() if not isinstance(value, dict)]
        timed = any(name.endswith(("p50_ms", "commit_ms")) for name in line.extra)  # a time, and not a rate
        speed = figure(line.bytes / line.second / 1e9) if line.second and line.bytes and not timed else ""
        rate = "" if timed else millions(line.events_per_s)
        memory = figure(line.peak_rss_mb)
        rows.append([line.query, line.variant, str(line.cores), rate, speed, memory, ", ".join(besides)])
    if not rows:
        return ""
    head = ["benchmark", "of", "cores", "M events/s", "GB/s", "peak MB", "besides"]
    return "## windrow by itself\n\n" + paragraph(_SAID) + table(head, rows, left=2)


def _said(value: object) -> str:
    return figure(value) if isinstance(value, (int, float)) else str(value)
