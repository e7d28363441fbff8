"""Where events come from: each function gives a stream; nothing is opened before a job runs, but names are checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from windrow import expressions
from windrow.api.job import CLUSTER
from windrow.api.schema import SchemaLike, as_schema
from windrow.api.stream import Stream
from windrow.arrow_types import from_arrow_schema
from windrow.datatypes import Schema
from windrow.errors import PlanError
from windrow.io.base import OnError, Sink, Source
from windrow.plan import nodes
from windrow.progress.group import Group
from windrow.progress.ledger import Ledger
from windrow.units import time_us

if TYPE_CHECKING:
    from windrow.codec.base import Decoder
    from windrow.codec.json import JsonDecoder
    from windrow.io.kafka.options import KafkaOptions
    from windrow.io.log.log import Log

#: Where to begin in a log: its beginning, its end, a time, or an offset for each partition.
Start = Literal["earliest", "latest"] | datetime | Mapping[int, int]
#: In a topic: its beginning, its end, what a group has committed, a time, or offsets (of each topic) by partition.
KafkaStart = Literal["earliest", "latest", "committed"] | datetime | Mapping[int, int] | Mapping[str, Mapping[int, int]]
KafkaEnd = Literal["latest"] | datetime | Mapping[int, int] | Mapping[str, Mapping[int, int]]
Paths = str | Path | Sequence[str | Path]


def read_log(
    log: Log | str | Path,
    topic: str,
    *,
    schema: SchemaLike | None = None,
    format: Literal["json", "arrow", "raw"] | None = None,
    start: Start = "earliest",
    end: Literal["latest"] | None = None,
    on_error: OnError | None = None,
    dead_letter: str | None = None,
    name: str | None = None,
) -> Stream:
    """Events of a topic of an embedded log.

    `format`: ``json`` decodes the values by `schema`; ``arrow`` takes the columns of a typed topic; ``raw`` gives key,
    value and timestamp as they are (default: json when there is a schema, else what the topic is). `end="latest"` makes
    the stream end where the topic ends when the job starts. A record that cannot be decoded fails the job, is skipped
    and counted, or goes to the topic `dead_letter` in the same commit, as `on_error` says (default: ``dead_letter`` if
    that is given, else ``fail``).
    """
    path = str(getattr(log, "path", log))
    policy = _on_error(on_error, dead_letter)
    columns, decoded = _log_schema(path, topic, schema, format)
    begin = time_us(start) if isinstance(start, datetime) else start

    def make() -> Source:
        from windrow.io.log.source import LogSource

        decoder = _decoder_factory(columns) if decoded else None
        return LogSource(
            path,
            topic,
            decoder=decoder,
            schema=columns if decoded else None,
            start=begin,
            end=end,
            on_error=policy,
        )

    described = f"log topic {topic!r}" + (" as json" if decoded else "")
    where = begin if not isinstance(begin, Mapping) else tuple(sorted(begin.items()))
    return _stream(
        columns,
        name or topic,
        described,
        make,
        unbounded=end is None,
        log_path=path,
        dead_letter=dead_letter,
        identity=("log", str(Path(path).resolve()), topic, str(columns), decoded, where, end, policy, dead_letter),
    )


def read_kafka(
    bootstrap: str,
    topics: str | Sequence[str] | re.Pattern[str],
    *,
    schema: SchemaLike | None = None,
    format: Literal["json", "arrow", "csv", "raw"] | None = None,
    start: KafkaStart = "earliest",
    end: KafkaEnd | None = None,
    group: str | None = None,
    include: Sequence[str] | Mapping[str, str] = (),
    on_error: OnError | None = None,
    dead_letter: str | None = None,
    create_dead_letter: bool = False,
    on_offset_gone: Literal["fail", "earliest", "latest"] = "fail",
    partitioned_by: str | Sequence[str] | None = None,
    kafka: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Stream:
    """Committed events of one or several topics of a Kafka cluster; with a compiled `re.Pattern`, of all topics whose
    whole name matches, those that are made later too.

    `format`: ``json`` and ``csv`` (a row a record, no header) decode values by `schema`; ``arrow`` takes values that
    are Arrow IPC streams with those columns, many rows a record; ``raw`` gives key, value and timestamp as they are
    (default: json with a schema, else raw). `include` adds what belongs to the record, by its name or renamed
    (``{"timestamp": "sent"}``): key, value, headers, timestamp, topic, partition, offset.

    `start` counts for a job that never committed: ``earliest``, ``latest``, ``committed`` (the offsets of the consumer
    group `group`; partitions it has not committed start at their first record), a time, or offsets by partition
    (``{0: 17}``) or by topic (``{"bids": {0: 17}}``). `end`: ``latest`` (where the topics end when the job starts), a
    time or offsets; without it the stream has no end. Partitions that come later are read from their first record.

    An offset that was deleted before it was read stops the job, unless `on_offset_gone` says to go on with what is
    left (``earliest``) or with what comes (``latest``). A record that cannot be decoded fails the job, is skipped and
    counted, or goes to `dead_letter`, as in `read_log`. That topic is where the job's ledger is; in a Kafka cluster it
    has to be there, unless `create_dead_letter` lets the job make it. A record batch that is damaged in itself is
    fetched once more; then its partition stops, which fails the job with ``on_error="fail"``; else the others go on
    (`Progress.stopped`).

    `partitioned_by`: the columns by which the producers choose the partition: rows that are equal in them are in one
    partition, of several topics in those of the same number. It is believed, and lets a job with state run in a group
    (`wr.job(..., group=True)`).

    `kafka`: options of the connection (``security_protocol``, ``ssl_context``, ``sasl_...``) and of fetching
    (``fetch_max_wait_ms``, ``max_partition_fetch_bytes``, ``buffer_bytes``, ...) by Kafka's names.
    """
    policy = _on_error(on_error, dead_letter)
    wanted = topics if isinstance(topics, re.Pattern) else (topics,) if isinstance(topics, str) else tuple(topics)
    if not wanted:
        raise PlanError("read_kafka: at least one topic is needed")
    chosen = format or ("raw" if schema is None else "json")
    columns, factory, record = _kafka_columns(chosen, schema, include)
    begin, until = _kafka_place(start), _kafka_place(end)
    kafka_options(kafka)  # a wrong one is said now

    def make(part: int | None = None, count: int = 1, fresh: bool = False) -> Source:
        from windrow.io.kafka.bounds import KafkaInput
        from windrow.io.kafka.source import KafkaSource

        chosen = kafka_options(kafka)
        return KafkaSource(
            bootstrap,
            KafkaInput(wanted, "earliest" if fresh else begin, until, group, on_offset_gone, part),
            schema=columns,
            decoder=factory,
            record_columns=record,
            on_error=policy,
            limits=chosen.limits.shared_by(count),
            settings=chosen.settings,
        )

    label = name or (wanted.pattern if isinstance(wanted, re.Pattern) else "+".join(wanted))
    described = f"kafka topic {label!r} as {chosen}"
    whole = _kafka_schema(columns, record)
    by = _partitioned_by(partitioned_by, whole)
    sharing = None
    if not isinstance(wanted, re.Pattern):
        sharing = nodes.Sharing(wanted, by, make, lambda *asked: _kafka_group(bootstrap, kafka, *asked))
    return _stream(
        whole,
        label,
        described,
        make,
        unbounded=end is None,
        dead_letter=dead_letter,
        create_dead_letter=create_dead_letter,
        log_path=f"{CLUSTER}{bootstrap}",
        make_ledger=lambda: kafka_ledger(bootstrap, kafka),
        make_dead_letters=lambda topic, create: kafka_dead_letters(bootstrap, topic, kafka, create),
        sharing=sharing,
    )


def kafka_options(options: Mapping[str, Any] | None) -> KafkaOptions:
    """What a user gives as ``kafka={...}``, checked; raises `PlanError` for an option that is none."""
    try:
        from windrow.io.kafka import options as known
    except ImportError as error:
        raise PlanError(f"Kafka needs kafka-python ({error}): pip install 'windrow[kafka]'") from error

    return known.kafka_options(options)


def kafka_ledger(bootstrap: str, options: Mapping[str, Any] | None) -> Ledger:
    """The ledger in a cluster that is reached with these options."""
    chosen = kafka_options(options)
    from windrow.io.kafka.ledger import KafkaLedger

    return KafkaLedger(bootstrap, chosen.settings, transaction_timeout_ms=chosen.waits.transaction_timeout_ms)


def _kafka_group(
    bootstrap: str, kafka: Mapping[str, Any] | None, job: str, topics: Sequence[str], instance: str | None, keyed: bool
) -> Group:
    """This process as one of a job's instances."""
    from windrow.io.kafka.group import KafkaGroup

    return KafkaGroup(bootstrap, kafka_options(kafka), job, topics, instance=instance, keyed=keyed)


def kafka_dead_letters(bootstrap: str, topic: str, options: Mapping[str, Any] | None, create: bool) -> Sink:
    """The sink for dead letters of a job whose ledger is in that cluster."""
    from windrow.io.kafka.dead_letters import DeadLetterSink

    return DeadLetterSink(bootstrap, topic, settings=kafka_options(options).settings, create=create)


def read_parquet(paths: Paths, *, name: str | None = None) -> Stream:
    """Rows of Parquet files: a path, several, or a glob; one partition a file."""
    from windrow.io.files.sources import ParquetSource

    return _files(lambda: ParquetSource(paths), name or _label(paths), "parquet files", paths)


def read_ipc(paths: Paths, *, name: str | None = None) -> Stream:
    """Rows of Arrow IPC files or streams, memory-mapped; one partition a file."""
    from windrow.io.files.sources import IpcSource

    return _files(lambda: IpcSource(paths), name or _label(paths), "arrow files", paths)


def read_csv(paths: Paths, *, schema: SchemaLike | None = None, name: str | None = None) -> Stream:
    """Rows of CSV files with a header; types as in `schema`, or inferred from the first rows."""
    from windrow.io.files.sources import CsvSource

    given = None if schema is None else as_schema(schema)
    return _files(lambda: CsvSource(paths, schema=given), name or _label(paths), "csv files", paths)


def read_json(
    paths: Paths,
    *,
    schema: SchemaLike,
    on_error: OnError | None = None,
    dead_letter: str | None = None,
    name: str | None = None,
) -> Stream:
    """Rows of newline-delimited JSON files, decoded by `schema`; bad lines as in `read_log`."""
    from windrow.io.files.sources import JsonSource

    columns = as_schema(schema)
    policy = _on_error(on_error, dead_letter)

    def make() -> Source:
        return JsonSource(paths, schema=columns, decoder=_decoder_factory(columns), on_error=policy)

    make().close()  # a missing file is said now
    label = name or _label(paths)
    return _stream(columns, label, f"json files {paths}", make, unbounded=False, dead_letter=dead_letter)


def from_arrow(data: Any, *, schema: SchemaLike | None = None, name: str = "memory") -> Stream:
    """Arrow data as a bounded stream: a Table, a RecordBatch or a list of them, a polars frame, or an iterator of any
    of these (which needs `schema`, is pulled as the job runs, and cannot be read again after a restart)."""
    if isinstance(data, Iterator):
        return _from_iterator(data, schema, name)
    if expressions.is_frame(data):
        data = expressions.frame_to_table(data)
    if isinstance(data, pa.RecordBatch):
        data = [data]
    if not isinstance(data, pa.Table):
        batches = [expressions.as_record_batch(item) for item in data]
        if not batches and schema is None:
            raise PlanError("from_arrow: an empty list has no columns; give schema=")
        data = pa.Table.from_batches(batches, schema=batches[0].schema if batches else None)
    table = data
    columns = from_arrow_schema(table.schema)

    def make() -> Source:
        from windrow.io.memory import MemorySource

        return MemorySource(table, name=name)

    return _stream(columns, name, f"{table.num_rows} rows in memory", make, unbounded=False)


def from_source(source: Source | Callable[[], Source], *, name: str | None = None) -> Stream:
    """A stream from any object that follows the `Source` protocol, or from a function that makes one each run."""
    make: Callable[[], Source] = source if callable(source) else lambda: source
    sample = make()
    label = name or sample.name
    return _stream(sample.schema, label, f"source {label}", make, unbounded=not sample.bounded)


def nexmark(
    kind: Literal["bid", "auction", "person"] = "bid",
    *,
    events: int | None = None,
    partitions: int = 1,
    seed: int = 0,
    **options: Any,
) -> Stream:
    """Generated auction events by the rules of Nexmark; without a number of `events` it never ends."""
    from windrow.io.nexmark import NexmarkSource

    def make() -> Source:
        return NexmarkSource(kind=kind, events=events, partitions=partitions, seed=seed, **options)

    sample = make()
    return _stream(sample.schema, f"nexmark_{kind}", f"nexmark {kind} events", make, unbounded=not sample.bounded)


def _from_iterator(data: Iterator[Any], schema: SchemaLike | None, name: str) -> Stream:
    if schema is None:
        raise PlanError("from_arrow: an iterator does not say its columns before it runs; give schema=")
    columns = as_schema(schema)
    batches = (expressions.as_record_batch(item) for item in data)

    def make() -> Source:
        from windrow.arrow_types import to_arrow_schema
        from windrow.io.memory import IteratorSource

        return IteratorSource(batches, schema=to_arrow_schema(columns), name=name)

    return _stream(columns, name, "an iterator", make, unbounded=False)


def _files(make: Callable[[], Source], name: str, what: str, paths: Paths) -> Stream:
    sample = make()
    sample.close()
    return _stream(sample.schema, name, f"{what} {paths}", make, unbounded=False)


def _log_schema(path: str, topic: str, schema: SchemaLike | None, format: str | None) -> tuple[Schema, bool]:
    """The columns of a topic, and whether they come from decoding its values."""
    from windrow.io.log.log import Log

    if format not in (None, "json", "arrow", "raw"):
        raise PlanError(f"read_log: format must be 'json', 'arrow' or 'raw', got {format!r}")
    if format == "json" or (format is None and schema is not None):
        if schema is None:
            raise PlanError("read_log: format='json' needs a schema")
        return as_schema(schema), True
    if schema is not None:
        raise PlanError(f"read_log: a schema is for decoding; format={format!r} takes the topic's own columns")
    with Log(path, create=False) as log:
        return from_arrow_schema(log.topic(topic).schema), False


def _kafka_place(place: Any) -> Any:
    """A time as microseconds; everything else as it is."""
    return time_us(place) if isinstance(place, datetime) else place


def _kafka_columns(
    format: str, schema: SchemaLike | None, include: Sequence[str] | Mapping[str, str]
) -> tuple[Schema, Callable[[tuple[str, ...]], Decoder] | None, dict[str, str]]:
    """(columns of the values, what decodes them, what of the record -> column name)."""
    if isinstance(include, str):
        raise PlanError(f"read_kafka: include is a list of names or a mapping, got {include!r}")
    record = dict(include) if isinstance(include, Mapping) else {what: what for what in include}
    if format == "raw":
        if schema is not None:
            raise PlanError("read_kafka: a schema is for decoding; format='raw' has key, value and timestamp")
        return Schema(()), None, {what: what for what in ("key", "value", "timestamp") if what not in record} | record
    if format not in ("json", "arrow", "csv"):
        raise PlanError(f"read_kafka: format must be 'json', 'arrow', 'csv' or 'raw', got {format!r}")
    if schema is None:
        raise PlanError(f"read_kafka: format={format!r} needs a schema")
    columns = as_schema(schema)

    def arrow(names: tuple[str, ...]) -> Decoder:
        from windrow.codec.arrow import ArrowDecoder

        return ArrowDecoder(columns.pick(names))

    def csv(names: tuple[str, ...]) -> Decoder:
        from windrow.codec.csv import CsvDecoder

        return CsvDecoder(columns, names)

    return columns, {"json": _decoder_factory(columns), "arrow": arrow, "csv": csv}[format], record


def _partitioned_by(columns: str | Sequence[str] | None, schema: Schema) -> tuple[str, ...]:
    by = () if columns is None else (columns,) if isinstance(columns, str) else tuple(columns)
    for name in by:
        if name not in schema.names:
            raise PlanError(f"read_kafka: partitioned_by names {name!r}; there are {', '.join(schema.names)}")
    return by


def _kafka_schema(columns: Schema, record: Mapping[str, str]) -> Schema:
    from windrow.io.kafka.events import record_columns, with_record_columns

    return with_record_columns(columns, record_columns(record, "kafka"))


def _decoder_factory(schema: Schema) -> Callable[[tuple[str, ...]], JsonDecoder]:
    def make(columns: tuple[str, ...]) -> JsonDecoder:
        from windrow.codec.json import JsonDecoder

        required = [field.name for field in schema if field.required]
        wanted = [name for name in schema.names if name in columns or name in required]
        return JsonDecoder(schema.pick(wanted))

    return make


def _on_error(on_error: OnError | None, dead_letter: str | None) -> OnError:
    if on_error is None:
        return "dead_letter" if dead_letter else "fail"
    if on_error not in ("fail", "skip", "dead_letter"):
        raise PlanError(f"on_error must be 'fail', 'skip' or 'dead_letter', got {on_error!r}")
    if (on_error == "dead_letter") != (dead_letter is not None):
        raise PlanError("on_error='dead_letter' needs dead_letter='topic', and the other way round")
    return on_error


def _label(paths: Paths) -> str:
    first = paths if isinstance(paths, (str, Path)) else next(iter(paths), "files")
    return Path(first).name


def _stream(columns: Schema, name: str, describe: str, make: Callable[[], Source], **extra: Any) -> Stream:
    return Stream(nodes.SourceNode(columns, False, name, describe, make, **extra))
