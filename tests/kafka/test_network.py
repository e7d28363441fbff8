"""Jobs and transactions over a network that cuts, doubles, delays and lies, against a real broker behind a proxy.

Kind: crash. Whatever happens to single frames, what readers of committed records see is what it would be without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from kafka.protocol.producer import EndTxnResponse, ProduceRequest, ProduceResponse

import windrow as wr
from tests.kafka import proxy as net
from tests.kafka.lines import ends, left_open, made
from tests.kafka.test_exactly_once import SCHEMA, events, expected, fill, fresh, latest, read, totals
from tests.kafka.test_transaction import BOTH, assert_reads, opened, records, values
from windrow.errors import BrokerError
from windrow.io.kafka import catalog, ledger, transaction
from windrow.io.kafka.client import Cluster
from windrow.io.kafka.transaction import GroupOffsets
from windrow.testing import At, installed

APIS = (
    net.FETCH, net.LIST_OFFSETS, net.METADATA, net.FIND_COORDINATOR, net.INIT_PRODUCER_ID, net.PRODUCE,
    net.TXN_OFFSET_COMMIT, net.END_TXN,
)  # fmt: skip
RESULT = wr.schema(key="int64", n="int64", total="int64")


@pytest.fixture
def proxy(broker: str) -> Iterator[net.Proxy]:
    with net.Proxy(broker) as opened:
        yield opened


@pytest.fixture
def cluster(broker: str) -> Iterator[Cluster]:
    direct = Cluster(broker)
    yield direct
    direct.close()


@pytest.fixture
def through(proxy: net.Proxy) -> Iterator[Cluster]:
    behind = Cluster(proxy.bootstrap)
    yield behind
    behind.close()


def run_through(broker: str, proxy: net.Proxy, hurt: Callable[[], None], *, rows: int = 2_000) -> None:
    """A job through the proxy that is hurt when its second transaction begins; checked on the broker itself."""
    source, target, made_rows = fresh("in"), fresh("out"), events(7, rows)
    fill(broker, source, made_rows)
    options: dict[str, Any] = {"limits": wr.Limits(epoch_rows=rows // 5)}
    begun_s = time.monotonic()
    with installed(At("kafka.begin", hurt, 3)), totals(proxy.bootstrap, source, target, **options) as job:
        job.run()
    assert time.monotonic() - begun_s < 30
    written = read(broker, target, RESULT)
    assert latest(written) == expected(made_rows)
    counts: dict[int, int] = {}
    for row in written:
        assert row["n"] > counts.get(row["key"], 0)  # no update is there twice
        counts[row["key"]] = row["n"]
    direct = Cluster(broker)
    try:
        job_topics = [target, f"job-{target}-ledger", f"job-{target}-changelog"]
        assert left_open(direct, job_topics, f"job-{target}") == []
    finally:
        direct.close()


@pytest.mark.parametrize("where", ["request", "answer"])
def test_a_connection_that_ends_at_any_exchange(broker: str, proxy: net.Proxy, where: str) -> None:
    """Of every kind of request one is cut off before the broker has it, or its answer after."""

    def hurt() -> None:
        for api in APIS:
            (proxy.on_request if where == "request" else proxy.on_answer)(api, net.cut, 1)

    run_through(broker, proxy, hurt)


def test_answers_that_come_twice(broker: str, proxy: net.Proxy) -> None:
    """An answer that nobody waits for is not taken for the next one's."""

    def hurt() -> None:
        for api in APIS:
            proxy.on_answer(api, net.twice, 2)

    run_through(broker, proxy, hurt)


def test_requests_that_come_twice(broker: str, proxy: net.Proxy) -> None:
    """Producer epoch and sequence tell the broker; we get answers that nobody waits for."""

    def hurt() -> None:
        for api in (net.PRODUCE, net.TXN_OFFSET_COMMIT, net.END_TXN):
            proxy.on_request(api, net.twice, 2)

    run_through(broker, proxy, hurt)


@pytest.mark.parametrize(("chunk", "pause_s"), [(1, 0.0), (700, 0.004)], ids=["byte by byte", "1.4 Mbit/s"])
def test_answers_that_trickle(broker: str, proxy: net.Proxy, chunk: int, pause_s: float) -> None:
    proxy.chunk_bytes, proxy.pause_s = chunk, pause_s
    run_through(broker, proxy, lambda: None, rows=500)


def test_a_silence_of_seconds(broker: str, proxy: net.Proxy) -> None:
    """Connections stay, and nothing comes through: half-open."""
    import threading

    def hurt() -> None:
        proxy.speaking.clear()
        threading.Timer(2.5, proxy.speaking.set).start()

    run_through(broker, proxy, hurt)


def test_answers_that_never_come(broker: str, proxy: net.Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker has done it, its answer is lost, and the connection stays: deadlines end the wait."""
    monkeypatch.setattr(transaction, "_ATTEMPT_S", 2.0)

    def hurt() -> None:
        proxy.on_answer(net.END_TXN, net.lose, 1)
        proxy.on_answer(net.PRODUCE, net.lose, 1)

    run_through(broker, proxy, hurt)


# -- ends of transactions that come late


def lookup(cluster: Cluster, topic: str, number: int) -> Callable[[], bool]:
    return lambda: catalog.committed(cluster, topic, [(topic, 0)], 30).get((topic, 0), 0) >= number


def busy(exchange: net.Exchange) -> Any:
    """The coordinator says that it is not available."""
    more = {"producer_id": -1, "producer_epoch": -1} if exchange.version >= 5 else {}
    return EndTxnResponse(throttle_time_ms=0, error_code=15, version=exchange.version, **more)


@BOTH
@pytest.mark.parametrize("how", ["cut", "busy"])
def test_an_end_that_comes_late_does_not_end_a_later_transaction(
    cluster: Cluster, proxy: net.Proxy, through: Cluster, protocol: int, how: str
) -> None:
    """What Jepsen found in 2024: the commit of one transaction is held up on its way, and arrives in a later one."""
    topic = made(cluster, "late", 3)
    sent = opened(through, topic, protocol)
    sent.commit(records(topic, "a"), [GroupOffsets(topic, {(topic, 0): 1})], committed=lookup(cluster, topic, 1))
    held: list[net.Exchange] = []

    def hold(exchange: net.Exchange) -> Iterable[bytes]:
        held.append(exchange)
        if how == "busy":
            raise net.Reply(busy(exchange))
        raise net.Cut

    proxy.on_request(net.END_TXN, hold, 1)
    sent.commit(records(topic, "b"), [GroupOffsets(topic, {(topic, 0): 2})], committed=lookup(cluster, topic, 2))
    assert_reads(cluster, topic, "a", "b")

    def arrive() -> None:
        proxy.deliver(held[0])
        time.sleep(0.3)
        assert not [value for value in values(cluster, topic) if value.startswith("c")]

    with installed(At("kafka.offsets", arrive)):
        sent.commit(records(topic, "c"), [GroupOffsets(topic, {(topic, 0): 3})], committed=lookup(cluster, topic, 3))
    assert len(held) == 1
    assert_reads(cluster, topic, "a", "b", "c")
    assert left_open(cluster, [topic], topic) == []


@BOTH
def test_records_that_come_late_do_not_join_a_later_transaction(
    cluster: Cluster, proxy: net.Proxy, through: Cluster, protocol: int
) -> None:
    topic = made(cluster, "late", 3)
    sent = opened(through, topic, protocol)
    sent.commit(records(topic, "a"), [GroupOffsets(topic, {(topic, 0): 1})], committed=lookup(cluster, topic, 1))
    held: list[net.Exchange] = []

    def hold(exchange: net.Exchange) -> Iterable[bytes]:
        held.append(exchange)
        raise net.Cut

    proxy.on_request(net.PRODUCE, hold, 1)
    sent.commit(records(topic, "b"), [GroupOffsets(topic, {(topic, 0): 2})], committed=lookup(cluster, topic, 2))
    with installed(At("kafka.produced", lambda: proxy.deliver(held[0]) and None)):
        sent.commit(records(topic, "c"), [GroupOffsets(topic, {(topic, 0): 3})], committed=lookup(cluster, topic, 3))
    assert_reads(cluster, topic, "a", "b", "c")


# -- partitions that cannot be written to


def unheard(code: int) -> net.OnRequest:
    """The leader refuses every batch of a request."""

    def refuse(exchange: net.Exchange) -> list[bytes]:
        of = ProduceResponse.TopicProduceResponse
        said = [
            of(
                name=one.name,
                partition_responses=[
                    of.PartitionProduceResponse(
                        index=part.index, error_code=code, base_offset=-1, log_append_time_ms=-1, log_start_offset=-1,
                        record_errors=[], error_message=None,
                    )
                    for part in one.partition_data
                ],
            )
            for one in exchange.decoded(ProduceRequest).topic_data
        ]  # fmt: skip
        raise net.Reply(ProduceResponse(responses=said, throttle_time_ms=0, version=exchange.version))

    return refuse


@BOTH
def test_partitions_that_take_nothing_for_longer_than_is_waited(
    cluster: Cluster, proxy: net.Proxy, through: Cluster, protocol: int
) -> None:
    """Too few replicas: nothing of the transaction is committed, and no position moves."""
    topic = made(cluster, "lacking", 3)
    sent = opened(through, topic, protocol)
    sent.commit(records(topic, "a"), [GroupOffsets(topic, {(topic, 0): 1})], committed=lookup(cluster, topic, 1))
    proxy.on_request(net.PRODUCE, unheard(19), None)
    group = [GroupOffsets(topic, {(topic, 0): 2})]
    with pytest.raises(BrokerError, match="nothing was committed within 1 s"):
        sent.commit(records(topic, "b"), group, timeout_s=1, committed=lookup(cluster, topic, 2))
    assert catalog.committed(cluster, topic, [(topic, 0)], 30) == {(topic, 0): 1}
    assert_reads(cluster, topic, "a")
    proxy.heal()
    sent.commit(records(topic, "c"), group, committed=lookup(cluster, topic, 2))
    assert_reads(cluster, topic, "a", "c")


@BOTH
@pytest.mark.parametrize("code", [19, 20, 7, 6], ids=["not taken", "taken", "late", "leader moved"])
def test_a_leader_that_asks_to_come_again(
    cluster: Cluster, proxy: net.Proxy, through: Cluster, protocol: int, code: int
) -> None:
    """Whether it has taken the batch or not: it is there once."""
    topic = made(cluster, "again", 3)
    sent = opened(through, topic, protocol)

    def refuse(exchange: net.Exchange, frame: bytes) -> list[bytes]:
        answer = ProduceResponse[exchange.version].decode(frame, header=True)
        for part in (part for named in answer.responses for part in named.partition_responses):
            part.error_code = code
        return [exchange.answer(answer)]

    for number, tag in enumerate("abc", start=1):
        if tag == "b":
            proxy.on_answer(net.PRODUCE, refuse, 1)
        if tag == "c" and code != 20:
            proxy.on_request(net.PRODUCE, unheard(code), 2)
        sent.commit(
            records(topic, tag),
            [GroupOffsets(topic, {(topic, 0): number})],
            committed=lookup(cluster, topic, number),
        )
    assert_reads(cluster, topic, "a", "b", "c")
    assert sent.attempts == 3


# -- transactions of others


def test_an_open_transaction_of_another_program_holds_back_and_is_shown(broker: str, cluster: Cluster) -> None:
    from confluent_kafka import Producer

    topic = made(cluster, "held", 1)
    other = Producer(
        {"bootstrap.servers": broker, "transactional.id": f"{topic}-other", "transaction.timeout.ms": 60_000}
    )
    other.init_transactions(20)
    rows: list[int] = []
    stream = wr.read_kafka(broker, topic, schema=SCHEMA).for_each_batch(lambda b, _: rows.extend(b["key"].to_pylist()))
    fill_one(broker, topic, [1, 2])
    with wr.job(stream, name=topic) as job:
        other.begin_transaction()
        other.produce(topic, b'{"key": 3, "value": 0}')
        assert not other.flush(20)
        assert ends(cluster, topic, 1) == {0: 2} and ends(cluster, topic, 0) == {0: 3}
        fill_one(broker, topic, [4, 5])
        job.run(until="caught up", timeout=20)
        assert rows == [1, 2]
        (told,) = [part for source in job.metrics()["sources"].values() for part in source["partitions"].values()]
        assert told["held_back"] >= 3
        assert ends(cluster, topic, 1)[0] < ends(cluster, topic, 0)[0]
        other.commit_transaction(20)
        deadline_s = time.monotonic() + 20
        while len(rows) < 5 and time.monotonic() < deadline_s:
            job.run(until="caught up", timeout=20)
    assert rows == [1, 2, 3, 4, 5]


def fill_one(broker: str, topic: str, keys: list[int]) -> None:
    from confluent_kafka import Producer

    plain = Producer({"bootstrap.servers": broker})
    for key in keys:
        plain.produce(topic, b'{"key": %d, "value": 0}' % key)
    assert not plain.flush(20)


def test_a_transaction_that_a_broker_left_open_stops_the_job(
    broker: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers that are killed can lose the end of a transaction; what follows would end it in some partitions only."""
    monkeypatch.setattr(ledger, "_SETTLE_S", 0.5)
    source, target = fresh("in"), fresh("out")
    fill(broker, source, events(9, 100))
    with totals(broker, source, target) as job:
        job.run(epochs=1)
    topic = f"job-{target}-ledger"
    other = opened(cluster, f"{topic}-other", 2)
    open_end = ends(cluster, topic, 0)[0]

    def refused() -> None:
        with pytest.raises(BrokerError, match=rf"{topic}.* open from offset {open_end} on.*find-hanging"):
            totals(broker, source, target).run()
        raise BrokerError("enough")

    with installed(At("kafka.offsets", refused)), pytest.raises(BrokerError, match="enough"):
        other.commit({(topic, 0): records(topic, "x")[topic, 0]}, committed=lambda: False)
    with totals(broker, source, target) as job:
        job.run()
    assert latest(read(broker, target, RESULT)) == expected(events(9, 100))
