"""The report's section on what was asked for: each goal with what this run measured, reached or missed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.suite.markdown import paragraph, table, times
from benchmarks.suite.page import Page
from benchmarks.suite.ratios import Pair, mean, pairs

#: Engine -> how many times as many events in a CPU second windrow shall do, as the mean over its figures.
_FROM_FILES = {"flink": 10.0, "spark": 10.0, "bytewax": 50.0, "pathway": 50.0, "quix": 50.0}
_FROM_KAFKA = {"kafka_streams": 5.0, "flink": 5.0, "quix": 20.0, "faust": 20.0}
_BATCH = ("polars", "duckdb")
_SLOWER = 1.5
_CORES, _SPEED_UP = 16, 12.0
_SAID = """What the project asked of itself before anything was measured. Ratios are of events in a CPU second, on the
same cores in the same run."""


@dataclass(frozen=True, slots=True)
class Goal:
    """`measured` is None where this run has nothing to tell by; it is reached from `least` on."""

    what: str
    least: float
    measured: float | None
    besides: str = ""

    @property
    def row(self) -> list[str]:
        verdict = (
            "not measured" if self.measured is None else "reached" if self.measured >= self.least else "**missed**"
        )
        return [self.what, times(self.least), times(self.measured), verdict, self.besides]


def goals(page: Page) -> str:
    found = [*_of_engines(page), *_of_streaming(page), *_of_batch(page), *_of_cores(page)]
    if all(goal.measured is None for goal in found):
        return ""
    head = ["goal", "at least", "measured", "", "besides"]
    return "## What was asked for\n\n" + paragraph(_SAID) + table(head, [goal.row for goal in found], left=1)


def _of_engines(page: Page) -> Iterator[Goal]:
    asked_of = (("from memory and files", "peers", _FROM_FILES), ("from Kafka to Kafka", "kafka", _FROM_KAFKA))
    for where, part, asked in asked_of:
        compared = pairs(page.of_part(part))
        for engine, least in asked.items():
            ratios = [pair.by_cpu for pair in compared if _file(pair.theirs.engine) == engine and pair.by_cpu]
            name = page.notes.get(engine, {}).get("name", engine)
            besides = _by_source(compared, engine) if ratios else "it cannot run them, or was not run"
            yield Goal(f"{name} {where}, mean", least, mean(ratios), besides)


def _by_source(compared: list[Pair], engine: str) -> str:
    """The number of figures, and the mean of each source where there are several."""
    found: dict[str, list[float]] = {}
    for pair in compared:
        if _file(pair.theirs.engine) == engine and pair.by_cpu:
            found.setdefault(pair.ours.source, []).append(pair.by_cpu)
    besides = f"{sum(map(len, found.values()))} figures"
    means = [f"{source} {times(mean(ratios))}" for source, ratios in sorted(found.items())]
    return besides + (f": {', '.join(means)}" if len(means) > 1 else "")


def _file(engine: str) -> str:
    """As the engine's notes are called: "kafka streams" is ``kafka_streams``."""
    return re.sub(r"\W+", "_", engine.lower())


def _of_streaming(page: Page) -> Iterator[Goal]:
    compared = pairs(page.of_part("peers", "kafka"))
    streaming = [pair for pair in compared if pair.theirs.guarantee != "batch" and pair.by_cpu]
    least = min(streaming, key=lambda pair: pair.by_cpu or 0, default=None)
    besides = "" if least is None else f"least: {least.name} next to {least.theirs.engine}"
    yield Goal("no query slower than any streaming engine", 1.0, least.by_cpu if least else None, besides)


def _of_batch(page: Page) -> Iterator[Goal]:
    """One goal for each source: from memory the batch engines need not decode."""
    compared = [pair for pair in pairs(page.of_part("peers")) if pair.theirs.engine in _BATCH and pair.by_cpu]
    for source in sorted({pair.ours.source for pair in compared}):
        best: dict[tuple[str, int], Pair] = {}
        for pair in compared:
            key = pair.name, pair.ours.cores
            if pair.ours.source == source and (key not in best or (pair.by_cpu or 0) < (best[key].by_cpu or 0)):
                best[key] = pair
        missed = sorted(pair.ours.query for pair in best.values() if (pair.by_cpu or 0) * _SLOWER < 1)
        least = min(best.values(), key=lambda pair: pair.by_cpu or 0)
        said = f"least: {least.ours.query} next to {least.theirs.engine}"
        besides = f"{len(best) - len(missed)} of {len(best)} figures; {said}"
        besides += f"; missed by {', '.join(missed)}" if missed else ""
        yield Goal(f"the faster of polars and DuckDB, {source}, each query", 1 / _SLOWER, least.by_cpu, besides)


def _of_cores(page: Page) -> Iterator[Goal]:
    """Of every number of keys that was tried; the least counts."""
    lines = [line for line in page.of_part("scale") if line.query == "strong" and line.events_per_s]
    most = max((line.cores for line in lines), default=0)
    gains: dict[str, float] = {}
    for one in lines:
        for other in lines:
            if one.variant == other.variant and one.cores == 1 and other.cores == most > 1:
                gains[one.variant] = (other.events_per_s or 0) / (one.events_per_s or 1)
    besides = ", ".join(f"{most} cores here, {variant}: {times(gain)}" for variant, gain in gains.items())
    measured = min(gains.values()) if gains and most >= _CORES else None
    yield Goal(f"{_CORES} cores against one, windows from memory", _SPEED_UP, measured, besides)
