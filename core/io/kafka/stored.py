"""The committed records that a partition holds, from one offset to another: what state is restored from."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pyarrow as pa

from windrow.codec import kafka_records
from windrow.errors import BrokerError, StateError
from windrow.io.kafka import answers
from windrow.io.kafka import fetch_wire as wire
from windrow.io.kafka.catalog import catalog
from windrow.io.kafka.client import Cluster
from windrow.io.kafka.fetch_connection import FetchConnection, TooOldError
from windrow.io.kafka.received import received

_PAUSE_S = 0.05
_FETCH_BYTES = 16 << 20
_MAX_BYTES = 1 << 30  # a record batch may be larger than what is asked for
_MAX_WAIT_MS = 200
_OUT_OF_RANGE = 1
_NO_LEADER = 5


def committed(
    cluster: Cluster, topic: str, partition: int, start: int, end: int, timeout_s: float = 60.0
) -> Iterator[kafka_records.Rows]:
    """The committed records in ``[start, end)``; `end` is an `offsets` of `LATEST`.

    Ends when the position has reached `end`, whatever stands there: the last of it may be markers of transactions.
    While the caller works on what it got the next records come in. `timeout_s` is for each answer. Raises `StateError`
    when `start` is no longer there, or the end not yet.
    """
    position, broken_at, patience_s = start, -1, time.monotonic() + timeout_s
    where = f"topic {topic!r}, partition {partition}"
    with contextlib.closing(_Line(cluster, topic, partition, timeout_s)) as line:
        while position < end:
            found, trouble = line.fetched(position)
            if found is not None:
                came = found.next_offset > position
                if came:
                    position, patience_s = found.next_offset, time.monotonic() + timeout_s
                if position < end:
                    line.ask(position)
                if found.rows is not None:
                    yield found.rows
                if came:
                    continue
                if found.broken is not None and broken_at == position:
                    raise StateError(
                        f"{where}: the record batch at offset {position} is damaged: {found.broken.reason}"
                    )
                broken_at = position  # once more: it may have been hurt on its way
            if time.monotonic() >= patience_s:
                why = f": {trouble}" if trouble else ""
                raise BrokerError(f"{where}: nothing came for {timeout_s:g} s, at offset {position} of {end}{why}")
            if trouble:
                time.sleep(_PAUSE_S)


class _Line:
    """A connection to the leader of one partition, with at most one question on its way; made anew after trouble."""

    def __init__(self, cluster: Cluster, topic: str, partition: int, timeout_s: float) -> None:
        self._cluster = cluster
        self._topic = topic
        self._partition = partition
        self._timeout_s = timeout_s
        self._where = f"topic {topic!r}, partition {partition}"
        self._connection: FetchConnection | None = None
        self._wanted: wire.Wanted | None = None
        self._number = 0
        self._asked: int | None = None

    def close(self) -> None:
        connection, self._connection, self._asked = self._connection, None, None
        if connection is not None:
            connection.close()

    def ask(self, position: int) -> None:
        """Send the question for what is there from `position` on; when that fails, `fetched` asks again."""
        with contextlib.suppress(OSError, BrokerError):
            self._ask(position)

    def fetched(self, position: int) -> tuple[kafka_records.Batches | None, str]:
        """What there is from `position` on, or what stands in its way and may go away. Raises for what does not."""
        try:
            if self._asked != position:
                self._ask(position)
            buffer, answer = self._answer()
        except (TooOldError, answers.DeniedError):
            raise
        except (OSError, BrokerError) as error:
            self.close()
            return None, str(error) or type(error).__name__
        if answer.error:
            self.close()
            return None, self._refused(answer.error, position)
        if not len(answer.records):
            return None, ""
        return received(
            buffer, answer.position, len(answer.records), answer.aborted, position, answer.high_watermark, whole=True
        ), ""  # fmt: skip

    def _refused(self, code: int, position: int) -> str:
        if code == _OUT_OF_RANGE:
            raise StateError(
                f"{self._where}: offset {position} is gone; the topic was cut by its retention, or deleted and made "
                "again"
            )
        if code not in answers.RETRIABLE:
            raise answers.error(code, f"{self._where} cannot be read", self._topic)
        return answers.name(code)

    def _ask(self, position: int) -> None:
        if self._asked is not None:  # its answer would be taken for that to another question
            self.close()
        if self._connection is None:
            self._connect()
        assert self._connection is not None and self._wanted is not None
        self._number += 1
        wanted = wire.Wanted(
            self._topic, self._wanted.topic_id, self._partition, self._wanted.leader_epoch, position, -1, _FETCH_BYTES
        )
        self._connection.send(
            wire.request(
                self._connection.version, self._number, [wanted],
                max_wait_ms=_MAX_WAIT_MS, min_bytes=1, max_bytes=_FETCH_BYTES,
            )
        )  # fmt: skip
        self._asked = position

    def _connect(self) -> None:
        seen = catalog(self._cluster, [self._topic], self._timeout_s)
        topic = seen.topics.get(self._topic)
        leader = topic.leaders.get(self._partition) if topic is not None else None
        if topic is None or leader is None or leader.node not in seen.brokers:
            raise answers.error(_NO_LEADER, f"{self._where} has no leader", self._topic)
        self._wanted = wire.Wanted(self._topic, topic.id, self._partition, leader.epoch, 0, -1, _FETCH_BYTES)
        self._connection = FetchConnection(*seen.brokers[leader.node], self._cluster.settings)

    def _answer(self) -> tuple[pa.Buffer, wire.Answer]:
        assert self._connection is not None
        buffer, frame = self._connection.receive(time.monotonic() + self._timeout_s, _MAX_BYTES)
        self._asked = None
        (answer,) = wire.response(self._connection.version, self._number, frame)
        return buffer, answer
