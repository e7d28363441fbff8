"""Three brokers of which one and two are down: what is acknowledged is on two, or nothing is committed (crash)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import windrow as wr
from tests.broker.cluster import Brokers, brokers
from tests.conftest import need_broker
from tests.kafka.lines import left_open, made
from tests.kafka.test_transaction import assert_reads, opened, records
from windrow.io.kafka import transaction
from windrow.io.kafka.client import Cluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def three() -> Iterator[Brokers]:
    need_broker()
    with brokers(3) as running:
        yield running


def test_too_few_replicas(three: Brokers, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one broker down transactions go on; a topic that wants all three takes nothing, and then everything once.

    The controllers need two of three, so that more than one down is shown by a topic that wants more than there are.
    """
    monkeypatch.setattr(transaction, "_ATTEMPT_S", 5.0)
    cluster = Cluster(three.bootstrap)
    two = made(cluster, "two", 3, replication=3, min_insync_replicas="2")
    all_ = made(cluster, "all", 3, replication=3, min_insync_replicas="3")
    sent, lacking = opened(cluster, two, 2), opened(cluster, all_, 2)
    sent.commit(records(two, "a"), committed=lambda: False)
    lacking.commit(records(all_, "a"), committed=lambda: False)
    down = three.nodes[2]
    down.kill()
    sent.commit(records(two, "b"), committed=lambda: False)
    # not even the end of what was tried can be written
    with pytest.raises(wr.BrokerError, match=r"CONCURRENT_TRANSACTIONS.*a restart finds out"):
        lacking.commit(records(all_, "b"), timeout_s=10, committed=lambda: False)
    assert_reads(cluster, two, "a", "b")
    three.restart(down)
    opened(cluster, all_, 2).commit(records(all_, "b"), committed=lambda: False)
    sent.commit(records(two, "c"), committed=lambda: False)
    assert_reads(cluster, two, *"abc")
    assert_reads(cluster, all_, *"ab")
    for topic in (two, all_):
        assert left_open(cluster, [topic], topic) == []
    cluster.close()
