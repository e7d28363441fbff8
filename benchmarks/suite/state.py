"""So many keys in the state of one aggregation: ``python -m benchmarks.suite.state KEYS EVENTS`` prints it."""

from __future__ import annotations

import json
import sys
from time import perf_counter

import numpy as np
import pyarrow as pa

import windrow as wr
from benchmarks import machine
from benchmarks.suite import probes
from windrow.io.memory import MemorySource

_BATCH = 131_072
_WARM = 1_000


def measure(keys: int, known: int) -> dict[str, object]:
    """First every key once, in random order; then `known` events of keys that are there."""
    names = np.empty(keys, np.int64)
    probes.random_keys(1 << 40, names)
    source = MemorySource(_table(names), bounded=False)
    stream = wr.from_source(source).group_by("key").agg(count=wr.count(), sum=wr.sum("value"), max=wr.max("value"))
    seen = [0, 0]

    def take(batch: pa.RecordBatch, epoch: int) -> None:
        seen[0] += batch.num_rows
        seen[1] ^= epoch

    with stream.for_each_batch(take, name="out") as job:
        begun = perf_counter()
        job.run(until="caught up")
        new = perf_counter() - begun
        random = np.random.default_rng(9)
        for first in range(0, known, _BATCH):
            rows = min(_BATCH, known - first)
            (batch,) = _table(names[random.integers(0, keys, rows)]).to_batches()
            source.append(batch)
        begun = perf_counter()
        job.run(until="caught up")
        again = perf_counter() - begun
        progress = job.progress
    return {
        "events": keys + known,
        "seconds": [new + again],
        "new_per_s": round(keys / new),
        "known_per_s": round(known / again),
        "state_mb": round(progress.state_bytes / 1e6, 3),
        "peak_rss_mb": machine.peak_rss_mb(),
        "checksum": f"{progress.events}:{seen[0] > 0}",
    }


def _table(names: probes.Words) -> pa.Table:
    return pa.Table.from_batches(pa.table({"key": names, "value": names & 0xFFFF}).to_batches(_BATCH))


if __name__ == "__main__":  # a small job before it loads the kernels
    measure(_WARM, _WARM)
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
