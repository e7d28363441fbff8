"""join_lookup: where the table beside a stream comes from."""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from windrow import expressions
from windrow.api.joins import JoinMaker, Match, schema_of
from windrow.api.queries import Query
from windrow.api.stream import Stream
from windrow.api.table import Table
from windrow.arrow_types import from_arrow_schema
from windrow.errors import PlanError
from windrow.plan import nodes
from windrow.plan.nodes_join import Lookup
from windrow.units import Duration, duration_us

Load = Callable[[], pa.Table]


def join_lookup(stream: Stream, table: Any, match: Match, refresh: Duration | None) -> Stream:
    """See `Stream.join_lookup`."""
    how = match.how
    if how not in ("inner", "left", "semi", "anti"):
        raise PlanError(f"join_lookup: how must be inner, left, semi or anti, got {how!r}: the table's rows never end")
    load, schema, describe = _source(table)
    if refresh is not None and stream._node.updating:
        raise PlanError(
            "join_lookup: rows of a Table are taken back as they were sent, which a table that is loaded again cannot "
            "do; leave out refresh, or look up before the Table is made"
        )
    side = Stream(nodes.SourceNode(from_arrow_schema(schema), False, "lookup", describe, None))
    spec = JoinMaker("join_lookup", stream, side, match).spec()
    refresh_us = None if refresh is None else duration_us(refresh, "join_lookup: refresh")
    made = Lookup(schema_of(spec), stream._node.timed, stream._node, spec, describe, load, refresh_us)
    if isinstance(stream, Table):
        return Table(made, stream.key if how in ("semi", "anti") else None)
    return Stream(made)


def _source(table: Any) -> tuple[Load, pa.Schema, str]:
    """How to load it, its schema, and what to call it."""
    if isinstance(table, (str, Path)):
        return _parquet(str(table))
    if isinstance(table, Query):
        return table.load, table.load().schema, f"in {table}"
    if callable(table):
        name = getattr(table, "__name__", "function")
        return (lambda: as_table(table())), as_table(table()).schema, f"in what {name}() gives"
    held = as_table(table)
    return (lambda: held), held.schema, f"in {held.num_rows} rows in memory"


def _parquet(path: str) -> tuple[Load, pa.Schema, str]:
    import pyarrow.parquet as pq

    def files() -> list[str]:
        found = sorted(glob.glob(path))  # noqa: PTH207 - a path as users write it, absolute or not
        if not found:
            raise PlanError(f"join_lookup: no file {path!r}")
        return found

    def load() -> pa.Table:
        return pa.concat_tables([pq.read_table(file) for file in files()])

    return load, pq.read_schema(files()[0]), f"in parquet {path}"


def as_table(value: Any) -> pa.Table:
    """What a user gave as an Arrow table."""
    if isinstance(value, pa.Table):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    if expressions.is_frame(value):
        return expressions.frame_to_table(value)
    for method in ("to_arrow_table", "fetch_arrow_table", "read_all"):
        if hasattr(value, method):
            made = getattr(value, method)()
            if isinstance(made, pa.Table):
                return made
    raise PlanError(
        "join_lookup: expected a polars frame, an Arrow table, the path of a Parquet file, wr.query(...), or a "
        f"function that gives a frame or a table, got {type(value).__name__}"
    )
