"""Dead letters of a topic of an embedded log, appended again to topics of it, in commits that remember what they took.

Beside the topic ``<topic>-replayed`` is kept: offset ranges of letters, and the topic that they were sent to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from windrow.errors import FencedError, LogError, RecordError
from windrow.io import replay
from windrow.io.base import DEAD_LETTER, HEADERS
from windrow.io.log.index import TopicInfo
from windrow.io.log.log import Log
from windrow.io.log.partitioner import partitions_of

_MARKS = pa.schema(
    [
        pa.field("topic_id", pa.int64(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("partition", pa.int64(), nullable=False),
        pa.field("first_offset", pa.int64(), nullable=False),
        pa.field("next_offset", pa.int64(), nullable=False),
    ]
)
_ROWS = 10_000


class LogReplay:
    """`Replay` of the dead letters in `topic` of the log at `path`.

    Raises `LogError` when there is no such log or topic, or the topic holds no dead letters.
    """

    def __init__(self, path: str | Path, topic: str, *, read_only: bool = False) -> None:
        self._log = Log(path, create=False, read_only=read_only)
        self._sent = replay.Sent()
        self._known = 0  # how much of the memory was read
        try:
            self._topic = self._log.topic(topic)
            if self._topic.schema.names != DEAD_LETTER.names:
                raise LogError(f"topic {topic!r} holds no dead letters: it has {', '.join(self._topic.schema.names)}")
            self._memory = replay.remembering(topic)
            if self._memory in self._log.index.names():
                self._read_on()
        except BaseException:
            self.close()
            raise

    def letters(self) -> Iterator[pa.RecordBatch]:
        info = self._topic
        for partition in range(info.partitions):
            at = info.start_offsets[partition]
            for whole, _ in self._log.batches(info, partition, at, info.end_offsets[partition]):
                for first in range(0, whole.num_rows, _ROWS):
                    batch = whole.slice(first, _ROWS)
                    own = [np.full(batch.num_rows, partition), np.arange(at, at + batch.num_rows)]
                    columns = [*batch.columns, *(pa.array(one, pa.int64()) for one in own)]
                    yield pa.RecordBatch.from_arrays(columns, schema=replay.LETTERS)
                    at += batch.num_rows

    def unsent(self, letters: pa.RecordBatch, to: str | None) -> replay.Mask:
        return replay.unsent(letters, to, self._sent)

    def letter(self, partition: int, offset: int) -> pa.RecordBatch:
        info = self._topic
        there = 0 <= partition < info.partitions
        if not there or not info.start_offsets[partition] <= offset < info.end_offsets[partition]:
            raise RecordError(f"there is no dead letter at {info.name}[{partition}] offset {offset}")
        (batch,) = self._log.read(info.name, partition, offset, max_rows=1)
        columns = [*batch.columns, pa.array([partition]), pa.array([offset])]
        return pa.RecordBatch.from_arrays(columns, schema=replay.LETTERS)

    def would_send(self, letters: pa.RecordBatch, to: str | None) -> replay.Counts:
        return {place: len(rows) for place, rows in self._dealt(letters, to)} if letters.num_rows else {}

    def send(self, letters: pa.RecordBatch, to: str | None) -> replay.Counts:
        self._log.create_topic(self._memory, schema=_MARKS, if_exists="ok")
        letters = letters.filter(pa.array(self.unsent(letters, to)))
        if not letters.num_rows:
            return {}
        marks = pa.RecordBatch.from_pylist(
            [
                {"topic_id": self._topic.id, "target": target, "partition": partition,
                 "first_offset": first, "next_offset": end}
                for target, partition, some in replay.marks(letters, to)
                for first, end in some
            ],
            _MARKS,
        )  # fmt: skip
        counts: replay.Counts = {}
        with self._log.work() as work:
            for (topic, partition), rows in self._dealt(letters, to):
                info = self._log.topic(topic)
                work.rows(info, partition, self._records(info, letters.take(pa.array(rows)), work.now_us))
                counts[topic, partition] = len(rows)
            work.rows(self._log.topic(self._memory), 0, marks)
            with work.commit():
                if work.appended[self._memory][0][0] != self._known:
                    raise FencedError(f"another process has sent dead letters of {self._topic.name!r} meanwhile")
        self._read_on()
        return counts

    def close(self) -> None:
        self._log.close()

    def _read_on(self) -> None:
        info = self._log.topic(self._memory)
        for batch, _ in self._log.batches(info, 0, self._known, info.end_offsets[0]):
            for mark in batch.to_pylist():
                if mark["topic_id"] == self._topic.id:
                    self._sent.add(mark["target"], mark["partition"], mark["first_offset"], mark["next_offset"])
        self._known = info.end_offsets[0]

    def _dealt(self, letters: pa.RecordBatch, to: str | None) -> Iterator[tuple[tuple[str, int], np.ndarray]]:
        """The rows for each topic and partition: the one that they came from, in another topic that of the key."""
        target = replay.targets(letters, to)
        names, origins = target.to_pylist(), letters.column("topic").to_pylist()
        chosen = letters.column("partition").to_numpy(zero_copy_only=False)
        for name in dict.fromkeys(names):
            info = self._log.topic(name)
            if not info.raw:
                raise LogError(f"topic {name!r} has columns of its own; dead letters go to raw topics")
            keyed = partitions_of(letters.column("key"), info.partitions)
            here = np.array([one == name for one in names])
            elsewhere = np.array([one != name for one in origins])
            chosen = np.where(here & elsewhere & (keyed >= 0), keyed, chosen)
            chosen = np.where(here, chosen % info.partitions, chosen)
        return replay.groups(target, pa.array(chosen))

    def _records(self, info: TopicInfo, some: pa.RecordBatch, now_us: int) -> pa.RecordBatch:
        headers = some.column("headers")
        if "headers" not in info.schema.names and headers.null_count < len(headers):
            raise LogError(f"topic {info.name!r} was created without headers, and dead letters for it have some")
        columns = {
            "key": some.column("key"),
            "value": some.column("value"),
            "timestamp": some.column("timestamp").cast(pa.int64()).fill_null(now_us).cast(pa.timestamp("us", "UTC")),
            "headers": headers.cast(HEADERS),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in info.schema.names], schema=info.schema)
