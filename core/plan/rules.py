"""Rules that make a plan cheaper and leave its results as they are: logical nodes in, logical nodes out.

Equal steps become one, so that what two outputs have in common is computed once; conditions move up towards the
sources, through everything that they can pass, so that fewer rows go through the steps between.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import Any

from windrow.plan import nodes
from windrow.plan.expr import Expression


def optimized(sinks: tuple[nodes.Node, ...]) -> tuple[nodes.Node, ...]:
    """The plan with these sinks after all rules."""
    merged = _merged(sinks)
    while True:
        moved = _moved(merged)
        if moved is merged:
            return merged
        merged = _merged(moved)


# -- equal steps are one ---------------------------------------------------------------------------------------------


def _merged(sinks: tuple[nodes.Node, ...]) -> tuple[nodes.Node, ...]:
    known: dict[object, nodes.Node] = {}
    new: dict[int, nodes.Node] = {}
    for node in nodes.walk(sinks):
        rebuilt = with_inputs(node, {id(child): new[id(child)] for child in node.inputs})
        new[id(node)] = known.setdefault(_identity(rebuilt), rebuilt)
    return tuple(new[id(sink)] for sink in sinks)


def _identity(node: nodes.Node) -> object:
    """Equal for steps that give the same rows; user functions, sources and sinks are only ever equal to themselves."""
    if isinstance(node, nodes.SourceNode):
        return id(node) if node.identity is None else (nodes.SourceNode, node.name, node.identity)
    if isinstance(node, (nodes.SinkNode, nodes.MapBatches)):
        return id(node)
    parts: list[Any] = [type(node)]
    for field in fields(node):
        value = getattr(node, field.name)
        parts.append(_comparable(value))
    try:
        hash(tuple(parts))
    except TypeError:
        return id(node)
    return tuple(parts)


def _comparable(value: Any) -> Any:
    if isinstance(value, nodes.Node):
        return id(value)
    if isinstance(value, tuple):
        return tuple(_comparable(part) for part in value)
    return (Expression, value.identity) if isinstance(value, Expression) else value


# -- conditions move up ----------------------------------------------------------------------------------------------


def _moved(sinks: tuple[nodes.Node, ...]) -> tuple[nodes.Node, ...]:
    """The plan with one condition moved one step up; the same object when none can."""
    readers = Counter(id(sink) for sink in sinks)
    order = list(nodes.walk(sinks))
    for node in order:
        readers.update(id(child) for child in node.inputs)
    for node in order:
        if isinstance(node, nodes.Filter) and readers[id(node.input)] == 1:
            better = _above(node)
            if better is not None:
                return _replaced(sinks, node, better)
    return sinks


def _above(condition: nodes.Filter) -> nodes.Node | None:
    """The condition's input with the condition before it; None when it cannot pass."""
    step, reads = condition.input, condition.predicate.reads
    if reads is None:
        return None
    match step:
        case nodes.Project():
            passed = {name for name, expression in step.columns if expression.column == name}
            return _swapped(condition, step) if passed.issuperset(reads) else None
        case nodes.Union():
            inputs = tuple(replace(condition, input=source, timed=source.timed) for source in step.sources)
            return replace(step, sources=inputs)
        case nodes.Stateful():
            sides = step.passes(reads)
            new: dict[int, nodes.Node] = {
                id(child): replace(condition, input=child, schema=child.schema, timed=child.timed)
                for side, child in enumerate(step.inputs)
                if side in sides
            }
            return with_inputs(step, new) if new else None
    return None


def _swapped(condition: nodes.Filter, step: nodes.Project) -> nodes.Node:
    before = replace(condition, input=step.input, schema=step.input.schema, timed=step.input.timed)
    return replace(step, input=before)


def _replaced(sinks: tuple[nodes.Node, ...], old: nodes.Node, new: nodes.Node) -> tuple[nodes.Node, ...]:
    """`new` wherever `old` was read."""
    rebuilt: dict[int, nodes.Node] = {id(old): new}
    for node in nodes.walk(sinks):
        if node is not old:
            rebuilt[id(node)] = with_inputs(node, {id(child): rebuilt[id(child)] for child in node.inputs})
    return tuple(rebuilt[id(sink)] for sink in sinks)


def with_inputs(node: nodes.Node, new: dict[int, nodes.Node]) -> nodes.Node:
    """The node with other inputs, by the id of the ones it has; itself when they are the same."""
    changed: dict[str, Any] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, nodes.Node):
            other: Any = new.get(id(value), value)
        elif isinstance(value, tuple) and value and all(isinstance(part, nodes.Node) for part in value):
            other = tuple(new.get(id(part), part) for part in value)
            other = value if all(a is b for a, b in zip(other, value, strict=True)) else other
        else:
            continue
        if other is not value:
            changed[field.name] = other
    return replace(node, **changed) if changed else node
