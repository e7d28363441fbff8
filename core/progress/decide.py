"""Decisions about progress: pure functions of facts already read, with a closed set of outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from windrow.progress.ledger import EpochInput, Positions


@dataclass(frozen=True, slots=True)
class Fresh:
    """The job never committed: begin where each source says."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on after the last committed epoch."""

    epoch: int
    positions: Positions


@dataclass(frozen=True, slots=True)
class Redo:
    """As `Resume`, but the next epoch's input was fixed before the crash and must be the same again."""

    epoch: int
    positions: Positions
    planned: EpochInput


@dataclass(frozen=True, slots=True)
class Complete:
    """The job has read its bounded sources to the end and emitted everything: nothing is left to do."""

    epoch: int


Start = Fresh | Resume | Redo | Complete


def decide_start(epoch: int, positions: Positions, planned: EpochInput | None, finished: bool) -> Start:
    """What a starting job does with what its ledger remembers."""
    if finished:
        return Complete(epoch)
    if planned is not None:
        return Redo(epoch, positions, planned)
    if epoch == 0:
        return Fresh()
    return Resume(epoch, positions)


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """Where one partition stands: the next offset to read, the end of the range on offer, and if `bounded` its end."""

    next_offset: int
    range_end: int
    end_offset: int
    bounded: bool
    stopped: bool = False  # it cannot go on from where it stands

    @property
    def at_end(self) -> bool:
        return self.range_end >= self.end_offset


#: What the loop does next.
#: run: process the offered ranges; last: process them (maybe none), and they are the last: close everything;
#: wait: nothing has come; stuck: nothing will come, because what is not at its end cannot go on.
Next = Literal["run", "last", "wait", "stuck"]


def decide_next(partitions: Mapping[tuple[str, int], PartitionFacts], all_sources_bounded: bool) -> Next:
    """Whether there is an epoch to run, and whether it is the last one."""
    if all_sources_bounded and all(facts.at_end for facts in partitions.values()):
        return "last"
    if any(facts.range_end > facts.next_offset for facts in partitions.values()):
        return "run"
    if partitions and all(facts.stopped or (facts.bounded and facts.at_end) for facts in partitions.values()):
        return "stuck"
    return "wait"


@dataclass(frozen=True, slots=True)
class PartitionTime:
    """What is known of the event time of one partition."""

    watermark_us: int
    idle: bool


def combine_watermarks(partitions: list[PartitionTime], before_us: int) -> int:
    """The least watermark of the partitions that are not idle; all idle: the greatest. Never goes back."""
    if not partitions:
        return before_us
    active = [p.watermark_us for p in partitions if not p.idle]
    combined = min(active) if active else max(p.watermark_us for p in partitions)
    return max(before_us, combined)
