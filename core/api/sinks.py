"""Where rows go: each function gives a job with one sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from windrow.api.job import CLUSTER, Job, job
from windrow.batch import WEIGHT
from windrow.errors import PlanError
from windrow.expressions import consolidated
from windrow.io.base import DEAD_LETTER, Sink
from windrow.plan import nodes
from windrow.units import Duration, duration_us

if TYPE_CHECKING:
    from windrow.api.stream import Stream
    from windrow.codec.kafka_compression import Compression
    from windrow.io.log.log import Log
    from windrow.io.memory import MemorySink
    from windrow.runtime.metrics import Progress

#: What an event of a raw topic is made of.
_RAW = {"key", "value", "timestamp", "headers"}

SinkMaker = Callable[[pa.Schema, bool], Sink]


def write_log(
    stream: Stream,
    log: Log | str | Path,
    topic: str,
    *,
    key: str | Sequence[str] | None,
    format: Literal["arrow", "json", "raw"],
    changes: Literal["upsert", "log"],
    partitions: int,
    name: str | None,
) -> Job:
    """See `Stream.write_log`."""
    if format not in ("arrow", "json", "raw"):
        raise PlanError(f"write_log: format must be 'arrow', 'json' or 'raw', got {format!r}")
    if format == "raw" and ("value" not in stream.schema or set(stream.columns) - _RAW):
        raise PlanError(f"write_log: format='raw' takes the columns {', '.join(sorted(_RAW))}, got {stream.schema}")
    keys = (key,) if isinstance(key, str) else tuple(key or ())
    stream._require("write_log", keys)
    if format == "arrow" and len(keys) > 1:
        raise PlanError(f"write_log: one column chooses the partition of typed rows, got {list(keys)}")
    if format == "raw" and not keys and "key" in stream.schema:
        keys = ("key",)
    mode, keys = _tombstones(stream, "write_log", keys, changes) if format != "arrow" else (changes, keys)
    path = str(getattr(log, "path", log))

    def make(schema: pa.Schema, in_ledger: bool) -> Sink:
        from windrow.io.log.sink import LogSink

        encoder = None
        if format == "json":
            from windrow.codec.json_encode import JsonEncoder

            encoder = JsonEncoder(plain(schema)).encode
        elif format == "raw":
            encoder = _value_of
        return LogSink(
            path,
            topic,
            schema=schema,
            key=keys,
            encoder=encoder,
            given=("timestamp", "headers") if format == "raw" else (),
            partitions=partitions,
            in_ledger=in_ledger,
        )

    describe = f"log topic {topic!r} as {format}"
    return _job(stream, name or topic, describe, make, log_path=path, changes=mode)


def _value_of(batch: pa.RecordBatch) -> pa.Array:
    return batch.column("value")


def plain(schema: pa.Schema) -> pa.Schema:
    """The columns without the weight of changes."""
    return pa.schema([field for field in schema if field.name != WEIGHT])


def _tombstones(
    stream: Stream, step: str, keys: tuple[str, ...], changes: Literal["upsert", "log"]
) -> tuple[nodes.Changes, tuple[str, ...]]:
    """How rows that can go away are written where an event can have no value, and by what key."""
    from windrow.api.table import Table

    if changes != "upsert" or not isinstance(stream, Table) or not stream.key or not stream._node.deleting:
        return changes, keys
    if keys and set(keys) != set(stream.key):
        raise PlanError(
            f"{step}: rows of this Table can go away, each by its key ({', '.join(stream.key)}); that must be the key "
            f"of the events, too, not ({', '.join(keys)})"
        )
    return "weighted", keys or stream.key


def write_kafka(
    stream: Stream,
    bootstrap: str,
    topic: str,
    *,
    key: str | Sequence[str] | None,
    format: Literal["json", "arrow", "raw"],
    headers: Mapping[str, str] | None,
    timestamp: str | None,
    compression: Compression,
    changes: Literal["upsert", "log"],
    create: bool,
    partitions: int,
    replication: int,
    kafka: Mapping[str, Any] | None,
    name: str | None,
) -> Job:
    """See `Stream.write_kafka`."""
    from windrow.api.sources import kafka_dead_letters, kafka_ledger, kafka_options
    from windrow.api.table import Table

    if format not in ("json", "arrow", "raw"):
        raise PlanError(f"write_kafka: format must be 'json', 'arrow' or 'raw', got {format!r}")
    keys = (key,) if isinstance(key, str) else tuple(key or ())
    if isinstance(stream, Table) and not keys and format == "json":
        keys = stream.key or ()
    stream._require("write_kafka", (*keys, *(headers or {}).values(), *([timestamp] if timestamp else [])))
    kafka_options(kafka)  # a wrong option is said now
    mode, keys = _tombstones(stream, "write_kafka", keys, changes) if keys else (changes, keys)

    def make(schema: pa.Schema, in_ledger: bool) -> Sink:
        from windrow.io.kafka.rows import Encoding
        from windrow.io.kafka.sink import KafkaSink
        from windrow.io.kafka.topics import NewTopic

        updates = stream._node.updating
        encoding = Encoding(schema, format=format, key=keys, headers=headers, timestamp=timestamp, updates=updates)
        new = NewTopic(topic, partitions, replication, {}) if create else None
        return KafkaSink(
            bootstrap,
            topic,
            encoding,
            settings=kafka_options(kafka).settings,
            compression=compression,
            create=new,
            in_ledger=in_ledger,
        )

    describe = f"kafka topic {topic!r} as {format}"
    return _job(
        stream,
        name or topic,
        describe,
        make,
        changes=mode,
        log_path=f"{CLUSTER}{bootstrap}",
        make_ledger=lambda: kafka_ledger(bootstrap, kafka),
        make_dead_letters=lambda topic, create: kafka_dead_letters(bootstrap, topic, kafka, create),
    )


def write_files(
    stream: Stream,
    folder: str | Path,
    kind: Literal["parquet", "json", "ipc", "csv"],
    *,
    partition_by: Sequence[str],
    partition_time: str | None,
    done_after: Duration,
    changes: Literal["upsert", "log"],
    name: str | None,
) -> Job:
    """See `Stream.write_parquet` and its siblings."""
    path = Path(folder)
    done_after_us = duration_us(done_after, "done_after")
    if partition_time is not None and not partition_by:
        raise PlanError("partition_time is the format of the time that partition_by columns make; give those too")
    if partition_by:
        stream._require("partition_by", tuple(partition_by))

    def make(schema: pa.Schema, in_ledger: bool) -> Sink:
        from windrow.io.files import sinks
        from windrow.io.files.layout import Layout

        layout = Layout(schema, partition_by, partition_time, done_after_us) if partition_by else None
        makers = {"parquet": sinks.ParquetSink, "json": sinks.JsonSink, "ipc": sinks.IpcSink, "csv": sinks.CsvSink}
        return makers[kind](path, schema=schema, layout=layout)

    by = f" by {', '.join(partition_by)}" if partition_by else ""
    return _job(stream, name or path.name, f"{kind} files in {path}{by}", make, changes=changes)


def for_each_batch(
    stream: Stream,
    function: Callable[[pa.RecordBatch, int], None],
    changes: Literal["upsert", "log"],
    name: str | None,
) -> Job:
    """See `Stream.for_each_batch`."""

    def make(schema: pa.Schema, in_ledger: bool) -> Sink:
        from windrow.io.files.callback import CallbackSink

        return CallbackSink(function)

    label = name or str(getattr(function, "__name__", "function"))
    return _job(stream, label, f"function {label}", make, guarantee="at-least-once", changes=changes)


def collect(stream: Stream, **options: Any) -> pa.Table:
    """See `Stream.collect`."""
    return collected(stream, **options)[0]


def collected(stream: Stream, **options: Any) -> tuple[pa.Table, Progress]:
    """What `Stream.collect` gives, and how the run went."""
    from windrow.api.table import Table

    one, kept = _in_memory(stream, options, "weighted")
    if any(source.unbounded for source in one.plan.sources):
        raise PlanError("collect: a source has no end; give it one (end='latest'), or use run() or batches()")
    with one:
        progress = one.run()
    table = kept[0].table()
    return (consolidated(table, stream.key) if isinstance(stream, Table) else table), progress


def batches(stream: Stream, **options: Any) -> Iterator[pa.RecordBatch]:
    """See `Stream.batches`."""
    one, kept = _in_memory(stream, options, plainest(stream))
    with one:
        while not one.ended:
            given = 0
            if one.step() is None:
                one.wait(0.1)
                continue
            for batch in kept[0].take():
                given += batch.num_rows
                yield batch


def dead_letter_sink(path: str, topic: str) -> Sink:
    """The sink for rejected records in an embedded log: a typed topic with the columns of `DEAD_LETTER`."""
    from windrow.io.log.sink import LogSink

    return LogSink(path, topic, schema=DEAD_LETTER, name=f"dead letters to {topic}")


def plainest(stream: Stream) -> nodes.Changes:
    """Upserts where they can say all that there is to say, else a change log."""
    from windrow.api.table import Table

    whole = isinstance(stream, Table) and stream.key is not None and not stream._node.deleting
    return "upsert" if whole else "log"


def _in_memory(stream: Stream, options: dict[str, Any], changes: nodes.Changes) -> tuple[Job, list[MemorySink]]:
    from windrow.io.memory import MemorySink

    kept: list[MemorySink] = []

    def make(schema: pa.Schema, in_ledger: bool) -> Sink:
        kept.append(MemorySink(schema=schema))
        return kept[-1]

    made = _job(stream, "memory", "memory", make, changes=changes)
    made = job(made, **options) if options else made
    if options.get("ledger") is None:
        made = made.configured(ledger="")  # reading a log must not leave a job behind in it
    return made, kept


def _job(
    stream: Stream, name: str, describe: str, make: SinkMaker, changes: nodes.Changes = "upsert", **extra: Any
) -> Job:
    from windrow.api.table import Table

    key = stream.key if isinstance(stream, Table) else None
    node = nodes.SinkNode(stream.schema, False, stream._node, name, describe, make, changes=changes, key=key, **extra)
    if changes not in ("upsert", "log", "weighted"):
        raise PlanError(f"sink {name!r}: changes must be 'upsert' or 'log', got {changes!r}")
    if changes == "upsert" and stream._node.updating:
        if key is None:
            raise PlanError(
                f"sink {name!r}: the rows are changes of a Table whose key was dropped on the way, so none can take "
                "another's place; keep the key's columns, or write all changes with a column op: changes='log'"
            )
        if stream._node.deleting:
            raise PlanError(
                f"sink {name!r}: rows of this Table can go away, and upserts cannot say so here; write all changes "
                "with a column op: changes='log'"
            )
    return Job((node,))
