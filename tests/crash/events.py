"""The input of a life, made from a seed, and what must have come out of any part of it: plain Python, no engine.

Everything that the job writes is a function of the committed positions: `Model.at(positions)` says of every output
which rows there are once the first ``positions[p]`` events of each partition are committed.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SECOND = 1_000_000
BASE_US = 1_700_000_000 * SECOND
DELAY_US = 4 * SECOND
PARTITIONS = 3
WORDS = ("alpha", "beta", "gamma", "delta", "", None)

Row = tuple[Any, ...]
Rows = Counter[Row]


class Event(NamedTuple):
    """One event, at `offset` of `partition`; `text` is its JSON, which is broken when `bad`."""

    partition: int
    offset: int
    id: int
    key: int | None
    word: str | None
    value: int
    time_us: int
    bad: bool = False

    @property
    def text(self) -> bytes:
        document = {"id": self.id, "key": self.key, "word": self.word, "value": self.value, "time": self.time_us}
        text = json.dumps(document)
        return (text[:-1] if self.bad else text).encode()


def generate(seed: int, per_partition: int = 240, *, bad: bool = False) -> list[list[Event]]:
    """Events of each partition: out of order within the delay, some far too late, some keys null, some broken."""
    made = []
    for partition in range(PARTITIONS):
        chance = random.Random(f"{seed}/{partition}")
        now = BASE_US + partition * 25 * SECOND + chance.randrange(3 * SECOND)  # a partition's time is its own
        events = []
        for offset in range(per_partition):
            now += chance.randrange(SECOND)
            time_us = now - chance.randrange(DELAY_US)
            if chance.random() < 0.08:
                time_us = now - chance.randrange(6, 40) * SECOND
            key = None if chance.random() < 0.06 else chance.randrange(9)
            word = chance.choice(WORDS)
            value = chance.randrange(-50, 1_000)
            broken = bad and chance.random() < 0.03
            events.append(Event(partition, offset, partition * 1_000_000 + offset, key, word, value, time_us, broken))
        made.append(events)
    return made


@dataclass
class Expected:
    """What every output holds: its rows, each as often as it must be there."""

    plain: Rows = field(default_factory=Counter)  # id, key, doubled
    tumbling: Rows = field(default_factory=Counter)  # key, start, end, n, total, top
    hopping: Rows = field(default_factory=Counter)  # word, start, end, n, low
    late: Rows = field(default_factory=Counter)  # id, key
    totals: dict[str | None, tuple[int, int]] = field(default_factory=dict)  # word -> n, total
    calls: Rows = field(default_factory=Counter)  # id, value
    rejected: Rows = field(default_factory=Counter)  # partition, offset


class Model:
    """The recomputation for one input."""

    def __init__(self, events: Sequence[Sequence[Event]]) -> None:
        self.events = events

    def at(self, positions: Mapping[int, int]) -> Expected:
        """What is out once so much of each partition is committed."""
        out = Expected()
        tumbling: dict[tuple[int | None, int], list[int]] = {}
        hopping: dict[tuple[str | None, int], list[int]] = {}
        heads = []  # how far event time is known in partitions that are not at their end
        for partition, events in enumerate(self.events):
            newest = None
            upto = positions.get(partition, 0)
            for event in events[:upto]:
                if event.bad:
                    out.rejected[event.partition, event.offset] += 1
                    continue
                mark = None if newest is None else newest - DELAY_US
                newest = event.time_us if newest is None else max(newest, event.time_us)
                self._rows(event, out)
                starts = [s for s in _starts(event.time_us, 10, 10) if mark is None or s + 10 * SECOND > mark]
                for start in starts:
                    tumbling.setdefault((event.key, start), []).append(event.value)
                if not starts:
                    out.late[event.id, event.key] += 1
                for start in _starts(event.time_us, 10, 5):
                    if mark is None or start + 10 * SECOND > mark:
                        hopping.setdefault((event.word, start), []).append(event.value)
            if upto < len(events):
                heads.append(None if newest is None else newest - DELAY_US)
        passed = _passed(heads)
        for (key, start), values in tumbling.items():
            if passed(start + 10 * SECOND):
                out.tumbling[key, start, start + 10 * SECOND, len(values), sum(values), max(values)] += 1
        for (word, start), values in hopping.items():
            if passed(start + 10 * SECOND):
                out.hopping[word, start, start + 10 * SECOND, len(values), min(values)] += 1
        return out

    def complete(self) -> Expected:
        return self.at(self.ends)

    @property
    def ends(self) -> dict[int, int]:
        return {partition: len(events) for partition, events in enumerate(self.events)}

    def _rows(self, event: Event, out: Expected) -> None:
        if event.value % 3:
            out.plain[event.id, event.key, event.value * 2] += 1
        if event.value % 5 == 0:
            out.calls[event.id, event.value] += 1
        n, total = out.totals.get(event.word, (0, 0))
        out.totals[event.word] = (n + 1, total + event.value)


def _starts(time_us: int, size_s: int, slide_s: int) -> Iterator[int]:
    """Where the windows begin that hold this time, on the grid from 1970."""
    start = time_us - time_us % (slide_s * SECOND)
    while start > time_us - size_s * SECOND:
        yield start
        start -= slide_s * SECOND


def _passed(heads: Sequence[int | None]) -> Any:
    """Whether a window that ends then is closed: all partitions that still go on have passed it."""
    if any(head is None for head in heads):
        return lambda end_us: False
    return lambda end_us: all(head is not None and end_us <= head for head in heads)
