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
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import pyarrow as pa

from windrow.clock import Clock, SystemClock
from windrow.config import KEPT_SHARDS, Limits
from windrow.errors import FencedError, InvariantError
from windrow.io.base import EarlySink, Measured, Sink, TimedSink, TopicWrite
from windrow.plan.physical import Physical
from windrow.progress.decide import Complete, Redo, Resume, decide_start
from windrow.progress.faults import reach
from windrow.progress.ledger import EpochCommit, EpochInput, Ledger, Recovery, StateWrite
from windrow.runtime.applying import Applier, has_much_state
from windrow.runtime.build import MakeSource, build, whole
from windrow.runtime.intake import Intake
from windrow.runtime.memory import collect_again, keep_freed_memory, spare_collector
from windrow.runtime.metrics import Count, EpochReport, SourceCount, Tally
from windrow.runtime.pipeline import OperatorHead, Pipeline
from windrow.runtime.reading import Read, Reader
from windrow.runtime.snapshots import SnapshotPolicy
from windrow.runtime.steps import Task
from windrow.runtime.workers import Workers, in_background


class Engine:
    """Runs the epochs of one job. Used from one thread; `close` always, also after an error."""

    def __init__(
        self,
        plan: Physical,
        ledger: Ledger,
        *,
        job: str,
        shards: int | None = None,
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
        self._shards = shards or (KEPT_SHARDS if ledger.durable else None)
        self._make_source = make_source
        self._turn = turn or nullcontext()
        self._unwanted = threading.Event()
        self._workers = Workers(workers)
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._dead_letters = dict(dead_letters or {})
        self.sources: dict[str, SourceCount] = defaultdict(SourceCount)
        self._pending: Future[EpochReport] | None = None
        self.reports: list[EpochReport] = []
        self._snapshots = SnapshotPolicy()
        self._pipeline: Pipeline | None = None
        self._sparing = False  # the garbage collector

    # -- start and end -------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the job over, restore its state, and be ready for the next epoch."""
        keep_freed_memory()
        recovery = self._ledger.open(self.job, self.plan.fingerprint(self._shards or 0))
        reach("engine.opened")
        self._pipeline = build(self.plan, self._shards, self._workers.count, self._ledger, self._make_source)
        self.intake = Intake(self.pipeline.sources, self._limits, self._clock, self._workers.count)
        self._reader = Reader(self.pipeline, self._workers, self.job)
        self._applier = Applier(self.pipeline, self._workers, shards_are_given=self._shards is not None)
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
                end.reached(self.pipeline.watermark_us)
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
            if self._pending is not None:
                stack.callback(wait, [self._pending])

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
        jobs = [(head, shard) for head in self.pipeline.operators for shard in range(len(head.shards))]

        def restore(which: tuple[OperatorHead, int]) -> None:
            head, shard = which
            writes = saved_state.pop((head.name, shard), [])
            if writes:
                snapshot = writes[0].tables if writes[0].kind == "snapshot" else None
                deltas = [write.tables for write in writes if write.kind == "delta"]
                head.shards[shard].restore(snapshot, deltas)
                self._snapshots.restored(head.name, shard, snapshot, deltas)

        self._workers.each(restore, jobs)
        self._applier.restore(recovery.progress.get("closed_us", {}))
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
            self.pipeline.begin(planned.now_us)
            reads = self._reader.read(planned)
            self._mark_ended(planned)
            reach("epoch.read")
            rows = sum(read.rows for read in reads)
            tasks = self._applier.apply([read.task for read in reads], planned.now_us, rows, planned.last)
            reach("epoch.applied")
            state = self._take_state()
            reach("epoch.state_taken")
        for task in tasks:
            self.metrics.merge(task.tally)
        rejected = self._count_read(reads)
        sink_rows = self._sink_rows(tasks)
        seconds = time.perf_counter() - begun
        self.intake.took(planned, rows, seconds)
        report = EpochReport(
            epoch=self.epoch,
            rows=rows,
            bytes=sum(read.bytes for read in reads),
            rows_out=sum(batch.num_rows for batches in sink_rows for batch in batches),
            late_rows=sum(task.late_rows for task in tasks),
            rejected_rows=sum(batch.num_rows for batches in rejected.values() for batch in batches),
            seconds=seconds,
            commit_seconds=0.0,
            watermark_us=self.pipeline.watermark_us,
            lag=self.intake.lag(asking=False),
            state_bytes=sum(shard.nbytes for head in self.pipeline.operators for shard in head.shards),
            finished=planned.last,
        )
        self.finished = planned.last
        commit = EpochCommit(self.epoch, self.intake.positions, self._progress(), state)
        self.drain()
        self._pending = in_background(self._commit, commit, sink_rows, rejected, report)

    def _mark_ended(self, planned: EpochInput) -> None:
        for (name, partition), facts in self.intake.facts(planned.ranges).items():
            if facts.bounded and facts.at_end:
                for timeline in self.pipeline.timelines.values():
                    clock = timeline.clocks.get(f"{name}/{partition}")
                    if clock is not None:
                        clock.ended = True

    def _count_read(self, reads: Sequence[Read]) -> dict[str | None, list[pa.RecordBatch]]:
        """Add what was read to the sources' figures; what was rejected, by the topic for it."""
        rejected: dict[str | None, list[pa.RecordBatch]] = {}
        for read in reads:
            topic = read.head.dead_letter
            self.sources[read.head.source.name].add(read.rows, read.bytes, read.rejected, topic is not None)
            rejected.setdefault(topic, []).extend(read.rejected)
        return rejected

    def _sink_rows(self, tasks: Sequence[Task]) -> list[list[pa.RecordBatch]]:
        rows: list[list[pa.RecordBatch]] = [[] for _ in self.pipeline.sinks]
        for task in tasks:
            for sink, batches in task.to_sinks.items():
                rows[sink] += batches
        return rows

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

    # -- state and commit ----------------------------------------------------------------------------------------

    def _take_state(self) -> list[StateWrite]:
        if not self._ledger.durable:
            return []
        work = [(head, shard) for head in self.pipeline.operators for shard in range(len(head.shards))]

        def take(which: tuple[OperatorHead, int]) -> StateWrite | None:
            head, shard = which
            return self._snapshots.take(head.name, shard, head.shards[shard])

        much = any(has_much_state(head) for head in self.pipeline.operators)
        with self.metrics.timed("take state"):
            return [write for write in self._workers.each(take, work, side_by_side=much) if write is not None]

    def _progress(self) -> Mapping[str, object]:
        return {
            "timelines": {name: timeline.save() for name, timeline in self.pipeline.timelines.items()},
            "closed_us": dict(self._applier.closed_us),
            "finished": self.finished,
            "sources": self.intake.remembered(),
        }

    def settle(self) -> bool:
        """No event has come: if time alone has moved a watermark (idle partitions), or made it time to send what has
        changed, run an epoch without input."""
        if self.finished:
            return False
        self.drain()
        now_us = self._clock.now_us()
        self.pipeline.begin(now_us)
        self.pipeline.settle(now_us)
        if not self._applier.wants_epoch(now_us):
            return False
        self._run(EpochInput({}, False, now_us))
        return True

    def _all_sinks(self) -> list[Sink]:
        sinks = [end.sink for end in self.pipeline.sinks]
        return [*sinks, *self._dead_letters.values()]


def _redone(sink: Sink) -> bool:
    """Whether the sink shows an epoch before the ledger has committed it: a redo must then give it the same rows."""
    return sink.guarantee != "exactly-once" or (isinstance(sink, EarlySink) and sink.early)
