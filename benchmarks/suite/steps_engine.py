"""windrow by itself: the benchmarks of this folder that go through the public API, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import runner
from benchmarks.kafka_place import shared_place
from benchmarks.suite.lines import Line
from benchmarks.suite.steps import Run, step
from benchmarks.suite.steps_kernels import of_benchmark

#: Scale in the full suite; those that are not here take part at this one.
_USUAL = 0.2
_SCALES = {
    "start": 1.0, "log_to_log_long": 0.0, "kafka_read": 0.0, "nexmark": 0.0, "polars_group_by": 0.25,
    "hopping_many_panes": 0.1, "join_interval": 0.1, "log_to_log_scaling": 0.1,
}  # fmt: skip
_QUICK = {"tumbling_memory": 0.1, "log_to_log": 0.05, "epoch_latency": 0.2}


@step("engine", part="engine", what="windows, joins, sessions, the log, commits and restores, through the API",
      seconds=(25, 54))  # fmt: skip
def engine(run: Run) -> Iterator[Line]:
    """Nexmark is with the peers, Kafka with Kafka."""
    for each in runner.load_all().values():
        scale = _SCALES.get(each.name, _USUAL) if run.size == "full" else _QUICK.get(each.name, 0.0)
        if scale and not each.kernels and not each.broker:
            yield from of_benchmark(run, each.name, "engine", scale if run.size != "tiny" else 0.01)


#: By one broker, commits first, before its disk has much to write; from Kafka to Kafka, and latency, are measured next
#: to other engines.
_KAFKA = {"kafka_commit": 0.5, "kafka_restore": 0.25, "kafka_read": 0.25}


@step("engine_kafka", part="engine", what="Kafka: reading next to other clients, commits, restores",
      seconds=(0, 44), limit=(0, 500))  # fmt: skip
def engine_kafka(run: Run) -> Iterator[Line]:
    """The engine on one core, where it is not said otherwise; brokers and other ends on the rest."""
    with shared_place():
        for name, scale in _KAFKA.items():
            yield from of_benchmark(run, name, "engine", scale if run.size == "full" else 0.02)
