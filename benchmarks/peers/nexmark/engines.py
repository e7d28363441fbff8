"""The engines of the comparison from memory and files: how each is started, from what, and how many events it gets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers import environments
from benchmarks.peers.environments import MissingError
from benchmarks.peers.nexmark.answers import COLUMNS
from benchmarks.suite.lines import Guarantee

_PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True, slots=True)
class Engine:
    """`sources`: what it can read. `share`: of the events that the fast engines get; a row at a time takes long.
    `rounds`: warm ones. `cannot`: query -> why it cannot be said."""

    name: str
    program: str
    guarantee: Guarantee
    sources: tuple[str, ...]
    python: Callable[[Path], Path]  # from the cache folder; raises `MissingError`
    version: Callable[[], str]
    share: float = 1.0
    rounds: int = 1
    env: dict[str, str] = field(default_factory=dict)
    jars: bool = False  # from benchmarks/peers/jars
    cores: tuple[int, ...] = (1, 2)
    cannot: dict[str, str] = field(default_factory=dict)

    def command(self, cache: Path, task: str) -> Sequence[str | Path]:
        return [self.python(cache), _PROGRAMS / self.program, task]


def _own(_: Path) -> Path:
    return Path(sys.executable)


def _apart(name: str) -> Callable[[Path], Path]:
    return lambda cache: environments.python_of(name, cache)


def _pinned(name: str, package: str) -> Callable[[], str]:
    return lambda: environments.versions_of(name)[package]


_ALL = ("memory", "parquet", "json")
ENGINES = (
    Engine("windrow", "windrow_run.py", "none", _ALL, _own, lambda: version("windrow"), rounds=2),
    Engine("duckdb", "duckdb_run.py", "batch", _ALL, _own, lambda: version("duckdb"), rounds=2),
    Engine("polars", "polars_run.py", "batch", _ALL, _own, lambda: version("polars"), rounds=2),
    Engine(
        "datafusion", "datafusion_run.py", "batch", _ALL, _apart("datafusion"), _pinned("datafusion", "datafusion"),
        rounds=2,
    ),
    Engine(
        "flink", "flink_run.py", "none", ("json",), _apart("flink"), _pinned("flink", "apache-flink"),
        cores=(2,), env={"_JAVA_OPTIONS": "-Xmx4g"},
    ),
    Engine(
        "spark", "spark_run.py", "exactly once", ("json", "parquet"), _apart("spark"), _pinned("spark", "pyspark"),
        cores=(2,),
    ),
    Engine(
        "bytewax", "bytewax_run.py", "none", ("json",), _apart("bytewax"), _pinned("bytewax", "bytewax"),
        cores=(1,), share=0.05,
    ),
    Engine(
        "pathway", "pathway_run.py", "none", ("json",), _apart("pathway"), _pinned("pathway", "pathway"),
        cores=(2,), share=0.1,
    ),
    Engine(
        "quix", "", "none", ("json",), _apart("quix"), _pinned("quix", "quixstreams"), cores=(1,), share=0.05,
        cannot=dict.fromkeys(COLUMNS, "it reads from Kafka alone: its file sources write to a topic first"),
    ),
)  # fmt: skip
__all__ = ["ENGINES", "Engine", "MissingError"]
