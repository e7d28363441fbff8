"""Answers of a broker that are damaged on their way: fetched again once, then that partition stops, and no other.

Kind: law. A real broker behind a proxy that changes one record batch of one partition in every answer, or in one.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable, Iterator

import crc32c
import pytest
from kafka.protocol.consumer import FetchRequest

import windrow as wr
from tests.kafka import proxy as net
from tests.kafka.lines import made, produce
from windrow.errors import RecordError
from windrow.io.kafka import fetch_wire as wire
from windrow.io.kafka.client import Cluster

BATCHES, RECORDS = 4, 5
BAD = 2 * RECORDS  # where the batch begins that is changed


def sealed(batch: bytearray) -> None:
    struct.pack_into(">I", batch, 17, crc32c.crc32c(bytes(batch[21:])))


def flip(batch: bytearray) -> None:
    batch[-1] ^= 1


def magic(version: int) -> Callable[[bytearray], None]:
    def change(batch: bytearray) -> None:
        batch[16] = version

    return change


def put(form: str, at: int, value: int, *, seal: bool = True) -> Callable[[bytearray], None]:
    def change(batch: bytearray) -> None:
        struct.pack_into(form, batch, at, value)
        if seal:
            sealed(batch)

    return change


def overrun(batch: bytearray) -> None:
    batch[61:71] = b"\xff" * 10
    sealed(batch)


#: What is changed, and what is said of it.
DAMAGES: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "CRC": (flip, "checksum"),
    "magic 0": (magic(0), "not v2"),
    "magic 1": (magic(1), "not v2"),
    "codec": (put(">h", 21, 6), "compress"),
    "count too high": (put(">i", 57, 1_000_000), "counts more records"),
    "count one too many": (put(">i", 57, RECORDS + 1), "counts more records|does not add up"),
    "count one too few": (put(">i", 57, RECORDS - 1), "does not add up"),
    "negative length": (put(">i", 8, -5, seal=False), "shorter than a header"),
    "length too long": (put(">i", 8, 1 << 20, seal=False), "ends before"),
    "length much too long": (put(">i", 8, (1 << 31) - 1, seal=False), "ends before"),
    "varint": (overrun, "does not add up"),
    "base offset behind": (put(">q", 0, 0, seal=False), "offset"),
    "base offset ahead": (put(">q", 0, 1_000_000, seal=False), "offset"),
}


@pytest.fixture
def cluster(broker: str) -> Iterator[Cluster]:
    opened = Cluster(broker)
    yield opened
    opened.close()


def filled(cluster: Cluster) -> str:
    """Two partitions with the same batches: offsets 0 to 19 hold these numbers."""
    topic = made(cluster, "corrupt", 2)
    for part in (0, 1):
        for first in range(0, BATCHES * RECORDS, RECORDS):
            produce(cluster, topic, part, [b"%d" % n for n in range(first, first + RECORDS)])
    return topic


def damaged(change: Callable[[bytearray], None]) -> net.OnAnswer:
    """A handler that changes the batch of partition 0 at offset `BAD`."""

    def act(exchange: net.Exchange, frame: bytes) -> list[bytes]:
        out = bytearray(frame)
        for answer in wire.response(exchange.version, exchange.correlation, memoryview(frame)):
            at, end = answer.position, answer.position + len(answer.records)
            while answer.partition == 0 and at + 61 <= end:
                base, length = struct.unpack_from(">qi", frame, at)
                if base == BAD:
                    batch = bytearray(frame[at : at + 12 + length])
                    change(batch)
                    out[at : at + 12 + length] = batch
                at += 12 + length
        return [bytes(out)]

    return act


def asked_at(proxy: net.Proxy, offset: int) -> int:
    """How often partition 0 was fetched from this offset."""
    fetches = [exchange.decoded(FetchRequest) for exchange in proxy.exchanges if exchange.api == net.FETCH]
    return sum(
        part.partition == 0 and part.fetch_offset == offset
        for fetch in fetches
        for topic in fetch.topics
        for part in topic.partitions
    )


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_batch_stops_its_partition_alone_and_nothing_spins(
    cluster: Cluster, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    topic = filled(cluster)
    change, reason = DAMAGES[name]
    rows: dict[int, list[int]] = {0: [], 1: []}

    def keep(batch: object, _: int) -> None:
        for row in batch.to_pylist():  # type: ignore[attr-defined]
            rows[row["partition"]].append(int(row["value"]))

    with net.Proxy(cluster.bootstrap) as proxy:
        proxy.on_answer(net.FETCH, damaged(change), None)
        stream = wr.read_kafka(proxy.bootstrap, topic, format="raw", include=["partition"], on_error="skip")
        with wr.job(stream.for_each_batch(keep, name="keep"), name=topic) as job:
            with pytest.raises(RecordError, match=rf"{topic}\[0\] stands at offset {BAD}\b.*({reason})"):
                job.run(until="caught up", timeout=20)
            assert rows == {0: list(range(BAD)), 1: list(range(BATCHES * RECORDS))}
            produce(cluster, topic, 1, [b"100"])  # the other goes on
            begun_s, fetches = time.process_time(), len(proxy.exchanges)
            with pytest.raises(RecordError, match=rf"stands at offset {BAD}\b"):
                job.run(until="caught up", timeout=20)
            time.sleep(0.5)
            assert rows[1][-1] == 100
            assert time.process_time() - begun_s < 0.4
            assert len(proxy.exchanges) - fetches < 60
        assert asked_at(proxy, BAD) <= 6  # a few when the other partition comes first in an answer


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_that_is_gone_when_it_is_fetched_again_changes_nothing(cluster: Cluster, name: str) -> None:
    topic = filled(cluster)
    with net.Proxy(cluster.bootstrap) as proxy:
        proxy.on_answer(net.FETCH, damaged(DAMAGES[name][0]), 1)
        table = wr.read_kafka(proxy.bootstrap, topic, format="raw", end="latest").collect()
    assert sorted(int(value) for value in table["value"].to_pylist()) == sorted([*range(BATCHES * RECORDS)] * 2)


def test_a_damaged_ledger_is_read_again(cluster: Cluster) -> None:
    """What a job reads of its own topics is fetched once more, too; then it is said where the damage is."""
    topic = filled(cluster)
    with net.Proxy(cluster.bootstrap) as proxy:
        through = Cluster(proxy.bootstrap)
        try:
            from windrow.io.kafka import stored

            for name, (change, reason) in DAMAGES.items():
                proxy.on_answer(net.FETCH, damaged(change), 1)
                found = [v for rows in stored.committed(through, topic, 0, 0, 20) for v in rows.values().to_pylist()]
                assert [int(value) for value in found] == list(range(20)), name
                proxy.on_answer(net.FETCH, damaged(change), None)
                begun_s = time.monotonic()
                with pytest.raises(wr.StateError, match=rf"{topic}', partition 0: .*offset {BAD}\b.*({reason})"):
                    list(stored.committed(through, topic, 0, 0, 20))
                assert time.monotonic() - begun_s < 10, name
                proxy.heal()
        finally:
            through.close()
