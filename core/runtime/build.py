"""From a physical plan to running objects: connectors, steps wired to each other, operators with their shards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pyarrow as pa

from windrow.arrow_types import to_arrow_schema
from windrow.batch import WEIGHT
from windrow.config import passing_shards
from windrow.errors import InvariantError
from windrow.io.base import Divisible, Sink, Source
from windrow.operators.base import OperatorContext, StatefulOperator
from windrow.operators.build import build_operator
from windrow.plan import nodes
from windrow.plan.expr import Expression
from windrow.plan.nodes_join import Lookup
from windrow.plan.physical import Physical
from windrow.progress.ledger import Ledger
from windrow.runtime import steps
from windrow.runtime.lookup import LookupStep
from windrow.runtime.pipeline import OperatorHead, Pipeline, SinkEnd, SourceHead
from windrow.runtime.watermarks import Timeline

#: What a source node becomes when a job runs: all of it, or a part.
MakeSource = Callable[[nodes.SourceNode], Source]


def whole(node: nodes.SourceNode) -> Source:
    """All of what a source node reads."""
    source: Source = node.make()
    return source


def build(
    plan: Physical, shards: int | None, workers: int, ledger: Ledger, make_source: MakeSource = whole
) -> Pipeline:
    """Make everything that `plan` names. Connectors are opened; nothing is read yet.

    `shards` of every operator; None: as many as suit so many workers, where no ledger keeps what they hold.
    """
    return _Builder(plan, shards, workers, ledger, make_source).build()


class _Builder:
    def __init__(
        self, plan: Physical, shards: int | None, workers: int, ledger: Ledger, make_source: MakeSource
    ) -> None:
        self._ledger = ledger
        self._make_source = make_source
        self._plan = plan
        self._shards = shards
        self._workers = workers
        self._pipeline = Pipeline()
        self._doors: dict[int, steps.Step] = {}  # node -> the step that its rows come out of
        self._late_doors: dict[tuple[int, int], steps.Step] = {}  # stateful node, side -> where late rows come out
        self._timelines: dict[int, Timeline] = {}

    def build(self) -> Pipeline:
        try:
            for number, node in enumerate(self._plan.order):
                self._doors[id(node)] = self._add(node, number)
        except BaseException:
            with ExitStack() as stack:
                self._pipeline.close(stack)
            raise
        for head in self._pipeline.sources:
            head.timelines = [
                timeline
                for name, timeline in self._pipeline.timelines.items()
                if head.source.name in self._pipeline.feeders[name]
            ]
        return self._pipeline

    def _add(self, node: nodes.Node, number: int) -> steps.Step:
        match node:
            case nodes.SourceNode():
                return self._add_source(node)
            case nodes.Stateful():
                return self._add_stateful(node, number)
            case nodes.Late():
                return self._add_late(node, number)
            case nodes.SinkNode():
                return self._add_sink(node, number)
        step = self._stateless(node, number)
        for child in node.inputs:
            self._doors[id(child)].after.append(step)
        return step

    def _stateless(self, node: nodes.Node, number: int) -> steps.Step:
        needed = self._plan.needed[id(node)]
        match node:
            case nodes.Filter():
                return steps.FilterStep(f"{number} filter", node.predicate)
            case nodes.Project():
                columns = [(name, expression) for name, expression in node.columns if name in needed]
                return steps.ProjectStep(f"{number} {node.verb}", columns, changes=node.updating)
            case nodes.MapBatches():
                return steps.MapStep(f"{number} map_batches", node.function, node.kind, node.schema)
            case nodes.Explode():
                return steps.ExplodeStep(f"{number} explode", node.columns)
            case Lookup():
                return LookupStep(f"{number} lookup", node, needed)
            case nodes.Union():
                return steps.UnionStep(f"{number} union", to_arrow_schema(node.schema))
            case nodes.Watermark():
                return self._watermark(node, number)
        raise InvariantError(f"no step for a plan node of type {type(node).__name__}")

    def _watermark(self, node: nodes.Watermark, number: int) -> steps.Step:
        name = f"{number} watermark"
        timeline = Timeline(node.delay_us, node.idle_us, processing=node.column is None)
        self._timelines[id(node)] = timeline
        self._pipeline.timelines[name] = timeline
        self._pipeline.feeders[name] = self._feeders(node)
        if node.column is None:
            return steps.ProcessingTimeStep(name, timeline)
        return steps.TimeStep(name, node.column, timeline)

    def _feeders(self, node: nodes.Node) -> list[str]:
        """The sources and operators that rows at `node` come from, without another operator in between."""
        names: dict[str, None] = {}
        pending = list(node.inputs)
        while pending:
            above = pending.pop()
            if isinstance(above, nodes.SourceNode):
                names[above.name] = None
            elif isinstance(above, nodes.Stateful):
                names[self._plan.operator_name(above)] = None
            else:
                pending += above.inputs
        return list(names)

    def _add_source(self, node: nodes.SourceNode) -> steps.Step:
        source = self._make_source(node)
        source.name = node.name
        entry = steps.PassStep(f"read {node.name}")
        columns = self._plan.needed[id(node)]
        self._pipeline.sources.append(
            SourceHead(
                len(self._pipeline.sources),
                source,
                columns,
                id(node) in self._plan.ordered,
                entry,
                node.dead_letter,
                source if isinstance(source, Divisible) and self._is_divisible(node) else None,
            )
        )
        return entry

    def _is_divisible(self, node: nodes.SourceNode) -> bool:
        """Whether pieces of a partition may be worked on side by side. User code may count on their order. And a clock
        has to know which batch of a piece is the last to move it: not where a lookup makes several of one, where only
        late rows come, or where the rows come in two ways."""
        passed = self._passed(node)
        clocks = [id(each) for each in passed if isinstance(each, nodes.Watermark)]
        unsure = [each for each in passed if isinstance(each, (Lookup, nodes.Late))]
        return not (
            any(isinstance(each, nodes.MapBatches) for each in passed)
            or len(set(clocks)) < len(clocks)
            or any(isinstance(each, nodes.Watermark) for start in unsure for each in self._passed(start))
        )

    def _passed(self, node: nodes.Node) -> list[nodes.Node]:
        """What rows go through from there until they are in a shard, and late ones after that; once for each way."""
        passed: list[nodes.Node] = []
        pending = list(self._plan.consumers.get(id(node), ()))
        while pending:
            below = pending.pop()
            passed.append(below)
            after = self._plan.consumers.get(id(below), ())
            at_door = isinstance(below, nodes.Stateful)
            pending += [each for each in after if isinstance(each, nodes.Late)] if at_door else after
        return passed

    def _add_stateful(self, node: nodes.Stateful, number: int) -> steps.Step:
        name = self._plan.operator_name(node)
        shards = self._shards or passing_shards(self._workers, joins=len(node.inputs) > 1)
        context = OperatorContext(shards, self._plan.needed[id(node)], id(node) in self._plan.retracting)
        operator = build_operator(node.spec, context)
        index = len(self._pipeline.operators)
        doors = [self._door(node, number, (index, side), operator, name, shards) for side in range(len(node.inputs))]
        entry = self._result_entry(node, number, name)
        timelines = [self._timelines[id(mark)] for mark in self._plan.watermarks[id(node)]]
        states = [operator.shard(shard) for shard in range(shards)]
        hold_us = self._plan.holds_us[id(node)]
        self._pipeline.operators.append(OperatorHead(name, doors, operator, states, entry, timelines, hold_us))
        return entry

    def _door(
        self, node: nodes.Stateful, number: int, side: steps.Side, operator: StatefulOperator, name: str, shards: int
    ) -> steps.ExchangeStep:
        """What rows of one side go through before they are in a shard."""
        before = self._doors[id(node.inputs[side[1]])]
        which = f" side {side[1]}" if len(node.inputs) > 1 else ""
        arguments = node.arguments_of[side[1]]
        if arguments:
            step = steps.ProjectStep(f"{number} arguments{which}", arguments, keep=True)
            before.after.append(step)
            before = step
        door = steps.ExchangeStep(f"{number} prepare {name}{which}", side, operator, shards)
        before.after.append(door)
        self._late_doors[id(node), side[1]] = door
        return door

    def _result_entry(self, node: nodes.Stateful, number: int, name: str) -> steps.Step:
        """Results of time windows have an event time: their window's last microsecond; a join gives its rows theirs."""
        windowed = isinstance(node, nodes.Aggregate) and node.timed
        chained = windowed and any(isinstance(n, nodes.Stateful) for n in self._downstream(node))
        return (
            steps.WindowTimeStep(f"{number} results {name}") if chained else steps.PassStep(f"{number} results {name}")
        )

    def _downstream(self, node: nodes.Node) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        pending = list(self._plan.consumers.get(id(node), ()))
        while pending:
            below = pending.pop()
            found.append(below)
            if not isinstance(below, (nodes.Stateful, nodes.Late)):
                pending += self._plan.consumers.get(id(below), ())
        return [n for n in found if not isinstance(n, nodes.Late)]

    def _add_late(self, node: nodes.Late, number: int) -> steps.Step:
        columns = [(name, _column(name)) for name in self._plan.needed[id(node)]]
        step = steps.ProjectStep(f"{number} late", columns)
        self._late_doors[id(node.of), node.side].after.append(step)
        return step

    def _add_sink(self, node: nodes.SinkNode, number: int) -> steps.Step:
        schema = to_arrow_schema(node.schema)
        operations = node.input.updating and node.changes == "log"
        if operations:
            schema = schema.append(pa.field(nodes.OPERATION, pa.string()))
        elif node.input.updating and node.changes == "weighted":
            schema = schema.append(pa.field(WEIGHT, pa.int8()))
        sink: Sink = node.make(schema, self._ledger.holds(node.log_path))
        sink.name = node.name
        step = steps.SinkStep(f"{number} write {node.name}", len(self._pipeline.sinks), schema, operations)
        self._pipeline.sinks.append(SinkEnd(sink, node))
        self._doors[id(node.input)].after.append(step)
        return step


def _column(name: str) -> Expression:
    return Expression(name, (name,), name, None, name)
