"""Transactions against a real broker when answers get lost: the outcome is found out, on both protocols.

Kind: crash. A request is lost before the broker has it, or its answer after; then the records are there exactly once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from windrow.codec.kafka_encode import EncodedBatch, encode
from windrow.errors import BrokerError, FencedError
from windrow.io.kafka import catalog, stored, topics
from windrow.io.kafka.client import Cluster, NoAnswerError
from windrow.io.kafka.transaction import GroupOffsets, Place, Transactions
from windrow.progress.faults import At, installed

PARTITIONS = 3
SETTLE_S = 10.0
BOTH = pytest.mark.parametrize("protocol", [2, 0], ids=["KIP-890", "older"])


class Lossy(Cluster):
    """Loses one exchange: the first request of this name, either on its way there or its answer on the way back."""

    lost = ""
    reaches_broker = True

    def pipelined(self, requests: Sequence[tuple[int | None, Any]], timeout_s: float) -> list[Any]:
        if not any(type(request).__name__.startswith(self.lost or "-") for _, request in requests):
            return super().pipelined(requests, timeout_s)
        self.lost = ""
        if self.reaches_broker:
            super().pipelined(requests, timeout_s)
        return [NoAnswerError("lost by the test") for _ in requests]


@pytest.fixture
def cluster(broker: str) -> Iterator[Lossy]:
    made = Lossy(broker)
    yield made
    made.close()


def fresh(cluster: Cluster) -> str:
    name = f"txn-{uuid.uuid4().hex[:8]}"
    topics.create(cluster, topics.NewTopic(name, PARTITIONS))
    return name


def records(topic: str, tag: str, rows: int = 5) -> dict[Place, list[EncodedBatch]]:
    made: dict[Place, list[EncodedBatch]] = {}
    for part in range(PARTITIONS):
        values = pa.array([f"{tag}-{part}-{row}".encode() for row in range(rows)])
        made[topic, part] = encode(None, values, np.full(rows, time.time_ns() // 1_000_000, np.int64)).batches
    return made


def values(cluster: Cluster, topic: str) -> list[str]:
    ends = topics.offsets(cluster, topic, topics.LATEST)
    return sorted(
        value.decode()
        for part, end in ends.items()
        for rows in stored.committed(cluster, topic, part, 0, end)
        for value in rows.values().to_pylist()
    )


def assert_reads(cluster: Cluster, topic: str, *tags: str) -> None:
    """These and no others, now and a little later: the end of a transaction reaches partition after partition."""
    wanted, deadline_s = written(topic, *tags), time.monotonic() + SETTLE_S
    while values(cluster, topic) != wanted and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert values(cluster, topic) == wanted
    time.sleep(0.1)
    assert values(cluster, topic) == wanted


def written(topic: str, *tags: str) -> list[str]:
    return sorted(f"{tag}-{part}-{row}" for tag in tags for part in range(PARTITIONS) for row in range(5))


def opened(cluster: Cluster, name: str, protocol: int) -> Transactions:
    made = Transactions(cluster, name, protocol=protocol)
    made.open(30)
    assert made.newer == (protocol == 2)
    return made


STEPS = [(2, name) for name in ("Produce", "TxnOffsetCommit", "EndTxn")]
STEPS += [(0, name) for name in ("AddPartitions", "AddOffsets", "Produce", "TxnOffsetCommit", "EndTxn")]


@pytest.mark.parametrize("reaches", [True, False], ids=["answer lost", "request lost"])
@pytest.mark.parametrize(("protocol", "request_name"), STEPS)
def test_a_lost_exchange_is_found_out(cluster: Lossy, protocol: int, reaches: bool, request_name: str) -> None:
    topic = fresh(cluster)
    sent = opened(cluster, topic, protocol)
    asked: list[bool] = []

    def committed() -> bool:
        there = catalog.committed(cluster, topic, [(topic, 0)], 30).get((topic, 0), 0) >= number
        asked.append(there)
        return there

    for number, tag in enumerate(("a", "b", "c"), start=1):
        if tag == "b":
            cluster.lost, cluster.reaches_broker = request_name, reaches
        sent.commit(records(topic, tag), [GroupOffsets(topic, {(topic, 0): number})], committed=committed)
    assert_reads(cluster, topic, "a", "b", "c")
    assert asked == [request_name == "EndTxn" and reaches]  # it came to a doubt, once, and this was the truth


@BOTH
def test_without_trouble_every_transaction_is_sent_once(cluster: Lossy, protocol: int) -> None:
    """law: one after the other, with records that no broker takes for those of an earlier one."""
    topic = fresh(cluster)
    sent = opened(cluster, topic, protocol)
    for tag in "abcd":
        sent.commit(records(topic, tag), committed=lambda: False)
    assert sent.attempts == 4
    assert_reads(cluster, topic, *"abcd")


@BOTH
def test_a_zombie_is_fenced_and_its_records_are_never_seen(cluster: Lossy, protocol: int) -> None:
    topic = fresh(cluster)
    first = opened(cluster, topic, protocol)
    first.commit(records(topic, "a"), committed=lambda: False)
    second = opened(cluster, topic, protocol)
    with pytest.raises(FencedError):
        first.commit(records(topic, "zombie"), committed=lambda: False)
    with pytest.raises(FencedError):  # and stays so
        first.commit(records(topic, "zombie"), committed=lambda: False)
    second.commit(records(topic, "b"), committed=lambda: False)
    assert_reads(cluster, topic, "a", "b")


@BOTH
def test_a_zombie_in_the_middle_of_a_transaction_is_fenced(cluster: Lossy, protocol: int) -> None:
    topic = fresh(cluster)
    first = opened(cluster, topic, protocol)
    second = Transactions(cluster, topic, protocol=protocol)
    with installed(At("kafka.produced", lambda: second.open(30))), pytest.raises(FencedError):
        first.commit(records(topic, "zombie"), committed=lambda: False)
    second.commit(records(topic, "b"), committed=lambda: False)
    assert_reads(cluster, topic, "b")


@BOTH
def test_a_refused_batch_commits_nothing_of_its_transaction_or_the_next(cluster: Lossy, protocol: int) -> None:
    topic, small = fresh(cluster), f"small-{uuid.uuid4().hex[:8]}"
    topics.create(cluster, topics.NewTopic(small, 1, config={"max.message.bytes": "1000"}))
    sent = opened(cluster, topic, protocol)
    large = encode(None, pa.array([b"x" * 5_000]), np.full(1, time.time_ns() // 1_000_000, np.int64)).batches
    with pytest.raises(BrokerError, match="MESSAGE_SIZE_TOO_LARGE"):
        sent.commit(
            {**records(topic, "a"), (small, 0): large}, [GroupOffsets(topic, {(topic, 0): 7})], committed=lambda: False
        )
    sent.commit(records(topic, "b"), committed=lambda: False)
    sent.commit(records(topic, "c"), committed=lambda: False)
    assert_reads(cluster, topic, "b", "c")
    assert catalog.committed(cluster, topic, [(topic, 0)], 30) == {}


@pytest.mark.slow
@BOTH
def test_a_transaction_that_the_brokers_gave_up_is_sent_again(cluster: Lossy, protocol: int) -> None:
    topic = fresh(cluster)
    sent = Transactions(cluster, topic, protocol=protocol, timeout_ms=1_000)
    sent.open(30)
    # the coordinator looks for transactions that are too old every 10 s (transaction.abort.timed.out... .interval.ms)
    with installed(At("kafka.produced", lambda: time.sleep(13))):
        sent.commit(records(topic, "a"), committed=lambda: False)
    assert sent.attempts == 2
    assert_reads(cluster, topic, "a")


@BOTH
def test_a_healing_after_the_end_that_fails_does_not_say_that_nothing_was_committed(
    cluster: Lossy, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = fresh(cluster)
    sent = opened(cluster, topic, protocol)
    whole, failed = sent._initialise, []

    def once(deadline_s: float, **options: Any) -> None:
        if not failed:
            failed.append(True)
            raise BrokerError("no coordinator, says the test")
        whole(deadline_s, **options)

    run = sent._run

    def repeated(attempt: Any, *rest: Any) -> None:
        attempt.repeated = True
        run(attempt, *rest)

    monkeypatch.setattr(sent, "_run", repeated)
    monkeypatch.setattr(sent, "_initialise", once)
    place = (topic, 0)
    sent.commit(
        records(topic, "a"),
        [GroupOffsets(topic, {place: 1})],
        committed=lambda: catalog.committed(cluster, topic, [place], 30).get(place) == 1,
    )
    assert_reads(cluster, topic, "a")


@pytest.mark.parametrize(
    ("protocol", "point"),
    [(0, "kafka.added"), (0, "kafka.doubt"), (0, "kafka.recovered"), (2, "kafka.doubt"), (2, "kafka.recovered")],
)
@pytest.mark.parametrize("request_name", ["Produce", "EndTxn"])
def test_a_death_in_doubt_leaves_all_or_nothing(cluster: Lossy, protocol: int, point: str, request_name: str) -> None:
    """Points that a commit without trouble does not come to; the next owner finds out what was committed."""
    topic = fresh(cluster)
    first = opened(cluster, topic, protocol)
    first.commit(records(topic, "a"), committed=lambda: False)
    cluster.lost = request_name
    with installed(At(point, _die)), pytest.raises(_Died):
        first.commit(
            records(topic, "b"), [GroupOffsets(topic, {(topic, 0): 2})], committed=lambda: pytest.fail("it is dead")
        )
    cluster.lost = ""
    second = opened(cluster, topic, protocol)
    there = catalog.committed(cluster, topic, [(topic, 0)], 30) == {(topic, 0): 2}
    assert there == (request_name == "EndTxn" and point != "kafka.added")
    second.commit(records(topic, "c"), committed=lambda: False)
    assert_reads(cluster, topic, "a", *(["b"] if there else []), "c")


class _Died(Exception):
    """Stands for the end of a process."""


def _die() -> None:
    raise _Died
