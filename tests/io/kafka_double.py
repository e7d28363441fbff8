"""A broker made of Python for tests: real sockets and Kafka's protocol, but its log and its troubles are scripted."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import crc32c
from kafka.protocol.consumer import (
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from kafka.protocol.metadata import (
    ApiVersionsResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    MetadataRequest,
    MetadataResponse,
)
from kafka.record import MemoryRecordsBuilder

_VERSIONS = {1: (4, 13), 2: (1, 7), 3: (0, 12), 9: (1, 8), 10: (0, 3), 18: (0, 3)}
Record = tuple[bytes | None, bytes | None]


@dataclass
class Batch:
    base: int
    last: int
    data: bytearray


def batch(
    base: int,
    records: Sequence[Record],
    *,
    codec: int = 0,
    producer: int = -1,
    marker: int | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
    last: int | None = None,
    attributes: int = 0,
    time_ms: int = 1_000,
) -> Batch:
    """A record batch; with a `producer` of a transaction; `marker` 0 aborts and 1 commits it. `last`: of what was
    compacted away after the records."""
    if marker is not None:
        records = [(struct.pack(">hh", 0, marker), struct.pack(">hi", 0, 0))]
    builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=1 << 26)
    for key, value in records:
        builder.append(time_ms, key, value, list(headers))
    builder.close()
    data = bytearray(builder.buffer())
    last = base + len(records) - 1 if last is None else last
    struct.pack_into(">q", data, 0, base)
    flags = struct.unpack_from(">h", data, 21)[0] | attributes | (0x10 if producer >= 0 else 0)
    struct.pack_into(">h", data, 21, flags | (0x20 if marker is not None else 0))
    struct.pack_into(">i", data, 23, last - base)
    struct.pack_into(">q", data, 43, producer)
    return sealed(Batch(base, last, data))


def sealed(one: Batch) -> Batch:
    """The batch with the checksum that its bytes have now."""
    struct.pack_into(">I", one.data, 17, crc32c.crc32c(bytes(one.data[21:])))
    return one


@dataclass
class Log:
    """One partition."""

    batches: list[Batch] = field(default_factory=list)
    start: int = 0
    stable: int | None = None  # None: where it ends
    aborted: list[tuple[int, int, int]] = field(default_factory=list)  # producer, first offset, offset of the marker
    leader: int = 0
    error: int = 0  # every fetch gets this
    ends_at: int | None = None  # after what was compacted away

    @property
    def end(self) -> int:
        return self.ends_at if self.ends_at is not None else self.batches[-1].last + 1 if self.batches else self.start

    @property
    def lso(self) -> int:
        return self.end if self.stable is None else self.stable

    def add(self, *records: Record | bytes, **options: Any) -> Batch:
        pairs = [(None, record) if isinstance(record, bytes) else record for record in records]
        self.batches.append(batch(self.end, pairs, **options))
        self.ends_at = None
        return self.batches[-1]


@dataclass
class Topic:
    logs: list[Log]
    id: UUID = field(default_factory=uuid4)


class Cluster:
    """Nodes on loopback ports, one log shared by all; only a partition's leader serves it."""

    def __init__(self, nodes: int = 1) -> None:
        self.topics: dict[str, Topic] = {}
        self.committed: dict[tuple[str, str, int], int] = {}
        self.fetches: list[Any] = []
        self.damage: Callable[[bytes], bytes] = lambda data: data  # what happens to fetched bytes on the way
        self.nodes = [_Node(self, number) for number in range(nodes)]

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def topic(self, name: str, partitions: int = 1) -> list[Log]:
        self.topics[name] = Topic([Log() for _ in range(partitions)])
        return self.topics[name].logs

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- what is asked

    def answer(self, node: int, key: int, version: int, request: bytes) -> Any:
        if key == 18:
            keys = [ApiVersionsResponse.ApiVersion(api_key=k, min_version=a, max_version=b)
                    for k, (a, b) in (_VERSIONS | self.nodes[node].versions).items()]  # fmt: skip
            return ApiVersionsResponse(error_code=0, api_keys=keys, version=version)
        if key == 3:
            return self._metadata(MetadataRequest[version].decode(request, header=True), version)
        if key == 2:
            return self._offsets(node, ListOffsetsRequest[version].decode(request, header=True), version)
        if key == 1:
            return self._fetch(node, FetchRequest[version].decode(request, header=True), version)
        if key == 10:
            FindCoordinatorRequest[version].decode(request, header=True)
            return FindCoordinatorResponse(
                error_code=0, error_message="", node_id=0, host="127.0.0.1", port=self.nodes[0].port, version=version
            )
        assert key == 9
        return self._committed(OffsetFetchRequest[version].decode(request, header=True), version)

    def _metadata(self, request: Any, version: int) -> Any:
        names = list(self.topics) if request.topics is None else [topic.name for topic in request.topics]
        of = MetadataResponse.MetadataResponseTopic
        topics = []
        for name in names:
            if name not in self.topics:
                topics.append(of(error_code=3, name=name, topic_id=UUID(int=0), partitions=[]))
                continue
            parts = [
                of.MetadataResponsePartition(
                    error_code=0, partition_index=n, leader_id=log.leader, leader_epoch=1, replica_nodes=[log.leader],
                    isr_nodes=[log.leader], offline_replicas=[],
                )
                for n, log in enumerate(self.topics[name].logs)
            ]  # fmt: skip
            topics.append(
                of(error_code=0, name=name, topic_id=self.topics[name].id, is_internal=False, partitions=parts)
            )
        brokers = [
            MetadataResponse.MetadataResponseBroker(node_id=node.number, host="127.0.0.1", port=node.port, rack=None)
            for node in self.nodes
        ]
        return MetadataResponse(
            throttle_time_ms=0, brokers=brokers, cluster_id="double", controller_id=0, topics=topics, version=version
        )

    def _offsets(self, node: int, request: Any, version: int) -> Any:
        of = ListOffsetsResponse.ListOffsetsTopicResponse
        topics = []
        for topic in request.topics:
            parts = []
            for asked in topic.partitions:
                log = self.topics[topic.name].logs[asked.partition_index]
                offset = {-1: log.lso, -2: log.start}.get(asked.timestamp)
                if offset is None:
                    offset = next(
                        (b.base for b in log.batches if _time(b) >= asked.timestamp and b.base >= log.start), -1
                    )
                parts.append(
                    of.ListOffsetsPartitionResponse(
                        partition_index=asked.partition_index, error_code=0 if log.leader == node else 6,
                        timestamp=-1, offset=offset, leader_epoch=1,
                    )
                )  # fmt: skip
            topics.append(of(name=topic.name, partitions=parts))
        return ListOffsetsResponse(throttle_time_ms=0, topics=topics, version=version)

    def _committed(self, request: Any, version: int) -> Any:
        of = OffsetFetchResponse.OffsetFetchResponseTopic
        topics = [
            of(name=topic.name, partitions=[
                of.OffsetFetchResponsePartition(
                    partition_index=part, committed_offset=self.committed.get((request.group_id, topic.name, part), -1),
                    committed_leader_epoch=-1, metadata="", error_code=0,
                )
                for part in topic.partition_indexes
            ])
            for topic in request.topics
        ]  # fmt: skip
        return OffsetFetchResponse(throttle_time_ms=0, topics=topics, error_code=0, version=version)

    def _fetch(self, node: int, request: Any, version: int) -> Any:
        self.fetches.append(request)
        deadline_s = time.monotonic() + request.max_wait_ms / 1e3
        while True:
            answer, found = self._fetched(node, request, version)
            if found or time.monotonic() >= deadline_s or self.nodes[node].closed:
                return answer
            time.sleep(0.005)

    def _fetched(self, node: int, request: Any, version: int) -> tuple[Any, bool]:
        of = FetchResponse.FetchableTopicResponse
        by_id = {topic.id: (name, topic) for name, topic in self.topics.items()}
        topics, found, room = [], False, request.max_bytes
        for asked in request.topics:
            name, topic = by_id.get(asked.topic_id, ("", None)) if version >= 13 else (
                asked.topic, self.topics.get(asked.topic))  # fmt: skip
            parts = []
            for part in asked.partitions:
                log = topic.logs[part.partition] if topic is not None else Log(error=100)
                error = log.error or (6 if log.leader != node else 0)
                if not error and not log.start <= part.fetch_offset <= log.end:
                    error = 1
                data = b"" if error else self._bytes(log, part, room)
                room -= len(data)
                found |= bool(data or error)
                aborted = [
                    of.PartitionData.AbortedTransaction(producer_id=p, first_offset=o)
                    for p, o, last in log.aborted
                    if last >= part.fetch_offset
                ]
                parts.append(
                    of.PartitionData(
                        partition_index=part.partition, error_code=error, high_watermark=log.end,
                        last_stable_offset=log.lso, log_start_offset=log.start, aborted_transactions=aborted,
                        preferred_read_replica=-1, records=data,
                    )
                )  # fmt: skip
            topics.append(of(topic=name, topic_id=asked.topic_id, partitions=parts))
        return FetchResponse(throttle_time_ms=0, error_code=0, session_id=0, responses=topics, version=version), found

    def _bytes(self, log: Log, part: Any, room: int) -> bytes:
        wanted = [b for b in log.batches if b.last >= part.fetch_offset and b.base < log.lso]
        most = min(part.partition_max_bytes, max(room, 0))
        whole = b"".join(bytes(b.data) for b in wanted)
        least = len(wanted[0].data) if wanted and room == max(room, 1) else 0
        return self.damage(whole[: max(most, least)])


class _Node:
    def __init__(self, cluster: Cluster, number: int) -> None:
        self.number = number
        self.closed = False
        self.versions: dict[int, tuple[int, int]] = {}  # API key -> oldest and newest version, where it is not as usual
        self._cluster = cluster
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def drop(self) -> None:
        """Cut every connection."""
        for line in self._open:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.drop()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self.closed:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError), line:
            while head := _exactly(line, 4):
                request = _exactly(line, struct.unpack(">i", head)[0])
                key, version, correlation = struct.unpack_from(">hhi", request)
                answer = self._cluster.answer(self.number, key, version, request)
                answer.with_header(correlation_id=correlation)
                line.sendall(answer.encode(framed=True, header=True))


def _exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = line.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data


def _time(one: Batch) -> int:
    return int(struct.unpack_from(">q", one.data, 35)[0])
