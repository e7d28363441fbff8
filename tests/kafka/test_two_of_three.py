"""Kind: crash. Two of three brokers go down while a job runs: nothing is committed, and then everything once."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator

import pytest

import windrow as wr
from tests.broker.cluster import Brokers, brokers
from tests.conftest import need_broker
from tests.kafka.groups.job import Thread, await_, ending
from tests.kafka.lines import left_open, made, produce
from tests.kafka.test_exactly_once import latest, read
from tests.kafka.test_failover import QUICK
from windrow.io.kafka.client import Cluster

pytestmark = [pytest.mark.crash, pytest.mark.slow]

PARTITIONS, KEYS = 3, 7
#: Whoever is asked first has too few: leaders, the coordinator's own topic, or whoever has to take a transaction's end.
WHY = re.compile("nothing is committed at the moment.*(fewer|too few) replicas")
TOTALS = wr.schema(key="int64", n="int64", total="int64")


@pytest.fixture
def three() -> Iterator[Brokers]:
    """The first is the controller, so that there are elections, and smaller sets of replicas, without the others."""
    need_broker()
    with brokers(3, settings=QUICK, controllers=1) as running:
        yield running
        for node in running.nodes:  # without their controller the others take half a minute to stop
            node.kill()


class Feed:
    """Input that grows, while two of three replicas acknowledge it, and what must come of it."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._cluster, self._topic, self._count = cluster, topic, 0
        self.totals: dict[int, tuple[int, int]] = {}

    def grow(self, rows: int) -> None:
        for part in range(PARTITIONS):
            numbers = range(self._count + part, self._count + rows, PARTITIONS)
            produce(
                self._cluster, self._topic, part, [b'{"key": %d, "value": %d}' % (n % KEYS, n) for n in numbers], "zstd"
            )
            for n in numbers:
                count, total = self.totals.get(n % KEYS, (0, 0))
                self.totals[n % KEYS] = (count + 1, total + n)
        self._count += rows


def test_a_job_waits_for_its_replicas(three: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    """``min.insync.replicas=2`` of three: with one left the job says why it stands still, and reports no epoch."""
    caplog.set_level(logging.WARNING, "windrow")
    cluster = Cluster(three.bootstrap)
    config = {"min_insync_replicas": "2"}
    source, target = (made(cluster, name, PARTITIONS, replication=3, **config) for name in ("in", "out"))
    feed = Feed(cluster, source)
    feed.grow(2_000)
    stream = wr.read_kafka(three.bootstrap, source, schema=wr.schema(key="int64", value="int64"))
    totals = stream.group_by("key").agg(n=wr.count(), total=wr.sum("value"))
    job = wr.job(
        totals.write_kafka(three.bootstrap, target), name=target, limits=wr.Limits(epoch_rows=50, interval_ms=20)
    )
    epochs: list[int] = [0]
    one = Thread(job, lambda progress: epochs.append(progress.epoch))
    with ending(one):
        await_(lambda: epochs[-1] >= 5, 60, "some epochs")
        for node in three.nodes[1:]:
            node.kill()
        await_(lambda: WHY.search(caplog.text) is not None, 60, "the job says why it waits")
        standing = epochs[-1]
        time.sleep(3)
        assert epochs[-1] == standing and one.error is None
        for node in three.nodes[1:]:
            three.restart(node)
        await_(lambda: epochs[-1] > standing or one.ended, 90, "epochs after they are back")
        feed.grow(500)
        await_(lambda: one.ended or latest(read(three.bootstrap, target, TOTALS)) == feed.totals, 60, "all results")
    assert one.error is None
    counts: Counter[int] = Counter()
    for row in read(three.bootstrap, target, TOTALS):  # each update counts more than the one before it
        assert row["n"] > counts[row["key"]]
        counts[row["key"]] = row["n"]
    assert left_open(cluster, [target, f"{target}-ledger", f"{target}-changelog"], target) == []
    cluster.close()
