"""Named points at which a test can make an epoch fail: crash the process, raise, or wait.

`reach(name)` stands at every step whose failure must leave the last commit intact. In production it is one comparison
with None. A test installs a handler (`install`, `Crash`, `Raise`), or starts a process with
``WINDROW_CRASH_AT="name:n"``, which ends that process with status 137 at the n-th arrival at the point, with nothing
flushed and nothing closed, as a kill would.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from windrow.errors import InvariantError

#: Every point there is, with what has happened when it is reached.
POINTS: dict[str, str] = {
    # the engine's loop
    "engine.opened": "the ledger is open, nothing is restored or built",
    "engine.restored": "state and positions are restored, no epoch has run",
    "epoch.planned": "the ranges of an epoch are fixed in memory",
    "epoch.written_ahead": "the ranges of an epoch are in the ledger",
    "epoch.read": "an epoch's events are read and prepared, no state has changed",
    "epoch.applied": "the shards have taken the epoch, results exist in memory",
    "epoch.state_taken": "the state's deltas are copied out",
    "commit.begin": "the commit thread has the epoch",
    "commit.staged": "sinks have staged their rows, the ledger knows nothing",
    "commit.committed": "the ledger has committed, sinks have not published",
    "commit.published": "sinks have published",
    # the embedded log: one atomic write
    "log.file.create": "a new data or state file is about to be created",
    "log.write.before": "nothing of this write is in a file yet",
    "log.write.partial": "the first half of the bytes is in the file",
    "log.sync.before": "all bytes are written, none is known to be durable",
    "log.sync.after": "data and state files are synced, a new file's directory entry is not",
    "log.dir.after": "directory entries are synced too; the commit names nothing yet",
    "store.begin": "the SQLite transaction is open and empty",
    "store.commit.before": "every row is written, COMMIT is not",
    "store.commit.after": "the commit is durable, the caller does not know it yet",
    # the embedded log: housekeeping
    "log.sweep": "before a file of a dead writer is cut or removed",
    "log.retention": "chunks are un-named, their files not yet removed",
    # the ledger in the embedded log
    "ledger.open": "the owner number is raised, nothing is restored",
    "ledger.restore": "before one operator's state of one shard is read back",
    "ledger.ahead": "before the input range of an epoch is written ahead",
    "ledger.clean.before": "committed; replaced state files are still there",
    "ledger.clean.after": "replaced state files are removed",
    # a sink in another log than the ledger's
    "sink.stage": "before an epoch's rows are staged",
    "sink.publish.before": "the ledger has committed, the sink's rows are not visible",
    "sink.publish.after": "the sink's rows are visible",
    # Kafka: reading; the first two in a thread of the fetcher
    "kafka.fetched": "an answer has come, nothing of it is kept",
    "kafka.buffered": "what was fetched waits to be read",
    "kafka.source.placed": "where partitions begin and end is looked up, nothing is fetched",
    "kafka.taken": "records have left the buffer, they are not decoded",
    # Kafka: one transaction
    "kafka.begin": "nothing of the transaction is sent",
    "kafka.added": "older protocol: partitions and groups are part of the transaction",
    "kafka.partly_produced": "one batch of every partition is acknowledged",
    "kafka.produced": "every record is acknowledged, no position is sent",
    "kafka.offsets": "positions are in the transaction, its end is not sent",
    "kafka.ended": "the transaction is committed, the caller does not know it yet",
    "kafka.doubt": "an attempt ended, how far it came is not known",
    "kafka.ledger.fenced": "the owner before is fenced, nothing is read",
    "kafka.recovered": "the producer id is initialised again, the outcome is not looked up",
    # several instances of a job as a group
    "group.join": "this process asks to be let in, or tells the group that it has given something back",
    "group.dealt": "partitions are dealt to this process, none of them is opened",
    "group.opened": "a partition's state is restored here, nothing of it is read",
    "group.closed": "a partition is committed and closed, the group is not told",
}

Handler = Callable[[str], None]

#: Called at every point when there is one.
_handler: Handler | None = None


def reach(point: str) -> None:
    """Say that `point` is reached: does nothing unless a test has installed a handler."""
    if _handler is not None:
        _handler(point)


def active() -> bool:
    """Whether somebody listens; lets a point that costs something (half a write) be left out in production."""
    return _handler is not None


def install(handler: Handler | None) -> None:
    """Make `handler` hear of every point from now on; None takes it away."""
    global _handler
    _handler = handler


@contextmanager
def installed(handler: Handler) -> Iterator[None]:
    """`install` for the length of a ``with`` block."""
    before = _handler
    install(handler)
    try:
        yield
    finally:
        install(before)


class At:
    """Does `action` at the `arrival`-th time (from 1) that `point` is reached, and nothing at all other times."""

    def __init__(self, point: str, action: Callable[[], None], arrival: int = 1) -> None:
        if point not in POINTS:
            raise InvariantError(f"no fault point {point!r}; there are: {', '.join(POINTS)}")
        self.point = point
        self.arrival = arrival
        self.arrivals = 0
        self._action = action
        self._lock = threading.Lock()

    def __call__(self, point: str) -> None:
        if point != self.point:
            return
        with self._lock:
            self.arrivals += 1
            now = self.arrivals == self.arrival
        if now:
            self._action()


def crash() -> None:
    """End the process on the spot."""
    os._exit(137)


def crash_from_environment(text: str | None) -> None:
    """Install the crash that ``WINDROW_CRASH_AT`` asks for: ``point`` or ``point:arrival``."""
    if text:
        point, _, arrival = text.partition(":")
        install(At(point, crash, int(arrival or 1)))


crash_from_environment(os.environ.get("WINDROW_CRASH_AT"))
