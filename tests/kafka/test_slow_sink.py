"""A sink that is slower than its source: memory stays flat, and the source waits (law).

In a process of its own, which says after every epoch what it holds; of the topic, a third may be fetched ahead.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa

from tests.kafka.lines import made, send
from windrow.codec.kafka_encode import encode
from windrow.io.kafka.client import Cluster
from windrow.io.kafka.fetcher import FetchLimits

MB = 1 << 20
BATCHES, ROWS, VALUE_BYTES = 190, 250, 4_000
EPOCH_ROWS, SLOW_EPOCHS = 1_000, 16
FETCH = FetchLimits()

CHILD = """
import json, sys, time
from pathlib import Path
import windrow as wr
broker, topic, epoch_rows, slow = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
counted, epochs, said = 0, 0, []

def resident():
    (kib,) = [int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmRSS")]
    return kib << 10

def take(batch, epoch):
    global counted, epochs
    counted += batch.num_rows
    epochs += 1
    if epochs <= slow:
        time.sleep(0.1)
        (part,) = job.metrics()["sources"][topic]["partitions"].values() if epochs > 1 else ({"fetched_bytes": 0},)
        said.append((epochs, counted, resident(), part["fetched_bytes"]))

stream = wr.read_kafka(broker, topic, format="raw", end="latest").for_each_batch(take, name="slow")
before = resident()
with wr.job(stream, name=topic, limits=wr.Limits(epoch_rows=epoch_rows)) as job:
    job.run()
print(json.dumps({"before": before, "said": said, "rows": counted}))
"""


def filled(cluster: Cluster) -> str:
    topic = made(cluster, "slow", 1)
    value = np.random.default_rng(1).bytes(VALUE_BYTES)
    (batch,) = encode(None, pa.array([value] * ROWS), np.ones(ROWS, np.int64)).batches
    one = bytes(batch.stamped(-1, -1, -1, False))
    for _ in range(BATCHES):
        send(cluster, topic, 0, one)
    return topic


def test_a_slow_sink_holds_its_source_back(broker: str) -> None:
    cluster = Cluster(broker)
    topic = filled(cluster)
    arguments = [broker, topic, str(EPOCH_ROWS), str(SLOW_EPOCHS)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    cluster.close()
    assert found["rows"] == BATCHES * ROWS
    assert len(found["said"]) == SLOW_EPOCHS
    for _, rows, _, fetched in found["said"]:
        # what the sink has, the epochs on their way to it, and what may wait
        allowed = (rows + 3 * EPOCH_ROWS) * VALUE_BYTES * 1.1 + FETCH.buffer_bytes + FETCH.request_bytes
        assert fetched < allowed < BATCHES * ROWS * VALUE_BYTES
    resident = [one[2] for one in found["said"]]
    assert max(resident) - found["before"] < FETCH.buffer_bytes + 3 * FETCH.request_bytes + 64 * MB
    late = resident[SLOW_EPOCHS // 2 :]
    assert max(late) - min(late) < 24 * MB, resident  # flat, while 32 MB went through
