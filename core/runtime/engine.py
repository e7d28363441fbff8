"""One job, running: plans an epoch, reads and shapes it, applies it to the shards, and hands it over for commit.

    plan    fix the epoch: an offset range per partition
    read    per partition: fetch, decode; then the stateless steps and partial aggregates; side by side
    apply   per shard: take rows, advance the watermark, emit; side by side
    stage   state deltas are taken; sinks and ledger get everything
    commit  one atomic commit, in its own thread: while epoch n commits, epoch n + 1 is read and applied

A failure anywhere throws the engine away; a new one starts from the last commit.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from windrow.batch import ORIGIN, origin_of
from windrow.clock import Clock, SystemClock
from windrow.config import Limits
from windrow.errors import FencedError, InvariantError
from windrow.io.base import DEAD_LETTER, EarlySink, Fetched, Measured, Sink, TimedSink, TopicWrite
from windrow.operators import base
from windrow.plan.physical import Physical
from windrow.progress.decide import Complete, Redo, Resume, decide_start
from windrow.progress.faults import reach
from windrow.progress.ledger import EpochCommit, EpochInput, Ledger, Recovery, StateWrite
from windrow.runtime.build import MakeSource, OperatorHead, Pipeline, SourceHead, build, whole
from windrow.runtime.intake import Intake
from windrow.runtime.memory import collect_again, keep_freed_memory, spare_collector
from windrow.runtime.metrics import Count, EpochReport, SourceCount, Tally
from windrow.runtime.snapshots import SnapshotPolicy
from windrow.runtime.steps import Task, joined
from windrow.units import BEFORE_TIME_US, END_OF_TIME_US

T = TypeVar("T")
R = TypeVar("R")

#: Fewer rows, to less state, are applied to all shards by one thread: several would mostly hand the interpreter's lock
#: to each other (16,000 partial aggregates an epoch, two workers: 4 ms by one, 7 by both).
_FEW_ROWS, _LITTLE_STATE = 65_536, 8 << 20


@dataclass(slots=True)
class _Read:
    """What reading one partition's range gave."""

    task: Task
    rows: int = 0
    bytes: int = 0
    rejected: list[pa.RecordBatch] = field(default_factory=list)


class Engine:
    """Runs the epochs of one job. Used from one thread; `close` always, also after an error."""

    def __init__(
        self,
        plan: Physical,
        ledger: Ledger,
        *,
        job: str,
        shards: int,
        workers: int = 1,
        limits: Limits | None = None,
        clock: Clock | None = None,
        dead_letters: Mapping[str, Sink] | None = None,
        make_source: MakeSource = whole,
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        """`dead_letters`: topic -> the sink for what sources reject whose dead letters go there. `turn` is held while
        an epoch is computed, so that engines can share the cores and the memory of a process."""
        self.job = job
        self.plan = plan
        self.metrics = Tally()
        self.epoch = 0
        self.finished = False
        self._ledger = ledger
        self._shards = shards
        self._make_source = make_source
        self._turn = turn or nullcontext()
        self._unwanted = threading.Event()
        self._workers = workers
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._dead_letters = dict(dead_letters or {})
        self.sources: dict[str, SourceCount] = defaultdict(SourceCount)
        self._pool = ThreadPoolExecutor(workers, "windrow-worker") if workers > 1 else None
        self._committer = ThreadPoolExecutor(1, "windrow-commit")
        self._pending: Future[EpochReport] | None = None
        self.reports: list[EpochReport] = []
        self._snapshots = SnapshotPolicy()
        self._closed_us: dict[str, int] = {}
        self._pipeline: Pipeline | None = None
        self._sparing = False  # the garbage collector

    # -- start and end -------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the job over, restore its state, and be ready for the next epoch."""
        keep_freed_memory()
        recovery = self._ledger.open(self.job, self.plan.fingerprint(self._shards))
        reach("engine.opened")
        self._pipeline = build(self.plan, self._shards, self._ledger, self._make_source)
        self.intake = Intake(self.pipeline.sources, self._limits, self._clock)
        start = decide_start(
            recovery.epoch, recovery.positions, recovery.planned, bool(recovery.progress.get("finished"))
        )
        self.epoch = recovery.epoch
        if isinstance(start, (Resume, Redo)):
            redo = start.planned if isinstance(start, Redo) else None
            self.intake.resume(start.positions, redo, recovery.progress.get("sources", {}))
        self.finished = isinstance(start, Complete)
        self._restore(recovery, None if isinstance(start, Redo) else self._clock.now_us())
        for end in self._all_sinks():
            end.open(self.job, recovery.epoch, recovery.owner)
            if isinstance(end, TimedSink):  # what the last epoch's publishing may have left undone
                end.reached(self._watermark())
                end.publish(recovery.epoch)
        if not self._sparing:
            spare_collector()
            self._sparing = True
        reach("engine.restored")

    def close(self) -> None:
        """Let a commit in flight end, stop the threads, close the connectors and the ledger."""
        if self._sparing:
            self._sparing = False
            collect_again()
        with ExitStack() as stack:  # from the last to the first, each whether or not another one fails
            stack.callback(self._ledger.close)
            for sink in self._dead_letters.values():
                stack.callback(sink.close)
            if self._pipeline is not None:
                self._pipeline.close(stack)
            if self._pool is not None:
                stack.callback(self._pool.shutdown)
            stack.callback(self._committer.shutdown)

    def source_metrics(self) -> dict[str, dict[str, Any]]:
        """Of every source what became of its records, and what it says itself of each partition."""
        heads = self._pipeline.sources if self._pipeline is not None else []
        found: dict[str, dict[str, Any]] = {}
        for head in heads:
            source = head.source
            found[source.name] = self.sources[source.name].as_dict()
            if isinstance(source, Measured):
                found[source.name]["partitions"] = {place: dict(said) for place, said in source.metrics().items()}
        return found

    def _restore(self, recovery: Recovery, heard_us: int | None) -> None:
        for name, saved in recovery.progress.get("timelines", {}).items():
            if name in self.pipeline.timelines:
                self.pipeline.timelines[name].restore(saved, heard_us)
        saved_state: dict[tuple[str, int], list[StateWrite]] = {}
        for write in recovery.state:
            if self._unwanted.is_set():
                raise FencedError(f"job {self.job!r}: the partition was taken away while it was restored")
            saved_state.setdefault((write.operator, write.shard), []).append(write)
        jobs = [(head, shard) for head in self.pipeline.operators for shard in range(self._shards)]

        def restore(which: tuple[OperatorHead, int]) -> None:
            head, shard = which
            writes = saved_state.pop((head.name, shard), [])
            if writes:
                snapshot = writes[0].tables if writes[0].kind == "snapshot" else None
                deltas = [write.tables for write in writes if write.kind == "delta"]
                head.shards[shard].restore(snapshot, deltas)
                self._snapshots.restored(head.name, shard, snapshot, deltas)

        self._each(restore, jobs)
        closed = recovery.progress.get("closed_us", {})
        for head in self.pipeline.operators:
            self._close(head, closed.get(head.name, BEFORE_TIME_US))
        if saved_state:
            raise InvariantError(f"saved state of {sorted(saved_state)} belongs to no operator of job {self.job!r}")

    @property
    def pipeline(self) -> Pipeline:
        if self._pipeline is None:
            raise InvariantError("the engine was used before open()")
        return self._pipeline

    # -- how it stands -------------------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Whether events wait for the next epoch to be due."""
        return self.intake.held

    def lag(self) -> int:
        """Offsets that are there and not read yet."""
        return self.intake.lag()

    def stopped(self) -> list[str]:
        """A sentence for each partition that cannot go on."""
        return self.intake.stopped()

    def restoring(self) -> list[str]:
        """Nothing: an engine is used when it is open."""
        return []

    def check_stopped(self) -> None:
        """Raise `RecordError` that names the partitions that cannot go on, if there are any."""
        self.intake.check_stopped()

    def wait(self, seconds: float) -> None:
        """Return when there may be something to do, or after `seconds`."""
        self.intake.wait(seconds)

    def counts(self) -> dict[str, Count]:
        """What went through every stage."""
        return dict(self.metrics.counts)

    def cancel(self) -> None:
        """Let `open`, in another thread, end with a `FencedError` instead of restoring on."""
        self._unwanted.set()

    # -- one epoch -----------------------------------------------------------------------------------------------

    def step(self, *, wait_s: float = 0.0) -> bool:
        """Run one epoch, its commit still in flight on return; False when nothing came within `wait_s`, or ever will.

        The commit before is done when this returns True; `drain` waits for the one in flight. Reports are in `reports`.
        """
        if self.finished:
            return False
        planned = self.intake.plan(wait_s)
        if planned is None:
            return False
        self._run(planned)
        return True

    def fix_start(self) -> None:
        """Commit where the input begins, if nothing is committed yet: else who goes on might begin further on."""
        planned = None if self.epoch or self.finished else self.intake.beginning()
        if planned is not None:
            self._run(planned)
            self.drain()

    def drain(self) -> None:
        """Wait for the commit in flight, and raise what it raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self.reports.append(pending.result())

    def take_reports(self) -> list[EpochReport]:
        """The reports of the epochs that were committed since the last call."""
        reports, self.reports = self.reports, []
        return reports

    def _run(self, planned: EpochInput) -> None:
        begun = time.perf_counter()
        self.intake.began()
        self.epoch += 1
        reach("epoch.planned")
        if any(_redone(sink) for sink in self._all_sinks()):
            self.drain()  # the ledger is used by one thread at a time
            self._ledger.write_ahead(self.epoch, replace(planned, remembered=self.intake.remembered()))
            reach("epoch.written_ahead")
        with self._turn:
            tasks, rejected, rows, size = self._read(planned)
            reach("epoch.read")
            sink_rows, tasks = self._apply(tasks, planned)
            reach("epoch.applied")
            state = self._take_state()
            reach("epoch.state_taken")
        late = 0
        for task in tasks:
            self.metrics.merge(task.tally)
            late += task.late_rows
        self.intake.took(planned, rows, time.perf_counter() - begun)
        report = EpochReport(
            epoch=self.epoch,
            rows=rows,
            bytes=size,
            rows_out=sum(batch.num_rows for batches in sink_rows for batch in batches),
            late_rows=late,
            rejected_rows=sum(batch.num_rows for batches in rejected.values() for batch in batches),
            seconds=time.perf_counter() - begun,
            commit_seconds=0.0,
            watermark_us=self._watermark(),
            lag=self.intake.lag(asking=False),
            state_bytes=sum(shard.nbytes for head in self.pipeline.operators for shard in head.shards),
            finished=planned.last,
        )
        self.finished = planned.last
        commit = EpochCommit(self.epoch, self.intake.positions, self._progress(), state)
        self.drain()
        self._pending = self._committer.submit(self._commit, commit, sink_rows, rejected, report)

    def _commit(
        self,
        commit: EpochCommit,
        sink_rows: Sequence[Sequence[pa.RecordBatch]],
        rejected: Mapping[str | None, Sequence[pa.RecordBatch]],
        report: EpochReport,
    ) -> EpochReport:
        begun = time.perf_counter()
        outputs: list[TopicWrite] = []
        reach("commit.begin")
        for end, batches in zip(self.pipeline.sinks, sink_rows, strict=True):
            outputs += end.sink.stage(commit.epoch, batches)
        for topic, sink in self._dead_letters.items():
            outputs += sink.stage(commit.epoch, rejected.get(topic, ()))
        reach("commit.staged")
        whole = EpochCommit(commit.epoch, commit.positions, commit.progress, commit.state, outputs)
        self._ledger.commit(whole)
        reach("commit.committed")
        for sink in self._all_sinks():
            if isinstance(sink, TimedSink):
                sink.reached(report.watermark_us)
            sink.publish(commit.epoch)
        reach("commit.published")
        report.commit_seconds = time.perf_counter() - begun
        self.metrics.add("commit", report.rows_out, int(report.commit_seconds * 1e9))
        return report

    # -- read and apply ------------------------------------------------------------------------------------------

    def _read(self, planned: EpochInput) -> tuple[list[Task], dict[str | None, list[pa.RecordBatch]], int, int]:
        now = planned.now_us
        self._register_clocks(now)
        work = [
            (head, partition, start, end)
            for head in self.pipeline.sources
            for partition, (start, end) in planned.ranges.get(head.source.name, {}).items()
            if end > start
        ]
        results = self._each(lambda item: self._read_partition(*item, now), work)
        self._mark_ended(planned)
        rejected: dict[str | None, list[pa.RecordBatch]] = {}
        for (head, *_), read in zip(work, results, strict=True):
            self.sources[head.source.name].add(read.rows, read.bytes, read.rejected, head.dead_letter is not None)
            rejected.setdefault(head.dead_letter, []).extend(read.rejected)
        return [read.task for read in results], rejected, sum(r.rows for r in results), sum(r.bytes for r in results)

    def _read_partition(self, head: SourceHead, partition: int, start: int, end: int, now_us: int) -> _Read:
        task = Task(f"{head.source.name}/{partition}", now_us)
        read = _Read(task)
        pieces = head.source.read(partition, start, end, head.columns)
        while True:
            begun = time.perf_counter_ns()
            piece = next(pieces, None)
            if piece is None:
                break
            name = f"decode {head.source.name}"
            task.tally.add(name, piece.data.num_rows, time.perf_counter_ns() - begun, piece.input_bytes)
            read.bytes += piece.input_bytes
            read.rows += piece.data.num_rows
            if piece.rejected is not None and piece.rejected.num_rows:
                read.rejected.append(_dead_letters(piece.rejected, name, self.job))
                read.rows += piece.rejected.num_rows
            if piece.data.num_rows:
                head.entry.run(_with_origin(piece, head.number, partition) if head.ordered else piece.data, task)
        self._deal(task, base.LEFT_ROWS)
        return read

    def _register_clocks(self, now_us: int) -> None:
        """A partition that has not spoken yet holds the watermark too, so its clock must be there."""
        for name, timeline in self.pipeline.timelines.items():
            feeders = self.pipeline.feeders[name]
            for head in self.pipeline.sources:
                if head.source.name in feeders:
                    for partition in head.source.partitions():
                        timeline.clock(f"{head.source.name}/{partition}", now_us)
            for operator in self.pipeline.operators:
                if operator.name in feeders:
                    for shard in range(self._shards):
                        timeline.clock(f"{operator.name}/{shard}", now_us)

    def _mark_ended(self, planned: EpochInput) -> None:
        for (name, partition), facts in self.intake.facts(planned.ranges).items():
            if facts.bounded and facts.at_end:
                for timeline in self.pipeline.timelines.values():
                    clock = timeline.clocks.get(f"{name}/{partition}")
                    if clock is not None:
                        clock.ended = True

    def _apply(self, tasks: list[Task], planned: EpochInput) -> tuple[list[list[pa.RecordBatch]], list[Task]]:
        now, last = planned.now_us, planned.last
        every = [*tasks, self._deal_rest(tasks, now)]
        for index, head in enumerate(self.pipeline.operators):
            for timeline in self.pipeline.timelines.values():
                timeline.settle(now, last)
            watermark = self._watermark_of(head, last)
            doors = [
                [task.to_shards[index, side] for task in every if (index, side) in task.to_shards]
                for side in range(len(head.doors))
            ]
            apply = partial(self._apply_shard, head, doors, watermark, now)
            made = self._each(apply, range(self._shards), side_by_side=_is_much(head, doors))
            self._close(head, watermark)
            every += [*made, self._deal_rest(made, now)]
        for timeline in self.pipeline.timelines.values():
            timeline.settle(now, last)
        rows: list[list[pa.RecordBatch]] = [[] for _ in self.pipeline.sinks]
        for task in every:
            for sink, batches in task.to_sinks.items():
                rows[sink] += batches
        return rows, every

    def _apply_shard(
        self,
        head: OperatorHead,
        doors: Sequence[Sequence[list[list[pa.RecordBatch]]]],
        watermark: int,
        now_us: int,
        shard: int,
    ) -> Task:
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
            emitted = state.advance(watermark)
        for batch in emitted:
            if batch.num_rows:
                head.entry.run(batch, task)
        self._deal(task, base.LEFT_ROWS)
        return task

    def _deal(self, task: Task, least_rows: int) -> None:
        """The task has run all its rows: what waits goes to the shards, if there are so many."""
        for operator in self.pipeline.operators if task.waiting else ():
            with task.tally.timed(f"exchange {operator.name}"):
                for door in operator.doors:
                    door.deal(task, least_rows)

    def _deal_rest(self, tasks: Sequence[Task], now_us: int) -> Task:
        """What these tasks have left, dealt to the shards as if one had made it: to deal a few rows of each, and to
        put a few of each together in every shard, took a third of the time of an epoch of few keys."""
        rest = Task("rest", now_us)
        for task in tasks:
            for side, waiting in task.waiting.items():
                rest.waiting.setdefault(side, []).extend(waiting)
            task.waiting.clear()
        self._deal(rest, 1)
        return rest

    def _close(self, head: OperatorHead, watermark_us: int) -> None:
        """Windows up to here are closed: what still comes for them is late."""
        self._closed_us[head.name] = watermark_us
        head.operator.close_until(watermark_us)

    def _watermark_of(self, head: OperatorHead, last: bool) -> int:
        if last:
            return END_OF_TIME_US
        reached = min((timeline.watermark_us for timeline in head.timelines), default=BEFORE_TIME_US)
        return reached if reached in (BEFORE_TIME_US, END_OF_TIME_US) else reached - head.hold_us

    def _watermark(self) -> int:
        return min((t.watermark_us for t in self.pipeline.timelines.values()), default=BEFORE_TIME_US)

    # -- state and commit ----------------------------------------------------------------------------------------

    def _take_state(self) -> list[StateWrite]:
        if not self._ledger.durable:
            return []
        work = [(head, shard) for head in self.pipeline.operators for shard in range(self._shards)]

        def take(which: tuple[OperatorHead, int]) -> StateWrite | None:
            head, shard = which
            return self._snapshots.take(head.name, shard, head.shards[shard])

        with self.metrics.timed("take state"):
            return [write for write in self._each(take, work) if write is not None]

    def _progress(self) -> Mapping[str, object]:
        return {
            "timelines": {name: timeline.save() for name, timeline in self.pipeline.timelines.items()},
            "closed_us": dict(self._closed_us),
            "finished": self.finished,
            "sources": self.intake.remembered(),
        }

    def settle(self) -> bool:
        """No event has come: if time alone has moved a watermark (idle partitions), or made it time to send what has
        changed, run an epoch without input."""
        if self.finished:
            return False
        self.drain()
        now = self._clock.now_us()
        self._register_clocks(now)
        for timeline in self.pipeline.timelines.values():
            timeline.settle(now, False)
        if any(self._wants_epoch(head, now) for head in self.pipeline.operators):
            self._run(EpochInput({}, False, now))
            return True
        return False

    def _wants_epoch(self, head: OperatorHead, now_us: int) -> bool:
        if self._watermark_of(head, False) > self._closed_us[head.name]:
            return True
        return any(shard is not None and shard.due(now_us) for shard in head.clocked)

    def _all_sinks(self) -> list[Sink]:
        sinks = [end.sink for end in self.pipeline.sinks]
        return [*sinks, *self._dead_letters.values()]

    def _each(self, action: Callable[[T], R], items: Sequence[T], *, side_by_side: bool = True) -> list[R]:
        """`action` of every item, on the worker threads when there are several; results in the order of `items`."""
        if self._pool is None or len(items) < 2 or not side_by_side:
            return [action(item) for item in items]
        return list(self._pool.map(action, items))


def _is_much(head: OperatorHead, doors: Sequence[Sequence[list[list[pa.RecordBatch]]]]) -> bool:
    """Whether there is enough to do in an epoch for several threads."""
    came = sum(piece.num_rows for side in doors for door in side for pieces in door for piece in pieces)
    return came >= _FEW_ROWS or sum(shard.nbytes for shard in head.shards) >= _LITTLE_STATE


def _redone(sink: Sink) -> bool:
    """Whether the sink shows an epoch before the ledger has committed it: a redo must then give it the same rows."""
    return sink.guarantee != "exactly-once" or (isinstance(sink, EarlySink) and sink.early)


def _dead_letters(rejected: pa.RecordBatch, step: str, job: str) -> pa.RecordBatch:
    """`REJECTED` as `DEAD_LETTER`."""
    added = [pa.repeat(step, rejected.num_rows), pa.repeat(job, rejected.num_rows)]
    return pa.RecordBatch.from_arrays([*rejected.columns, *added], schema=DEAD_LETTER)


def _with_origin(piece: Fetched, source: int, partition: int) -> pa.RecordBatch:
    if piece.offsets is None:
        offsets = np.arange(piece.first_offset, piece.first_offset + piece.data.num_rows, dtype=np.int64)
    else:
        offsets = piece.offsets.to_numpy(zero_copy_only=False)
    return piece.data.append_column(ORIGIN, pa.array(offsets + origin_of(source * 1_024 + partition, 0)))
