"""Where the partitions of a source begin and end, from what the user says and what the brokers have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

from windrow.errors import BrokerError, PlanError
from windrow.io.kafka.catalog import EARLIEST, LATEST, Requests, committed, list_offsets
from windrow.io.kafka.layout import TopicPartition

#: topic -> partition -> offset; for a source over one topic partition -> offset
Offsets = Mapping[str, Mapping[int, int]] | Mapping[int, int]
#: where to begin; an int is a time in microseconds
Start = Literal["earliest", "latest", "committed"] | Offsets | int
#: where to end; a time: before the first record at or after it
End = Literal["latest"] | Offsets | int
OnOffsetGone = Literal["fail", "earliest", "latest"]

#: number of a partition -> where it is
Places = Mapping[int, TopicPartition]


@dataclass(frozen=True, slots=True)
class KafkaInput:
    """What to read: `topics` are names, or one regular expression (compiled) that whole names have to match.

    `group`: the consumer group whose committed offsets ``start="committed"`` means. `end` makes the source bounded; it
    is fixed when the source starts. `on_offset_gone`: what to do when records were deleted before they were read:
    stop the job (fail), or go on with what is left (earliest), or with what comes from then on (latest). `only`: the
    one partition of every topic that is read, by its number; None: all.
    """

    topics: tuple[str, ...] | re.Pattern[str]
    start: Start = "earliest"
    end: End | None = None
    group: str | None = None
    on_offset_gone: OnOffsetGone = "fail"
    only: int | None = None

    def matches(self, topic: str) -> bool:
        return bool(self.topics.fullmatch(topic)) if isinstance(self.topics, re.Pattern) else topic in self.topics

    def takes(self, partition: int) -> bool:
        """Whether that partition of each topic is wanted."""
        return self.only is None or partition == self.only

    @property
    def label(self) -> str:
        return self.topics.pattern if isinstance(self.topics, re.Pattern) else "+".join(self.topics)


class Bounds:
    """Offsets at which partitions start and end; `timeout_s` for each question to the brokers."""

    def __init__(self, cluster: Requests, wanted: KafkaInput, source: str, timeout_s: float) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._source = source
        self._timeout_s = timeout_s

    def starts(self, places: Places, fresh: Set[int], *, remembered: bool) -> dict[int, int]:
        """Where each partition starts; those in `fresh`, which came after the job began, at their first record.

        Raises `PlanError` for a start that is none, and `BrokerError` for an offset behind the end, or when the group
        has committed none (with `remembered` it need not have: the job has positions of its own).
        """
        start = self._wanted.start
        if isinstance(start, str) and start not in ("earliest", "latest", "committed"):
            raise PlanError(
                f"source {self._source!r}: start is 'earliest', 'latest', 'committed', offsets or a time, not {start!r}"
            )
        fixed: dict[TopicPartition, int] = {}
        if start == "committed":
            fixed = self._committed(list(places.values()), remembered)
        elif isinstance(start, Mapping):
            fixed = _by_place(start, self._wanted, self._source)
        at = {"latest": LATEST}.get(start, EARLIEST) if isinstance(start, str) else EARLIEST
        if isinstance(start, int):
            at = start // 1_000
        self._check_fixed(fixed)
        asked = {p: EARLIEST if n in fresh else at for n, p in places.items() if p not in fixed or n in fresh}
        found = self._offsets(asked)
        return {n: found[p] if p in found else fixed[p] for n, p in places.items()}

    def _check_fixed(self, fixed: Mapping[TopicPartition, int]) -> None:
        """Offsets that were given must not be behind the end; those before the first record are met when fetching."""
        ends = self._offsets(dict.fromkeys(fixed, LATEST))
        for (topic, part), at in fixed.items():
            if not 0 <= at <= ends[topic, part]:
                end = ends[topic, part]
                raise BrokerError(
                    f"source {self._source!r}: {topic}[{part}] cannot start at offset {at}: it ends at {end}"
                )

    def _committed(self, places: Sequence[TopicPartition], remembered: bool) -> dict[TopicPartition, int]:
        if self._wanted.group is None:
            raise PlanError(f"source {self._source!r}: start='committed' needs group=, whose offsets are meant")
        found = committed(self._cluster, self._wanted.group, places, self._timeout_s)
        if not found and not remembered:
            raise BrokerError(
                f"source {self._source!r}: group {self._wanted.group!r} has committed no offset of these topics; "
                "is it the right name? start='earliest' begins with the first record"
            )
        return found

    def ends(self, places: Places) -> dict[int, int]:
        """Where each partition ends, fixed now; none of a source that goes on for ever."""
        end = self._wanted.end
        if end is None:
            return {}
        if isinstance(end, str):
            if end != "latest":
                raise PlanError(f"source {self._source!r}: end is 'latest', offsets or a time, not {end!r}")
            found = self._offsets(dict.fromkeys(places.values(), LATEST))
        elif isinstance(end, Mapping):
            fixed = _by_place(end, self._wanted, self._source)
            found = {p: fixed.get(p, 0) for p in places.values()}
        else:
            found = self._offsets(dict.fromkeys(places.values(), end // 1_000))
        return {n: found[p] for n, p in places.items()}

    def _offsets(self, asked: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Offsets at times; a time after the last record is the end."""
        if not asked:
            return {}
        topics = sorted({topic for topic, _ in asked})
        found = list_offsets(self._cluster, topics, asked, self._timeout_s)
        late = {place: LATEST for place, offset in found.items() if offset < 0}
        if late:
            found.update(list_offsets(self._cluster, topics, late, self._timeout_s))
        return found


def _by_place(offsets: Any, wanted: KafkaInput, name: str) -> dict[TopicPartition, int]:
    if all(isinstance(key, str) for key in offsets):
        return {(topic, part): at for topic, parts in offsets.items() for part, at in parts.items()}
    if isinstance(wanted.topics, tuple) and len(wanted.topics) == 1:
        return {(wanted.topics[0], part): at for part, at in offsets.items()}
    raise PlanError(f"source {name!r}: offsets of several topics are {{topic: {{partition: offset}}}}")
