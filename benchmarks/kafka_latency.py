"""How long from the moment an event is due to be sent until a reader of committed records sees a row that has it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

import windrow as wr
from benchmarks import kafka_ends as ends
from benchmarks.harness import Measured, benchmark
from benchmarks.kafka_place import broker_versions, elsewhere, fresh, milliseconds, place, produce
from benchmarks.log_jobs import folder
from windrow.io.kafka import topics
from windrow.io.kafka.client import release, shared

_RATE = 50_000
_WINDOW_US = 10_000_000
_EVENT = wr.schema(auction="int64", number="int64", price="int64", dateTime="timestamp")
_COMMIT_MS = 100
_AHEAD_S = 3.0  # both ends have started by then
_MADE_PER_S = 150_000  # and the sender has made its events


@benchmark(
    "kafka_latency", "50 k events/s, 10 s windows' updates committed every 100 ms: from due to visible", broker=True
)
def kafka_latency(scale: float) -> list[Measured]:
    """Over all events but those of the first two seconds, each from when it was due (not: from when it was sent), so
    that nothing is left out while something stalls. Sender, reader and broker have the cores that the engine has not.
    Counts of all windows are held against the schedule. `seconds`: the median."""
    events = max(int(1_500_000 * scale), 15_000)
    with folder("latency") as path, place() as bootstrap:
        rows, late_s, cpu_s, epochs = _run(bootstrap, events, path)
    warm = min(2 * _RATE, events // 4)
    seen_s = _first_seen_s(rows, events) - np.arange(events) / _RATE
    extra = {
        **milliseconds(seen_s[warm:].tolist()),
        "sender_late_ms": round(late_s * 1e3, 1),
        "cpu_share": round(cpu_s / (events / _RATE), 3),
        "epochs": epochs,
        "rate": _RATE,
        **broker_versions(),
    }
    return [Measured(events, 0, float(np.median(seen_s[warm:])), _checked(rows, events), extra=extra)]


def _run(bootstrap: str, events: int, path: Path) -> tuple[np.ndarray, float, float, int]:
    """(rows as the reader saved them, times from the start; how late the sender was at most; seconds of CPU; epochs)"""
    source, target, saved = fresh("latency-in"), fresh("latency-out"), path / "rows.npy"
    cluster = shared(bootstrap)
    topics.create(cluster, topics.NewTopic(source, ends.PARTITIONS))
    topics.create(cluster, topics.NewTopic(target, 1))
    _warm_up(bootstrap)
    start_s = time.monotonic() + _AHEAD_S + events / _MADE_PER_S
    own = [sys.executable, "-m", "benchmarks.kafka_ends"]
    with elsewhere():
        reader = subprocess.Popen([*own, "read", bootstrap, target, str(events), "--target", str(saved)])
        sender = subprocess.Popen(
            [*own, "send", bootstrap, source, str(events), "--rate", str(_RATE), "--start", str(start_s)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    try:
        with _job(bootstrap, source, target) as job:
            used = time.process_time()
            job.run(until=lambda progress: progress.events >= events, timeout=events / _RATE + 120)
            used = time.process_time() - used
            epochs = job.progress.epoch
        sent, _ = sender.communicate(timeout=60)
        reader.wait(90)
    finally:
        for process in (sender, reader):
            process.kill()
            process.wait()
        release(cluster)
    rows = np.load(saved)
    rows[:, 4] -= int(start_s * 1e9)
    return rows, float(sent), used, epochs


def _job(bootstrap: str, source: str, target: str) -> wr.Job:
    stream = wr.read_kafka(bootstrap, source, schema=_EVENT).watermark("dateTime", delay="1s")
    windows = stream.group_by("auction").window(wr.tumbling("10s"))
    made = windows.agg(count=wr.count(), number=wr.max("number"), top=wr.max("price")).current()
    sink = made.write_kafka(bootstrap, target, create=True)
    return wr.job(sink, name=target, limits=wr.Limits(interval_ms=_COMMIT_MS))


def _warm_up(bootstrap: str) -> None:
    """Have the kernels compiled or loaded: a job that has just been deployed is another question."""
    topic = fresh("latency-warm")
    documents = pa.array([ends.document(number, _RATE) for number in range(5_000)], pa.binary())
    produce(bootstrap, topic, [documents, documents], ends.PARTITIONS)
    with _job(bootstrap, topic, f"{topic}-out") as job:
        job.run(until="caught up")


def _first_seen_s(rows: np.ndarray, events: int) -> np.ndarray:
    """When the first row that has it was seen, for every event, in seconds from the start."""
    seen_s = np.full(events, np.inf)
    for key in range(min(ends.KEYS, events)):
        mine = rows[rows[:, 0] == key]
        newest = np.maximum.accumulate(mine[:, 1])
        numbers = np.arange(key, events, ends.KEYS)
        found = np.searchsorted(newest, numbers)
        assert found.max() < len(newest), f"not all events of key {key} became visible"
        seen_s[numbers] = mine[found, 4] / 1e9
    return seen_s


def _checked(rows: np.ndarray, events: int) -> str:
    """The last counts by key and window; they must be those of the schedule."""
    last = {(key, window): count for key, _, window, count, _ in rows.tolist()}
    numbers = np.arange(events)
    times_us = ends.BASE_US + numbers * 1_000_000 // _RATE
    pairs = np.stack([numbers % ends.KEYS, times_us - times_us % _WINDOW_US], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    expected = {(key, window): count for (key, window), count in zip(found.tolist(), counts.tolist(), strict=True)}
    assert last == expected, "the windows do not count the events that were sent"
    return f"{len(last)}:{sum(last.values())}"
