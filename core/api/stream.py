"""Stream: what every step gives and every step is called on. Immutable; nothing runs until asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import polars as pl
import pyarrow as pa

from windrow import expressions
from windrow.api.schema import SchemaLike, as_schema
from windrow.datatypes import DATE, Schema, common_schema
from windrow.errors import PlanError
from windrow.plan import nodes
from windrow.units import Duration, duration_us

if TYPE_CHECKING:
    from windrow.api.grouping import GroupBy
    from windrow.api.job import Job
    from windrow.api.over import Frames
    from windrow.codec.kafka_compression import Compression
    from windrow.io.log.log import Log
    from windrow.plan.join import How, Strategy
    from windrow.plan.rank import Ties
    from windrow.plan.window import Window

T = TypeVar("T")


class Stream:
    """Append-only events with a fixed set of columns."""

    def __init__(self, node: nodes.Node) -> None:
        self._node = node

    @property
    def schema(self) -> Schema:
        """The columns and their types."""
        return self._node.schema

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._node.schema.names)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._node.schema})"

    def _repr_html_(self) -> str:
        from windrow.api.render import schema_html

        return schema_html(type(self).__name__, self._node.schema)

    # -- steps without state -------------------------------------------------------------------------------------

    def filter(self, *predicates: pl.Expr) -> Stream:
        """Keep the rows for which all predicates are true; null is not true."""
        predicate = expressions.parse_predicate(list(predicates), self.schema, "filter")
        return self._then(nodes.Filter(self.schema, self._node.timed, self._node, predicate))

    def select(self, *columns: pl.Expr | str, **named: pl.Expr | str) -> Stream:
        """These columns and no others; keyword arguments name the result of an expression."""
        parsed, schema = expressions.parse([*columns, *_aliased(named)], self.schema, "select")
        return self._project("select", parsed, schema)

    def with_columns(self, *columns: pl.Expr | str, **named: pl.Expr | str) -> Stream:
        """All columns there are, and these added or put in the place of those of the same name."""
        parsed, added = expressions.parse([*columns, *_aliased(named)], self.schema, "with_columns")
        merged = {name: expressions.column(name) for name in self.columns} | dict(parsed)
        fields = {f.name: f for f in self.schema} | {f.name: f for f in added}
        return self._project("with_columns", tuple(merged.items()), Schema(tuple(fields[name] for name in merged)))

    def drop(self, *columns: str) -> Stream:
        """All columns but these."""
        self._require("drop", columns)
        return self._keep("drop", [name for name in self.columns if name not in columns])

    def rename(self, names: Mapping[str, str]) -> Stream:
        """Columns under new names: ``{"old": "new"}``."""
        self._require("rename", tuple(names))
        outputs = tuple((names.get(name, name), expressions.column(name)) for name in self.columns)
        return self._project("rename", outputs, self.schema.renamed(names))

    def map_batches(
        self,
        function: Callable[[Any], Any],
        *,
        schema: SchemaLike | None = None,
        reads: Sequence[str] | None = None,
        kind: Literal["polars", "arrow", "numpy"] = "polars",
    ) -> Stream:
        """Call `function` with whole batches, and go on with what it gives.

        `kind` says what it takes and gives: a polars DataFrame, a pyarrow RecordBatch, or a dict of numpy arrays.
        `schema` is what comes out (default: the same columns); `reads` the columns it needs (default: all). Batches
        are cut anywhere, so a function whose result for a row depends on other rows of the batch has no defined result;
        it may be called from several threads at once.
        """
        if kind not in ("polars", "arrow", "numpy"):
            raise PlanError(f"map_batches: kind must be 'polars', 'arrow' or 'numpy', got {kind!r}")
        if reads is not None:
            self._require("map_batches", tuple(reads))
        produced = self.schema if schema is None else as_schema(schema)
        node = nodes.MapBatches(produced, False, self._node, function, tuple(reads) if reads else None, kind)
        return self._then(node)

    def explode(self, *columns: str) -> Stream:
        """One row for each element of these list columns (which must be equally long in a row)."""
        self._require("explode", columns)
        schema = expressions.exploded_schema(self.schema, columns)
        return self._then(nodes.Explode(schema, self._node.timed, self._node, columns))

    def union(self, *others: Stream) -> Stream:
        """All rows of this and the other streams, which must have the same columns with the same types (of texts with
        32-bit and 64-bit offsets, the latter)."""
        from windrow.api.table import Table

        for other in others:
            if isinstance(other, Table) != isinstance(self, Table):
                raise PlanError("union: of streams, or of Tables, but not of both")
            if common_schema([self.schema, other.schema]) is None:
                raise PlanError(f"union: the columns differ: {self.schema} / {other.schema}")
        schema = common_schema([self.schema, *(other.schema for other in others)]) or self.schema
        inputs = (self._node, *(other._node for other in others))
        return self._then(nodes.Union(schema, all(node.timed for node in inputs), inputs))

    def pipe(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """``function(self, *args, **kwargs)``, for writing own steps in a chain."""
        return function(self, *args, **kwargs)

    def watermark(self, column: str, delay: Duration = 0, idle: Duration | None = None) -> Stream:
        """Take event time from a timestamp column; no event more than `delay` behind the newest is expected.

        Kept for each partition, and combined by taking the least. A partition without events for `idle` of processing
        time is left out until it speaks again; without `idle` a silent partition holds all windows open.
        """
        self._require("watermark", (column,))
        kind = self.schema[column].type
        if not kind.name.startswith("timestamp") and kind != DATE:
            raise PlanError(f"watermark: column {column!r} must be a timestamp, but is {kind}")
        idle_us = None if idle is None else duration_us(idle, "watermark: idle")
        delay_us = duration_us(delay, "watermark: delay")
        return self._then(nodes.Watermark(self.schema, True, self._node, column, delay_us, idle_us))

    def group_by(self, *keys: str | pl.Expr, **named: pl.Expr) -> GroupBy:
        """Group by columns or expressions; follow with ``.window(...)`` and ``.agg(...)``. No key: one group of all."""
        from windrow.api.grouping import GroupBy

        computed = [key for key in (*keys, *_aliased(named)) if not isinstance(key, str)]
        names = [key if isinstance(key, str) else key.meta.output_name() for key in (*keys, *_aliased(named))]
        base = self.with_columns(*computed) if computed else self
        base._require("group_by", tuple(names))
        return GroupBy(base, tuple(names))

    def join(
        self,
        other: Stream,
        on: str | Sequence[str] | None = None,
        how: How = "inner",
        *,
        left_on: str | Sequence[str] | None = None,
        right_on: str | Sequence[str] | None = None,
        suffix: str = "_right",
        where: pl.Expr | None = None,
        ttl: Duration | None = None,
    ) -> Stream:
        """Rows of both with equal keys; null equals nothing.

        `how`: "inner", "left", "right", "full", "semi" (rows of this stream that have a match, once) or "anti" (that
        have none). Columns are as in polars: keys once, a name that both have gets `suffix` on the right. `where` is a
        further condition on both sides' columns. Two streams need a `ttl`: rows match when their event times are at
        most that far apart, and are dropped when the watermark has passed that; ``ttl="unbounded"`` keeps all. Rows
        without a match leave when the watermark says that none can come; if it never can, they leave at once and are
        taken back later: the result is a Table. So is a join with a Table, which follows its changes.
        """
        from windrow.api import joins

        return joins.join(self, other, joins.Match(on, left_on, right_on, how, suffix, where), ttl)

    def join_interval(
        self,
        other: Stream,
        on: str | Sequence[str] | None = None,
        how: How = "inner",
        *,
        lower: Duration,
        upper: Duration,
        left_on: str | Sequence[str] | None = None,
        right_on: str | Sequence[str] | None = None,
        suffix: str = "_right",
        where: pl.Expr | None = None,
    ) -> Stream:
        """As `join`, of rows where the other's event time is from `lower` to `upper` (both included) after this one's:
        ``lower="-5s", upper="10s"``. Rows are kept until the watermark has passed that."""
        from windrow.api import joins

        return joins.join_interval(self, other, joins.Match(on, left_on, right_on, how, suffix, where), lower, upper)

    def join_window(
        self,
        other: Stream,
        on: str | Sequence[str] | None = None,
        window: Window | None = None,
        how: How = "inner",
        *,
        left_on: str | Sequence[str] | None = None,
        right_on: str | Sequence[str] | None = None,
        suffix: str = "_right",
        where: pl.Expr | None = None,
    ) -> Stream:
        """As `join`, of rows in the same tumbling or hopping window of event time; rows are kept until it closes."""
        from windrow.api import joins

        return joins.join_window(self, other, joins.Match(on, left_on, right_on, how, suffix, where), window)

    def top_k(
        self,
        n: int,
        by: str | pl.Expr | Sequence[str | pl.Expr],
        *,
        per: str | Sequence[str] = (),
        descending: bool | Sequence[bool] = True,
        ties: Ties = "row_number",
        rank: str | None = None,
        window: Window | None = None,
    ) -> Stream:
        """The first `n` rows of each group (equal `per`) when ordered by columns, the largest values first.

        `descending` may say otherwise, for all columns of `by` or for each; null comes last, and of rows that are equal
        the one that arrived first. `rank` names a column for the place, from 1. `ties` may be ``rank`` or
        ``dense_rank``: rows that are equal in `by` have then one rank, and are there all or none.

        The result is a `Table` of the best rows so far, which follows the changes of a Table. Of the rows of windows it
        is a stream: each window is ranked once, when it closes; so are, with `window` (tumbling or hopping), the rows
        of any stream with event time, with columns ``window_start`` and ``window_end``.
        """
        from windrow.api import ranking

        return ranking.top_k(self, n, by, per, descending, ties, rank, window)

    def unique(
        self,
        subset: str | Sequence[str] | None = None,
        *,
        keep: Literal["first", "last", "none"] = "first",
        within: Duration | None = None,
    ) -> Stream:
        """One row for each combination of values of these columns (default: all): a `Table` with that key.

        The first or the last one by event time, then by arrival; without event time by arrival; with
        ``none`` only rows that have no other with these values, which may go away. The state is as large as there are
        combinations.

        With `within` it is a stream of one row for each interval of event time: the first row of a combination begins
        an interval of that length, to which all rows in it belong, and the first row after its end the next one. A
        first row leaves when the watermark has passed its time, others when it has passed the interval, which is
        forgotten then; what comes behind the watermark is in ``.late``.
        """
        from windrow.api import ranking

        return ranking.unique(self, subset, keep, within)

    drop_duplicates = unique

    def over(
        self,
        per: str | Sequence[str] = (),
        *,
        order_by: str | Sequence[str],
        rows: tuple[int, int] | None = None,
        range: tuple[Duration, Duration] | None = None,
    ) -> Frames:
        """A frame around each row among those with equal `per`, ordered by columns; follow with ``.agg(...)``.

        ``rows=(10, 0)``: the ten rows before it and itself; ``range=("10s", "0s")``: those whose time is at most 10 s
        earlier. On a Table frames follow its changes. All rows are kept.
        """
        from windrow.api.over import Frames

        return Frames(self, per, order_by, rows, range)

    def join_asof(
        self,
        other: Stream,
        by: str | Sequence[str] | None = None,
        strategy: Strategy = "backward",
        *,
        tolerance: Duration | None = None,
        how: How = "left",
        left_by: str | Sequence[str] | None = None,
        right_by: str | Sequence[str] | None = None,
        suffix: str = "_right",
    ) -> Stream:
        """Each row with the one row of `other` with the same `by` columns that is nearest in event time.

        `strategy`: the last one that is not later ("backward"), the first that is not earlier ("forward"), or the
        nearest ("nearest", of two as near the earlier); at most `tolerance` away, which the last two need. `how`: rows
        without one come with nulls ("left") or not at all ("inner"). A row leaves when the watermark says that no
        nearer one can come. Rows of `other` with the same time: the last one counts. Late rows of both are left out.
        """
        from windrow.api import joins

        return joins.join_asof(self, other, joins.Match(by, left_by, right_by, how, suffix), strategy, tolerance)

    def join_temporal(
        self,
        versions: Stream,
        on: str | Sequence[str] | None = None,
        how: How = "inner",
        *,
        left_on: str | Sequence[str] | None = None,
        right_on: str | Sequence[str] | None = None,
        suffix: str = "_right",
    ) -> Stream:
        """Each row with the version of its key that was valid at its event time (SQL: ``FOR SYSTEM_TIME AS OF``).

        `versions` is a stream with event time of which each row replaces the one with the same key from then on.
        """
        from windrow.api import joins

        return joins.join_asof(self, versions, joins.Match(on, left_on, right_on, how, suffix), "backward", None)

    def join_lookup(
        self,
        table: Any,
        on: str | Sequence[str] | None = None,
        how: How = "inner",
        *,
        left_on: str | Sequence[str] | None = None,
        right_on: str | Sequence[str] | None = None,
        suffix: str = "_right",
        where: pl.Expr | None = None,
        refresh: Duration | None = None,
    ) -> Stream:
        """As `join` ("inner", "left", "semi" or "anti"), with a table beside the stream that fits into memory.

        `table`: a polars frame, an Arrow table, the path of a Parquet file (or a glob), a SQL query
        (``wr.query("select ...", "duckdb:///folder/file.db")``), or a function without arguments that gives one of the
        first two, or anything with ``to_arrow_table()`` such as a DuckDB relation. It is loaded when the plan is
        made (a Parquet file: its schema), when a job starts, and then, with `refresh`, by the first epoch that begins
        so long after. All rows of an epoch meet the same version. Which one that is depends on processing time: an
        epoch that is done again after a crash may meet a newer one. Nothing of the failed try was visible then, except
        in sinks that say at-least-once, where the repeated rows may differ.
        """
        from windrow.api import joins, lookups

        match = joins.Match(on, left_on, right_on, how, suffix, where)
        return lookups.join_lookup(self, table, match, refresh)

    # -- where rows go -------------------------------------------------------------------------------------------

    def write_log(
        self,
        log: Log | str | Path,
        topic: str,
        *,
        key: str | Sequence[str] | None = None,
        format: Literal["arrow", "json", "raw"] = "arrow",
        changes: Literal["upsert", "log"] = "upsert",
        partitions: int = 1,
        name: str | None = None,
    ) -> Job:
        """Append the rows to a topic of an embedded log, in the commit of the epoch that made them.

        A Table is written as upserts, of which the last row of a key counts, or with ``changes="log"`` as all its
        changes: a column ``op`` is ``d`` where a row is taken back and ``c`` where one is added. `format`: columns as
        they are; a JSON document a row; or ``raw``: columns key, value, timestamp and headers are the event. With the
        last two a row of a Table that goes away is a tombstone: its key without a value.
        `key` chooses the partition (of a topic that is made with `partitions`), and is the key of JSON events. `name`
        is what the sink is called, here and in its siblings; a job's sinks have different ones (default: the topic).
        """
        from windrow.api import sinks

        return sinks.write_log(
            self, log, topic, key=key, format=format, changes=changes, partitions=partitions, name=name
        )

    def write_kafka(
        self,
        bootstrap: str,
        topic: str,
        *,
        key: str | Sequence[str] | None = None,
        format: Literal["json", "arrow", "raw"] = "json",
        headers: Mapping[str, str] | None = None,
        timestamp: str | None = None,
        compression: Compression = "none",
        changes: Literal["upsert", "log"] = "upsert",
        create: bool = False,
        partitions: int = 1,
        replication: int = -1,
        kafka: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Job:
        """Write the rows to a topic of a Kafka cluster, exactly once for readers with ``read_committed``.

        `key` names the columns of the record's key, whose murmur2 hash chooses the partition as the Java client's does
        (of a Table its own key); `headers` names the columns whose text or bytes become headers, `timestamp` the column
        of the record's time. `format`: a JSON document a row; ``arrow``: Arrow IPC streams of many rows; ``raw``: the
        columns key, value, headers and timestamp as they are. A Table is written as upserts, with a tombstone for a row
        that goes, or with ``changes="log"`` as in `write_log`.

        The topic is made, with `partitions` and `replication` (-1: as the brokers have it), only with ``create=True``.
        A job that reads or writes Kafka and no embedded log keeps its progress and state in the cluster too, in the
        same transactions: topics ``<job>-ledger`` and ``<job>-changelog``. `kafka` as for `read_kafka`.
        """
        from windrow.api import sinks

        return sinks.write_kafka(
            self, bootstrap, topic,
            key=key, format=format, headers=headers, timestamp=timestamp, compression=compression, changes=changes,
            create=create, partitions=partitions, replication=replication, kafka=kafka, name=name,
        )  # fmt: skip

    def write_parquet(self, folder: str | Path, **options: Any) -> Job:
        """Write Parquet files into a folder; a file appears when its epoch is committed. Options: see `write_files`."""
        return self.write_files(folder, "parquet", **options)

    def write_json(self, folder: str | Path, **options: Any) -> Job:
        """Write newline-delimited JSON files, as `write_parquet`."""
        return self.write_files(folder, "json", **options)

    def write_ipc(self, folder: str | Path, **options: Any) -> Job:
        """Write Arrow IPC files, as `write_parquet`."""
        return self.write_files(folder, "ipc", **options)

    def write_csv(self, folder: str | Path, **options: Any) -> Job:
        """Write CSV files with a header, as `write_parquet`."""
        return self.write_files(folder, "csv", **options)

    def write_files(
        self,
        folder: str | Path,
        kind: Literal["parquet", "json", "ipc", "csv"],
        *,
        partition_by: Sequence[str] = (),
        partition_time: str | None = None,
        done_after: Duration = 0,
        changes: Literal["upsert", "log"] = "upsert",
        name: str | None = None,
    ) -> Job:
        """Write files into a folder; a file appears when its epoch is committed, each row exactly once.

        How a Table is written, `changes` says, as for `write_log`.

        With `partition_by` they lie in folders named by these columns, ``day=2026-01-01/hour=07``, which the files then
        lack. `partition_time` is the format of the time that the columns' values make when joined by spaces, such as
        ``"%Y-%m-%d %H"``, UTC: a folder gets a file ``_SUCCESS`` when the watermark has passed it by `done_after`.
        """
        from windrow.api import sinks

        return sinks.write_files(
            self, folder, kind,
            partition_by=partition_by, partition_time=partition_time, done_after=done_after, changes=changes, name=name,
        )  # fmt: skip

    def for_each_batch(
        self,
        function: Callable[[pa.RecordBatch, int], None],
        *,
        changes: Literal["upsert", "log"] = "upsert",
        name: str | None = None,
    ) -> Job:
        """Call ``function(batch, epoch)`` for every epoch's rows.

        At least once: after a crash the last epoch is repeated with the same rows and the same number, by which the
        function can recognise it.
        """
        from windrow.api import sinks

        return sinks.for_each_batch(self, function, changes, name)

    # -- run and look --------------------------------------------------------------------------------------------

    def collect(self, **options: Any) -> pa.Table:
        """Run to the end of the (bounded) sources and give all rows as an Arrow table; a Table gives its last rows."""
        from windrow.api import sinks

        return sinks.collect(self, **options)

    def batches(self, **options: Any) -> Iterator[pa.RecordBatch]:
        """Rows epoch by epoch, as record batches; each epoch is committed when the loop asks for the next batch."""
        from windrow.api import sinks

        return sinks.batches(self, **options)

    def explain(self) -> str:
        """What would run, as text."""
        from windrow.plan.explain import explain

        return explain((self._node,))

    # -- inside --------------------------------------------------------------------------------------------------

    def _then(self, node: nodes.Node) -> Stream:
        return Stream(node)

    def _keep(self, verb: str, names: Sequence[str]) -> Stream:
        outputs = tuple((name, expressions.column(name)) for name in names)
        return self._project(verb, outputs, self.schema.pick(tuple(names)))

    def _project(self, verb: str, outputs: Any, schema: Schema) -> Stream:
        return self._then(nodes.Project(schema, self._node.timed, self._node, verb, outputs))

    def _require(self, step: str, names: tuple[str, ...]) -> None:
        missing = [name for name in names if name not in self.schema]
        if missing:
            raise PlanError(f"{step}: no column {', '.join(map(repr, missing))}; columns there are: {self.schema}")


def _aliased(named: Mapping[str, pl.Expr | str]) -> list[pl.Expr]:
    return [(pl.col(value) if isinstance(value, str) else value).alias(name) for name, value in named.items()]
