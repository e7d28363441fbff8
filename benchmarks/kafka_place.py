"""The brokers that Kafka's benchmarks use, and what they need of them.

Those of ``WINDROW_BENCH_KAFKA`` (host:port), or a broker of one's own for the length of a benchmark, which needs
``java`` and ``mvn``. That one runs on the cores that the engine does not have: with ``--pin`` the engine has one.
Several benchmarks share a broker in a block of `shared_place`.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator
from statistics import quantiles
from typing import Any

import pyarrow as pa

import windrow as wr
from benchmarks import machine

_GIVEN = "WINDROW_BENCH_KAFKA"
_VERSION = "WINDROW_BENCH_KAFKA_VERSION"  # of that, where it is known


@contextlib.contextmanager
def place() -> Iterator[str]:
    """The address of brokers."""
    given = os.environ.get(_GIVEN)
    if given:
        yield given
        return
    from tests.broker.cluster import brokers

    with contextlib.ExitStack() as stack:
        with elsewhere():
            cluster = stack.enter_context(brokers())
        yield cluster.bootstrap


@contextlib.contextmanager
def shared_place() -> Iterator[None]:
    """Benchmarks that are run in here, in processes of their own, use one broker, on all cores but the last: that is
    the one that the engine has with ``--pin``."""
    from tests.broker.jars import NEWEST

    given, every = os.environ.get(_GIVEN), os.sched_getaffinity(0)
    machine.pin_to_one_core()
    try:
        with place() as bootstrap:
            os.sched_setaffinity(0, every)
            if not given:
                os.environ.update({_GIVEN: bootstrap, _VERSION: NEWEST})
            yield
    finally:
        os.sched_setaffinity(0, every)
        if not given:
            os.environ.pop(_GIVEN, None)
            os.environ.pop(_VERSION, None)


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """What is started in here has the cores that this process does not have; all of them when there are no others."""
    mine = os.sched_getaffinity(0)
    others = set(range(os.cpu_count() or 1)) - mine
    try:
        # where a container does not give the others either, processes stay where this one is
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, others or mine)
        yield
    finally:
        os.sched_setaffinity(0, mine)


def fresh(name: str) -> str:
    """A name that no topic or job had before."""
    return f"windrow-bench-{name}-{uuid.uuid4().hex[:8]}"


def produce(bootstrap: str, topic: str, documents: Iterable[pa.Array], partitions: int) -> None:
    """Binary arrays as values of records, each array into the next partition, by a job of ours."""
    batches = (pa.record_batch({"value": some.cast(pa.binary())}) for some in documents)
    stream = wr.from_arrow(batches, schema=wr.schema(value="binary"), name="documents")
    sink = stream.write_kafka(bootstrap, topic, format="raw", create=True, partitions=partitions)
    with wr.job(sink, name=fresh("fill"), limits=wr.Limits(epoch_rows=100_000)) as job:
        job.run()


def broker_versions() -> dict[str, str]:
    """Versions of what stands on the other side, for the line of a benchmark."""
    import confluent_kafka

    from tests.broker.jars import NEWEST

    kafka = os.environ.get(_VERSION, "as given") if os.environ.get(_GIVEN) else NEWEST
    return {"kafka": kafka, "librdkafka": confluent_kafka.libversion()[0]}


def milliseconds(seconds: Iterable[float]) -> dict[str, Any]:
    """Median, 99th and 99.9th percentile, in ms."""
    cuts = quantiles(seconds, n=1_000, method="inclusive")
    return {"p50_ms": round(cuts[499] * 1e3, 2), "p99_ms": round(cuts[989] * 1e3, 2),
            "p999_ms": round(cuts[998] * 1e3, 2)}  # fmt: skip
