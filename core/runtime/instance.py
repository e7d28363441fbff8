"""This process's share of a job that several instances run together: the partitions that the group gives it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from windrow.errors import FencedError, RecordError
from windrow.progress.group import Group, View
from windrow.runtime.metrics import Count, EpochReport, Tally
from windrow.runtime.part import Made, Part

log = logging.getLogger(__name__)

_LOOK_S = 0.1  # how often the group is looked at
_FENCED = 5  # so often in a row may a partition be refused to a member before that is an error


class Instance:
    """`Runner` of the partitions that `group` assigns to this process; `make(partition, life)` gives their engines.

    A partition that is taken away is committed, closed and given back; one that is lost (the process was too slow, its
    session expired) is thrown away, and whoever has it by then goes on from its last commit. An error of one partition
    ends the instance: the others commit what they have, and the rest of the group takes over.
    """

    def __init__(self, group: Group, make: Callable[[int, int], Made]) -> None:
        self._group = group
        self._make = make
        self._changed = threading.Condition()
        self._parts: dict[int, Part] = {}
        self._leaving: list[Part] = []  # of a life that is over, not closed yet
        self._refused: dict[int, int] = {}  # partition -> how often in a row it was fenced
        self._view = View(0, frozenset(), frozenset(), settled=False)
        self._reports: list[EpochReport] = []
        self._past = Tally()
        self._past_sources: dict[str, dict[str, Any]] = {}
        self._last: dict[int, EpochReport] = {}
        self._halted: dict[int, list[str]] = {}  # what does not go on here, also of partitions that were drained
        self._epochs = 0
        self._closed = False

    # -- running

    @property
    def finished(self) -> bool:
        """Whether all that is assigned has come to its end. Never while nothing is: another instance may go."""
        mine = self._view.settled and bool(self._parts) and set(self._parts) == self._view.assigned
        return mine and all(part.finished for part in self._parts.values())

    @property
    def held(self) -> bool:
        return False

    def step(self, *, wait_s: float = 0.0) -> bool:
        self._follow()
        deadline_s = time.monotonic() + wait_s
        while not self._gather():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or self.finished:
                return False
            with self._changed:
                self._changed.wait(min(left_s, _LOOK_S))
            self._follow()
        return True

    def settle(self) -> bool:
        return False

    def drain(self) -> None:
        """Have every partition commit what it has begun, and close it. The group is told by `close`, all at once."""
        for part in self._parts.values():
            part.stop()
        deadline_s = time.monotonic() + self._group.patience_s
        while self._parts and time.monotonic() < deadline_s:
            with self._changed:
                if not any(part.closed for part in self._parts.values()):
                    self._changed.wait(_LOOK_S)
            self._follow(draining=True)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            for part in self._all():
                part.stop()
            deadline_s = time.monotonic() + self._group.patience_s
            for part in self._all():
                part.join(max(deadline_s - time.monotonic(), 0.0))
                self._keep_figures(part)
        finally:
            self._group.close()

    def _follow(self, *, draining: bool = False) -> None:
        """Open, stop and forget partitions as the group has it."""
        self._group.alive()
        view = self._view = self._group.view()
        for number, part in list(self._parts.items()):
            if part.life != view.life:
                part.stop()
                self._leaving.append(self._parts.pop(number))
            elif number not in view.assigned:
                part.stop()
        self._leaving = [part for part in self._leaving if not self._is_gone(part)]
        for number, part in list(self._parts.items()):
            if part.closed:
                del self._parts[number]
                if not draining:
                    self._group.give_back(number, part.life)
                self._ended(part)
        if not draining:
            for number in sorted(self._group.view().assigned - {part.number for part in self._all()}):
                self._open(number, view.life)

    def _open(self, number: int, life: int) -> None:
        self._parts[number] = Part(number, life, lambda: self._make(number, life), self._changed)

    def _is_gone(self, part: Part) -> bool:
        if not part.closed:
            return False
        log.info("partition %d was lost to the group: %s", part.number, part.error or "closed")
        self._keep_figures(part)
        return True

    def _ended(self, part: Part) -> None:
        """A partition that was ours to the end is closed."""
        self._keep_figures(part)
        fenced = isinstance(part.error, FencedError)
        blamed = fenced and not part.committed and not part.stopping
        refused = self._refused.get(part.number, 0) + 1 if blamed else 0
        self._refused[part.number] = refused
        if part.error is not None and (not fenced or refused > _FENCED):
            raise part.error
        if fenced and not part.stopping:
            log.warning("partition %d is given up: %s", part.number, part.error)

    # -- how it stands

    def take_reports(self) -> list[EpochReport]:
        self._gather()
        reports, self._reports = self._reports, []
        return reports

    def _gather(self) -> bool:
        """Take the reports of all partitions, as if they were one; whether there are any."""
        for part in self._parts.values():
            self._gather_of(part)
        return bool(self._reports)

    def _gather_of(self, part: Part) -> None:
        for report in part.take_reports():
            self._last[part.number] = report
            self._epochs += 1
            ours = [self._last[number] for number in {*self._parts, part.number} if number in self._last]
            self._reports.append(
                replace(
                    report,
                    epoch=self._epochs,
                    watermark_us=min(last.watermark_us for last in ours),
                    lag=sum(last.lag for last in ours),
                    state_bytes=sum(last.state_bytes for last in ours),
                    finished=self.finished,
                )
            )

    def lag(self) -> int:
        """At least 1 while it is not known: partitions are being opened, or the group is about to change."""
        unknown = not self._view.settled or set(self._parts) != self._view.assigned
        return sum(part.lag for part in self._parts.values()) + unknown

    def stopped(self) -> list[str]:
        self._halted.update({number: part.stopped for number, part in self._parts.items()})
        return [sentence for _, sentences in sorted(self._halted.items()) for sentence in sentences]

    def restoring(self) -> list[str]:
        said = (part.restoring() for _, part in sorted(self._parts.items()))
        return [sentence for sentence in said if sentence is not None]

    def check_stopped(self) -> None:
        sentences = self.stopped()
        if sentences:
            raise RecordError("everything else has been read and committed, but " + "; ".join(sentences))

    def wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait(seconds)

    def counts(self) -> dict[str, Count]:
        whole = Tally()
        whole.merge(self._past)
        for part in self._all():
            for name, count in part.counts().items():
                whole.counts[name].add(count)
        return whole.counts

    def source_metrics(self) -> dict[str, dict[str, Any]]:
        whole: dict[str, dict[str, Any]] = {}
        for figures in (self._past_sources, *(part.source_metrics() for part in self._all())):
            _add_sources(whole, figures)
        return whole

    def _keep_figures(self, part: Part) -> None:
        self._gather_of(part)
        for name, count in part.counts().items():
            self._past.counts[name].add(count)
        gone = part.source_metrics()
        for figures in gone.values():
            figures.pop("partitions", None)
        _add_sources(self._past_sources, gone)

    def _all(self) -> Iterable[Part]:
        return [*self._parts.values(), *self._leaving]


def _add_sources(whole: dict[str, dict[str, Any]], figures: dict[str, dict[str, Any]]) -> None:
    for name, said in figures.items():
        ours = whole.setdefault(name, {})
        for key, value in said.items():
            if isinstance(value, dict):
                ours.setdefault(key, {}).update(value)
            else:
                ours[key] = ours.get(key, 0) + value
