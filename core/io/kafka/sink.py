"""A topic of a Kafka cluster as a sink: part of the ledger's transaction when it is the ledger's cluster, else its own.

Another ledger (an embedded log) cannot commit together with Kafka. Then every epoch is a transaction of its own, before
the ledger's commit, and with it the sink commits the epoch's number: a redo of the epoch has the same input, which the
engine writes ahead, so the sink knows the repeat and leaves it out. With the number stands a word of the process that
opened the sink last, which it says before anything else: that tells the owner from a zombie where brokers cannot.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from windrow.codec.kafka_compression import Compression
from windrow.codec.kafka_encode import MAX_BATCH_BYTES, EncodedBatch, encode
from windrow.errors import FencedError, InvariantError, PlanError, RecordError, StateError
from windrow.io.base import Guarantee, TopicWrite
from windrow.io.kafka import catalog, topics
from windrow.io.kafka.client import Cluster, release, shared
from windrow.io.kafka.rows import Encoding, Outgoing
from windrow.io.kafka.settled import await_settled
from windrow.io.kafka.transaction import GroupOffsets, Place, Transactions
from windrow.io.kafka.writes import record_write

_TIMEOUT_S = 60.0
_SHOWN = 60


class KafkaSink:
    """`Sink` into one topic; exactly-once either way, for readers with ``isolation.level=read_committed``.

    `in_ledger` says that the job's ledger is in the same cluster. `encoding` makes records of rows. A topic that is not
    there is made when `create` says how, and is an error otherwise. Raises `PlanError` when the topic is missing and
    `RecordError` for a record that the topic does not take for its size.
    """

    guarantee: Guarantee = "exactly-once"

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        encoding: Encoding,
        *,
        settings: Mapping[str, Any] | None = None,
        compression: Compression = "none",
        create: topics.NewTopic | None = None,
        in_ledger: bool = True,
        name: str | None = None,
    ) -> None:
        self.name = name or topic
        self.early = not in_ledger
        self._topic = topic
        self._encoding = encoding
        self._compression = compression
        self._create = create
        self._in_ledger = in_ledger
        self._cluster: Cluster = shared(bootstrap, settings)
        self._partitions = 0
        self._max_bytes = MAX_BATCH_BYTES
        self._own: Transactions | None = None
        self._sent: Mapping[Place, int] = {}  # where the last records end that a transaction of our own wrote
        self._group = ""
        self._word = ""  # of the process that opened the sink last, as far as we know
        self._epoch = 0
        self._owner = 0

    def open(self, job: str, committed_epoch: int, owner: int = 0) -> None:
        self._partitions = topics.partition_count(self._cluster, self._topic)
        if not self._partitions and self._create is not None:
            topics.create(self._cluster, self._create)
            self._partitions = topics.partition_count(self._cluster, self._topic)
        if not self._partitions:
            raise self._missing()
        self._max_bytes = topics.max_batch_bytes(self._cluster, self._topic)
        self._owner = owner
        if not self._in_ledger:
            self._open_own(job, committed_epoch)

    def stage(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> Sequence[TopicWrite]:
        if self._own is not None and epoch <= self._epoch:
            return ()  # it was committed here before the ledger could say so
        records = self._records(epoch, batches)
        if self._in_ledger:
            return [record_write(topic, part, some) for (topic, part), some in records.items()]
        self._commit(epoch, records)
        return ()

    def publish(self, epoch: int) -> None:
        pass  # visible with the transaction

    def close(self) -> None:
        self._own = None
        topics.await_visible(self._cluster, self._sent)
        release(self._cluster)

    def _records(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> dict[Place, list[EncodedBatch]]:
        records: dict[Place, list[EncodedBatch]] = {}
        rows = [batch for batch in batches if batch.num_rows]
        if not rows:
            return records
        for part, out in self._encoding.outgoing(rows, self._partitions, epoch, self._max_bytes).items():
            encoded = encode(
                out.keys,
                out.values,
                out.times_ms,
                out.headers,
                compression=self._compression,
                max_batch_bytes=self._max_bytes,
            )
            large = [self._large(part, out, row) for row in encoded.too_large.tolist()]
            records[self._topic, part] = [*encoded.batches, *large]
        return records

    def _missing(self) -> PlanError:
        return PlanError(
            f"sink {self.name!r}: there is no topic {self._topic!r}; make it, or say write_kafka(..., create=True)"
        )

    def _large(self, partition: int, out: Outgoing, row: int) -> EncodedBatch:
        """A batch for a record that is above the limit; here there is none."""
        key = out.keys[row].as_py() if out.keys is not None else None
        size = len(out.values[row].as_py() or b"")
        raise RecordError(
            f"sink {self.name!r}: a record for topic {self._topic!r}, partition {partition}, key {repr(key)[:_SHOWN]}, "
            f"has a value of {size} bytes; the topic takes record batches of {self._max_bytes} "
            "(max.message.bytes). Raise that, or write smaller rows"
        )

    # -- with another ledger

    def _open_own(self, job: str, committed_epoch: int) -> None:
        self._group = f"{job}-{self.name}"
        own = Transactions(self._cluster, self._group)
        own.open(_TIMEOUT_S)  # fences the process before, and ends what it left open
        self._own = own
        self._await_settled()
        self._epoch, self._word = self._remembered()
        if self._epoch > committed_epoch + 1:
            raise StateError(
                f"sink {self.name!r}: topic {self._topic!r} has results of job {job!r} up to epoch {self._epoch}, but "
                f"its ledger is at epoch {committed_epoch}: it was deleted or restored. Give the job another name"
            )
        if committed_epoch > self._epoch and self._epoch:
            self._epoch = committed_epoch  # epochs without rows are not written
        word = f"windrow: the epoch that was written last, {uuid.uuid4().hex}"
        self._transact({}, self._epoch, word, lambda: self._remembered()[1] == word)
        self._word = word

    def _remembered(self) -> tuple[int, str]:
        """The epoch that was written last, and the word of who has the sink."""
        place = (self._topic, 0)
        found = catalog.committed_with_words(self._cluster, self._group, [place], _TIMEOUT_S)
        return found.get(place, (0, ""))

    def _await_settled(self) -> None:
        """Called when nothing of ours can be open."""
        assert self._own is not None
        places = [(self._topic, part) for part in range(self._partitions)]
        await_settled(self._cluster, self._own.producer[0], places, f"sink {self.name!r}")

    def _commit(self, epoch: int, records: dict[Place, list[EncodedBatch]]) -> None:
        if self._own is None:
            raise InvariantError(f"sink {self.name!r} is not open")
        if not records:
            return
        self._sent = {}
        base = self._transact(records, epoch, self._word, lambda: self._remembered()[0] >= epoch)
        self._sent = topics.ends_of(base, records)
        self._epoch = epoch

    def _transact(
        self, records: dict[Place, list[EncodedBatch]], epoch: int, word: str, there: Callable[[], bool]
    ) -> dict[Place, int]:
        """Records and the epoch that they are; `there`: whether they were committed."""
        assert self._own is not None
        known = (self._word, word)

        def mine() -> bool:
            return self._remembered()[1] in known

        def committed() -> bool:
            self._await_settled()
            if not mine():
                raise FencedError(f"sink {self.name!r} was taken over by another process; this one must stop")
            return there()

        memory = GroupOffsets(self._group, {(self._topic, 0): epoch}, word)
        return self._own.commit(records, [memory], committed=committed, mine=mine)
