"""What a sink hands to the ledger of the same cluster: record batches for one partition, ready to be sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from windrow.codec.kafka_encode import EncodedBatch
from windrow.progress.ledger import TopicWrite

_NO_ROWS = pa.record_batch({"rows": pa.array([], pa.null())})


@dataclass(frozen=True, slots=True)
class RecordWrite(TopicWrite):
    """Encoded records for one partition of a Kafka topic, part of the transaction that commits the epoch."""

    batches: Sequence[EncodedBatch] = ()


def record_write(topic: str, partition: int, batches: Sequence[EncodedBatch]) -> RecordWrite:
    return RecordWrite(topic, partition, _NO_ROWS, batches)
