"""Logical nodes: what a stream is made of. Immutable; a node that two streams share is the same object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from windrow.datatypes import Schema
from windrow.plan.expr import Expression
from windrow.plan.window import Aggregation


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """`schema` is what comes out; `timed` says whether rows have an event time."""

    schema: Schema
    timed: bool

    @property
    def inputs(self) -> tuple[Node, ...]:
        return ()


@dataclass(frozen=True, slots=True, eq=False)
class SourceNode(Node):
    """Where events come in. `make()` builds the connector when a job starts."""

    name: str
    describe: str
    make: Any
    log_path: str | None = None  # the embedded log it reads, if it does: the default place for the job's ledger
    unbounded: bool = True
    dead_letter: str | None = None  # topic for records that cannot be decoded


@dataclass(frozen=True, slots=True, eq=False)
class _Unary(Node):
    input: Node

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)


@dataclass(frozen=True, slots=True, eq=False)
class Filter(_Unary):
    """Rows for which the predicate is true."""

    predicate: Expression


@dataclass(frozen=True, slots=True, eq=False)
class Project(_Unary):
    """Columns anew: select, with_columns, drop and rename are all this."""

    verb: str
    columns: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True, eq=False)
class MapBatches(_Unary):
    """A user's function over whole batches."""

    function: Any
    reads: tuple[str, ...] | None
    kind: str  # "arrow", "polars" or "numpy": what the function takes and gives


@dataclass(frozen=True, slots=True, eq=False)
class Explode(_Unary):
    """One row for each element of list columns."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Watermark(_Unary):
    """Event time from a column, and how far behind the newest event one is still expected."""

    column: str
    delay_us: int
    idle_us: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Union(Node):
    """All rows of several inputs with the same columns."""

    sources: tuple[Node, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return self.sources


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate(_Unary):
    """A stateful grouping. Its argument expressions are evaluated into `arguments` just before."""

    aggregation: Aggregation
    arguments: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Late(Node):
    """The rows that `aggregate` left out because they came too late, as it got them."""

    aggregate: Aggregate

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.aggregate,)


@dataclass(frozen=True, slots=True, eq=False)
class SinkNode(_Unary):
    """Where rows go. `make(schema, in_ledger)` builds the connector for rows of this Arrow schema;
    `in_ledger` says whether the log at `log_path` is the ledger's own."""

    name: str
    describe: str
    make: Any
    log_path: str | None = None
    guarantee: str = "exactly-once"
    key: tuple[str, ...] = ()


def walk(roots: tuple[Node, ...]) -> Iterator[Node]:
    """Every node once, inputs before the nodes that read them."""
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if id(node) in seen:
            continue
        if ready:
            seen.add(id(node))
            yield node
        else:
            stack.append((node, True))
            stack += [(child, False) for child in reversed(node.inputs)]
