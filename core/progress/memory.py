"""A ledger that forgets everything with its process: for jobs that need no restart, and for tests that need one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from windrow.errors import FencedError, InvariantError
from windrow.progress.ledger import EpochCommit, EpochInput, Positions, Recovery, StateWrite, TopicWrite
from windrow.progress.resume import check_plan


@dataclass(slots=True)
class _Job:
    owner: int = 0
    epoch: int = 0
    positions: dict[str, dict[int, int]] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    planned: EpochInput | None = None
    plan: Mapping[str, Any] | None = None
    state: dict[tuple[str, int], list[StateWrite]] = field(default_factory=dict)
    outputs: list[TopicWrite] = field(default_factory=list)


class MemoryLedger:
    """`Ledger` in memory.

    With `durable` it outlives the engine, if not the process: it keeps state and outputs, and a test restarts a job
    with ``ledger.again()``, another owner of the same truth, by which this one is fenced. Without, nothing but
    positions is kept, and rows for topics of a log are refused: there is no place for them.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self.durable = durable
        self._jobs: dict[str, _Job] = {}
        self._job = ""
        self._owner = 0
        self._plan: Mapping[str, Any] = {}

    def again(self) -> MemoryLedger:
        """The ledger as the next owner of the job finds it."""
        other = MemoryLedger(durable=self.durable)
        other._jobs = self._jobs
        return other

    def outputs(self, job: str) -> list[TopicWrite]:
        """Every row that was committed for a topic, in order."""
        return list(self._jobs[job].outputs)

    def open(self, job: str, plan: Mapping[str, Any]) -> Recovery:
        entry = self._jobs.setdefault(job, _Job())
        if entry.plan is not None:
            check_plan(job, entry.plan, plan)
        entry.owner += 1
        self._job, self._owner, self._plan = job, entry.owner, plan
        state: Iterable[StateWrite] = [write for _, writes in sorted(entry.state.items()) for write in writes]
        return Recovery(entry.epoch, _copied(entry.positions), dict(entry.progress), entry.planned, entry.owner, state)

    def holds(self, log_path: str | None) -> bool:
        return False

    def write_ahead(self, epoch: int, planned: EpochInput) -> None:
        entry = self._owned()
        _check_next(entry.epoch, epoch)
        entry.planned = planned

    def commit(self, commit: EpochCommit) -> None:
        entry = self._owned()
        _check_next(entry.epoch, commit.epoch)
        if commit.outputs and not self.durable:
            raise InvariantError("a ledger in memory cannot take rows for a topic of a log")
        entry.plan = self._plan
        entry.epoch = commit.epoch
        entry.positions = _copied(commit.positions)
        entry.progress = dict(commit.progress)
        entry.planned = None
        entry.outputs.extend(commit.outputs)
        for write in commit.state if self.durable else ():
            kept = entry.state.setdefault((write.operator, write.shard), [])
            if write.kind == "snapshot":
                kept.clear()
            kept.append(write)

    def close(self) -> None:
        self._owner = 0

    def _owned(self) -> _Job:
        if not self._owner:
            raise InvariantError("the ledger is not open")
        entry = self._jobs[self._job]
        if entry.owner != self._owner:
            raise FencedError(f"job {self._job!r} was taken over by another owner; this one must stop")
        return entry


def _copied(positions: Positions) -> dict[str, dict[int, int]]:
    return {source: dict(parts) for source, parts in positions.items()}


def _check_next(committed: int, epoch: int) -> None:
    if epoch != committed + 1:
        raise InvariantError(f"epoch {epoch} was given to the ledger after epoch {committed}")
