"""Jobs from Kafka to Kafka on a real broker: throughput, and what a restart reads back; `kafka_place` for brokers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import windrow as wr
from benchmarks import baselines
from benchmarks.harness import Measured, benchmark
from benchmarks.kafka_place import broker_versions, fresh, place, produce
from benchmarks.log_jobs import BID, folder
from windrow.config import KEPT_SHARDS
from windrow.io.kafka.ledger import KafkaLedger
from windrow.io.nexmark import nexmark_json

_PARTITIONS = 4
_CHUNK = 50_000
_WINDOW_US = 10_000_000
_RESULT = wr.schema(
    auction="int64", window_start="timestamp", window_end="timestamp", count="int64", sum="int64", max="int64"
)


def _job(bootstrap: str, topic: str, target: str) -> wr.Job:
    """Tumbling 10 s count, sum and max of the price per auction."""
    bids = wr.read_kafka(bootstrap, topic, schema=BID, end="latest").watermark("dateTime", delay="60s")
    windows = bids.group_by("auction").window(wr.tumbling("10s"))
    made = windows.agg(count=wr.count(), sum=wr.sum("price"), max=wr.max("price"))
    sink = made.write_kafka(bootstrap, target, key="auction", create=True, partitions=_PARTITIONS)
    return wr.job(sink, name=target)


@benchmark(
    "kafka_to_kafka", "JSON bids in a topic -> 10 s count, sum, max per auction -> a topic, exactly once", broker=True
)
def kafka_to_kafka(scale: float) -> list[Measured]:
    """The median of three runs after one that compiles. Each row that a reader of committed records sees must be one of
    DuckDB's over the same documents. `cpu_s`: of all threads of this process, what the broker does left out."""
    events = max(int(5_000_000 * scale), 20_000)
    with folder("kafka") as path, place() as bootstrap:
        topic, documents = fresh("bids"), path / "bids.json"
        counts = [0, 0]
        produce(bootstrap, topic, _bids(events, documents, counts), _PARTITIONS)
        bids, size = counts
        times, cpu, job, target = [], [], None, ""
        for run in range(4):
            target = f"{topic}-out{run}"
            job = _job(bootstrap, topic, target)
            begun, used = perf_counter(), process_time()
            with job:
                job.run()
            times.append(perf_counter() - begun)
            cpu.append(process_time() - used)
        assert job is not None
        stages = {name: round(c["nanoseconds"] / bids, 1) for name, c in job.metrics()["stages"].items()}
        ours = wr.read_kafka(bootstrap, target, schema=_RESULT, end="latest").collect()
        arrow = pa.schema([("auction", pa.int64()), ("dateTime", pa.timestamp("us", "UTC")), ("price", pa.int64())])
        theirs = baselines.duckdb_tumbling_json([documents], arrow, "auction", "dateTime", "price", _WINDOW_US, runs=1)
        digest = _digest(ours.set_column(1, "window_start", ours["window_start"].cast(pa.int64())))
        assert digest == _digest(theirs.result), "DuckDB gets another result"
        seconds = median(times[1:])
        extra = {
            "cpu_s": round(median(cpu[1:]), 3),
            "m_events_per_cpu_s": round(bids / median(cpu[1:]) / 1e6, 3),
            "ratio_to_duckdb": round(theirs.seconds / seconds, 3),
            "cold_s": round(times[0], 3),
            "bytes_per_event": round(size / bids),
            "ns_per_event": stages,
            **broker_versions(),
        }
        return [Measured(bids, size, seconds, digest, extra=extra)]


def _bids(events: int, documents: Path, counts: list[int]) -> Iterator[pa.Array]:
    """The bids among so many Nexmark events, which go into a file as well; adds their number and bytes to `counts`."""
    with documents.open("wb") as file:
        for first in range(0, events, _CHUNK):
            some = nexmark_json(first, min(first + _CHUNK, events), kind="bid").cast(pa.binary())
            counts[0] += len(some)
            counts[1] += pc.sum(pc.binary_length(some)).as_py()
            file.write(b"\n".join(some.to_pylist()) + b"\n")
            yield some


def _digest(rows: pa.Table) -> str:
    """The number of rows and a sum, modulo 2^64, over a hash of each, so that their order does not matter."""
    mixed = np.zeros(rows.num_rows, np.uint64)
    for name in ("auction", "window_start", "count", "sum", "max"):
        column = rows[name].cast(pa.int64()).to_numpy().astype(np.uint64)
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return f"{rows.num_rows}:{int(mixed.sum(dtype=np.uint64)):016x}"


@benchmark("kafka_restore", "3 M keys of window state from the changelog topic back into memory", broker=True)
def kafka_restore(scale: float) -> list[Measured]:
    """Opening a job whose state is in Kafka. Bytes are Arrow's, those of the state as it lies in the changelog; the
    windows that a restored job then emits are held against the input's sums."""
    keys = max(int(3_000_000 * scale), 50_000)
    with place() as bootstrap:
        topic, target = fresh("restore"), fresh("restored")
        table = _keyed(keys)
        rows = wr.from_arrow(table, name="rows").write_kafka(
            bootstrap, topic, format="arrow", create=True, partitions=_PARTITIONS
        )
        with wr.job(rows, name=fresh("fill"), limits=wr.Limits(epoch_rows=200_000)) as job:
            job.run()

        def made(end: str | None) -> wr.Job:
            schema = wr.schema(key="int64", time="timestamp", value="int64")
            stream = wr.read_kafka(bootstrap, topic, schema=schema, format="arrow", end=end, name="rows")
            windows = stream.watermark("time", delay="1h").group_by("key").window(wr.tumbling("10s"))
            sums = windows.agg(n=wr.count(), s=wr.sum("value"), m=wr.max("value"))
            return wr.job(sums.write_kafka(bootstrap, target, key="key", create=True), name=target)

        with made(None) as job:
            job.run(until="caught up")
            state_bytes = job.progress.state_bytes
            plan = job.plan.fingerprint(KEPT_SHARDS)
        times, cpu = [], []
        for _ in range(4):
            begun, used = perf_counter(), process_time()
            with made(None) as job:
                job.step()  # opens the job, which restores, and finds nothing to do
                times.append(perf_counter() - begun)
                cpu.append(process_time() - used)
        saved = _saved_bytes(bootstrap, target, plan)
        with made("latest") as job:
            job.run()
        result = wr.read_kafka(bootstrap, target, schema=wr.schema(key="int64", s="int64"), end="latest").collect()
        total = pc.sum(table["value"]).as_py()
        assert (result.num_rows, pc.sum(result["s"]).as_py()) == (keys, total), "what was restored is not what was kept"
        seconds = median(times[1:])
        extra = {
            "mb_per_s": round(saved / seconds / 1e6),
            "mb_per_cpu_s": round(saved / median(cpu[1:]) / 1e6),
            "state_bytes": state_bytes,
            **broker_versions(),
        }
        return [Measured(keys, saved, seconds, f"{keys}:{total}", extra=extra)]


def _keyed(keys: int) -> pa.Table:
    """Different keys within one window."""
    random = np.random.default_rng(3)
    times = np.arange(keys, dtype=np.int64) * 1_000_000 // keys
    return pa.table(
        {
            "key": np.arange(keys, dtype=np.int64) * 7_919 + random.integers(0, 7_919, keys),
            "time": pa.array(times).cast(pa.timestamp("us", "UTC")),
            "value": random.integers(0, 1_000_000, keys, dtype=np.int64),
        }
    )


def _saved_bytes(bootstrap: str, job: str, plan: dict[str, object]) -> int:
    """Arrow bytes of the state that a restart of the job reads back."""
    ledger = KafkaLedger(bootstrap)
    try:
        recovery = ledger.open(job, plan)
        return sum(batch.nbytes for write in recovery.state for batch in write.tables.values())
    finally:
        ledger.close()
