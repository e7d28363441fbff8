"""The second half of an epoch: operator after operator, every shard takes its rows and sends what its windows give."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

import pyarrow as pa

from windrow.config import FEWEST_SHARDS
from windrow.operators import base
from windrow.runtime.pipeline import OperatorHead, Pipeline
from windrow.runtime.steps import Task, joined
from windrow.runtime.workers import Workers
from windrow.units import BEFORE_TIME_US, END_OF_TIME_US

#: Fewer rows, to less state, are applied to all shards by one thread: several would mostly hand the interpreter's lock
#: to each other (16,000 partial aggregates an epoch, two workers: 4 ms by one, 7 by both).
_FEW_ROWS, _LITTLE_STATE = 65_536, 8 << 20

#: An operator is left a shard for each `_FEW_ROWS` that the first epoch has for it, and `FEWEST_SHARDS` at least: a
#: quarter of a millisecond goes to each in every epoch, with the interpreter's lock (32 M events of 1,000 keys: 35 ms
#: of 255 with 32 shards, 12 of 228 with four). An epoch with less input than this says little of those to come.
_TELLING_ROWS = 1_000_000

#: Several threads are used for an operator where they take so many times less than one: what they take more of the
#: processor is waiting for the interpreter's lock (q8: 212 ms by one, 237 by two; q20: 460 and 357).
_WORTH = 1.15
#: The other way is tried again when that costs no more than this part of what was spent since.
_TRYING = 1 / 50

#: What all tasks have for one operator: for each of its sides, for each task, for each shard, batches.
Doors = Sequence[Sequence[list[list[pa.RecordBatch]]]]


class Threads:
    """Whether several threads pay for an operator: each way is tried, and the better one kept; the other one is tried
    again when that costs next to nothing. Three workers or more begin side by side: alone, one would take so many times
    as long."""

    def __init__(self, workers: int) -> None:
        self._guess = min(2 / workers, 1.0)  # what several take of what one takes, until it is known
        self._ns: dict[bool, float] = {}  # a row, by one thread and by several
        self._spent_ns = 0.0  # since the other way was tried

    def several(self, rows: int) -> bool:
        """Whether to use several threads now, for so many rows."""
        better = self._better()
        more_ns = rows * abs(self._cost_ns(True) - self._cost_ns(False))
        return better if more_ns >= self._spent_ns * _TRYING else not better

    def took(self, several: bool, rows: int, nanoseconds: int) -> None:
        """What it has taken to apply so many rows."""
        self._spent_ns = self._spent_ns + nanoseconds if several is self._better() else 0.0
        self._ns[several] = nanoseconds / rows

    def _better(self) -> bool:
        return self._cost_ns(True) < self._cost_ns(False)

    def _cost_ns(self, several: bool) -> float:
        if several in self._ns:
            return self._ns[several] * (_WORTH if several else 1.0)
        other = self._ns.get(not several, 1.0)
        return other * self._guess if several else other / self._guess


class Applier:
    """Applies the epochs of one job to its shards, and keeps up to where each operator's windows are closed."""

    def __init__(self, pipeline: Pipeline, workers: Workers, *, shards_are_given: bool) -> None:
        self._pipeline = pipeline
        self._workers = workers
        self.closed_us: dict[str, int] = {}  # by operator
        #: Operators that have not had a row yet, and may turn out to need fewer shards than they have.
        self._untried = {} if shards_are_given else {head.name: head for head in pipeline.operators}
        self._threads: defaultdict[str, Threads] = defaultdict(partial(Threads, workers.count))

    def restore(self, closed_us: Mapping[str, int]) -> None:
        """Be as `closed_us` was when the last epoch was committed."""
        for head in self._pipeline.operators:
            self._close(head, closed_us.get(head.name, BEFORE_TIME_US))

    def apply(self, tasks: Sequence[Task], now_us: int, rows: int, last: bool) -> list[Task]:
        """Take what these tasks have for the shards; they, and those of the shards. `rows`: the epoch's input; `last`:
        no epoch follows."""
        every = [*tasks, self._deal_rest(tasks, now_us, rows)]
        for index, head in enumerate(self._pipeline.operators):
            for timeline in self._pipeline.timelines.values():
                timeline.settle(now_us, last)
            watermark_us = self.watermark_of(head, last)
            doors = [
                [task.to_shards[index, side] for task in every if (index, side) in task.to_shards]
                for side in range(len(head.doors))
            ]
            made = self._apply_shards(head, doors, watermark_us, now_us)
            self._close(head, watermark_us)
            every += [*made, self._deal_rest(made, now_us, rows)]
        for timeline in self._pipeline.timelines.values():
            timeline.settle(now_us, last)
        return every

    def _deal_rest(self, tasks: Sequence[Task], now_us: int, rows: int) -> Task:
        """What these tasks have left goes to the shards: to as many as are worth it, where these are the first rows."""
        for head in list(self._untried.values()):
            waiting, dealt = waiting_for(head, tasks)
            if waiting or dealt:
                del self._untried[head.name]
            worth = max(FEWEST_SHARDS, waiting // _FEW_ROWS)
            if waiting and not dealt and rows >= _TELLING_ROWS and worth < len(head.shards):
                self._pipeline.keep_shards(head, worth)
        return self._pipeline.deal_rest(tasks, now_us)

    def _apply_shards(self, head: OperatorHead, doors: Doors, watermark_us: int, now_us: int) -> list[Task]:
        rows = sum(piece.num_rows for side in doors for door in side for pieces in door for piece in pieces)
        threads = self._threads[head.name] if rows >= _FEW_ROWS and self._workers.count > 1 else None
        several = has_much_state(head) if threads is None else threads.several(rows)
        begun = time.perf_counter_ns()
        apply = partial(self._apply_shard, head, doors, watermark_us, now_us)
        made = self._workers.each(apply, range(len(head.shards)), side_by_side=several)
        if threads is not None:
            threads.took(several, rows, time.perf_counter_ns() - begun)
        return made

    def _apply_shard(self, head: OperatorHead, doors: Doors, watermark_us: int, now_us: int, shard: int) -> Task:
        task = Task(f"{head.name}/{shard}", now_us)
        state, taker, clocked = head.shards[shard], head.takers[shard], head.clocked[shard]
        rows = 0
        with task.tally.timed(f"apply {head.name}"):
            # two workers apply log_to_log in 0.30 s instead of 0.70: what is left runs without the interpreter's lock
            for side, dealt in enumerate(doors):
                pieces = [piece for door in dealt for piece in door[shard]]
                rows += sum(piece.num_rows for piece in pieces)
                if taker is not None:
                    taker.process_pieces(pieces, side)
                    continue
                for piece in joined(pieces):
                    state.process(piece, side)
        if clocked is not None:
            clocked.at(now_us)
        with task.tally.timed(f"advance {head.name}", rows):
            emitted = state.advance(watermark_us)
        for batch in emitted:
            if batch.num_rows:
                head.entry.run(batch, task)
        self._pipeline.deal(task, base.LEFT_ROWS)
        return task

    def _close(self, head: OperatorHead, watermark_us: int) -> None:
        """Windows up to here are closed: what still comes for them is late."""
        self.closed_us[head.name] = watermark_us
        head.operator.close_until(watermark_us)

    def watermark_of(self, head: OperatorHead, last: bool) -> int:
        """The time up to which this operator has seen all that is expected."""
        if last:
            return END_OF_TIME_US
        reached = min((timeline.watermark_us for timeline in head.timelines), default=BEFORE_TIME_US)
        return reached if reached in (BEFORE_TIME_US, END_OF_TIME_US) else reached - head.hold_us

    def wants_epoch(self, now_us: int) -> bool:
        """Whether time alone makes an epoch without input worth it: a watermark has moved, or what changed is due."""
        return any(
            self.watermark_of(head, False) > self.closed_us[head.name]
            or any(shard is not None and shard.due(now_us) for shard in head.clocked)
            for head in self._pipeline.operators
        )


def waiting_for(head: OperatorHead, tasks: Sequence[Task]) -> tuple[int, bool]:
    """How many rows of these tasks wait to be dealt to an operator's shards, and whether some are there already."""
    sides = [door.side for door in head.doors]
    waiting = (data for task in tasks for side in sides for data in task.waiting.get(side, ()))
    return sum(data.num_rows for data in waiting), any(side in task.to_shards for task in tasks for side in sides)


def has_much_state(head: OperatorHead) -> bool:
    """Whether what is done to all of an operator's state is worth several threads."""
    return sum(shard.nbytes for shard in head.shards) >= _LITTLE_STATE
