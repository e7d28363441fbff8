"""Dead letters of a Kafka topic, sent again in transactions that remember what they sent.

Beside the topic ``<topic>-replayed`` is kept, with a JSON record for each target of each transaction: the offsets of
the letters that it sent, by partition, and the id of their topic, which another topic of that name does not have. The
transactional id ``<topic>-replay`` fences a replay of the same letters that another process has begun before. Whoever
opens it leaves a record without offsets there first, which tells the owner from a zombie where brokers cannot.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windrow.codec.kafka_encode import EncodedBatch, encode, partitions
from windrow.datatypes import Schema
from windrow.errors import BrokerError, FencedError, InvariantError, RecordError, StateError
from windrow.io import replay
from windrow.io.kafka import catalog, letters, stored, topics
from windrow.io.kafka.bounds import KafkaInput
from windrow.io.kafka.client import Cluster, release, shared
from windrow.io.kafka.fetcher import FetchLimits
from windrow.io.kafka.settled import await_settled
from windrow.io.kafka.source import KafkaSource
from windrow.io.kafka.transaction import Place, Transactions

FORMAT = 1
_OPEN_S = 60.0
_RECORD = ("key", "value", "headers")
_FOREVER = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
#: What one transaction sends.
_ROWS, _BYTES = 10_000, 16 << 20


class KafkaReplay:
    """`Replay` of the dead letters in `topic`. Raises `BrokerError` when there is no such topic."""

    def __init__(self, bootstrap: str, topic: str, settings: Mapping[str, Any] | None = None) -> None:
        self._bootstrap = bootstrap
        self._settings = settings
        self._topic = topic
        self._memory = replay.remembering(topic)
        self._cluster: Cluster = shared(bootstrap, settings)
        self._sent = replay.Sent()
        self._tokens: set[str] = set()
        self._newest = ""  # token of the last record that was read
        self._own = uuid.uuid4().hex  # begins every token of ours
        self._settled: set[Place] = set()  # where nothing of a replay before is open
        self._read_to = 0
        self._transactions: Transactions | None = None
        try:
            found = catalog.catalog(self._cluster, [topic], _OPEN_S).topics.get(topic)
            if found is None:
                raise BrokerError(f"there is no topic {topic!r}, or it may not be seen")
            self._id = found.id.hex
            if topics.partition_count(self._cluster, self._memory):
                self._read_to = topics.offsets(self._cluster, self._memory, topics.EARLIEST)[0]
                self._read_on()
        except BaseException:
            self.close()
            raise

    def letters(self) -> Iterator[pa.RecordBatch]:
        record = {name: name for name in _RECORD} | {"partition": "at_partition", "offset": "at_offset"}
        wanted = KafkaInput((self._topic,), end="latest")
        source = KafkaSource(self._bootstrap, wanted, schema=Schema(()), record_columns=record,
                             limits=FetchLimits(), settings=self._settings)  # fmt: skip
        try:
            for partition in source.partitions():
                yield from self._of_partition(source, partition)
        finally:
            source.close()

    def unsent(self, letters: pa.RecordBatch, to: str | None) -> replay.Mask:
        return replay.unsent(letters, to, self._sent)

    def letter(self, partition: int, offset: int) -> pa.RecordBatch:
        first = topics.offsets(self._cluster, self._topic, topics.EARLIEST).get(partition, 0)
        end = topics.offsets(self._cluster, self._topic, topics.LATEST).get(partition, 0)
        wanted = (offset, offset + 1) if first <= offset < end else (0, 0)
        for rows in stored.committed(self._cluster, self._topic, partition, *wanted):
            if len(rows) and int(rows.offsets[0]) == offset:
                one = rows.slice(0, 1)
                columns = [one.keys(), one.values(), one.headers()]
                found = letters.from_records(pa.RecordBatch.from_arrays(columns, list(_RECORD)))
                own = [pa.array([partition]), pa.array([offset])]
                return pa.RecordBatch.from_arrays([*found.columns, *own], schema=replay.LETTERS)
        raise RecordError(f"there is no dead letter at {self._topic}[{partition}] offset {offset}")

    def would_send(self, letters: pa.RecordBatch, to: str | None) -> replay.Counts:
        return {place: len(rows) for place, rows in self._dealt(letters, to)} if letters.num_rows else {}

    def send(self, letters: pa.RecordBatch, to: str | None) -> replay.Counts:
        transactions = self._opened()
        letters = letters.filter(pa.array(self.unsent(letters, to)))
        if not letters.num_rows:
            return {}
        records: dict[Place, list[EncodedBatch]] = {}
        counts: replay.Counts = {}
        for place, rows in self._dealt(letters, to):
            records[place] = self._encoded(place[0], letters.take(pa.array(rows)))
            counts[place] = len(rows)
        self._await_settled(transactions, records.keys() - self._settled)
        token = f"{self._own}.{uuid.uuid4().hex}"
        records[self._memory, 0] = self._remembered(letters, to, token)
        base = self._commit(transactions, records, token)
        topics.await_visible(self._cluster, topics.ends_of(base, records))
        for target, partition, some in replay.marks(letters, to):
            for first, end in some:
                self._sent.add(target, partition, first, end)
        return counts

    def close(self) -> None:
        self._transactions = None
        release(self._cluster)

    # -- reading

    def _of_partition(self, source: KafkaSource, partition: int) -> Iterator[pa.RecordBatch]:
        columns = (*_RECORD, "at_partition", "at_offset")
        at, end = source.start_offset(partition), source.end_offset(partition)
        deadline_s = time.monotonic() + _OPEN_S
        while at < end:
            stop = source.plan(partition, at, _ROWS, _BYTES)
            if stop == at:
                _check(source, partition, at, deadline_s)
                source.wait(0.1)
                continue
            for piece in source.read(partition, at, stop, columns):
                found = letters.from_records(piece.data)
                own = [piece.data.column(name) for name in ("at_partition", "at_offset")]
                yield pa.RecordBatch.from_arrays([*found.columns, *own], schema=replay.LETTERS)
            at, deadline_s = stop, time.monotonic() + _OPEN_S

    def _read_on(self) -> None:
        """Learn what was sent, after what is known."""
        end = topics.offsets(self._cluster, self._memory, topics.LATEST)[0]
        for rows in stored.committed(self._cluster, self._memory, 0, self._read_to, end):
            for offset, value in zip(rows.offsets.tolist(), rows.values().to_pylist(), strict=True):
                try:
                    self._take(json.loads(value or b""))
                except (ValueError, KeyError, TypeError) as error:
                    raise StateError(
                        f"topic {self._memory!r}, offset {offset}: a record that windrow has not written"
                    ) from error
        self._read_to = max(self._read_to, end)

    def _take(self, said: Mapping[str, Any]) -> None:
        if said["windrow"] != FORMAT:
            raise StateError(f"topic {self._memory!r} is of format {said['windrow']}, this version knows {FORMAT}")
        self._newest = said["token"]
        self._tokens.add(self._newest)
        if said["topic_id"] == self._id:
            for partition, some in said["offsets"].items():
                for first, end in some:
                    self._sent.add(said["target"], int(partition), first, end)

    # -- sending

    def _opened(self) -> Transactions:
        if self._transactions is None:
            if not topics.partition_count(self._cluster, self._memory):
                topics.create(self._cluster, topics.NewTopic(self._memory, 1, -1, _FOREVER))
            transactions = Transactions(self._cluster, f"{self._topic}-replay")
            transactions.open(_OPEN_S)
            self._await_settled(transactions, {(self._memory, 0)})
            self._read_on()  # what a replay that is fenced now has sent before
            token = f"{self._own}.open"
            said = {"windrow": FORMAT, "token": token, "topic_id": self._id, "target": None, "offsets": {}}
            self._commit(transactions, {(self._memory, 0): _as_records([said])}, token)
            self._transactions = transactions
        return self._transactions

    def _await_settled(self, transactions: Transactions, places: set[Place]) -> None:
        """Called when nothing of ours can be open."""
        await_settled(self._cluster, transactions.producer[0], places, f"the replay of {self._topic!r}")
        self._settled |= places

    def _commit(
        self, transactions: Transactions, records: dict[Place, list[EncodedBatch]], token: str
    ) -> dict[Place, int]:
        """All of it; `token` is that of the record in it that remembers."""
        before = self._newest

        def mine() -> bool:
            self._read_on()
            return self._newest == before or self._newest.startswith(self._own)

        def committed() -> bool:
            self._await_settled(transactions, set(records))
            if not mine():
                raise FencedError(
                    f"the replay of {self._topic!r} was taken over by another process; this one must stop"
                )
            return token in self._tokens

        return transactions.commit(records, committed=committed, mine=mine)

    def _dealt(self, letters: pa.RecordBatch, to: str | None) -> Iterator[tuple[Place, np.ndarray]]:
        """The rows for each topic and partition: the one that they came from, in another topic that of the key."""
        target = replay.targets(letters, to)
        known = pc.coalesce(letters.column("partition"), letters.column("at_partition"))
        chosen = known.to_numpy(zero_copy_only=False)
        for name in target.unique().to_pylist():
            count = topics.partition_count(self._cluster, name)
            if not count:
                raise BrokerError(f"there is no topic {name!r} to send dead letters of {self._topic!r} to")
            here = pc.equal(target, name).to_numpy(zero_copy_only=False)
            keyed = partitions(letters.column("key"), count)
            elsewhere = here & (pc.not_equal(letters.column("topic"), name).fill_null(True).to_numpy(False))
            chosen = np.where(elsewhere & (keyed >= 0), keyed, chosen)
            chosen = np.where(here, chosen % count, chosen)
        return replay.groups(target, pa.array(chosen))

    def _encoded(self, topic: str, some: pa.RecordBatch) -> list[EncodedBatch]:
        times = some.column("timestamp").cast(pa.int64()).fill_null(time.time_ns() // 1_000)
        limit = topics.max_batch_bytes(self._cluster, topic)
        encoded = encode(
            some.column("key"), some.column("value"), times.to_numpy(zero_copy_only=False) // 1_000,
            some.column("headers"), max_batch_bytes=limit,
        )  # fmt: skip
        if len(encoded.too_large):
            row = int(encoded.too_large[0])
            at, offset = some.column("at_partition")[row].as_py(), some.column("at_offset")[row].as_py()
            raise RecordError(
                f"dead letter {self._topic}[{at}] offset {offset}: topic {topic!r} takes record batches of {limit} "
                "bytes (max.message.bytes), and its record is larger; raise that, or leave the letter out"
            )
        return encoded.batches

    def _remembered(self, letters: pa.RecordBatch, to: str | None, token: str) -> list[EncodedBatch]:
        by_target: dict[str, dict[int, list[tuple[int, int]]]] = {}
        for target, partition, some in replay.marks(letters, to):
            by_target.setdefault(target, {})[partition] = some
        return _as_records(
            {"windrow": FORMAT, "token": token, "topic_id": self._id, "target": target, "offsets": offsets}
            for target, offsets in by_target.items()
        )


def _as_records(said: Iterable[Mapping[str, Any]]) -> list[EncodedBatch]:
    values = [json.dumps(one).encode() for one in said]
    now = np.full(len(values), time.time_ns() // 1_000_000, np.int64)
    encoded = encode(None, pa.array(values, pa.binary()), now)
    if len(encoded.too_large):
        raise InvariantError("more dead letters were sent at once than a record can remember")
    return encoded.batches


def _check(source: KafkaSource, partition: int, at: int, deadline_s: float) -> None:
    topic, number = source.place(partition)
    stopped = source.stopped().get(partition)
    if stopped is not None:
        raise RecordError(stopped)
    if time.monotonic() >= deadline_s:
        raise BrokerError(f"{topic}[{number}] gave nothing from offset {at} on for {_OPEN_S:g} s")
