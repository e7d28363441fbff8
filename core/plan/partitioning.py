"""Which jobs several instances can share, each partition apart: those that never need rows of two partitions together.

Followed from the sources down: which columns tell that rows which are equal in them came from the same partition.
"""

from __future__ import annotations

from itertools import product

from windrow.errors import PlanError
from windrow.plan import nodes
from windrow.plan.dedup import DedupNode
from windrow.plan.join import LEFT, RIGHT
from windrow.plan.nodes_join import JoinNode, Lookup
from windrow.plan.nodes_rank import RankNode
from windrow.plan.over import OverNode
from windrow.plan.physical import Physical

#: Lists of columns; rows that are equal in all columns of one of them came from the same partition.
Together = frozenset[tuple[str, ...]]


def check_shared(plan: Physical) -> None:
    """Raise `PlanError` when a step of the job needs rows of several partitions together, or may need them."""
    together: dict[int, Together] = {}
    for node in plan.order:
        feeding = (node.of.inputs[node.side],) if isinstance(node, nodes.Late) else node.inputs
        above = [together[id(child)] for child in feeding]
        if isinstance(node, nodes.Stateful) and not _apart(node, above):
            raise PlanError(_refusal(node, plan))
        together[id(node)] = _below(node, above)


def _apart(node: nodes.Stateful, above: list[Together]) -> bool:
    """Whether the state of each partition can be kept by itself."""
    if isinstance(node, JoinNode):
        return bool(_aligned(node, above))
    return any(set(columns) <= set(_keys(node)) for columns in above[0])


def _keys(node: nodes.Stateful) -> tuple[str, ...]:
    match node:
        case nodes.Aggregate():
            return node.aggregation.keys
        case RankNode():
            return node.rank.per
        case OverNode():
            return node.over.per
        case DedupNode():
            return node.dedup.per
    return ()


def _aligned(node: JoinNode, above: list[Together]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The columns of both sides by which the partitions of both are the same."""
    left_keys, right_keys = node.join.sides[LEFT].keys, node.join.sides[RIGHT].keys
    other = dict(zip(left_keys, right_keys, strict=True))
    pairs = [(left, tuple(other[name] for name in left)) for left in above[LEFT] if set(left) <= set(left_keys)]
    return [(left, right) for left, right in pairs if right in above[RIGHT]]


def _below(node: nodes.Node, above: list[Together]) -> Together:
    match node:
        case nodes.SourceNode():
            by = node.sharing.by if node.sharing is not None else ()
            return frozenset([by]) if by else frozenset()
        case nodes.Project():
            named: dict[str, list[str]] = {}
            for name, expression in node.columns:
                if expression.column is not None:
                    named.setdefault(expression.column, []).append(name)
            return _renamed(above[0], named)
        case nodes.MapBatches():
            return frozenset()  # what a function makes of the columns is not known
        case nodes.Explode():
            return frozenset(columns for columns in above[0] if not set(columns) & set(node.columns))
        case nodes.Union():
            return frozenset.intersection(*above)
        case Lookup():
            named = {}
            for column in node.join.columns:
                if column.side == LEFT:
                    named.setdefault(column.source, []).append(column.name)
            return _renamed(above[0], named)
        case JoinNode():
            return _joined(node, above)
    names = set(node.schema.names)
    return frozenset(columns for columns in above[0] if set(columns) <= names)


def _joined(node: JoinNode, above: list[Together]) -> Together:
    named: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for column in node.join.columns:
        named[column.side].setdefault(column.source, []).append(column.name)
        if column.other is not None:  # the key of either side
            named[1 - column.side].setdefault(column.other, []).append(column.name)
    pairs = _aligned(node, above)
    left = _renamed(frozenset(pair[LEFT] for pair in pairs), named[LEFT])
    right = _renamed(frozenset(pair[RIGHT] for pair in pairs), named[RIGHT])
    # a column of one side alone is null where the other side's row comes out alone
    always = {column.name for column in node.join.columns if column.other is not None}
    left_always = node.join.how in ("inner", "left", "semi", "anti")
    right_always = node.join.how in ("inner", "right")
    kept = [columns for columns in left if left_always or set(columns) <= always]
    return frozenset(kept + [columns for columns in right if right_always or set(columns) <= always])


def _renamed(together: Together, named: dict[str, list[str]]) -> Together:
    found: set[tuple[str, ...]] = set()
    for columns in together:
        found.update(product(*(named.get(column, []) for column in columns)))
    return frozenset(found)


def _refusal(node: nodes.Stateful, plan: Physical) -> str:
    name = plan.operator_name(node).partition(":")[2]
    if isinstance(node, JoinNode):
        left, right = (", ".join(side.keys) for side in node.join.sides)
        need = f"rows of both inputs with equal keys ({left}; {right})"
    elif _keys(node):
        need = f"all rows with equal {', '.join(_keys(node))}"
    else:
        need = "all rows"
    known = [
        f"{source.name!r} is partitioned by {', '.join(source.sharing.by)}"
        if source.sharing is not None and source.sharing.by
        else f"how {source.name!r} is partitioned is not said"
        for source in plan.sources
    ]
    return (
        f"a group keeps every partition apart, and {name} needs {need} together; {'; '.join(known)}. If the topics are "
        "partitioned by (part of) the key, say so: read_kafka(..., partitioned_by=...). Else have one job write the "
        "rows to a topic by that key, and a second one read it; or run the job in one process, without group=True"
    )
