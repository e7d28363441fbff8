"""A job's running objects: sources and operators with the steps that their rows go through, sinks, and timelines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from windrow.io.base import Divisible, Sink, Source
from windrow.operators.base import Clocked, ShardState, StatefulOperator, TakesPieces
from windrow.plan import nodes
from windrow.runtime import steps
from windrow.runtime.watermarks import Timeline
from windrow.units import BEFORE_TIME_US


@dataclass(slots=True)
class SourceHead:
    """A source with the steps its rows go through."""

    number: int
    source: Source
    columns: tuple[str, ...]
    ordered: bool
    entry: steps.Step
    dead_letter: str | None  # the topic for what it rejects
    divisible: Divisible | None  # the source, if pieces of a partition may be read and worked on side by side
    timelines: list[Timeline] = field(default_factory=list)  # that its rows pass


@dataclass(slots=True)
class OperatorHead:
    """A stateful operator with its shards, and the steps that its results go through."""

    name: str
    doors: list[steps.ExchangeStep]  # one for each side
    operator: StatefulOperator
    shards: list[ShardState]
    entry: steps.Step
    timelines: list[Timeline]
    hold_us: int  # by how much its time lags the watermark
    takers: list[TakesPieces | None] = field(init=False)  # the shards that are so, each in its place
    clocked: list[Clocked | None] = field(init=False)

    def __post_init__(self) -> None:
        self.keep_shards(len(self.shards))

    def keep_shards(self, shards: int) -> None:
        """Use so many of the shards alone; nothing may lie in any yet."""
        self.shards = self.shards[:shards]
        for door in self.doors:
            door.shards = shards
        # to ask each time took 2 % of an epoch of few keys
        self.takers = [shard if isinstance(shard, TakesPieces) else None for shard in self.shards]
        self.clocked = [shard if isinstance(shard, Clocked) else None for shard in self.shards]


@dataclass(slots=True)
class SinkEnd:
    """A sink and the schema of its rows."""

    sink: Sink
    node: nodes.SinkNode


@dataclass(slots=True)
class Pipeline:
    """A job's running objects; operators stand after all that feeds them."""

    sources: list[SourceHead] = field(default_factory=list)
    operators: list[OperatorHead] = field(default_factory=list)
    sinks: list[SinkEnd] = field(default_factory=list)
    timelines: dict[str, Timeline] = field(default_factory=dict)  # by a name that is stable between builds
    feeders: dict[str, list[str]] = field(default_factory=dict)  # timeline -> names of the heads whose rows pass it

    def deal(self, task: steps.Task, least_rows: int) -> None:
        """The task has run all its rows: what waits goes to the shards, if there are so many."""
        for operator in self.operators if task.waiting else ():
            with task.tally.timed(f"exchange {operator.name}"):
                for door in operator.doors:
                    door.deal(task, least_rows)

    def deal_rest(self, tasks: Sequence[steps.Task], now_us: int) -> steps.Task:
        """What these tasks have left, dealt to the shards as if one had made it: to deal a few rows of each, and to
        put a few of each together in every shard, took a third of the time of an epoch of few keys."""
        rest = steps.Task("rest", now_us)
        for task in tasks:
            for side, waiting in task.waiting.items():
                rest.waiting.setdefault(side, []).extend(waiting)
            task.waiting.clear()
        self.deal(rest, 1)
        return rest

    def begin(self, now_us: int) -> None:
        """An epoch starts. A partition that has not spoken yet holds the watermark too, so its clock must be there."""
        for timeline in self.timelines.values():
            timeline.begin()
        for head in self.sources:
            for timeline in head.timelines:
                for partition in head.source.partitions():
                    timeline.clock(f"{head.source.name}/{partition}", now_us)
        for name, timeline in self.timelines.items():
            for operator in self.operators:
                if operator.name in self.feeders[name]:
                    for shard in range(len(operator.shards)):
                        timeline.clock(f"{operator.name}/{shard}", now_us)

    def keep_shards(self, head: OperatorHead, shards: int) -> None:
        """Use so many shards of an operator alone; nothing may lie in any yet. The clocks of the others, which nothing
        moves any more, would hold the watermark behind them."""
        for name, timeline in self.timelines.items():
            for shard in range(shards, len(head.shards)) if head.name in self.feeders[name] else ():
                timeline.clocks.pop(f"{head.name}/{shard}", None)
        head.keep_shards(shards)

    def settle(self, now_us: int) -> None:
        """Combine what the partitions' clocks say, as far as it is known."""
        for timeline in self.timelines.values():
            timeline.settle(now_us, False)

    @property
    def watermark_us(self) -> int:
        """The least of all timelines."""
        return min((timeline.watermark_us for timeline in self.timelines.values()), default=BEFORE_TIME_US)

    def close(self, stack: ExitStack) -> None:
        """Leave the closing of every connector to `stack`."""
        for head in self.sources:
            stack.callback(head.source.close)
        for end in self.sinks:
            stack.callback(end.sink.close)
