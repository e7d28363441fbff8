"""top_k and unique: from names and expressions to what the plan can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from windrow import expressions
from windrow.api.stream import Stream
from windrow.api.table import Aggregated, Table
from windrow.batch import TIME
from windrow.datatypes import INT64, TIMESTAMP, DataType, Field, Schema
from windrow.errors import PlanError
from windrow.plan import nodes
from windrow.plan.dedup import Dedup, DedupNode, Keep
from windrow.plan.expr import Expression
from windrow.plan.nodes_rank import RankNode
from windrow.plan.rank import Order, Rank, Ties
from windrow.plan.window import Window
from windrow.state.keys.order import check_order
from windrow.units import Duration, duration_us

Names = str | Sequence[str]
_BOUNDS = ("window_start", "window_end")


class Ranked(Stream):
    """The first rows of each window; `late` are those that came when all their windows had closed."""

    _node: RankNode

    @property
    def late(self) -> Stream:
        """The rows that came after their windows had closed, with the columns they had."""
        return Stream(nodes.Late(self._node.input.schema, False, self._node))


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
    down = (descending,) * len(wished) if isinstance(descending, bool) else tuple(descending)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise PlanError(f"top_k: n must be a number of rows of 1 or more, got {n!r}")
    if not wished or len(down) != len(wished):
        raise PlanError(f"top_k: by needs columns, and descending as many values: {list(wished)}, {list(down)}")
    if ties not in ("row_number", "rank", "dense_rank"):
        raise PlanError(f"top_k: ties must be 'row_number', 'rank' or 'dense_rank', got {ties!r}")
    if rank is not None and rank in stream.schema:
        raise PlanError(f"top_k: there is a column {rank!r} already; give the rank another name")
    stream._require("top_k", (*(one for one in wished if isinstance(one, str)), *_names(per)))
    order, arguments = _order(stream, wished, down)
    wanted = Rank("top_k", _names(per), (), order, n, ties, (), rank)
    if window is not None:
        return _in_window(stream, window, wanted, arguments)
    if isinstance(stream, Aggregated) and stream._node.timed:
        bounds = (name for name in _BOUNDS if name in stream.schema)
        wanted = replace(wanted, per=tuple(dict.fromkeys((*bounds, *wanted.per))), closed=True)
    return _made(stream, wanted, arguments)


class Deduplicated(Stream):
    """What `Stream.unique` leaves of a stream within intervals; `late` are the rows that came too late for that."""

    _node: DedupNode

    @property
    def late(self) -> Stream:
        """The rows that came when the watermark had passed their time, with the columns they had."""
        return Stream(nodes.Late(self._node.input.schema, False, self._node))


def unique(stream: Stream, subset: Names | None, keep: Keep, within: Duration | None) -> Stream:
    """See `Stream.unique`."""
    if keep not in ("first", "last", "none"):
        raise PlanError(f"unique: keep must be 'first', 'last' or 'none', got {keep!r}")
    per = tuple(stream.columns) if subset is None else _names(subset)
    stream._require("unique", per)
    if stream._node.updating and keep != "none":
        raise PlanError(
            "unique: not on a Table, whose rows have no first and last; say which one with top_k(1, by=..., per=...)"
        )
    if within is not None:
        return _within(stream, per, keep, within)
    last = keep == "last"
    order = (Order(TIME, INT64, last),) if stream._node.timed and keep != "none" else ()
    return _made(stream, Rank("unique", per, (), order, 1, "row_number", (), latest=last, alone=keep == "none"), ())


def _within(stream: Stream, per: tuple[str, ...], keep: Keep, within: Duration) -> Deduplicated:
    within_us = duration_us(within, "unique: within")
    if not within_us or not per:
        raise PlanError(f"unique: within={within!r} of {list(per)}: a length of time and some columns are needed")
    if stream._node.updating:
        raise PlanError("unique: within= is for streams: rows of a Table change after their time")
    if not stream._node.timed:
        raise PlanError("unique: within= needs event time; call .watermark(column, delay=...) before")
    columns = tuple((field.name, field.type) for field in stream.schema)
    name = f"unique:{'_'.join(per)}"
    dedup = Dedup(name, per, within_us, keep, columns, _arrives(stream._node))
    return Deduplicated(DedupNode(stream.schema, True, stream._node, dedup))


def _made(stream: Stream, rank: Rank, arguments: tuple[tuple[str, Expression], ...]) -> Stream:
    """The ranking with what it needs to know of the stream."""
    node, fields = stream._node, list(stream.schema)
    if rank.window is not None:
        fields += [Field(name, TIMESTAMP) for name in _BOUNDS]
    types: dict[str, DataType] = {field.name: field.type for field in fields}
    rank = replace(
        rank,
        name=f"{rank.name}:{'_'.join(rank.per) or 'all'}",
        per_types=tuple(types[name] for name in rank.per),
        columns=tuple((field.name, field.type) for field in stream.schema),
        arrival=not node.updating and _arrives(node),
        weighted=node.updating,
    )
    key = None if rank.closed else _key(stream, rank)
    if rank.rank is not None:
        fields.append(Field(rank.rank, INT64))
    made = RankNode(Schema(tuple(fields)), rank.closed, node, replace(rank, key=key), arguments)
    if not rank.closed:
        return Table(made, key)
    return Ranked(made) if rank.window is not None else Stream(made)


def _key(stream: Stream, rank: Rank) -> tuple[str, ...] | None:
    """Columns that tell the result's rows apart: the group, with the rank if there can be several rows."""
    if rank.n == 1 and rank.ties == "row_number":
        return rank.per
    if rank.ties == "row_number" and rank.rank is not None:
        return (*rank.per, rank.rank)
    return stream.key if isinstance(stream, Table) else None


def _in_window(stream: Stream, window: Window, rank: Rank, arguments: tuple[tuple[str, Expression], ...]) -> Stream:
    if not isinstance(window, Window) or window.kind not in ("tumbling", "hopping"):
        raise PlanError(f"top_k: the window must be wr.tumbling(...) or wr.hopping(...), got {window}")
    if stream._node.updating:
        raise PlanError("top_k: rows of a Table change after their time; take the stream that it is made of")
    if not stream._node.timed:
        raise PlanError(f"top_k: {window} needs event time; call .watermark(column, delay=...) before")
    taken = [name for name in _BOUNDS if name in stream.schema]
    if taken:
        raise PlanError(f"top_k: there is a column {taken[0]!r} already; rename it before, or leave window= out")
    return _made(stream, replace(rank, per=(*_BOUNDS, *rank.per), window=window, closed=True), arguments)


def _order(
    stream: Stream, by: Sequence[str | pl.Expr], descending: Sequence[bool]
) -> tuple[tuple[Order, ...], tuple[tuple[str, Expression], ...]]:
    orders: list[Order] = []
    arguments: list[tuple[str, Expression]] = []
    for number, (one, way) in enumerate(zip(by, descending, strict=True)):
        parsed, schema = expressions.parse([one], stream.schema, "top_k: by")
        if len(parsed) != 1:
            raise PlanError(f"top_k: by: {one} gives {len(parsed)} columns, one is needed")
        expression, kind = parsed[0][1], schema.fields[0].type
        check_order("top_k", [(str(one), kind)])
        name = expression.column
        if name is None:
            name = f"__by{number}"
            arguments.append((name, expression))
        orders.append(Order(name, kind, bool(way)))
    return tuple(orders), tuple(arguments)


def _arrives(node: nodes.Node) -> bool:
    """Whether rows still know in what order they came from their source."""
    return not any(isinstance(above, (nodes.Stateful, nodes.MapBatches, nodes.Late)) for above in nodes.walk((node,)))


def _names(value: Names) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
