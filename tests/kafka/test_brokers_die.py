"""Brokers that are killed, stopped, paused and replaced while transactions and jobs go on (crash)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka.protocol.producer import InitProducerIdResponse

from tests.broker.cluster import Brokers, brokers
from tests.conftest import need_broker
from tests.kafka import proxy as net
from tests.kafka.lines import left_open, made
from tests.kafka.test_transaction import BOTH, assert_reads, opened, records
from windrow.io.kafka.client import Cluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own() -> Iterator[Brokers]:
    need_broker()
    with brokers() as running:
        yield running


@BOTH
def test_a_broker_that_dies_before_it_can_answer(own: Brokers, protocol: int) -> None:
    """It has raised the producer epoch, forgets which one was before, and takes us for a zombie (found by the soak)."""
    (node,) = own.nodes

    died: list[bool] = []

    def die(exchange: net.Exchange, frame: bytes) -> list[bytes]:
        if died or InitProducerIdResponse[exchange.version].decode(frame, header=True).error_code:
            return [frame]
        died.append(True)
        node.kill()
        own.restart(node)
        raise net.Cut

    with net.Proxy(own.bootstrap) as proxy:
        through = Cluster(proxy.bootstrap)
        topic = made(through, "dies", 3)
        sent = opened(through, topic, protocol)
        for tag in "abc":
            if tag == "b":
                proxy.on_answer(net.PRODUCE, net.cut, 1)
                proxy.on_answer(net.INIT_PRODUCER_ID, die, None)
            sent.commit(records(topic, tag), committed=lambda: False, mine=lambda: True)
        assert_reads(through, topic, *"abc")
        assert died and left_open(through, [topic], topic) == []
        through.close()
