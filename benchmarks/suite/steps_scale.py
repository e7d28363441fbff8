"""What happens with more cores, shards, partitions, keys and time, and with shorter epochs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter, process_time

import numpy as np
import pyarrow as pa

import windrow as wr
from benchmarks import machine
from benchmarks.log_jobs import BID
from benchmarks.runner import last_words
from benchmarks.suite import about, probes
from benchmarks.suite.lines import Line
from benchmarks.suite.steps import Run, cores, step
from benchmarks.windows_memory import checksum
from windrow.io.memory import MemorySource
from windrow.io.nexmark import nexmark_json

_RUNS = 3
_AGGREGATES = {"count": wr.count(), "sum": wr.sum("value"), "max": wr.max("value")}


def rows(number: int, keys: int, seed: int = 11) -> pa.Table:
    """So many events of random 62-bit keys, ten microseconds apart, with a value."""
    names = np.empty(keys, np.int64)
    probes.random_keys(seed << 32, names)
    random = np.random.default_rng(seed)
    times = pa.array(np.arange(number, dtype=np.int64) * 10).cast(pa.timestamp("us", "UTC"))
    values = random.integers(0, 1_000_000, number)
    return pa.table({"key": names[random.integers(0, keys, number)], "time": times, "value": values})


def windowed(table: pa.Table, partitions: int) -> wr.Stream:
    """10 s count, sum and max by key."""
    source = MemorySource(table, partitions=partitions)
    keyed = wr.from_source(source).watermark("time", delay="10s").group_by("key")
    return keyed.window(wr.tumbling("10s")).agg(**_AGGREGATES)


def measured(table: pa.Table, partitions: int, workers: int, **settings: int) -> tuple[tuple[float, ...], float, str]:
    """Seconds of each run, CPU seconds of one, and the checksum; on as many cores as workers."""
    os.sched_setaffinity(0, cores(workers))
    seconds, result = [], None
    stream = windowed(table, partitions)
    for run in range(_RUNS + 1):
        if run == 1:
            cpu = process_time()
        begun = perf_counter()
        result = stream.collect(workers=workers, **settings)
        seconds += [perf_counter() - begun] if run else []
    assert result is not None
    return tuple(seconds), (process_time() - cpu) / _RUNS, checksum(result)


def counts(most: int) -> list[int]:
    """1, 2, 4 ... and all."""
    return sorted({*(1 << n for n in range(most.bit_length()) if 1 << n <= most), most})


@step(
    "scale_cores",
    part="scale",
    what="windows from memory on one core to all of them, strong and weak",
    seconds=(15, 12),
)
def scale_cores(run: Run) -> Iterator[Line]:
    """Sixteen partitions, a worker a core, as many shards as a job then takes by itself; results are the same for any
    number of workers."""
    every = len(cores(1 << 20))
    size = run.pick(full=8_000_000, quick=2_000_000, tiny=50_000) * max(every // 2, 1)  # 16 cores need more to do
    for keys in (1_000, run.pick(full=1_000_000, quick=1_000_000, tiny=2_000)):
        table, sums = rows(size, keys), set()
        for workers in counts(every):
            seconds, cpu, check = measured(table, 16, workers)
            sums.add(check)
            yield _line("scale cores", "strong", f"{keys:,} keys", workers, size, table.nbytes, seconds, cpu, check)
        assert len(sums) == 1, f"the number of workers changes the result: {sums}"
    part = size // 2
    for workers in counts(every):
        table = rows(part * workers, 100_000 if run.size != "tiny" else 1_000)
        seconds, cpu, check = measured(table, 16, workers)
        yield _line(
            "scale cores", "weak", "100,000 keys", workers, part * workers, table.nbytes, seconds, cpu, check
        )  # fmt: skip


@step("scale_shards", part="scale", what="windows from memory by number of shards and of partitions", seconds=(0, 8))
def scale_shards(run: Run) -> Iterator[Line]:
    """On all cores."""
    size = run.pick(full=4_000_000, quick=1_000_000, tiny=50_000)
    workers = len(cores(1 << 20))
    table = rows(size, 100_000 if run.size != "tiny" else 1_000)
    for shards in (1, 2, 4, 8, 16, 64):
        seconds, cpu, check = measured(table, 16, workers, shards=shards)
        yield _line("scale shards", "shards", str(shards), workers, size, table.nbytes, seconds, cpu, check)
    for partitions in (1, 2, 4, 8, 16, 64):
        seconds, cpu, check = measured(table, partitions, workers)
        yield _line("scale partitions", "partitions", str(partitions), workers, size, table.nbytes, seconds, cpu, check)


def _line(
    benchmark: str, query: str, variant: str, workers: int, events: int, size: int,
    seconds: tuple[float, ...], cpu: float, check: str,
) -> Line:  # fmt: skip
    return Line(
        benchmark=benchmark, query=query, variant=variant, source="memory", cores=workers, events=events, bytes=size,
        seconds=seconds, cpu_seconds=cpu, checksum=check, peak_rss_mb=machine.peak_rss_mb(),
    )  # fmt: skip


# -- state -----------------------------------------------------------------------------------------------------------


@step(
    "scale_state",
    part="scale",
    what="1 k to 50 M keys in state, new and known ones, one core",
    seconds=(8, 25),
)
def scale_state(run: Run) -> Iterator[Line]:
    """Count, sum and max by key, without windows. Each size in a process of its own, whose memory is told."""
    most = run.pick(full=50_000_000, quick=1_000_000, tiny=10_000)
    for keys in (*(10**power for power in range(3, 8)), 50_000_000):
        if keys <= most and keys * 260 < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
            known = keys if run.size == "tiny" else min(max(1_000_000, keys), 10_000_000)
            command = [sys.executable, "-m", "benchmarks.suite.state", str(keys), str(known)]
            done = subprocess.run(
                ["taskset", "-c", str(cores(1)[0]), *command], cwd=about.ROOT, capture_output=True, text=True,
                timeout=min(max(run.left() - 5, 1), 300), check=False,
            )  # fmt: skip
            if done.returncode:
                last = last_words(done.stderr) or f"exit code {done.returncode}"
                yield Line(benchmark="scale state", query=f"{keys:,} keys", status="failed", reason=last)
                continue
            found = json.loads(done.stdout)
            seconds = tuple(found.pop("seconds"))
            peak, events, check = found.pop("peak_rss_mb"), found.pop("events"), found.pop("checksum")
            yield Line(
                benchmark="scale state", query=f"{keys:,} keys", source="memory", events=events, seconds=seconds,
                peak_rss_mb=peak, checksum=check, extra={"keys": keys, **found},
            )  # fmt: skip


# -- epochs ----------------------------------------------------------------------------------------------------------


@step(
    "scale_epochs",
    part="scale",
    what="epochs of 10 ms to 10 s: latency and CPU at a fixed rate",
    seconds=(0, 48),
)
def scale_epochs(run: Run) -> Iterator[Line]:
    """A process appends events stamped with the time; a job counts them by key; a reader sees what is committed."""
    from benchmarks.suite.epochs import measure

    rate = run.pick(full=200_000, quick=100_000, tiny=20_000)
    for interval_ms in (10, 100, 1_000, 10_000):
        seconds = max(3.0, 2.2 * interval_ms / 1e3)
        if run.left() < seconds + 10 or (run.size == "tiny" and interval_ms > 100):
            return
        found = measure(run.folder / f"epochs{interval_ms}", rate, interval_ms, 1.0 if run.size == "tiny" else seconds)
        yield Line(
            benchmark="scale epochs", query=f"{interval_ms} ms an epoch", variant=f"{rate:,} events/s", source="log",
            cores=len(cores(1 << 20)), guarantee="exactly once", **found,
        )  # fmt: skip


# -- time ------------------------------------------------------------------------------------------------------------


@step(
    "soak",
    part="scale",
    what="from the log to the log for a long time (--option minutes=60): rate and memory",
    seconds=(0, 27),
    longer={"minutes": 60.0},
)
def soak(run: Run) -> Iterator[Line]:
    """Events are appended and read in turn, what was read is removed; only reading is timed. On one core."""
    os.sched_setaffinity(0, cores(1))
    minutes = float(run.options.get("minutes", run.pick(full=0.35, quick=0.1, tiny=0.03)))
    yield _soak(run.folder / "soak", minutes, 2_000 if run.size == "tiny" else 200_000)


def _soak(path: Path, minutes: float, chunk: int) -> Line:
    marks: list[tuple[float, float, float]] = []  # seconds since the begin, events a second, MB
    with wr.Log(path) as log:
        log.create_topic("bids", partitions=2, retention="1us")
        with _soak_job(path, "first") as job:  # what its results look like
            _feed(log, 0, chunk)
            job.run(until="caught up")
        log.create_topic("out", schema=log.topic("first").schema, retention="1us")
        with _soak_job(path, "out") as job:
            begun, at = monotonic(), chunk
            while monotonic() - begun < minutes * 60:
                _feed(log, at, at + chunk)
                at += chunk
                events, started = job.progress.events, perf_counter()
                job.run(until="caught up")
                rate = (job.progress.events - events) / (perf_counter() - started)
                for topic in ("bids", "out"):
                    log.apply_retention(topic=topic)
                marks.append((monotonic() - begun, rate, _held_mb()))
            events = job.progress.events
    return _soak_line(marks, events, minutes)


def _soak_job(path: Path, topic: str) -> wr.Job:
    bids = wr.read_log(path, "bids", schema=BID).watermark("dateTime", delay="4s")
    made = bids.group_by("auction").window(wr.tumbling("10s")).agg(n=wr.count(), top=wr.max("price"))
    return wr.job(made.write_log(path, topic, key="auction"), name=topic)


def _feed(log: wr.Log, first: int, last: int) -> None:
    """The bids among these events, half of them in each partition."""
    middle = (first + last) // 2
    log.append("bids", nexmark_json(first, middle, kind="bid"), partition=0)
    log.append("bids", nexmark_json(middle, last, kind="bid"), partition=1)


def _held_mb() -> float:
    """Memory of this process now; pages of mapped files count as far as they are in."""
    status = Path("/proc/self/status").read_text().split("RssAnon:")[1]
    return round(int(status.split()[0]) * 1024 / 1e6, 1)


def _soak_line(marks: list[tuple[float, float, float]], events: int, minutes: float) -> Line:
    tenth = max(len(marks) // 10, 1)
    early, late = marks[tenth : 2 * tenth] or marks[:1], marks[-tenth:]
    half = marks[len(marks) // 2 :]
    passed = (half[-1][0] - half[0][0]) / 60
    extra = {
        "minutes": round(marks[-1][0] / 60, 2) if minutes else 0.0,
        "last_over_first": round(median(rate for _, rate, _ in late) / median(rate for _, rate, _ in early), 3),
        "mb_per_minute": round((half[-1][2] - half[0][2]) / passed, 2) if passed else 0.0,
        "points": [[round(s, 1), round(rate), mb] for s, rate, mb in marks[:: max(len(marks) // 300, 1)]],
    }
    worked = events / median(rate for _, rate, _ in marks)
    return Line(
        benchmark="scale soak", query="JSON from the log to the log, 10 s windows", source="log", events=events,
        seconds=(worked,), peak_rss_mb=machine.peak_rss_mb(), guarantee="exactly once", extra=extra,
    )  # fmt: skip
