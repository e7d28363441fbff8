"""Logical nodes: what a stream is made of. Immutable; a node that two streams share is the same object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from windrow.datatypes import Schema
from windrow.plan.expr import Expression
from windrow.plan.window import ORDERED, Aggregation

#: How the changes of a Table are written. upsert: only new rows, each replaces the one of its key, and none ever goes;
#: log: with a column `OPERATION`; weighted: the sink is given the weights, and makes of them what it has for it.
Changes = Literal["upsert", "log", "weighted"]
#: The column of a change log: ``d`` takes a row back, ``c`` adds one; an update is the one and then the other.
OPERATION = "op"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """`schema` is what comes out; `timed` says whether rows have an event time."""

    schema: Schema
    timed: bool

    @property
    def inputs(self) -> tuple[Node, ...]:
        return ()

    @property
    def updating(self) -> bool:
        """Whether rows are changes of a Table: they have a weight, and one may take back another."""
        return any(node.updating for node in self.inputs)

    @property
    def deleting(self) -> bool:
        """Whether a row of the Table can go without another one with the same key taking its place."""
        return any(node.deleting for node in self.inputs)


@dataclass(frozen=True, slots=True, eq=False)
class Stateful(Node):
    """A node that keeps state, divided into shards; each of its inputs is a side, counted from 0.

    `spec` says what is computed, as data: the runtime has `operators.build` make an operator from it.
    """

    @property
    def spec(self) -> Any:
        raise NotImplementedError

    @property
    def arguments_of(self) -> tuple[tuple[tuple[str, Expression], ...], ...]:
        """For each side the expressions that are evaluated into hidden columns just before it."""
        return tuple(() for _ in self.inputs)

    @property
    def ordered(self) -> bool:
        """Whether the result depends on the order in which events arrived."""
        return False

    @property
    def hold_us(self) -> int:
        """How far behind the watermark rows may leave: by so much the watermark of what follows is held back."""
        return 0

    def reads(self, side: int, output: tuple[str, ...]) -> set[str]:
        """The columns of that side that are needed for these columns of the result."""
        raise NotImplementedError

    def passes(self, columns: tuple[str, ...]) -> tuple[int, ...]:
        """The sides to which a condition on these columns of the result can be moved, so that it need not be asked of
        the result: there they are called the same, and a row that it leaves out there changes no other row's result."""
        return ()

    def describe_state(self, output: tuple[str, ...]) -> str:
        """All that the saved state depends on when these columns of the result are needed, in one line."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Sharing:
    """How several instances of a job can share a source, each partition by itself.

    `by`: rows that are equal in these columns are in partitions of the same number; empty when that is not known.
    `make_part(partition, count, fresh)` builds the connector for the partitions of that number of all topics, of
    `count` that there are; `fresh`: they came after the job began. `make_group(job, topics, instance, keyed)` joins the
    group of the instances; `keyed`: equal rows have to be in partitions of the same number.
    """

    topics: tuple[str, ...]
    by: tuple[str, ...]
    make_part: Any
    make_group: Any


@dataclass(frozen=True, slots=True, eq=False)
class SourceNode(Node):
    """Where events come in. `make()` builds the connector when a job starts."""

    name: str
    describe: str
    make: Any
    log_path: str | None = None  # the embedded log or cluster it reads: the default place for the job's ledger
    make_ledger: Any = None  # makes the ledger there, when it is a cluster
    make_dead_letters: Any = None  # (topic, create) -> a sink for dead letters there, when it is a cluster
    unbounded: bool = True
    dead_letter: str | None = None  # topic for records that cannot be decoded
    create_dead_letter: bool = False  # whether that topic may be made when it is not there
    sharing: Sharing | None = None  # None: it can only be read as a whole
    identity: tuple[Any, ...] | None = None  # equal for sources that give the same rows, which are then read once


@dataclass(frozen=True, slots=True, eq=False)
class Unary(Node):
    """A node with one input."""

    input: Node

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)


@dataclass(frozen=True, slots=True, eq=False)
class Filter(Unary):
    """Rows for which the predicate is true."""

    predicate: Expression

    @property
    def deleting(self) -> bool:
        return self.input.updating


@dataclass(frozen=True, slots=True, eq=False)
class Project(Unary):
    """Columns anew: select, with_columns, drop and rename are all this."""

    verb: str
    columns: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True, eq=False)
class MapBatches(Unary):
    """A user's function over whole batches."""

    function: Any
    reads: tuple[str, ...] | None
    kind: str  # "arrow", "polars" or "numpy": what the function takes and gives


@dataclass(frozen=True, slots=True, eq=False)
class Explode(Unary):
    """One row for each element of list columns."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Watermark(Unary):
    """Event time from a column, and how far behind the newest event one is still expected.

    Without a column it is processing time: that of the epoch in which the row is read.
    """

    column: str | None
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
class Aggregate(Stateful):
    """A grouping. Its argument expressions are evaluated into `arguments` just before."""

    input: Node
    aggregation: Aggregation
    arguments: tuple[tuple[str, Expression], ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def updating(self) -> bool:
        return self.aggregation.emit == "current"

    @property
    def deleting(self) -> bool:
        window = self.aggregation.window
        grows = window is not None and window.kind == "session"  # into a session with another end
        return self.updating and (self.aggregation.weighted or grows)

    @property
    def hold_us(self) -> int:
        return self.aggregation.lateness_us

    @property
    def spec(self) -> Aggregation:
        return self.aggregation

    @property
    def arguments_of(self) -> tuple[tuple[tuple[str, Expression], ...], ...]:
        return (self.arguments,)

    def passes(self, columns: tuple[str, ...]) -> tuple[int, ...]:
        keyed = bool(columns) and set(columns) <= set(self.aggregation.keys)
        return (0,) if keyed else ()

    @property
    def ordered(self) -> bool:
        window = self.aggregation.window
        counted = window is not None and window.kind == "count"
        return counted or any(a.function in ORDERED for a in self.aggregation.aggregates)

    def reads(self, side: int, output: tuple[str, ...]) -> set[str]:
        computed = dict(self.arguments)
        reads = set(self.aggregation.keys)
        for aggregate in self.aggregation.aggregates:
            for name in (aggregate.column, aggregate.where):
                if name is not None and name not in computed:
                    reads.add(name)
        for expression in computed.values():
            reads |= set(columns_of(expression, self.input))
        return reads

    def describe_state(self, output: tuple[str, ...]) -> str:
        aggregation = self.aggregation
        keys = ", ".join(f"{key}: {kind}" for key, kind in zip(aggregation.keys, aggregation.key_types, strict=True))
        arguments = dict(self.arguments)
        parts = []
        for a in aggregation.aggregates:
            argument = described(arguments[a.column]) if a.column in arguments else a.column or ""
            where = f" where {described(arguments[a.where]) if a.where in arguments else a.where}" if a.where else ""
            plain = [f"{name}={value}" for name, value in a.options if isinstance(value, (int, str, float))]
            parts.append(f"{a.name}={a.function}({', '.join([argument, *plain])}){where}: {a.argument_type}")
        return f"by [{keys}] {aggregation.window or 'all time'} emit {aggregation.when} [{'; '.join(parts)}]"


@dataclass(frozen=True, slots=True, eq=False)
class Late(Node):
    """The rows of one side that `of` left out because they came too late, as it got them."""

    of: Stateful
    side: int = 0

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.of,)

    @property
    def updating(self) -> bool:
        return self.of.inputs[self.side].updating


@dataclass(frozen=True, slots=True, eq=False)
class SinkNode(Unary):
    """Where rows go. `make(schema, in_ledger)` builds the connector for rows of this Arrow schema;
    `in_ledger` says whether the log (or cluster) at `log_path` is the ledger's own."""

    name: str
    describe: str
    make: Any
    log_path: str | None = None
    make_ledger: Any = None
    make_dead_letters: Any = None
    guarantee: str = "exactly-once"
    changes: Changes = "upsert"
    key: tuple[str, ...] | None = None  # of the Table whose changes are written; None: of none, or it has no key

    @property
    def needs_old(self) -> bool:
        """Whether a row must be taken back before another one takes its place."""
        return self.input.updating and (self.changes == "log" or self.key is None)


def described(expression: Expression) -> str:
    """The expression as saved state remembers it: for people, and by its identity."""
    return expression.text if expression.column is not None else f"{expression.text} #{expression.identity}"


def columns_of(expression: Expression, input_: Node) -> tuple[str, ...]:
    """The columns of `input_` that the expression reads."""
    return input_.schema.names if expression.reads is None else expression.reads


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
