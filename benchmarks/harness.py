"""What a benchmark is: a named function that measures one thing and says what it measured.

A benchmark is given a `scale`: 1.0 is the real size, the test suite uses a hundredth. It makes its input from a fixed
seed (random keys, real values), warms up what it measures, runs it several times, and returns a `Measured` whose
`checksum` depends on every result value, so that nobody can make it faster by computing something else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """One line of a benchmark: `seconds` is the median over the runs."""

    events: int
    bytes: int
    seconds: float
    checksum: str
    variant: str = ""  # for example "1k keys"
    workers: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)  # other figures, by a name with its unit


@dataclass(frozen=True, slots=True)
class Benchmark:
    name: str
    what: str
    run: Callable[[float], list[Measured]]
    kernels: tuple[str, ...]  # registry names of the kernels that it exercises
    workers: int = 1  # most cores that it may use; thread pools of libraries are held to it
    broker: bool = False  # needs Kafka brokers: see `kafka_place`


#: Every benchmark by name; modules under benchmarks/ fill it when imported.
registry: dict[str, Benchmark] = {}


def benchmark(
    name: str, what: str, kernels: tuple[str, ...] = (), workers: int = 1, broker: bool = False
) -> Callable[[Callable[[float], list[Measured]]], Callable[[float], list[Measured]]]:
    """Register the function below as the benchmark `name`; no two have the same."""

    def make(function: Callable[[float], list[Measured]]) -> Callable[[float], list[Measured]]:
        if name in registry:
            raise ValueError(f"two benchmarks are called {name}")
        registry[name] = Benchmark(name, what, function, kernels, workers, broker)
        return function

    return make


class Seconds(float):
    """A median, and what it is the median of."""

    runs: tuple[float, ...]

    @classmethod
    def of(cls, runs: list[float]) -> Seconds:
        made = cls(median(runs))
        made.runs = tuple(runs)
        return made


def median_seconds(action: Callable[[], Any], runs: int = 5) -> Seconds:
    """Median wall time of `action` over `runs`, after one run that does not count."""
    action()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return Seconds.of(times)
