"""A plan as text: stable, so that tests can pin it, and short, so that people read it."""

from __future__ import annotations

from windrow.datatypes import DataType
from windrow.plan import nodes
from windrow.plan.dedup import DedupNode
from windrow.plan.join import Join
from windrow.plan.lower import lower
from windrow.plan.nodes_join import JoinNode, Lookup
from windrow.plan.nodes_rank import RankNode
from windrow.plan.physical import Physical
from windrow.plan.window import Aggregate
from windrow.units import format_us

#: How types begin whose values are numbers that may lie close together.
_NUMBERS = ("int", "uint", "date", "time", "duration")


def explain(sinks: tuple[nodes.Node, ...]) -> str:
    """The tree of steps from each sink to its sources, with the columns that are read."""
    plan = lower(sinks)
    lines: list[str] = []
    numbers: dict[int, int] = {}
    for sink in plan.roots:
        _write(sink, 0, plan, lines, numbers)
    return "\n".join(lines)


def by_value(plan: Physical) -> list[str]:
    """The operators whose table of keys may be a dense array: their key is one number, or a time."""
    return [
        plan.operator_name(node).partition(":")[2]
        for node in plan.stateful
        if len(types := _key_types(node)) == 1 and types[0].name.startswith(_NUMBERS)
    ]


def _key_types(node: nodes.Stateful) -> tuple[DataType, ...]:
    match node:
        case nodes.Aggregate():
            return node.aggregation.key_types
        case JoinNode():
            return node.join.key_types
        case RankNode():
            return node.rank.per_types
    return ()


def _write(node: nodes.Node, depth: int, plan: Physical, lines: list[str], numbers: dict[int, int]) -> None:
    pad = "  " * depth
    if id(node) in numbers:
        lines.append(f"{pad}(#{numbers[id(node)]} again)")
        return
    shared = len(plan.consumers.get(id(node), ())) > 1
    mark = ""
    if shared:
        numbers[id(node)] = len(numbers) + 1
        mark = f"#{numbers[id(node)]} "
    lines.append(f"{pad}{mark}{describe(node, plan)}")
    for child in node.inputs:
        _write(child, depth + 1, plan, lines, numbers)


def describe(node: nodes.Node, plan: Physical) -> str:
    """One line for one step."""
    columns = ", ".join(plan.needed[id(node)])
    match node:
        case nodes.SourceNode():
            extent = "unbounded" if node.unbounded else "bounded"
            return f"read {node.describe} ({extent}) columns [{columns}]"
        case nodes.Filter():
            return f"filter {node.predicate}"
        case nodes.Project():
            shown = ", ".join(_named(name, str(e)) for name, e in node.columns if name in plan.needed[id(node)])
            return f"{node.verb} [{shown}]"
        case nodes.MapBatches():
            return f"map_batches {getattr(node.function, '__name__', 'function')} ({node.kind})"
        case nodes.Explode():
            return f"explode [{', '.join(node.columns)}]"
        case nodes.Watermark() if node.column is None:
            return "processing time"
        case nodes.Watermark():
            idle = f", idle after {format_us(node.idle_us)}" if node.idle_us is not None else ""
            return f"watermark {node.column} - {format_us(node.delay_us)}{idle}"
        case nodes.Union():
            return "union"
        case nodes.Aggregate():
            return _aggregate(node)
        case JoinNode():
            return _join(node.join)
        case Lookup():
            again = "" if node.refresh_us is None else f", loaded again every {format_us(node.refresh_us)}"
            return f"look up {node.join} {node.describe}{again} (no state)"
        case DedupNode():
            return f"unique {node.dedup} (state bounded by the watermark - {format_us(node.dedup.within_us)})"
        case RankNode():
            return _rank(node)
        case nodes.Late():
            return "late rows of"
        case nodes.SinkNode():
            return f"write {node.describe} ({node.guarantee}{_changes(node)})"
    return type(node).__name__


def _changes(node: nodes.SinkNode) -> str:
    """How a Table's changes are written; nothing for rows that are final."""
    if not node.input.updating:
        return ""
    key = "none" if node.key is None else ", ".join(node.key) or "the one row"
    if node.changes == "log":
        return f", changes with a column {nodes.OPERATION}"
    return f", upserts by {key}" + (" with deletions" if node.input.deleting else "")


def _aggregate(node: nodes.Aggregate) -> str:
    aggregation = node.aggregation
    arguments = {name: str(e) for name, e in node.arguments}
    shown = ", ".join(f"{a.name} = {_call(a, arguments)}" for a in aggregation.aggregates)
    window = aggregation.window
    after = f" - {format_us(aggregation.lateness_us)}" if aggregation.lateness_us else ""
    bound = f"state bounded by the watermark{after}"
    if window is None or window.kind == "count":
        bound = "state unbounded: one row a key"
    rule = f" {window}" if window else ""
    return f"group by [{', '.join(aggregation.keys)}]{rule} {aggregation.when}: {shown} ({bound})"


def _join(join: Join) -> str:
    kept = "state bounded by the watermark" if join.bounded else "state unbounded: all rows of both sides"
    if join.strategy is not None and join.tolerance_us is None:
        kept = "state: the last row of each key, and what the watermark has not passed"
    return f"join {join}{' as changes' if join.updating else ''} ({kept})"


def _rank(node: RankNode) -> str:
    rank = node.rank
    if rank.closed:
        kept = "state bounded by the watermark"
    elif rank.weighted:
        kept = "state unbounded: all rows"
    else:
        kept = f"state unbounded: {2 if rank.alone else rank.n} rows a group"
        kept += "" if rank.ties == "row_number" else " and ties"
    text = str(rank)
    for name, expression in node.arguments:
        text = text.replace(name, str(expression))
    return f"rank {text} {'final' if rank.closed else 'as changes'} in {rank.kept} ({kept})"


def _call(aggregate: Aggregate, arguments: dict[str, str]) -> str:
    text = "" if aggregate.column is None else arguments.get(aggregate.column, aggregate.column)
    where = f" where {arguments.get(aggregate.where, aggregate.where)}" if aggregate.where else ""
    return f"{aggregate.function}({text}){where}"


def _named(name: str, text: str) -> str:
    return name if name == text else f"{name} = {text}"
