"""Brokers that are killed, stopped, paused and replaced while transactions and jobs go on (crash)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from kafka.protocol.producer import InitProducerIdResponse

import windrow as wr
from tests.broker.cluster import Brokers, brokers
from tests.conftest import need_broker
from tests.kafka import proxy as net
from tests.kafka.lines import ends, fresh, left_open, made
from tests.kafka.test_dead_letters import MIXED, copy
from tests.kafka.test_dead_letters import produce as produce_mixed
from tests.kafka.test_transaction import BOTH, assert_reads, opened, records
from windrow.io.kafka import settled
from windrow.io.kafka.client import Cluster
from windrow.io.kafka.producer import Place
from windrow.io.kafka.replay import KafkaReplay
from windrow.testing import At, installed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own() -> Iterator[Brokers]:
    need_broker()
    with brokers() as running:
        yield running


def dying(own: Brokers, proxy: net.Proxy) -> list[bool]:
    """One Produce is cut off; the broker that has raised the producer epoch then dies before it can say so."""
    (node,) = own.nodes
    died: list[bool] = []

    def die(exchange: net.Exchange, frame: bytes) -> list[bytes]:
        if died or InitProducerIdResponse[exchange.version].decode(frame, header=True).error_code:
            return [frame]
        died.append(True)
        node.kill()
        own.restart(node)
        raise net.Cut

    proxy.on_answer(net.PRODUCE, net.cut, 1)
    proxy.on_answer(net.INIT_PRODUCER_ID, die, None)
    return died


@BOTH
def test_a_broker_that_dies_before_it_can_answer(own: Brokers, protocol: int) -> None:
    """It has raised the producer epoch, forgets which one was before, and takes us for a zombie (found by the soak)."""
    died: list[bool] = []
    with net.Proxy(own.bootstrap) as proxy:
        through = Cluster(proxy.bootstrap)
        topic = made(through, "dies", 3)
        sent = opened(through, topic, protocol)
        for tag in "abc":
            if tag == "b":
                died = dying(own, proxy)
            sent.commit(records(topic, tag), committed=lambda: False, mine=lambda: True)
        assert_reads(through, topic, *"abc")
        assert died and left_open(through, [topic], topic) == []
        through.close()


# -- where the ledger is not in the cluster, and where there is none


def beside(bootstrap: str, topic: str, log: Path, rows: int = 30) -> wr.Job:
    """A job with its ledger in an embedded log, and a sink in Kafka."""
    numbers = wr.from_arrow(pa.table({"n": range(rows)}), name="numbers")
    return wr.job(
        numbers.write_kafka(bootstrap, topic), name=f"job-{topic}", ledger=log, limits=wr.Limits(epoch_rows=10)
    )


def numbers_in(bootstrap: str, topic: str) -> list[int]:
    rows = wr.read_kafka(bootstrap, topic, schema=wr.schema(n="int64"), end="latest").collect()
    return sorted(rows["n"].to_pylist())


def test_a_sink_beside_another_ledger_takes_its_id_back(own: Brokers, tmp_path: Path) -> None:
    """The same with a transaction of the sink's own: it is the owner as long as no other has left a word."""
    wr.Log(tmp_path / "log").close()
    with net.Proxy(own.bootstrap) as proxy:
        through = Cluster(proxy.bootstrap)
        topic = made(through, "beside", 2)
        hurt: dict[str, list[bool]] = {}
        at = At("commit.begin", lambda: hurt.update(died=dying(own, proxy)), 2)
        with installed(at), beside(proxy.bootstrap, topic, tmp_path / "log") as job:
            job.run()
        assert hurt["died"] == [True]
        assert numbers_in(own.bootstrap, topic) == list(range(30))
        assert left_open(through, [topic], f"job-{topic}") == []
        through.close()


def test_a_replay_takes_its_id_back(own: Brokers) -> None:
    with net.Proxy(own.bootstrap) as proxy:
        source, dead = letters(own.bootstrap)
        replay = KafkaReplay(proxy.bootstrap, dead)
        (some,) = replay.letters()
        replay.send(some.slice(0, 1), None)
        died = dying(own, proxy)
        assert sum(replay.send(some, None).values()) == some.num_rows - 1
        replay.close()
        assert died == [True]
        direct = Cluster(own.bootstrap)
        assert sum(ends(direct, source, 1).values()) >= len(MIXED) + some.num_rows
        found = wr.read_kafka(own.bootstrap, source, format="raw", end="latest").collect()
        assert found.num_rows == len(MIXED) + some.num_rows
        assert left_open(direct, [source, f"{dead}-replayed"], dead) == []
        direct.close()


def letters(bootstrap: str) -> tuple[str, str]:
    """A topic, and one with the dead letters of it."""
    direct = Cluster(bootstrap)
    source, dead = made(direct, "in", 2), fresh("dead")
    direct.close()
    produce_mixed(bootstrap, source, MIXED)
    copy(bootstrap, source, fresh("out"), dead).run()
    return source, dead


def lose_the_end(own: Brokers, cluster: Cluster, transactional_id: str, place: Place) -> int:
    """Leave records open at `place` that belong to no transaction the coordinator knows of, as a killed broker did;
    their offset. Brokers that check with the coordinator do not take such records: the check is off meanwhile."""
    _checking(own, on=False)
    sent = opened(cluster, transactional_id, 0)
    at = ends(cluster, place[0], 0)[place[1]]
    producer = sent._producer
    batches = {place: records(place[0], "lost")[place[0], 0][0]}
    node = cluster.leaders([place[0]], 10)[place[0]][place[1]]
    deadline_s, code = time.monotonic() + 10, 120
    while code == 120 and time.monotonic() < deadline_s:  # a setting takes a moment to reach a broker
        answer = cluster.request(node, producer.produce([place], batches, {place: 0}), 10)
        code = answer.responses[0].partition_responses[0].error_code
        time.sleep(0.05)
    assert not code
    _checking(own, on=True)
    return at


def _checking(own: Brokers, *, on: bool) -> None:
    entry = ConfigEntry("transaction.partition.verification.enable", str(on).lower())
    entry.incremental_operation = AlterConfigOpType.SET
    resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": own.bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(20)


def test_records_that_a_broker_left_open_stop_a_sink_beside_another_ledger(
    own: Brokers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of its next transaction would make them visible: an epoch would be there twice."""
    monkeypatch.setattr(settled, "SETTLE_S", 0.5)
    wr.Log(tmp_path / "log").close()
    direct = Cluster(own.bootstrap)
    topic = made(direct, "beside", 2)
    with beside(own.bootstrap, topic, tmp_path / "log") as job:
        job.run(epochs=1)
    at = lose_the_end(own, direct, f"job-{topic}-{topic}", (topic, 1))
    with pytest.raises(
        wr.BrokerError, match=rf"sink '{topic}'.*'{topic}', partition 1, from offset {at} on.*find-hang"
    ):
        beside(own.bootstrap, topic, tmp_path / "log").run()
    direct.close()
    assert numbers_in(own.bootstrap, topic) == list(range(10))


def test_records_that_a_broker_left_open_stop_a_replay(own: Brokers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "SETTLE_S", 0.5)
    source, dead = letters(own.bootstrap)
    first = KafkaReplay(own.bootstrap, dead)
    (some,) = first.letters()
    first.send(some.slice(0, 1), None)
    first.close()
    direct = Cluster(own.bootstrap)
    for topic, part in ((source, 0), (f"{dead}-replayed", 0)):
        at = lose_the_end(own, direct, f"{dead}-replay", (topic, part))
        second = KafkaReplay(own.bootstrap, dead)
        with pytest.raises(wr.BrokerError, match=rf"'{topic}', partition {part}, from offset {at} on.*find-hanging"):
            second.send(some, None)
        second.close()
    direct.close()
