"""Ours against theirs: pairs of lines that did the same work on the same cores, and what is made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.suite.lines import OURS, Line


@dataclass(frozen=True, slots=True)
class Pair:
    """The same query over the same events on the same cores, both with the right result."""

    ours: Line
    theirs: Line

    @property
    def name(self) -> str:
        """The work: "nexmark q5 memory"."""
        line = self.ours
        return " ".join(filter(None, (line.benchmark, line.query, line.variant, line.source)))

    @property
    def by_cpu(self) -> float | None:
        """How many times as many events we do in a CPU second."""
        return _quotient(self.ours.events_per_cpu_s, self.theirs.events_per_cpu_s)

    @property
    def by_clock(self) -> float | None:
        return _quotient(self.ours.events_per_s, self.theirs.events_per_s)


def pairs(lines: Iterable[Line]) -> list[Pair]:
    """Every line of another engine with ours of the same benchmark, query, variant, source and cores."""
    lines = [line for line in lines if line.status == "measured" and line.seconds]
    ours = {_work(line): line for line in lines if line.engine == OURS}
    others = [line for line in lines if line.engine not in (OURS, "machine", "")]
    return [Pair(ours[_work(line)], line) for line in others if _work(line) in ours]


def mean(values: Sequence[float]) -> float | None:
    """Geometric; None of none."""
    kept = [value for value in values if value > 0]
    return math.exp(sum(map(math.log, kept)) / len(kept)) if kept else None


def _work(line: Line) -> tuple[str, ...]:
    return (line.benchmark, line.query, line.variant, line.source, str(line.cores))


def _quotient(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None
