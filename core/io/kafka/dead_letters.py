"""Dead letters of a job whose ledger is in Kafka: records of a topic, in the transaction that commits the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from windrow.codec.kafka_encode import EncodedBatch, encode
from windrow.errors import PlanError, RecordError
from windrow.io.base import TopicWrite
from windrow.io.kafka import letters, topics
from windrow.io.kafka.rows import Encoding, Outgoing
from windrow.io.kafka.sink import KafkaSink

#: What a topic that we make takes in a record batch: a record that is at a source's limit, and its story.
MAX_BYTES = 32 << 20
_ANY_SIZE = 1 << 30
_SCHEMA = pa.schema([letters.LETTER.field(name) for name in ("key", "value", "headers")])


class DeadLetterSink(KafkaSink):
    """`Sink` for rows of `io.base.DEAD_LETTER`, in the cluster of the job's ledger; see `letters` for the records.

    A letter that the topic does not take as it is goes compressed, in a batch of its own: what was small on its way in
    is small again. Raises `PlanError` when there is no such topic and it may not be made (`create`), and `RecordError`
    for a letter that is too large all the same.
    """

    def __init__(
        self, bootstrap: str, topic: str, *, settings: Mapping[str, Any] | None = None, create: bool = False
    ) -> None:
        new = topics.NewTopic(topic, config={"max.message.bytes": str(MAX_BYTES)}) if create else None
        encoding = Encoding(_SCHEMA, format="raw")
        super().__init__(bootstrap, topic, encoding, settings=settings, create=new, name=f"dead letters to {topic}")

    def stage(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> Sequence[TopicWrite]:
        # one after the other: what was small on its way in may be large here
        return [write for batch in batches if batch.num_rows
                for write in super(DeadLetterSink, self).stage(epoch, [letters.as_records(batch)])]  # fmt: skip

    def _missing(self) -> PlanError:
        return PlanError(
            f"there is no topic {self._topic!r} for dead letters; make it (with a max.message.bytes above that of the "
            f"topics that are read), or say read_kafka(..., create_dead_letter=True)"
        )

    def _large(self, partition: int, out: Outgoing, row: int) -> EncodedBatch:
        one = slice(row, row + 1)
        (batch,) = encode(
            out.keys[one] if out.keys is not None else None,
            out.values[one],
            out.times_ms[one],
            out.headers[one] if out.headers is not None else None,
            compression="gzip",  # which never comes near the growth that `codec.kafka_compression` refuses to undo
            max_batch_bytes=_ANY_SIZE,
        ).batches
        if batch.nbytes > self._max_bytes:
            letter = letters.from_records(_record(out, row)).to_pylist()[0]
            raise RecordError(
                f"{letter['topic']}[{letter['partition']}] offset {letter['offset']}: {letter['reason']}; its dead "
                f"letter has {batch.nbytes} bytes, and topic {self._topic!r} takes record batches of {self._max_bytes} "
                "(max.message.bytes). Raise that, or leave such records out with on_error='skip'"
            )
        return batch


def _record(out: Outgoing, row: int) -> pa.RecordBatch:
    keys = pa.nulls(1, pa.binary()) if out.keys is None else out.keys.slice(row, 1)
    assert out.headers is not None  # every letter has some
    return pa.RecordBatch.from_arrays([keys, out.values.slice(row, 1), out.headers.slice(row, 1)], schema=_SCHEMA)
