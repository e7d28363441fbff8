"""Where events come from: each function gives a stream; nothing is opened before a job runs, but names are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from windrow import expressions
from windrow.api.schema import SchemaLike, as_schema
from windrow.api.stream import Stream
from windrow.arrow_types import from_arrow_schema
from windrow.datatypes import Schema
from windrow.errors import PlanError
from windrow.io.base import OnError, Source
from windrow.plan import nodes
from windrow.units import time_us

if TYPE_CHECKING:
    from windrow.codec.json import JsonDecoder
    from windrow.io.log.log import Log

#: Where to begin in a log: its beginning, its end, a time, or an offset for each partition.
Start = Literal["earliest", "latest"] | datetime | Mapping[int, int]
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
