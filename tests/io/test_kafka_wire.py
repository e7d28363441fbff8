"""Fetch requests and responses against kafka-python's encoding, partition numbers, and what may lie in a buffer."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.protocol.consumer import FetchRequest, FetchResponse

from windrow.codec.kafka_records import Rows
from windrow.errors import BrokerError
from windrow.io.kafka import fetch_wire as wire
from windrow.io.kafka.buffer import Chunk, Feed
from windrow.io.kafka.layout import Layout

VERSIONS = st.sampled_from([12, 13])
TOPICS = st.sampled_from([("a", UUID(int=1)), ("b" * 200, UUID(int=2)), ("ä", UUID(int=3))])
INT64 = st.integers(-(2**63), 2**63 - 1)
EPOCHS, POSITIVE = st.integers(-1, 9), st.integers(0, 2**31 - 1)
WANTED = st.lists(st.tuples(TOPICS, POSITIVE, EPOCHS, INT64, EPOCHS, POSITIVE), min_size=1, max_size=6)
PARTS = st.tuples(
    st.integers(0, 2**31 - 1), st.integers(-1, 110), INT64, INT64, INT64,
    st.none() | st.lists(st.tuples(INT64, INT64), max_size=3), st.none() | st.binary(max_size=300),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(VERSIONS, st.integers(0, 2**31 - 1), WANTED)
def test_requests_are_those_of_kafka_python(version: int, correlation: int, wanted: list) -> None:  # type: ignore[type-arg]
    """differential: its decoder finds every field where it should be, and nothing is left over."""
    asked = [wire.Wanted(name, id_, *rest) for (name, id_), *rest in wanted]
    frame = wire.request(version, correlation, asked, max_wait_ms=7, min_bytes=8, max_bytes=9)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    read = FetchRequest[version].decode(frame[4:], header=True)
    assert (read.header.correlation_id, read.header.client_id) == (correlation, "windrow")
    assert (read.max_wait_ms, read.min_bytes, read.max_bytes, read.isolation_level) == (7, 8, 9, 1)
    found = [
        (topic.topic if version < 13 else topic.topic_id, p.partition, p.current_leader_epoch, p.fetch_offset,
         p.last_fetched_epoch, p.partition_max_bytes)
        for topic in read.topics for p in topic.partitions
    ]  # fmt: skip
    order = list(dict.fromkeys(one.topic for one in asked))
    expected = [
        (one.topic if version < 13 else one.topic_id, one.partition, one.leader_epoch, one.offset, one.last_epoch,
         one.max_bytes)
        for one in sorted(asked, key=lambda one: order.index(one.topic))
    ]  # fmt: skip
    assert found == expected


def response(version: int, correlation: int, parts: list) -> bytes:  # type: ignore[type-arg]
    of = FetchResponse.FetchableTopicResponse
    data = [
        of.PartitionData(
            partition_index=index, error_code=error, high_watermark=high, last_stable_offset=stable,
            log_start_offset=start, preferred_read_replica=-1, records=records,
            aborted_transactions=None if aborted is None else [
                of.PartitionData.AbortedTransaction(producer_id=producer, first_offset=first)
                for producer, first in aborted
            ],
        )
        for index, error, high, stable, start, aborted, records in parts
    ]  # fmt: skip
    made = FetchResponse(
        throttle_time_ms=0, error_code=0, session_id=0, version=version,
        responses=[of(topic="t", topic_id=UUID(int=5), partitions=data)],
    )  # fmt: skip
    made.with_header(correlation_id=correlation)
    return bytes(made.encode(header=True))


@settings(max_examples=100, deadline=None)
@given(VERSIONS, st.integers(0, 2**31 - 1), st.lists(PARTS, max_size=4))
def test_responses_are_read_as_kafka_python_writes_them(version: int, correlation: int, parts: list) -> None:  # type: ignore[type-arg]
    """differential: every field, and the records as a view of the frame."""
    frame = response(version, correlation, parts)
    answers = wire.response(version, correlation, memoryview(frame))
    topic = "t" if version < 13 else UUID(int=5)
    assert [
        (a.topic, a.partition, a.error, a.high_watermark, a.stable_offset, a.log_start, a.aborted, bytes(a.records))
        for a in answers
    ] == [(topic, *part[:5], part[5] or [], part[6] or b"") for part in parts]
    for answer in answers:
        assert frame[answer.position : answer.position + len(answer.records)] == bytes(answer.records)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(PARTS, max_size=3), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), st.floats(0, 1)
)
def test_a_damaged_response_is_refused_or_read_within_its_bytes(
    parts: list, damage: list[tuple[float, int]], cut: float  # type: ignore[type-arg]
) -> None:  # fmt: skip
    """law: whatever a broker sends, the answer is views of its bytes or a `BrokerError`, and soon."""
    frame = bytearray(response(13, 1, parts))
    for where, byte in damage:
        frame[int(where * (len(frame) - 1))] = byte
    frame = frame[: len(frame) - int(cut * 40)]
    try:
        answers = wire.response(13, 1, memoryview(frame))
    except BrokerError:
        return
    assert sum(len(answer.records) for answer in answers) <= len(frame)


def test_another_answer_is_not_taken() -> None:
    """golden: a response to another request is refused."""
    with pytest.raises(BrokerError, match="answered request 4, and 5 was the one in flight"):
        wire.response(13, 5, memoryview(response(13, 4, [])))


GROWTH = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5)), max_size=12)


@given(GROWTH, st.integers(0, 12))
def test_numbers_are_dealt_once_and_survive_a_restart(growth: list[tuple[str, int]], restart: int) -> None:
    """law: a number never changes its partition, numbers have no holes, and JSON keeps them."""
    layout, meant = Layout(), dict[int, tuple[str, int]]()
    for step, (topic, partitions) in enumerate(growth):
        if step == restart:
            layout = Layout.from_json(layout.as_json())
        for number in layout.add(topic, UUID(int=ord(topic)), partitions):
            assert number not in meant
            meant[number] = layout.places[number]
        assert dict(enumerate(layout.places)) == meant
        assert all(layout.number(*place) == number for number, place in meant.items())
    assert layout.of("abcd") == sorted(meant)
    assert Layout.from_json(layout.as_json()).as_json() == layout.as_json()


def rows(offsets: list[int]) -> Rows:
    none = np.zeros(len(offsets), np.int32)
    at = np.array(offsets, np.int64)
    return Rows(at, at, none, none, none, none, none, np.empty(0, np.uint8))


BITS = st.lists(st.integers(0, 1), min_size=1, max_size=6)
CHUNKS = st.lists(st.tuples(BITS, st.integers(0, 90)), max_size=5)


@given(CHUNKS, st.integers(1, 9), st.integers(1, 200))
def test_ranges_of_a_buffer_give_every_row_once(
    chunks: list[tuple[list[int], int]], max_rows: int, max_bytes: int
) -> None:  # fmt: skip
    """law: planned ranges keep the bound of rows, make progress while there are rows, and hold each row once."""
    feed, at, expected = Feed(0, "t", 0), 0, list[int]()
    feed.seek(0)
    for bits, nbytes in chunks:
        offsets = [at + place for place, there in enumerate(bits) if there]
        feed.add(Chunk(at, at + len(bits), rows(offsets) if offsets else None, nbytes))
        at, expected = at + len(bits), expected + offsets
    found: list[int] = []
    while (end := feed.plan(max_rows, max_bytes)) > feed.position:
        begun = len(found)
        while feed.position < end:
            chunk = feed.take(end)
            assert chunk is not None
            found += [] if chunk.rows is None else chunk.rows.offsets.tolist()
        assert 0 < len(found) - begun <= max_rows
    assert found == expected
    assert feed.nbytes == sum(chunk.nbytes for chunk in feed.chunks)
