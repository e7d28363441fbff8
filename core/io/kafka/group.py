"""Several instances of one job on a Kafka cluster: membership, and a ledger for each partition."""

from __future__ import annotations

from collections.abc import Sequence

from windrow.errors import PlanError
from windrow.io.kafka import topics as topic_calls
from windrow.io.kafka.client import release, shared
from windrow.io.kafka.ledger import KafkaLedger
from windrow.io.kafka.ledger_topics import Part, began_with
from windrow.io.kafka.membership import Membership
from windrow.io.kafka.options import KafkaOptions
from windrow.io.kafka.standing import Member


class _Standing:
    """`Standing` for as long as one life of the membership lasts."""

    def __init__(self, membership: Membership, life: int) -> None:
        self._membership = membership
        self._life = life

    def current(self) -> Member:
        return self._membership.current(self._life)

    def renewed(self, stale: Member, timeout_s: float) -> Member | None:
        return self._membership.renewed(self._life, stale, timeout_s)


class KafkaGroup(Membership):
    """`progress.group.Group` of a job's instances, which share the partitions of `topics`; the group has the job's
    name.

    With `keyed` the topics have to have as many partitions each: rows of a key are then in those of the same number.
    """

    def __init__(
        self,
        bootstrap: str,
        options: KafkaOptions,
        job: str,
        topics: Sequence[str],
        *,
        instance: str | None = None,
        keyed: bool = False,
    ) -> None:
        self._bootstrap = bootstrap
        self._options = options
        self._clients = shared(bootstrap, options.settings)
        try:
            self._check_topics(topics, keyed)
            super().__init__(
                bootstrap,
                options.settings,
                job,
                topics,
                instance=instance,
                waits=options.waits,
                refresh_s=options.limits.refresh_s,
            )
        except BaseException:
            release(self._clients)
            raise

    @property
    def patience_s(self) -> float:
        return self._options.waits.rebalance_timeout_ms / 1e3

    def count(self) -> int:
        return max(topic_calls.partition_count(self._clients, topic) for topic in self._topics)

    def ledger(self, partition: int, life: int) -> KafkaLedger:
        return KafkaLedger(
            self._bootstrap,
            self._options.settings,
            standing=_Standing(self, life),
            group=self.group,
            part=Part(partition, max(self.count(), partition + 1)),
            transaction_timeout_ms=self._options.waits.transaction_timeout_ms,
        )

    def fresh(self, partition: int) -> bool:
        return 0 < began_with(self._clients, self.group) <= partition

    def close(self) -> None:
        if not self._closed:
            super().close()
            release(self._clients)

    def _check_topics(self, topics: Sequence[str], keyed: bool) -> None:
        counts = {topic: topic_calls.partition_count(self._clients, topic) for topic in topics}
        missing = [topic for topic, count in counts.items() if not count]
        if missing:
            raise PlanError(f"there is no topic {missing[0]!r}, or it may not be seen")
        if keyed and len(set(counts.values())) > 1:
            said = ", ".join(f"{topic!r} has {count}" for topic, count in counts.items())
            raise PlanError(
                f"a group needs topics with as many partitions each, for rows of a key to be together; {said}"
            )
