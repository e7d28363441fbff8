"""A broker of three that leads or coordinates dies: soon another one is asked, and nothing is lost or twice (crash)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from kafka.protocol.metadata import ApiVersionsRequest

from tests.broker.cluster import Brokers, brokers
from tests.conftest import need_broker
from tests.kafka.lines import left_open, made
from tests.kafka.test_transaction import assert_reads, opened, records
from windrow.io.kafka import topics
from windrow.io.kafka.client import Cluster, NotReachedError

pytestmark = pytest.mark.slow

#: After this the controllers take a broker that is not heard of for dead, and another one leads.
SESSION_S = 3.0
QUICK = {"broker.session.timeout.ms": str(int(SESSION_S * 1e3)), "broker.heartbeat.interval.ms": "500"}
CONNECT_S = 1.0
#: What the rest may take on a busy machine: electing, looking it up, initialising, sending again.
REST_S = 7.0


@pytest.fixture(scope="module")
def three() -> Iterator[Brokers]:
    need_broker()
    with brokers(3, settings=QUICK) as running:
        yield running


@pytest.mark.parametrize("role", ["leader", "coordinator"])
def test_after_the_death_of_a_broker_commits_go_on_soon(three: Brokers, role: str) -> None:
    """A request to who is dead is given up for a look at who has its place; it waited for the attempt's 30 s."""
    cluster = Cluster(three.bootstrap, {"socket_connection_setup_timeout_ms": int(CONNECT_S * 1e3)})
    topic = made(cluster, role, 3, replication=3, min_insync_replicas="2")
    sent = opened(cluster, topic, 2)
    sent.commit(records(topic, "a"), committed=lambda: False)
    number = (
        cluster.leaders([topic], 10)[topic][0] if role == "leader" else cluster.coordinator("transaction", topic, 10)
    )
    down = three.nodes[number - 1]
    down.kill()
    begun_s = time.monotonic()
    sent.commit(records(topic, "b"), timeout_s=30, committed=lambda: False)
    assert time.monotonic() - begun_s < SESSION_S + CONNECT_S + REST_S
    begun_s = time.monotonic()
    with pytest.raises(NotReachedError, match=rf"broker {number} .*cannot be reached within 1 s"):
        cluster.request(number, ApiVersionsRequest(min_version=3, max_version=3), 30)
    assert time.monotonic() - begun_s < CONNECT_S + 2
    begun_s = time.monotonic()
    assert len(topics.offsets(cluster, topic, topics.LATEST)) == 3
    sent.commit(records(topic, "c"), committed=lambda: False)
    assert time.monotonic() - begun_s < CONNECT_S + 2
    three.restart(down)
    assert_reads(cluster, topic, *"abc")
    assert left_open(cluster, [topic], topic) == []
    cluster.close()
