"""Latency at a fixed rate, by length of an epoch: a producer (a process of its own), a job, and a reader of results."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

import windrow as wr
from benchmarks.suite import about

_APPENDS_PER_S = 100
_KEYS = 1_000
_SAMPLE = 16  # every so many-th event is followed to the reader
_WARM_S = 2.0
SCHEMA = pa.schema([("key", pa.int64()), ("number", pa.int64()), ("due_us", pa.int64())])


def produce(path: Path, rate: int, seconds: float) -> None:
    """Append `rate` events a second. An event carries the time at which it was due, so that a producer that is held up
    makes latency worse, not better."""
    rows = max(rate // _APPENDS_PER_S, 1)
    random = np.random.default_rng(4)
    with wr.Log(path) as log:
        begun_us = time.time_ns() // 1000
        for turn in range(int(seconds * rate / rows)):
            due_us = begun_us + (turn + 1) * rows * 1_000_000 // rate
            time.sleep(max(due_us - time.time_ns() // 1000, 0) / 1e6)
            numbers = np.arange(turn * rows, (turn + 1) * rows)
            due = begun_us + (numbers + 1) * 1_000_000 // rate
            batch = pa.record_batch([random.integers(0, _KEYS, rows), numbers, due], schema=SCHEMA)
            log.append_arrow("in", batch, partition=0)


def measure(path: Path, rate: int, interval_ms: int, seconds: float) -> dict[str, Any]:
    """Run all three; the fields of a line: events, seconds, cpu_seconds, latency_ms, extra."""
    with wr.Log(path) as log:
        log.create_topic("in", schema=SCHEMA)
    events = wr.read_log(path, "in")
    counts = events.group_by("key").agg(n=wr.count(), last=wr.max("number"))
    sampled = events.filter(pl.col("number") % _SAMPLE == 0).select("due_us")
    limits = wr.Limits(interval_ms=0, epoch_rows=10**9, epoch_ms=10**6)  # all that is there, when we say so
    job = wr.job(counts.write_log(path, "counts"), sampled.write_log(path, "sampled"), name="epochs", limits=limits)
    reader = _Reader(path)
    command = [sys.executable, "-m", "benchmarks.suite.epochs", str(path), str(rate), str(seconds + _WARM_S)]
    with job, subprocess.Popen(command, cwd=about.ROOT) as producer:
        expected = int((seconds + _WARM_S) * rate) // max(rate // _APPENDS_PER_S, 1) * max(rate // _APPENDS_PER_S, 1)
        reader.start()
        cpu, begun = time.process_time(), time.monotonic()
        until, due = begun + seconds + _WARM_S + 30, begun
        while job.progress.events < expected and time.monotonic() < until:
            due = max(due + interval_ms / 1e3, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0))
            job.step()
        took, cpu = time.monotonic() - begun, time.process_time() - cpu
        reader.finish(expected // _SAMPLE)
        producer.wait(timeout=30)
        seen = job.progress
    late = reader.latencies_ms(int(_WARM_S * rate) // _SAMPLE)
    cuts = quantiles(late, n=1000)
    return {
        "events": seen.events,
        "seconds": (took,),
        "cpu_seconds": cpu - reader.cpu_seconds,
        "latency_ms": {name: round(cuts[place], 2) for name, place in (("p50", 499), ("p99", 989), ("p999", 998))},
        "checksum": f"{len(reader.rows)} of {expected // _SAMPLE}",
        "extra": {"interval_ms": interval_ms, "epochs": seen.epoch, "rate": rate},
    }


class _Reader(threading.Thread):
    """Follows the results and notes when each could be seen."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.rows: list[tuple[int, int]] = []  # (when due, when seen), microseconds
        self.cpu_seconds = 0.0
        self._path = path
        self._expected: int | None = None
        self._until = float("inf")

    def run(self) -> None:
        at = 0
        with wr.Log(self._path, read_only=True) as log:
            while time.monotonic() < self._until and (self._expected is None or at < self._expected):
                if "sampled" not in [info.name for info in log.topics()]:
                    time.sleep(0.005)
                    continue
                found = log.read("sampled", 0, at) if log.end_offset("sampled", 0) > at else []
                now = time.time_ns() // 1000
                for batch in found:
                    self.rows += [(due, now) for due in batch.column("due_us").to_pylist()]
                    at += batch.num_rows
                if not found:
                    time.sleep(0.001)
        self.cpu_seconds = time.thread_time()

    def finish(self, expected: int) -> None:
        """Wait until so many results were seen, at most 10 s."""
        self._expected, self._until = expected, time.monotonic() + 10
        self.join()

    def latencies_ms(self, skip: int) -> list[float]:
        return [(seen - due) / 1e3 for due, seen in self.rows[skip:]]


if __name__ == "__main__":
    produce(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
