"""From sinks to a physical plan: order the nodes, push down which columns are needed, find each window's watermarks."""

from __future__ import annotations

from collections import defaultdict

from windrow.errors import PlanError
from windrow.plan import nodes
from windrow.plan.expr import Expression
from windrow.plan.physical import Physical

_ORDERED = {"first", "last", "collect_list"}


def lower(sinks: tuple[nodes.Node, ...]) -> Physical:
    """The plan of a job with these sinks; raises `PlanError` when two sources or sinks have the same name."""
    order = tuple(nodes.walk(sinks))
    consumers: dict[int, list[nodes.Node]] = defaultdict(list)
    for node in order:
        for child in node.inputs:
            consumers[id(child)].append(node)
    _check_names(order)
    return Physical(
        order=order,
        needed=needed_columns(order, consumers),
        consumers={key: tuple(value) for key, value in consumers.items()},
        watermarks={id(node): watermarks_above(node) for node in order if isinstance(node, nodes.Aggregate)},
        ordered=frozenset(_ordered_sources(order)),
    )


def needed_columns(order: tuple[nodes.Node, ...], consumers: dict[int, list[nodes.Node]]) -> dict[int, tuple[str, ...]]:
    """For every node the columns of its output that are read downstream, in schema order; at least one."""
    needed: dict[int, tuple[str, ...]] = {}
    for node in reversed(order):
        wanted: set[str] = set()
        for consumer in consumers.get(id(node), ()):
            wanted |= _reads(consumer, needed[id(consumer)])
            # an aggregate hands rows that come too late on as it got them: what is read of those, it has to get
            for below in consumers.get(id(consumer), ()) if isinstance(consumer, nodes.Aggregate) else ():
                if isinstance(below, nodes.Late):
                    wanted |= set(needed[id(below)])
        if not consumers.get(id(node)):
            wanted = set(node.schema.names)
        kept = tuple(name for name in node.schema.names if name in wanted)
        needed[id(node)] = kept or node.schema.names[:1]
    return needed


def _reads(node: nodes.Node, output: tuple[str, ...]) -> set[str]:
    """The columns that `node` reads of its input so that it can give `output`."""
    match node:
        case nodes.Filter():
            return {*output, *_of(node.predicate, node)}
        case nodes.Project():
            return {name for out, e in node.columns if out in output for name in _of(e, node)}
        case nodes.MapBatches():
            return set(node.reads if node.reads is not None else node.input.schema.names)
        case nodes.Explode():
            return {*output, *node.columns}
        case nodes.Watermark():
            return {*output, node.column}
        case nodes.Aggregate():
            return _aggregate_reads(node)
        case nodes.Union():
            return set(output)
        case nodes.Late():
            return set()
        case _:
            return set(node.inputs[0].schema.names)


def _aggregate_reads(node: nodes.Aggregate) -> set[str]:
    computed = dict(node.arguments)
    reads = set(node.aggregation.keys)
    for aggregate in node.aggregation.aggregates:
        for name in (aggregate.column, aggregate.where):
            if name is not None and name not in computed:
                reads.add(name)
    for expression in computed.values():
        reads |= set(_of(expression, node))
    return reads


def _of(expression: Expression, node: nodes.Node) -> tuple[str, ...]:
    return node.inputs[0].schema.names if expression.reads is None else expression.reads


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
    roots = [
        node
        for node in order
        if isinstance(node, nodes.Aggregate)
        and (
            any(a.function in _ORDERED for a in node.aggregation.aggregates)
            or (node.aggregation.window is not None and node.aggregation.window.kind == "count")
        )
    ]
    return {id(node) for node in nodes.walk(tuple(roots)) if isinstance(node, nodes.SourceNode)}


def _check_names(order: tuple[nodes.Node, ...]) -> None:
    for kind, what in ((nodes.SourceNode, "sources"), (nodes.SinkNode, "sinks")):
        names = [node.name for node in order if isinstance(node, kind)]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise PlanError(
                f"two {what} of one job have the same name {doubled[0]!r}; give one of them another (name=...)"
            )
