"""What goes into an epoch: where every partition stands, and which offset ranges are taken next."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from windrow.clock import Clock
from windrow.config import Limits
from windrow.errors import RecordError
from windrow.io.base import Remembering, Remote, Source, StartsNow, Stopping
from windrow.progress.decide import PartitionFacts, decide_next
from windrow.progress.ledger import EpochInput, Positions, Ranges
from windrow.runtime.pace import Pace
from windrow.runtime.pipeline import SourceHead


class Intake:
    """The sources of a job and how far each partition has been read."""

    def __init__(self, heads: Sequence[SourceHead], limits: Limits, clock: Clock, workers: int) -> None:
        self._heads = heads
        self._clock = clock
        self._pace = Pace(limits, workers)
        self._redo: EpochInput | None = None
        self.held = False  # events wait for the next epoch to be due
        self._positions: dict[str, dict[int, int]] = {}

    def resume(self, positions: Positions, redo: EpochInput | None, remembered: Mapping[str, Any]) -> None:
        """Go on from committed `positions`; `redo` is the next epoch's input when it was fixed before a crash.

        `remembered`: what the sources had asked to be told again.
        """
        known = remembered if redo is None else redo.remembered
        for head in self._heads:
            if isinstance(head.source, Remembering) and head.source.name in known:
                head.source.recall(known[head.source.name])
        self._positions = {name: dict(offsets) for name, offsets in positions.items()}
        self._redo = redo

    @property
    def positions(self) -> dict[str, dict[int, int]]:
        """A copy of the next offsets to read."""
        return {name: dict(offsets) for name, offsets in self._positions.items()}

    def plan(self, wait_s: float) -> EpochInput | None:
        """The next epoch's input; None when nothing came within `wait_s`, or when it is not yet time for the little
        that did (`held` says so). With ``wait_s=0`` it is always time."""
        self.held = False
        if self._redo is not None:
            redo, self._redo = self._redo, None
            return redo
        deadline = time.monotonic() + wait_s
        while True:
            ranges = self._offer()
            decision = decide_next(self.facts(ranges), self._bounded())
            if decision == "last" or (decision == "run" and not self._pace.hold(_offsets(ranges))):
                return EpochInput(ranges, decision == "last", self._clock.now_us())
            if decision == "stuck":
                self.check_stopped()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                self.held = decision == "run" and wait_s > 0
                now_us = self._clock.now_us()
                return EpochInput(ranges, False, now_us) if decision == "run" and not self.held else None
            if decision == "wait":
                self.wait(remaining)
            else:
                time.sleep(max(min(remaining, self._pace.pause_s()), 0))

    def beginning(self) -> EpochInput | None:
        """An epoch that reads nothing, and whose commit says where the input begins; None when that stays the same."""
        if self._redo is not None or not any(_starts_now(head.source) for head in self._heads):
            return None
        ranges = {
            head.source.name: {part: (at, at) for part in parts for at in [head.source.start_offset(part)]}
            for head in self._heads
            for parts in [head.source.partitions()]
        }
        return EpochInput(ranges, False, self._clock.now_us())

    def began(self) -> None:
        """An epoch starts."""
        self._pace.begin()

    def took(self, plan: EpochInput, rows: int, seconds: float) -> None:
        """The epoch's input has been read and applied; it had so many rows and took so long."""
        for name, parts in plan.ranges.items():
            self._positions.setdefault(name, {}).update({part: end for part, (_, end) in parts.items()})
        self._pace.took(rows, seconds)

    def facts(self, ranges: Ranges) -> dict[tuple[str, int], PartitionFacts]:
        """Where each partition stands when `ranges` have been read."""
        found = {}
        for head in self._heads:
            source = head.source
            stopped = _stopped(source)
            for partition in source.partitions():
                start, end = ranges.get(source.name, {}).get(partition, (0, 0))
                # what has no end is never at it, and need not be asked
                there = source.end_offset(partition) if source.bounded else end
                found[source.name, partition] = PartitionFacts(start, end, there, source.bounded, partition in stopped)
        return found

    def lag(self, *, asking: bool = True) -> int:
        """Offsets that are there and not read yet; those of partitions that cannot go on are left out.

        Without `asking` it is as far as is known here: Kafka's brokers take milliseconds to say.
        """
        behind = 0
        for head in self._heads:
            source = head.source
            known = self._positions.get(source.name, {})
            stopped = _stopped(source)
            ends = source.known_end if isinstance(source, Remote) and not asking else source.end_offset
            for partition in source.partitions():
                if partition not in stopped:
                    behind += max(0, ends(partition) - known.get(partition, 0))
        return behind

    def stopped(self) -> list[str]:
        """A sentence for each partition that cannot go on."""
        return [sentence for head in self._heads for sentence in _stopped(head.source).values()]

    def check_stopped(self) -> None:
        """Raise `RecordError` that names the partitions that cannot go on, if there are any."""
        sentences = self.stopped()
        if sentences:
            raise RecordError("everything else has been read and committed, but " + "; ".join(sentences))

    def remembered(self) -> dict[str, Any]:
        """What a restart must know besides the positions, by source."""
        return {h.source.name: dict(h.source.remember()) for h in self._heads if isinstance(h.source, Remembering)}

    def wait(self, seconds: float) -> None:
        """Return when a source may have more, or after `seconds`."""
        alone = len(self._heads) == 1
        self._heads[0].source.wait(seconds if alone else min(seconds, 0.05))

    def _offer(self) -> dict[str, dict[int, tuple[int, int]]]:
        """What each partition could give to the next epoch, within the epoch's bounds."""
        ranges: dict[str, dict[int, tuple[int, int]]] = {}
        partitions = [(head, part) for head in self._heads for part in head.source.partitions()]
        max_rows, max_bytes = self._pace.share(len(partitions))
        for head, partition in partitions:
            known = self._positions.setdefault(head.source.name, {})
            if partition not in known:
                known[partition] = head.source.start_offset(partition)
            start = known[partition]
            end = head.source.plan(partition, start, max_rows, max_bytes)
            ranges.setdefault(head.source.name, {})[partition] = (start, end)
        return ranges

    def _bounded(self) -> bool:
        return all(head.source.bounded for head in self._heads)


def _starts_now(source: Source) -> bool:
    return isinstance(source, StartsNow) and source.starts_now


def _stopped(source: Source) -> Mapping[int, str]:
    return source.stopped() if isinstance(source, Stopping) else {}


def _offsets(ranges: Mapping[str, Mapping[int, tuple[int, int]]]) -> int:
    return sum(end - start for parts in ranges.values() for start, end in parts.values())
