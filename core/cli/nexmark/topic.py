"""The events of a run as JSON in a Kafka topic, written once for each number of them and seed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import windrow as wr
from windrow.cli.demo_data import PARTITIONS
from windrow.cli.nexmark.events import MIXED, split_mixed
from windrow.cli.nexmark.queries import Events

if TYPE_CHECKING:
    from windrow.cli.bars import Advance
    from windrow.io.kafka.client import Cluster

_CHUNK = 100_000  # events of one transaction; a multiple of PARTITIONS
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Topic:
    """Where the first `events` events of a seed are; event n is in partition n % PARTITIONS."""

    bootstrap: str
    events: int
    seed: int
    options: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        return f"windrow-nexmark-{self.events}-{self.seed}"

    def streams(self) -> Events:
        """The three kinds of events, up to where the topic ends."""
        kafka = dict(self.options) if self.options is not None else None
        return split_mixed(wr.read_kafka(self.bootstrap, self.name, schema=MIXED, end="latest", kafka=kafka))

    def missing(self) -> int:
        """How many of the events are not there yet."""
        with self._cluster() as cluster:
            return self.events - self._written(cluster)

    def write(self, advance: Advance) -> None:
        """Produce what is not there yet. How far it is stands in each transaction, as the offset of a group, so a
        run that was killed leaves whole chunks and the next one goes on after them."""
        from windrow.io.kafka import topics
        from windrow.io.kafka.transaction import GroupOffsets, Transactions

        with self._cluster() as cluster:
            topics.create(cluster, topics.NewTopic(self.name, PARTITIONS, -1, {"retention.ms": "-1"}))
            transactions = Transactions(cluster, self.name)
            transactions.open(_TIMEOUT_S)
            done = self._written(cluster)
            while done < self.events:
                last = min(done + _CHUNK, self.events)
                memory = GroupOffsets(self.name, {(self.name, 0): last}, "events that are written")
                records = {(self.name, part): self._batches(done + part, last) for part in range(PARTITIONS)}
                base = transactions.commit(
                    records,
                    [memory],
                    committed=lambda last=last: self._written(cluster) >= last,  # type: ignore[misc]
                )
                done = last
                advance(done, self.events, "")
                if done == self.events:
                    topics.await_visible(cluster, topics.ends_of(base, records))

    def _batches(self, first: int, last: int) -> list[Any]:
        import numpy as np

        from windrow.codec.kafka_encode import encode
        from windrow.io.nexmark import nexmark_json

        values = nexmark_json(first, last, seed=self.seed, step=PARTITIONS)
        now = np.full(len(values), time.time_ns() // 1_000_000, np.int64)
        return encode(None, values, now).batches

    def _written(self, cluster: Cluster) -> int:
        from windrow.io.kafka import catalog

        place = (self.name, 0)
        return catalog.committed(cluster, self.name, [place], _TIMEOUT_S).get(place, 0)

    @contextmanager
    def _cluster(self) -> Iterator[Cluster]:
        from windrow.api.sources import kafka_options

        settings = kafka_options(self.options).settings
        from windrow.io.kafka.client import release, shared

        cluster = shared(self.bootstrap, settings)
        try:
            yield cluster
        finally:
            release(cluster)
