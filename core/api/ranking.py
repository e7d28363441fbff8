"""top_k of Tables, of windows of a stream, with ties that come all or none; unique rows without their like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from windrow import expressions
from windrow.api.stream import Aggregated, Stream, Table
from windrow.datatypes import INT64, TIMESTAMP, DataType, Field, Schema
from windrow.errors import PlanError
from windrow.plan import nodes
from windrow.plan.expr import Expression
from windrow.plan.nodes_rank import RankNode
from windrow.plan.rank import Order, Rank
from windrow.plan.topk import Ties
from windrow.plan.window import Window
from windrow.state.order import check_order

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
    by: Sequence[str | pl.Expr],
    per: tuple[str, ...],
    descending: Sequence[bool],
    ties: Ties,
    rank: str | None,
    window: Window | None,
) -> Stream:
    """`Stream.top_k` of what `topk.top_k` has checked."""
    order, arguments = _order(stream, by, descending)
    wanted = Rank("top_k", per, (), order, n, ties, (), rank)
    if window is not None:
        return _in_window(stream, window, wanted, arguments)
    if isinstance(stream, Aggregated) and stream._node.timed and not stream._node.updating:
        wanted = replace(wanted, per=tuple(dict.fromkeys((*_BOUNDS, *per))), closed=True)
    return _made(stream, wanted, arguments)


def alone(stream: Stream, per: tuple[str, ...]) -> Table:
    """The rows that have no other one with equal `per`."""
    made = _made(stream, Rank("unique", per, (), (), 1, "row_number", (), alone=True), ())
    assert isinstance(made, Table)
    return made


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
