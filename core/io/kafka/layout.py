"""Partition numbers of a source that reads several topics: given once to a topic's name and partition, and kept.

Positions are kept by number. So a number means the same partition for as long as the job lives, whatever topics come:
numbers are dealt in the order in which partitions are met, and the layout is part of every commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

#: A topic and the number of a partition in it.
TopicPartition = tuple[str, int]


@dataclass(slots=True)
class Layout:
    """Which partition each number stands for. Of a source over one topic the two are the same."""

    ids: dict[str, UUID] = field(default_factory=dict)
    places: list[TopicPartition] = field(default_factory=list)  # by number
    _numbers: dict[TopicPartition, int] = field(default_factory=dict)

    def add(self, topic: str, topic_id: UUID, partitions: int) -> list[int]:
        """Know a topic with so many partitions; the numbers that are new."""
        self.ids[topic] = topic_id
        fresh: list[int] = []
        for partition in range(partitions):
            if (topic, partition) not in self._numbers:
                fresh.append(self._place((topic, partition)))
        return fresh

    def number(self, topic: str, partition: int) -> int | None:
        return self._numbers.get((topic, partition))

    def of(self, topics: Iterable[str]) -> list[int]:
        """The numbers of these topics' partitions, ascending."""
        wanted = set(topics)
        return [number for number, (topic, _) in enumerate(self.places) if topic in wanted]

    def as_json(self) -> dict[str, Any]:
        """``{"topics": {name: {"id": hex, "numbers": [number of partition 0, of partition 1, ...]}}}``."""
        topics: dict[str, Any] = {name: {"id": id_.hex, "numbers": []} for name, id_ in self.ids.items()}
        for number, (topic, _) in enumerate(self.places):
            topics[topic]["numbers"].append(number)
        return {"topics": topics}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Layout:
        places: dict[int, TopicPartition] = {}
        for topic, entry in saved["topics"].items():
            places.update({number: (topic, partition) for partition, number in enumerate(entry["numbers"])})
        layout = cls({topic: UUID(hex=entry["id"]) for topic, entry in saved["topics"].items()})
        for number in range(len(places)):
            layout._place(places[number])
        return layout

    def _place(self, place: TopicPartition) -> int:
        self._numbers[place] = len(self.places)
        self.places.append(place)
        return self._numbers[place]
