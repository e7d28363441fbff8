"""From sinks to a physical plan: order the nodes, push down which columns are needed, find each window's watermarks."""

from __future__ import annotations

from collections import defaultdict

from windrow.errors import PlanError
from windrow.plan import nodes
from windrow.plan.nodes_join import Lookup
from windrow.plan.physical import Physical
from windrow.plan.rules import optimized


def lower(sinks: tuple[nodes.Node, ...]) -> Physical:
    """The plan of a job with these sinks; raises `PlanError` for names that are not unique, and for
    what no operator can do."""
    roots = optimized(sinks)
    order = tuple(nodes.walk(roots))
    consumers: dict[int, list[nodes.Node]] = defaultdict(list)
    for node in order:
        for child in node.inputs:
            consumers[id(child)].append(node)
    _check_names(order)
    _check_arrival(order)
    return Physical(
        roots=roots,
        order=order,
        needed=needed_columns(order, consumers),
        consumers={key: tuple(value) for key, value in consumers.items()},
        watermarks={id(node): watermarks_above(node) for node in order if isinstance(node, nodes.Stateful)},
        holds_us=_holds_us(order),
        ordered=frozenset(_ordered_sources(order)),
        retracting=frozenset(_retracting(order, consumers)),
    )


def needed_columns(order: tuple[nodes.Node, ...], consumers: dict[int, list[nodes.Node]]) -> dict[int, tuple[str, ...]]:
    """For every node the columns of its output that are read downstream, in schema order; at least one."""
    needed: dict[int, tuple[str, ...]] = {}
    for node in reversed(order):
        wanted: set[str] = set()
        for consumer in consumers.get(id(node), ()):
            for side in (side for side, child in enumerate(consumer.inputs) if child is node):
                wanted |= _reads(consumer, side, needed[id(consumer)])
                # rows that come too late are handed on as they came: what is read of those, the operator has to get
                for below in consumers.get(id(consumer), ()) if isinstance(consumer, nodes.Stateful) else ():
                    if isinstance(below, nodes.Late) and below.side == side:
                        wanted |= set(needed[id(below)])
        if not consumers.get(id(node)):
            wanted = set(node.schema.names)
        kept = tuple(name for name in node.schema.names if name in wanted)
        needed[id(node)] = kept or node.schema.names[:1]
    return needed


def _reads(node: nodes.Node, side: int, output: tuple[str, ...]) -> set[str]:
    """The columns that `node` reads of its input number `side` so that it can give `output`."""
    match node:
        case nodes.Filter():
            return {*output, *nodes.columns_of(node.predicate, node.input)}
        case nodes.Project():
            return {name for out, e in node.columns if out in output for name in nodes.columns_of(e, node.input)}
        case nodes.MapBatches():
            return set(node.reads if node.reads is not None else node.input.schema.names)
        case nodes.Explode():
            return {*output, *node.columns}
        case nodes.Watermark():
            return {*output} if node.column is None else {*output, node.column}
        case nodes.Stateful():
            return node.reads(side, output)
        case Lookup():
            return node.reads(output)
        case nodes.Union():
            return set(output)
        case nodes.Late():
            return set()
        case _:
            return set(node.inputs[0].schema.names)


def watermarks_above(node: nodes.Node) -> tuple[nodes.Watermark, ...]:
    """The nearest watermark steps on every way from the sources to `node`."""
    found: dict[int, nodes.Watermark] = {}
    pending = list(node.inputs)
    while pending:
        above = pending.pop()
        if isinstance(above, nodes.Watermark):
            found[id(above)] = above
        else:
            pending += above.inputs
    return tuple(found.values())


def _ordered_sources(order: tuple[nodes.Node, ...]) -> set[int]:
    roots = tuple(node for node in order if isinstance(node, nodes.Stateful) and node.ordered)
    return {id(node) for node in nodes.walk(roots) if isinstance(node, nodes.SourceNode)}


def _holds_us(order: tuple[nodes.Node, ...]) -> dict[int, int]:
    """For each stateful node by how much its time lags the watermark: rows of operators above may leave that late."""
    leaving: dict[int, int] = {}
    holds: dict[int, int] = {}
    for node in order:
        above = max((leaving[id(child)] for child in node.inputs), default=0)
        if isinstance(node, nodes.Stateful):
            holds[id(node)] = above
            above += node.hold_us
        leaving[id(node)] = 0 if isinstance(node, nodes.Watermark) else above
    return holds


def _retracting(order: tuple[nodes.Node, ...], consumers: dict[int, list[nodes.Node]]) -> set[int]:
    """The updating stateful nodes of which some reader needs to know what a new row replaces.

    A sink of upserts does not; a step in between that keeps every row does not either. A filter does: a row that no
    longer passes has to go where an earlier one passed.
    """
    found: set[int] = set()
    for node in order:
        if isinstance(node, nodes.Stateful) and node.updating and _needs_old(node, consumers):
            found.add(id(node))
    return found


def _needs_old(node: nodes.Node, consumers: dict[int, list[nodes.Node]]) -> bool:
    for consumer in consumers.get(id(node), ()):
        match consumer:
            case nodes.SinkNode():
                if consumer.needs_old:
                    return True
            case nodes.Project():
                if _needs_old(consumer, consumers):
                    return True
            case nodes.Late():
                pass
            case _:
                return True
    return False


def _check_arrival(order: tuple[nodes.Node, ...]) -> None:
    """Aggregates that go by the order of arrival can only be taken of rows as they came from a source."""
    derived: set[int] = set()
    for node in order:
        if isinstance(node, nodes.Aggregate) and node.ordered and id(node.input) in derived:
            raise PlanError(
                f"{node.spec.name}: first, last, collect_list, arg_min, arg_max and count windows go by the order in "
                "which events arrive, which results of windows and joins do not have; take min or max, or top_k by a "
                "column"
            )
        above = (node.of.inputs[node.side],) if isinstance(node, nodes.Late) else node.inputs
        if isinstance(node, nodes.Stateful) or any(id(child) in derived for child in above):
            derived.add(id(node))


def _check_names(order: tuple[nodes.Node, ...]) -> None:
    for kind, what in ((nodes.SourceNode, "sources"), (nodes.SinkNode, "sinks")):
        names = [node.name for node in order if isinstance(node, kind)]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise PlanError(
                f"two {what} of one job have the same name {doubled[0]!r}; give one of them another (name=...)"
            )
