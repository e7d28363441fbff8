"""For tests of pipelines: sources that a test feeds by hand, a clock that it moves, points where it can make them fail.

from windrow.testing import Feed, ManualClock

feed = Feed(schema)
out = feed.stream().watermark("time").group_by("key").window(wr.tumbling("10s")).agg(n=wr.count())
with Driver(out) as driver:
    feed.append({"key": [1], "time": [...]})
    assert driver.step() == [...]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import pyarrow as pa

from windrow.api.job import Job, job
from windrow.api.schema import SchemaLike, as_schema
from windrow.api.sinks import plainest
from windrow.api.sources import from_source
from windrow.api.stream import Stream
from windrow.api.table import Table
from windrow.arrow_types import to_arrow_schema
from windrow.clock import ManualClock
from windrow.io.memory import MemorySink, MemorySource
from windrow.plan.nodes import SinkNode
from windrow.progress.faults import At, crash, installed

__all__ = ["At", "Driver", "Feed", "ManualClock", "crash", "installed"]


class Feed:
    """A source in memory to which a test appends rows whenever it likes."""

    def __init__(self, schema: SchemaLike, partitions: int = 1, name: str = "feed") -> None:
        self._schema = to_arrow_schema(as_schema(schema))
        self._source = MemorySource.partitioned(
            [[] for _ in range(partitions)], name=name, bounded=False, schema=self._schema
        )

    def stream(self) -> Stream:
        """The stream of what is appended."""
        return from_source(self._source)

    def append(self, rows: Mapping[str, Sequence[Any]] | pa.RecordBatch, partition: int = 0) -> None:
        """More events for one partition: a record batch, or columns as lists."""
        batch = rows if isinstance(rows, pa.RecordBatch) else pa.RecordBatch.from_pydict(dict(rows), self._schema)
        self._source.append(batch, partition)

    def finish(self) -> None:
        """No more events will come: the stream has an end now."""
        self._source.finish()


class Driver:
    """Runs a stream step by step and gives what each epoch commits, as Python rows."""

    def __init__(self, stream: Stream, *, clock: ManualClock | None = None, **options: Any) -> None:
        self.clock = clock or ManualClock()
        self._sink = MemorySink()

        def make(schema: pa.Schema, in_ledger: bool) -> MemorySink:
            self._sink = MemorySink(schema=schema)
            return self._sink

        key = stream.key if isinstance(stream, Table) else None
        node = SinkNode(stream.schema, False, stream._node, "driver", "memory", make, changes=plainest(stream), key=key)
        self.job: Job = job(Job((node,)), clock=self.clock, **options)

    def step(self) -> list[dict[str, Any]]:
        """Run one epoch of what is there; the rows that it committed (none when there was nothing to do)."""
        if self.job.step() is None:
            return []
        return [row for batch in self._sink.take() for row in batch.to_pylist()]

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.job.close()
