"""Each safeguard of exactly-once, and how to switch it off: with any of these the crash tests must fail.

A mutation patches the process that will die. `points` and `kind` say which deaths show it soonest; they only save time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from windrow.io.files.sinks import FolderSink
from windrow.io.log import sweep
from windrow.io.log.ledger import LogLedger
from windrow.io.log.records import read_job
from windrow.io.log.segments import SegmentWriter
from windrow.io.log.sink import LogSink
from windrow.io.log.work import Work, append_rows
from windrow.progress import decide
from windrow.progress.faults import reach
from windrow.progress.ledger import EpochCommit, Recovery, StateWrite
from windrow.runtime import engine
from windrow.runtime.snapshots import SnapshotPolicy
from windrow.runtime.watermarks import Timeline
from windrow.units import BEFORE_TIME_US


@dataclass(frozen=True)
class Mutation:
    """`apply` switches a safeguard off in this process."""

    what: str
    apply: Callable[[], None]
    points: tuple[str, ...] = ()
    kind: str = "point"


MUTATIONS: dict[str, Mutation] = {}


def mutation(what: str, *points: str, kind: str = "point") -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(apply: Callable[[], None]) -> Callable[[], None]:
        MUTATIONS[apply.__name__] = Mutation(what, apply, points, kind)
        return apply

    return add


# --- what is durable before a commit names it


@mutation("data is not synced before the commit that names it", "store.commit.after", "commit.committed")
def no_data_sync() -> None:
    def sync(self: SegmentWriter) -> None:
        for folder in self._new_folders:
            engine_sync(folder)
        self._new_folders.clear()

    from windrow.io.log.store import sync_directory as engine_sync

    SegmentWriter.sync = sync  # type: ignore[method-assign]


@mutation("the names of new files are not synced", "store.commit.after", "commit.committed")
def no_folder_sync() -> None:
    def sync(self: SegmentWriter) -> None:
        for file in self._touched.values():
            os.fdatasync(file.descriptor)

    SegmentWriter.sync = sync  # type: ignore[method-assign]


@mutation("staged files are not synced", "commit.committed")
def no_staged_sync() -> None:
    stage = FolderSink.stage

    def unsynced(self: FolderSink, *args: Any) -> Any:
        before, os.fsync = os.fsync, lambda descriptor: None  # type: ignore[assignment]
        try:
            return stage(self, *args)
        finally:
            os.fsync = before

    FolderSink.stage = unsynced  # type: ignore[method-assign]


# --- what is true at once


@mutation("positions are committed before the outputs, in a transaction of their own", "store.commit.after")
def positions_first() -> None:
    commit = LogLedger.commit

    def two(self: LogLedger, whole: EpochCommit) -> None:
        commit(self, replace(whole, outputs=()))
        with self.log.work() as work:
            for output in whole.outputs:
                work.rows(self.log.topic(output.topic), output.partition, output.data)
            with work.commit():
                pass

    LogLedger.commit = two  # type: ignore[method-assign]


@mutation("outputs are committed before the positions, in a transaction of their own", "store.commit.after")
def outputs_first() -> None:
    commit = LogLedger.commit

    def two(self: LogLedger, whole: EpochCommit) -> None:
        with self.log.work() as work:
            for output in whole.outputs:
                work.rows(self.log.topic(output.topic), output.partition, output.data)
            with work.commit():
                pass
        commit(self, replace(whole, outputs=()))

    LogLedger.commit = two  # type: ignore[method-assign]


@mutation("rows of another log are visible when they are staged", "commit.staged", "log.sync.before")
def visible_when_staged() -> None:
    def stage(self: LogSink, epoch: int, writes: Any) -> None:
        info = self._log.topic(self._topic)
        with self._log.work() as work:
            for write in writes:
                work.rows(info, write.partition, write.data)
            with work.commit():
                pass

    LogSink._stage = stage  # type: ignore[method-assign]


@mutation("files have their final name when they are staged", "commit.staged", "store.begin")
def files_when_staged() -> None:
    stage = FolderSink.stage

    def visible(self: FolderSink, epoch: int, batches: Sequence[Any]) -> Any:
        staged = stage(self, epoch, batches)
        for path, part in self._staged.pop(epoch, []):
            path.replace(part)
        return staged

    FolderSink.stage = visible  # type: ignore[method-assign]


# --- state


@mutation("state is not saved", "commit.published", "epoch.read")
def no_state() -> None:
    SnapshotPolicy.take = lambda self, operator, shard, state: None  # type: ignore[method-assign]


@mutation("a snapshot holds only what changed since the last one", "commit.published", "epoch.read")
def snapshot_is_delta() -> None:
    take = SnapshotPolicy.take

    class OnlyDelta:
        def __init__(self, state: Any) -> None:
            self.delta, self.snapshot = state.delta, state.delta

    def small(self: SnapshotPolicy, operator: str, shard: int, state: Any) -> StateWrite | None:
        return take(self, operator, shard, OnlyDelta(state))  # type: ignore[arg-type]

    SnapshotPolicy.take = small  # type: ignore[method-assign]


@mutation("a snapshot does not replace the deltas before it", "commit.published", "epoch.read")
def deltas_after_snapshot() -> None:
    def name_state(self: LogLedger, transaction: Any, rows: list[Any]) -> set[int]:
        return named(self, transaction, [row._replace(kind="delta") for row in rows])

    named = LogLedger._name_state
    LogLedger._name_state = name_state  # type: ignore[method-assign]


@mutation("only the newest delta is read back", "commit.published", "epoch.read")
def last_delta_only() -> None:
    from windrow.io.log import ledger

    class Newest(ledger.SavedState):
        def __iter__(self) -> Iterator[StateWrite]:
            last = {(write.operator, write.shard): write for write in super().__iter__()}
            return iter(last.values())

    ledger.SavedState = Newest  # type: ignore[misc]


@mutation("the times of partitions are not saved", "commit.published", "epoch.read")
def no_times() -> None:
    def forget(self: Timeline) -> dict[str, Any]:
        return {"watermark_us": self.watermark_us, "highest_us": dict.fromkeys(self.clocks, BEFORE_TIME_US)}

    Timeline.save = forget  # type: ignore[method-assign]


# --- sinks outside of the ledger


@mutation("another log does not remember which epochs it took", "sink.publish.after", "commit.published")
def sink_forgets_epoch() -> None:
    def publish(self: LogSink, epoch: int, *, discard_later: bool) -> None:
        reach("sink.publish.before")
        with self._log.store.transaction() as transaction:
            from windrow.io.log.sink import _ROWS, Rows

            staged = transaction.execute(
                f"SELECT {_ROWS} FROM staged WHERE sink = ? AND epoch = ? ORDER BY number", (self._id, epoch)
            ).fetchall()
            append_rows(transaction, [Rows(r[0], self._topic, *r[1:]) for r in staged], self._log.clock.now_us())
            transaction.execute("DELETE FROM staged WHERE sink = ? AND epoch != ?", (self._id, epoch))
        reach("sink.publish.after")

    LogSink._publish = publish  # type: ignore[method-assign]


@mutation("another log does not publish at its opening what was committed", "commit.committed", "sink.publish.before")
def no_publish_at_open() -> None:
    publish = LogSink._publish

    def only_later(self: LogSink, epoch: int, *, discard_later: bool) -> None:
        if discard_later:
            with self._log.store.transaction() as transaction:
                transaction.execute("DELETE FROM staged WHERE sink = ?", (self._id,))
        else:
            publish(self, epoch, discard_later=False)

    LogSink._publish = only_later  # type: ignore[method-assign]


@mutation("another log keeps what was staged for an epoch that was not committed", "commit.staged", "log.sync.before")
def no_discard() -> None:
    stage = LogSink._stage

    def added(self: LogSink, epoch: int, writes: Any) -> None:
        with self._log.store.transaction() as transaction:
            transaction.execute(
                "UPDATE staged SET number = number + 1000 WHERE sink = ? AND epoch >= ?", (self._id, epoch)
            )
            transaction.execute("UPDATE staged SET epoch = 0 WHERE sink = ? AND epoch >= ?", (self._id, epoch))
        stage(self, epoch, writes)

    publish = LogSink._publish

    def keeping(self: LogSink, epoch: int, *, discard_later: bool) -> None:
        publish(self, epoch, discard_later=False)

    LogSink._stage = added  # type: ignore[method-assign]
    LogSink._publish = keeping  # type: ignore[method-assign]


@mutation("files of a committed epoch are not published at the opening", "commit.committed", "sink.publish.after")
def no_files_at_open() -> None:
    opening = FolderSink.open

    def dropping(self: FolderSink, *args: Any) -> None:
        if self.folder.is_dir():
            for path in self.folder.glob(".staged-*/*"):
                path.unlink()
        opening(self, *args)

    FolderSink.open = dropping  # type: ignore[method-assign]


@mutation("the range of an epoch is not written ahead", "commit.begin", "commit.staged", "log.sync.before")
def no_write_ahead() -> None:
    LogLedger.write_ahead = lambda self, epoch, ranges: None  # type: ignore[method-assign]


@mutation("a range that was written ahead is not used", "commit.begin", "commit.staged", "log.sync.before")
def no_redo() -> None:
    def start(epoch: int, positions: Any, planned: Any, finished: bool) -> decide.Start:
        return decide.decide_start(epoch, positions, None, finished)

    engine.decide_start = start  # type: ignore[attr-defined]


# --- owners


@mutation("a process that was replaced is not told", kind="zombie")
def no_fencing() -> None:
    def unfenced(self: LogLedger, transaction: Any) -> Any:
        row = read_job(transaction, self._job)
        assert row is not None
        return row

    LogLedger._check_owner = unfenced  # type: ignore[method-assign]
    LogSink._check_owner = lambda self, row: None  # type: ignore[method-assign]


@mutation("the sweep takes what belongs to living writers", kind="zombie")
def sweep_the_living() -> None:
    @contextmanager
    def dead(root: Any, identity: str) -> Iterator[Any]:
        class Claim:
            dead = True

            def forget(self) -> None: ...

        claim = Claim()
        claim.identity = identity  # type: ignore[attr-defined]
        yield claim

    sweep.DeadWriter = dead  # type: ignore[assignment, misc]


@mutation("the sweep does not look at what state a commit names", "commit.published", "epoch.read")
def sweep_state() -> None:
    sweep.NAMED = "SELECT file, max(position + length) AS named FROM chunks GROUP BY file"


# --- the input


@mutation("positions are not saved with the epoch", "commit.published", "epoch.read")
def no_positions() -> None:
    commit = LogLedger.commit

    def forgetting(self: LogLedger, whole: EpochCommit) -> None:
        commit(self, replace(whole, positions={}))

    LogLedger.commit = forgetting  # type: ignore[method-assign]


@mutation("an epoch is read again although it is committed", "commit.published", "epoch.read")
def resume_behind() -> None:
    opening = LogLedger.open

    def behind(self: LogLedger, job: str, plan: Mapping[str, Any]) -> Recovery:
        recovery = opening(self, job, plan)
        back = {name: {p: max(at - 1, 0) for p, at in parts.items()} for name, parts in recovery.positions.items()}
        return replace(recovery, positions=back)

    LogLedger.open = behind  # type: ignore[method-assign]


@mutation("files are swept although the commit's outcome is not known", "store.commit.after", kind="error")
def abandon_certain() -> None:
    Work.committing = property(lambda self: False, lambda self, value: None)  # type: ignore[assignment]
