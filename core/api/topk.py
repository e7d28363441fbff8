"""top_k and unique: from names to what the plan can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import polars as pl

from windrow.api import ranking
from windrow.api.stream import Aggregated, Stream, Table
from windrow.batch import TIME
from windrow.datatypes import INT64, DataType, Field, Schema
from windrow.errors import PlanError
from windrow.plan.topk import Ties, TopK, TopKNode, key_of
from windrow.plan.window import Window

Names = str | Sequence[str]


def top_k(
    stream: Stream,
    n: int,
    by: str | pl.Expr | Sequence[str | pl.Expr],
    per: Names,
    descending: bool | Sequence[bool],
    ties: Ties,
    rank: str | None,
    window: Window | None,
) -> Stream:
    """See `Stream.top_k`."""
    wished = (by,) if isinstance(by, (str, pl.Expr)) else tuple(by)
    order = tuple(one for one in wished if isinstance(one, str))
    down = (descending,) * len(wished) if isinstance(descending, bool) else tuple(descending)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise PlanError(f"top_k: n must be a number of rows of 1 or more, got {n!r}")
    if not wished or len(down) != len(wished):
        raise PlanError(f"top_k: by needs columns, and descending as many values: {list(wished)}, {list(down)}")
    if ties not in ("row_number", "rank", "dense_rank"):
        raise PlanError(f"top_k: ties must be 'row_number', 'rank' or 'dense_rank', got {ties!r}")
    if rank is not None and rank in stream.schema:
        raise PlanError(f"top_k: there is a column {rank!r} already; give the rank another name")
    stream._require("top_k", (*order, *_names(per)))
    of_windows = isinstance(stream, Aggregated) and stream._node.timed
    counted = ties == "row_number" or of_windows
    if window is not None or stream._node.updating or len(order) < len(wished) or not counted:
        return ranking.top_k(stream, n, wished, _names(per), down, ties, rank, window)
    wanted = TopK("", _columns(stream), _names(per), order, down, n, ties=ties, rank=rank)
    if isinstance(stream, Aggregated) and stream._node.timed:
        return _of_windows(stream, wanted)
    return _table(stream, wanted)


def unique(stream: Stream, subset: Names | None, keep: Literal["first", "last", "none"]) -> Table:
    """See `Stream.unique`."""
    if keep not in ("first", "last", "none"):
        raise PlanError(f"unique: keep must be 'first', 'last' or 'none', got {keep!r}")
    per = tuple(stream.columns) if subset is None else _names(subset)
    stream._require("unique", per)
    if keep == "none":
        return ranking.alone(stream, per)
    last = keep == "last"
    by = (TIME,) if stream._node.timed else ()
    return _table(stream, TopK("", _columns(stream), per, by, (last,) * len(by), 1, latest=last))


def _of_windows(stream: Aggregated, wanted: TopK) -> Stream:
    """Ranked within each window, once, when it closes."""
    per = tuple(dict.fromkeys(("window_start", "window_end", *wanted.per)))
    top = replace(wanted, per=per, closes="window_end", name=f"top {wanted.n} of windows")
    return Stream(TopKNode(_schema(stream, top), True, stream._node, top))


def _table(stream: Stream, wanted: TopK) -> Table:
    if stream._node.updating:
        raise PlanError(
            "unique: not on a Table, whose rows have no first and last; say which one with top_k(1, by=..., per=...)"
        )
    top = replace(wanted, name=f"top {wanted.n} {'_'.join(wanted.per) or 'all'}")
    schema = _schema(stream, top)
    return Table(TopKNode(schema, False, stream._node, top), key_of(top, schema))


def _schema(stream: Stream, top: TopK) -> Schema:
    extra = () if top.rank is None else (Field(top.rank, INT64),)
    return Schema((*(Field(field.name, field.type) for field in stream.schema), *extra))


def _columns(stream: Stream) -> tuple[tuple[str, DataType], ...]:
    return tuple((field.name, field.type) for field in stream.schema)


def _names(value: Names) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
