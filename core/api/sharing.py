"""A job in a group: what can be run so, and how each partition gets an engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from windrow.errors import PlanError
from windrow.plan.partitioning import check_shared
from windrow.plan.physical import Physical
from windrow.progress.group import Group
from windrow.progress.ledger import Caching
from windrow.runtime.engine import Engine
from windrow.runtime.instance import Instance
from windrow.runtime.part import Made

if TYPE_CHECKING:
    from windrow.api.job import Settings
    from windrow.io.base import Sink, Source
    from windrow.plan.nodes import SourceNode

#: State of a job in a group is divided by its partitions; within one of them there is no need to.
_SHARDS = 1


def check(plan: Physical, ledger: str | None) -> None:
    """Raise `PlanError` when the job cannot be run by several instances."""
    for source in plan.sources:
        if source.sharing is None:
            raise PlanError(
                f"source {source.name!r} cannot be shared by a group: only topics of a Kafka cluster can, read by name"
            )
    places = {source.log_path for source in plan.sources}
    if len(places) > 1:
        raise PlanError("a group is one of one Kafka cluster, and this job reads several")
    where = places.pop()
    for sink in plan.sinks:
        if sink.log_path != where:
            raise PlanError(
                f"sink {sink.name!r} is not in the cluster that the group reads: what its instances commit are "
                "transactions there. Write a topic, and have another job take it from there"
            )
    if ledger not in (None, where):
        raise PlanError("the ledger of a group is in the cluster that it reads; leave ledger= away")
    check_shared(plan)


def instance(plan: Physical, job: str, settings: Settings, dead_letters: Callable[[], Mapping[str, Sink]]) -> Instance:
    """This process as one of the job's instances. Raises `BrokerError` when the cluster is not there."""
    sharings = [source.sharing for source in plan.sources if source.sharing is not None]
    topics = sorted({topic for sharing in sharings for topic in sharing.topics})
    group: Group = sharings[0].make_group(job, topics, settings.instance, bool(plan.stateful))
    turn = threading.BoundedSemaphore(settings.threads)

    def make(partition: int, life: int) -> Made:
        ledger = group.ledger(partition, life)
        if settings.state_cache is not None and isinstance(ledger, Caching):
            ledger.cache_in(settings.state_cache)
        count, fresh = group.count(), group.fresh(partition)

        def source(node: SourceNode) -> Source:
            assert node.sharing is not None  # as `check` has seen
            made: Source = node.sharing.make_part(partition, count, fresh)
            return made

        engine = Engine(
            plan,
            ledger,
            job=job,
            shards=_SHARDS,
            limits=settings.limits,
            clock=settings.clock,
            dead_letters=dead_letters(),
            make_source=source,
            turn=turn,
        )
        return engine, ledger

    return Instance(group, make)
