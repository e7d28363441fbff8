"""Counts and times of every stage of an epoch, in one tree that progress displays and exporters read."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Count:
    """What went through one place, and how long it took there."""

    batches: int = 0
    rows: int = 0
    bytes: int = 0
    nanoseconds: int = 0

    def add(self, other: Count) -> None:
        self.batches += other.batches
        self.rows += other.rows
        self.bytes += other.bytes
        self.nanoseconds += other.nanoseconds

    def as_dict(self) -> dict[str, int]:
        return {"batches": self.batches, "rows": self.rows, "bytes": self.bytes, "nanoseconds": self.nanoseconds}


class Tally:
    """Counts by name. One for each task, so that no lock is needed; the engine adds them up after each epoch."""

    def __init__(self) -> None:
        self.counts: dict[str, Count] = defaultdict(Count)

    def add(self, name: str, rows: int, nanoseconds: int, size: int = 0) -> None:
        count = self.counts[name]
        count.batches += 1
        count.rows += rows
        count.bytes += size
        count.nanoseconds += nanoseconds

    def merge(self, other: Tally) -> None:
        for name, count in other.counts.items():
            self.counts[name].add(count)

    @contextmanager
    def timed(self, name: str, rows: int = 0) -> Iterator[None]:
        start = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(name, rows, time.perf_counter_ns() - start)


@dataclass(slots=True)
class SourceCount:
    """What became of one source's records: ``rows_in == rows_out + rejected_rows``.

    `rejected_rows` could not be decoded; `dead_letter_rows` of them went to a topic of dead letters, the others were
    skipped.
    """

    rows_in: int = 0
    rows_out: int = 0
    rejected_rows: int = 0
    dead_letter_rows: int = 0
    bytes: int = 0

    def add(self, rows: int, size: int, rejected: Sequence[Sized], kept: bool) -> None:
        """Add what was read of a partition: `rows` of them, and the batches that were rejected."""
        bad = sum(len(batch) for batch in rejected)
        self.rows_in += rows
        self.rows_out += rows - bad
        self.rejected_rows += bad
        self.dead_letter_rows += bad if kept else 0
        self.bytes += size

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class EpochReport:
    """What one epoch did."""

    epoch: int
    rows: int
    bytes: int
    rows_out: int
    late_rows: int
    rejected_rows: int
    seconds: float
    commit_seconds: float
    watermark_us: int
    lag: int
    state_bytes: int
    finished: bool = False


@dataclass(slots=True)
class Progress:
    """How a running job stands, for displays: totals since the start of this run, rates over its last seconds."""

    epoch: int = 0
    events: int = 0
    events_per_s: float = 0.0
    bytes: int = 0
    bytes_per_s: float = 0.0
    rows_out: int = 0
    late_rows: int = 0
    rejected_rows: int = 0
    lag: int = 0
    watermark_us: int = 0
    state_bytes: int = 0
    commit_ms: float = 0.0
    seconds: float = 0.0
    finished: bool = False
    stopped: list[str] = field(default_factory=list)  # partitions that cannot go on: where each stands, and why
    restoring: list[str] = field(default_factory=list)  # in a group, partitions that come: how far, and how long yet
    _marks: list[tuple[float, int, int]] = field(default_factory=list)

    def take(self, report: EpochReport, now: float) -> None:
        """Add one epoch's figures; `now` in seconds since the run began."""
        self.epoch = report.epoch
        self.events += report.rows
        self.bytes += report.bytes
        self.rows_out += report.rows_out
        self.late_rows += report.late_rows
        self.rejected_rows += report.rejected_rows
        self.lag, self.watermark_us, self.state_bytes = report.lag, report.watermark_us, report.state_bytes
        self.commit_ms = report.commit_seconds * 1e3
        self.seconds, self.finished = now, report.finished
        self._marks.append((now, self.events, self.bytes))
        while len(self._marks) > 2 and self._marks[0][0] < now - 5:
            self._marks.pop(0)
        since, events, size = self._marks[0] if len(self._marks) > 1 else (0.0, 0, 0)
        span = max(now - since, 1e-9)
        self.events_per_s = (self.events - events) / span
        self.bytes_per_s = (self.bytes - size) / span

    def as_dict(self) -> dict[str, Any]:
        names = [name for name in self.__slots__ if not name.startswith("_")]
        return {name: getattr(self, name) for name in names}
