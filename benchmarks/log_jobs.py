"""Jobs over the embedded log: JSON in, windows, Arrow out, exactly once; the latency of an epoch; restoring state."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import windrow as wr
from benchmarks import baselines
from benchmarks.harness import Measured, benchmark
from windrow.config import KEPT_SHARDS
from windrow.io.log.ledger import LogLedger
from windrow.io.nexmark import nexmark_json

BID = wr.schema(auction="int64", price="int64", dateTime="timestamp")
_PARTITIONS = 4
_CHUNK = 50_000


@contextmanager
def folder(name: str) -> Iterator[Path]:
    """A new folder that goes away afterwards."""
    path = Path(tempfile.mkdtemp(prefix=f"windrow-{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write_bids(log: wr.Log, topic: str, events: int) -> tuple[int, int]:
    """The bids among so many Nexmark events as JSON, dealt to the partitions in chunks; their number and bytes."""
    log.create_topic(topic, partitions=_PARTITIONS)
    return _append_bids(log, topic, 0, events)


def _append_bids(log: wr.Log, topic: str, start: int, end: int) -> tuple[int, int]:
    bids, size = 0, 0
    for number, first in enumerate(range(start, end, _CHUNK)):
        documents = nexmark_json(first, min(first + _CHUNK, end), kind="bid")
        bids += len(documents)
        size += documents.nbytes
        log.append(topic, documents, partition=number % _PARTITIONS)
    return bids, size


def windows_job(path: Path, name: str, workers: int = 1, limits: wr.Limits | None = None) -> wr.Job:
    """Tumbling 10 s count, sum and max of the price per auction, from topic ``bids`` to topic `name`."""
    bids = wr.read_log(path, "bids", schema=BID, end="latest").watermark("dateTime", delay="60s")
    windows = bids.group_by("auction").window(wr.tumbling("10s"))
    made = windows.agg(count=wr.count(), sum=wr.sum("price"), max=wr.max("price"))
    return wr.job(made.write_log(path, name, key="auction"), name=name, workers=workers, limits=limits)


def checksum(path: Path, topic: str) -> str:
    table = wr.read_log(path, topic, end="latest").collect()
    return f"{table.num_rows}:" + ":".join(str(pc.sum(table[c]).as_py()) for c in ("count", "sum", "max"))


@benchmark(
    "log_to_log", "JSON bids in the embedded log -> 10 s count, sum, max per auction -> embedded log, exactly once"
)
def log_to_log(scale: float) -> list[Measured]:
    """The median of three runs after one that compiles; DuckDB's one-thread batch query over the same documents."""
    events = max(int(5_000_000 * scale), 20_000)
    with folder("log") as path:
        with wr.Log(path) as log:
            bids, size = write_bids(log, "bids", events)
        times, job = [], None
        for run in range(4):
            job = windows_job(path, f"out{run}")
            begun = perf_counter()
            with job:
                job.run()
            times.append(perf_counter() - begun)
        assert job is not None
        stages = {name: round(c["nanoseconds"] / bids, 1) for name, c in job.metrics()["stages"].items()}
        documents = path / "bids.json"
        _dump(path, documents)
        arrow = pa.schema([("auction", pa.int64()), ("dateTime", pa.timestamp("us", "UTC")), ("price", pa.int64())])
        duckdb = baselines.duckdb_tumbling_json([documents], arrow, "auction", "dateTime", "price", 10_000_000)
        ours = checksum(path, "out3")
        sums = [pc.sum(duckdb.result[c].cast(pa.int64())).as_py() for c in ("count", "sum", "max")]
        assert ours == f"{duckdb.result.num_rows}:" + ":".join(map(str, sums)), "DuckDB gets another result"
        seconds = median(times[1:])
        extra = {"ratio_to_duckdb": round(duckdb.seconds / seconds, 3), "cold_s": times[0], "ns_per_event": stages}
        return [Measured(bids, size, seconds, ours, extra=extra)]


@benchmark(
    "log_to_log_scaling",
    "log_to_log with one worker on one core and two workers on two, in turn: the ratio is what a second core gives",
    workers=2,
)
def log_to_log_scaling(scale: float) -> list[Measured]:
    """Both must give the same result. The ratio is the median over pairs; all threads of the first have one core."""
    events = max(int(10_000_000 * scale), 20_000)
    cores = sorted(os.sched_getaffinity(0))
    with folder("scaling") as path:
        with wr.Log(path) as log:
            bids, size = write_bids(log, "bids", events)
        times: dict[int, list[float]] = {1: [], 2: []}
        for run in range(7):
            for workers, seconds in times.items():
                os.sched_setaffinity(0, cores[-workers:])
                begun = perf_counter()
                with windows_job(path, f"out{workers}_{run}", workers) as job:
                    job.run()
                seconds.append(perf_counter() - begun)
        sums = {checksum(path, f"out{workers}_6") for workers in times}
        assert len(sums) == 1, f"the number of workers changes the result: {sums}"
        pairs = [one / two for one, two in zip(times[1][1:], times[2][1:], strict=True)]
        extra = {
            "ratio_to_one_core": round(median(pairs), 3),
            "ratios": [round(ratio, 2) for ratio in sorted(pairs)],
            "one_core_s": round(median(times[1][1:]), 3),
        }
        return [Measured(bids, size, median(times[2][1:]), sums.pop(), workers=2, extra=extra)]


@benchmark("epoch_latency", "one epoch of 10 k events from the log to the log, committed: median and 99th percentile")
def epoch_latency(scale: float) -> list[Measured]:
    """From the call of ``job.step()`` to its return: read, decode, window, write, commit."""
    epochs = max(int(300 * scale), 20)
    rows = 10_000
    with folder("latency") as path:
        log = wr.Log(path)
        log.create_topic("bids", partitions=1)
        stream = wr.read_log(path, "bids", schema=BID).watermark("dateTime", delay="4s")
        made = stream.group_by("auction").window(wr.tumbling("10s")).agg(n=wr.count(), top=wr.max("price"))
        times, committed = [], 0
        with wr.job(made.write_log(path, "out", key="auction"), name="latency", limits=wr.Limits(interval_ms=0)) as job:
            for epoch in range(epochs + 10):
                log.append("bids", nexmark_json(epoch * rows, (epoch + 1) * rows, kind="bid"), partition=0)
                begun = perf_counter()
                report = job.step()
                times.append(perf_counter() - begun)
                assert report is not None
                committed += report.rows_out
        log.close()
        cuts = quantiles(times[10:], n=100)
        extra = {"p50_ms": round(cuts[49] * 1e3, 2), "p99_ms": round(cuts[98] * 1e3, 2), "epochs": epochs}
        return [Measured(rows, 0, cuts[49], f"{committed}", "10 k events", extra=extra)]


@benchmark("restore", "10 M keys of window state from the log back into memory")
def restore(scale: float) -> list[Measured]:
    """Opening a job whose state is in the log; bytes are those of the state as it lies there."""
    keys = max(int(10_000_000 * scale), 50_000)
    with folder("restore") as path:
        random = np.random.default_rng(3)
        table = pa.table(
            {
                "key": random.integers(0, 2**62, keys, dtype=np.int64),
                "time": pa.array(np.arange(keys, dtype=np.int64) * 1_000_000 // keys).cast(pa.timestamp("us", "UTC")),
                "value": random.integers(0, 1_000_000, keys, dtype=np.int64),
            }
        )
        with wr.Log(path) as log:
            log.create_topic("in", partitions=4, schema=table.schema)
            for number, batch in enumerate(table.to_batches(131_072)):
                log.append_arrow("in", batch, partition=number % 4)
        stream = wr.read_log(path, "in").watermark("time", delay="1h")
        made = stream.group_by("key").window(wr.tumbling("10s"))
        one = wr.job(
            made.agg(n=wr.count(), s=wr.sum("value"), m=wr.max("value")).write_log(path, "out"), name="restore"
        )
        with one:
            one.run(until="caught up")
            state_bytes = one.progress.state_bytes
        times = []
        for _ in range(3):
            begun = perf_counter()
            one.step()  # opens the job, which restores, and finds nothing to do
            times.append(perf_counter() - begun)
            one.close()
        seconds = median(times)
        saved = _saved_bytes(path, one)
        extra = {"state_bytes": state_bytes, "gb_per_s": round(saved / seconds / 1e9, 3)}
        return [Measured(keys, saved, seconds, f"{keys}:{pc.sum(table['value']).as_py()}", extra=extra)]


def _saved_bytes(path: Path, one: wr.Job) -> int:
    """Arrow bytes of the state that a restart of the job reads back."""
    ledger = LogLedger(path)
    try:
        recovery = ledger.open(one.name, one.plan.fingerprint(KEPT_SHARDS))
        return sum(batch.nbytes for write in recovery.state for batch in write.tables.values())
    finally:
        ledger.close()


def _dump(path: Path, target: Path) -> None:
    """The documents of topic ``bids`` as one newline-delimited file, for the engines that we compare with."""
    with wr.Log(path) as log, target.open("wb") as file:
        for partition in range(_PARTITIONS):
            for batch in log.read("bids", partition, 0, max_rows=2**40, max_bytes=2**50):
                file.write(b"\n".join(batch.column("value").to_pylist()) + b"\n")


@benchmark("log_to_log_long", "100 M events through log_to_log: memory, and what an event costs as the run goes on")
def log_to_log_long(scale: float) -> list[Measured]:
    """Produces and processes two million events at a time; what has been read is removed, so that the disk stays small.

    Only processing is timed. `rss_mb` of the line is the peak of the process, the producer included.
    """
    events, step = max(int(100_000_000 * scale), 40_000), max(int(2_000_000 * min(scale * 10, 1)), 4_000)
    with folder("long") as path, wr.Log(path) as log:
        log.create_topic("bids", partitions=_PARTITIONS, retention="1us")
        bids, size, seconds, costs, rss = 0, 0, 0.0, [], []
        stream = wr.read_log(path, "bids", schema=BID).watermark("dateTime", delay="60s")
        windows = stream.group_by("auction").window(wr.tumbling("10s"))
        made = windows.agg(count=wr.count(), sum=wr.sum("price"), max=wr.max("price"))
        with wr.job(made.write_log(path, "out", key="auction"), name="long") as job:
            for first in range(0, events, step):
                written, written_bytes = _append_bids(log, "bids", first, min(first + step, events))
                begun = perf_counter()
                job.run(until="caught up")
                took = perf_counter() - begun
                log.apply_retention(topic="bids")
                bids, size, seconds = bids + written, size + written_bytes, seconds + took
                costs.append(took / written * 1e9)
                rss.append(_rss_mb())
        tenth = max(len(costs) // 10, 1)
        extra = {
            "ns_per_event_by_tenth": [round(median(costs[at : at + tenth])) for at in range(0, len(costs), tenth)],
            "rss_mb_by_tenth": [rss[min(at + tenth, len(rss)) - 1] for at in range(0, len(rss), tenth)],
        }
        return [Measured(bids, size, seconds, checksum(path, "out"), extra=extra)]


def _rss_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)
