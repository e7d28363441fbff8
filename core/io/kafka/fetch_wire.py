"""Fetch requests to bytes, and fetch responses to views of the record batches in them, without copying any.

Versions 12 and 13 of Kafka's Fetch (KIP-516: 13 names topics by id), as in the protocol's message definitions. Lengths
and counts are checked against the bytes that are left before anything is made of them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from windrow.errors import BrokerError

API_FETCH = 1
MIN_VERSION = 12
MAX_VERSION = 13
_READ_COMMITTED = 1
_CLIENT_ID = b"windrow"
_PARTITION = struct.Struct(">iiqiqi")  # partition, leader epoch, offset, last fetched epoch, log start, max bytes
_ANSWER = struct.Struct(">ihqqq")  # partition, error, high watermark, last stable offset, log start
_ABORTED = struct.Struct(">qq")
_INT32 = struct.Struct(">i")
_EPOCH_END = struct.Struct(">iq")
_LEADER = struct.Struct(">ii")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One partition in a request: from where, and at most how many bytes."""

    topic: str
    topic_id: UUID
    partition: int
    leader_epoch: int  # -1: not known
    offset: int
    last_epoch: int  # the leader epoch of the record batch before `offset`; -1: not known
    max_bytes: int


@dataclass(slots=True)
class Answer:
    """What a broker said of one partition; offsets are the next to come. `records` is a view of the frame."""

    topic: str | UUID
    partition: int
    error: int
    high_watermark: int
    stable_offset: int
    log_start: int
    aborted: list[tuple[int, int]] = field(default_factory=list)  # (producer id, first offset)
    records: memoryview = field(default_factory=lambda: memoryview(b""))
    position: int = 0  # of `records` in the frame
    diverged_at: int = -1  # the log was cut back to here since this reader read it
    leader: int = -1  # who leads instead


def request(
    version: int, correlation: int, wanted: Sequence[Wanted], *, max_wait_ms: int, min_bytes: int, max_bytes: int
) -> bytes:
    """A whole frame: length, header (v2), body. Partitions stay in the order given, which the broker serves them in."""
    out = bytearray(4)
    out += struct.pack(">hhih", API_FETCH, version, correlation, len(_CLIENT_ID)) + _CLIENT_ID + b"\0"
    # replica -1: a consumer; session 0, epoch -1: a full request without a session
    out += struct.pack(">iiiibii", -1, max_wait_ms, min_bytes, max_bytes, _READ_COMMITTED, 0, -1)
    topics: dict[str, list[Wanted]] = {}
    for one in wanted:
        topics.setdefault(one.topic, []).append(one)
    out += _uvarint(len(topics) + 1)
    for topic, parts in topics.items():
        if version >= 13:
            out += parts[0].topic_id.bytes
        else:
            name = topic.encode()
            out += _uvarint(len(name) + 1) + name
        out += _uvarint(len(parts) + 1)
        for part in parts:
            out += _PARTITION.pack(part.partition, part.leader_epoch, part.offset, part.last_epoch, -1, part.max_bytes)
            out += b"\0"
        out += b"\0"
    out += b"\1\1\0"  # nothing forgotten, no rack, no tagged fields
    _INT32.pack_into(out, 0, len(out) - 4)
    return bytes(out)


def response(version: int, correlation: int, frame: memoryview) -> list[Answer]:
    """The answers in a frame (without its length); raises `BrokerError` when it is not a fetch response."""
    reader = _Reader(frame)
    try:
        return _response(version, correlation, reader)
    except (struct.error, IndexError, ValueError) as error:
        raise BrokerError(f"a broker sent a fetch response that ends or counts wrongly at byte {reader.at}") from error


def _response(version: int, correlation: int, reader: _Reader) -> list[Answer]:
    got = reader.int32()
    if got != correlation:
        raise BrokerError(f"a broker answered request {got}, and {correlation} was the one in flight")
    reader.tags()
    reader.skip(4)  # throttle time
    error = reader.int16()
    if error:
        raise BrokerError(f"a broker refused to fetch: error {error}")
    reader.skip(4)  # session
    answers: list[Answer] = []
    for _ in range(reader.count(1)):
        topic = UUID(bytes=bytes(reader.bytes(16))) if version >= 13 else bytes(reader.compact()).decode()
        for _ in range(reader.count(1)):
            answers.append(_answer(topic, reader))
        reader.tags()
    reader.tags()
    return answers


def _answer(topic: str | UUID, reader: _Reader) -> Answer:
    answer = Answer(topic, *_ANSWER.unpack(reader.bytes(_ANSWER.size)))
    for _ in range(reader.count(_ABORTED.size + 1)):
        producer, first_offset = _ABORTED.unpack(reader.bytes(_ABORTED.size))
        reader.tags()
        answer.aborted.append((producer, first_offset))
    reader.skip(4)  # preferred replica: asked for none
    size = reader.uvarint() - 1
    answer.position = reader.at
    if size > 0:
        answer.records = reader.bytes(size)
    for tag, value in reader.tagged():
        if tag == 0:
            answer.diverged_at = int(_EPOCH_END.unpack_from(value)[1])
        elif tag == 1:
            answer.leader = int(_LEADER.unpack_from(value)[0])
    return answer


class _Reader:
    """Walks a frame of Kafka's flexible encoding; raises IndexError at its end."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.at = 0

    def bytes(self, size: int) -> memoryview:
        if size < 0 or size > len(self._data) - self.at:
            raise IndexError(size)
        self.at += size
        return self._data[self.at - size : self.at]

    def skip(self, size: int) -> None:
        self.bytes(size)

    def int16(self) -> int:
        return int.from_bytes(self.bytes(2), "big", signed=True)

    def int32(self) -> int:
        return int.from_bytes(self.bytes(4), "big", signed=True)

    def uvarint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError(value)

    def count(self, item_bytes: int) -> int:
        """Of a compact array whose items take at least `item_bytes`; a null array counts as empty."""
        items = max(self.uvarint() - 1, 0)
        if items * item_bytes > len(self._data) - self.at:
            raise IndexError(items)
        return items

    def compact(self) -> memoryview:
        return self.bytes(self.uvarint() - 1)

    def tagged(self) -> list[tuple[int, memoryview]]:
        return [(self.uvarint(), self.bytes(self.uvarint())) for _ in range(self._tag_count())]

    def _tag_count(self) -> int:
        tags = self.uvarint()
        if 2 * tags > len(self._data) - self.at:
            raise IndexError(tags)
        return tags

    def tags(self) -> None:
        self.tagged()


def _uvarint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
