"""A result line: one figure of one engine, with all that is needed to understand and to repeat it.

Lines are JSON, one object a line, in ``benchmarks/results/*.jsonl``; the report and the comparison know nothing else.
A step fills in what it measured; the runner adds where, when, with which versions and by which command.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Any, Literal

#: What became of a measurement. "measured": a figure whose result was right. "wrong": it ran, and its result is not
#: ours. "failed": it did not come to its end. "cannot": the engine has no way to say this query.
Status = Literal["measured", "wrong", "failed", "cannot"]
#: What survives a crash of the engine as it was measured. "none": an engine in memory without a ledger.
Guarantee = Literal["exactly once", "at least once", "at most once", "none", "batch", ""]
OURS = "windrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One engine, one query, one number of cores. Times are in seconds, memory in MB (1e6 bytes)."""

    benchmark: str  # what is measured: "nexmark", "ysb", "kafka", "kernel", "limit", "scale" ...
    engine: str = OURS  # "windrow", "flink", "duckdb" ...; "machine" for its limits
    query: str = ""  # "q5", or the kernel, or the name of the limit
    variant: str = ""  # what else tells it from other lines: "1M keys", "65,536 rows a batch"
    source: str = ""  # where events come from: "memory", "json", "parquet", "log", "kafka"
    version: str = ""
    cores: int = 1  # cores that the engine was allowed
    status: Status = "measured"
    reason: str = ""  # of every status but "measured", in a sentence
    events: int = 0  # input events of one repetition
    bytes: int = 0  # of that input as it lies in the source
    seconds: tuple[float, ...] = ()  # each repetition, from "ready" to the last result; start-up is not in it
    cold_s: float | None = None  # the first repetition of a process, where engines warm up
    startup_s: float | None = None  # process start until it is ready for events
    cpu_seconds: float | None = None  # user and system time of one repetition, of the engine alone (no broker)
    peak_rss_mb: float | None = None  # of the engine with all of its processes
    latency_ms: Mapping[str, float] = field(default_factory=dict)  # "p50", "p99", "p999"; of produced to visible
    recovery_s: float | None = None  # from kill -9 to the first new result
    guarantee: Guarantee = ""
    checksum: str = ""  # of all results; engines with equal results have equal ones
    extra: Mapping[str, Any] = field(default_factory=dict)  # other figures, by a name with its unit

    @property
    def key(self) -> tuple[str, ...]:
        """What two runs of the suite are compared by."""
        return (self.benchmark, self.query, self.variant, self.source, self.engine, str(self.cores))

    @property
    def second(self) -> float | None:
        """The median repetition."""
        return median(self.seconds) if self.seconds else None

    @property
    def events_per_s(self) -> float | None:
        """By the clock, of the median repetition."""
        return self.events / self.second if self.second else None

    @property
    def events_per_cpu_s(self) -> float | None:
        return self.events / self.cpu_seconds if self.cpu_seconds else None


@dataclass(frozen=True, slots=True)
class Kept:
    """A line as it lies in a file, with what the runner knows about it."""

    line: Line
    step: str
    run: Mapping[str, Any]  # machine, versions, date, commit, command, size


def as_json(line: Line, step: str, run: Mapping[str, Any]) -> str:
    return json.dumps({"step": step, **asdict(line), "run": dict(run)})


def from_json(text: str) -> Kept:
    """Keys that this version does not know are passed over, so that old results can still be read."""
    found = json.loads(text)
    known = {each.name for each in fields(Line)}
    values = {name: value for name, value in found.items() if name in known}
    values["seconds"] = tuple(values.get("seconds") or ())
    return Kept(Line(**values), found.get("step", ""), found.get("run", {}))


def read(paths: Iterable[Path]) -> list[Kept]:
    """All lines of these files; a line that was cut off by a crash is passed over."""
    kept = []
    for path in paths:
        for text in path.read_text().splitlines():
            try:
                kept.append(from_json(text))
            except (json.JSONDecodeError, TypeError):
                continue
    return kept
