"""The two topics of a ledger: how they are called, made, and divided among the parts of a job."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from windrow.errors import StateError
from windrow.io.kafka import topics
from windrow.io.kafka.client import Cluster

_NAME = re.compile(r"[^a-zA-Z0-9._-]")
_FOREVER = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete", "compression.type": "producer"}
_AFRESH = "Give the job another name to start afresh"


@dataclass(frozen=True, slots=True)
class Part:
    """One of several parts of a job, each with state, transactional id and a partition of both topics of its own.

    `number` is the partition that it reads, `count` how many there are. When the input grows there are more; but not of
    a job with state, because rows of a key then come to another partition than the key's state lies in.
    """

    number: int
    count: int


@dataclass(frozen=True, slots=True)
class LedgerTopics:
    """The topics of a job, which are made with `replication` copies when they are not there.

    Raises `StateError` when they were made for a job that was divided in another way.
    """

    cluster: Cluster
    job: str
    ledger: str
    changelog: str
    replication: int

    def of_one(self, shards: int) -> int:
        """For a job that is not divided; how many partitions the changelog has."""
        partitions = self._partitions(self.changelog, shards)
        if self._partitions(self.ledger, 1) > 1:
            raise self._otherwise("in a group", "by one process")
        return partitions

    def of_part(self, part: Part, *, stateful: bool) -> int:
        """For one part of a job; how many parts it began with. The changelog stays as it was then: it tells."""
        began = self._partitions(self.changelog, part.count)
        if self._partitions(self.ledger, part.count) == 1 < began:
            raise self._otherwise("by one process", "in a group")
        if part.number >= began:
            if stateful:
                raise StateError(
                    f"job {self.job!r} began when its input had {began} partitions, now it has {part.count}: rows of a "
                    f"key come to another partition than the key's state lies in. {_AFRESH}"
                )
            topics.grow(self.cluster, self.ledger, part.count)
        return began

    def _partitions(self, name: str, wanted: int) -> int:
        there = topics.partition_count(self.cluster, name)
        if not there:
            topics.create(self.cluster, topics.NewTopic(name, wanted, self.replication, _FOREVER))
            there = topics.partition_count(self.cluster, name)
        return there

    def _otherwise(self, before: str, now: str) -> StateError:
        return StateError(
            f"job {self.job!r} was run {before} before, and is run {now} now: its state and positions are divided in "
            f"another way. {_AFRESH}"
        )


def began_with(cluster: Cluster, job: str) -> int:
    """How many partitions the input had when a job of parts began; 0 when it never did."""
    return topics.partition_count(cluster, f"{topic_name(job)}-changelog")


def topic_name(job: str) -> str:
    """The job's name as it can be in a topic's; what cannot is replaced, and a checksum keeps two such names apart."""
    plain = _NAME.sub("-", job)[:200]
    return plain if plain == job else f"{plain}-{zlib.crc32(job.encode()):08x}"
