"""The engines of the comparison from memory and files: how each is started, from what, and how many events it gets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
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
    """`measured`: source -> cores, in the full suite; `sources` is what it can read at all. `rounds`: warm ones.

    `share`: of the events that fast engines get, by source; a row at a time takes long. `lighter`: query -> share of
    that. `jvm`: it warms up for seconds.
    `memory_alone`: from memory it gets more events than from files, so that they are made for memory alone.
    `cannot`: query -> why it cannot be said."""

    name: str
    program: str
    guarantee: Guarantee
    python: Callable[[Path], Path]  # from the cache folder; raises `MissingError`
    version: Callable[[], str]
    measured: Mapping[str, tuple[int, ...]]
    more: tuple[str, ...] = ()  # sources that are read on request alone
    share: Mapping[str, float] = field(default_factory=dict)
    lighter: Mapping[str, float] = field(default_factory=dict)
    rounds: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    jars: str = ""  # a file of benchmarks/peers/jars
    jvm: bool = False
    whole: bool = False  # it reads Parquet files of a single row group
    memory_alone: bool = False
    cannot: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.measured, *self.more)

    def events(self, whole: int, source: str, query: str) -> int:
        """How many it gets where a fast engine gets `whole`."""
        return int(whole * self.share.get(source, 1.0) * self.lighter.get(query, 1.0))

    def command(self, cache: Path, cores: int) -> list[str]:
        """A process for queries on so many cores."""
        jars = [environments.jars_of(self.jars, cache)] if self.jars else []
        return [str(self.python(cache)), str(_PROGRAMS / self.program), json.dumps({"cores": cores}), *jars]


def _own(_: Path) -> Path:
    return Path(sys.executable)


def _apart(name: str) -> Callable[[Path], Path]:
    return lambda cache: environments.python_of(name, cache)


def _pinned(name: str, package: str) -> Callable[[], str]:
    return lambda: environments.versions_of(name)[package]


#: Batch engines, which need a single warm round, are an upper reference: a core of JSON and two of memory say enough.
_BATCH: dict[str, tuple[int, ...]] = {"json": (1,), "memory": (2,)}
#: From memory a million events are done in 20 ms: what is there to measure would be how a query begins.
_MORE = {"memory": 4.0}
#: A batch engine takes 0.2 to 1 s for half of the events as JSON, at the rate of all of them.
_OF_BATCH = {"json": 0.5, **_MORE}
#: The sessions of q11 cost Pathway more than a hundred times as much as what they read.
_SESSIONS = {"q11": 0.1}
#: Half of the events of q7 take Flink 4 s; not at a lower rate, from JSON at a higher one. With half of the events its
#: other queries from JSON fell to about 0.8 of the events in a CPU second, Spark's q7 and q18 as well: those get all.
_LONG_FOR_FLINK = {"q7": 0.5}
ENGINES = (
    Engine(
        "windrow", "windrow_run.py", "none", _own, lambda: version("windrow"),
        {"json": (1, 2), "memory": (1, 2), "parquet": (2,)}, share=_MORE, memory_alone=True, rounds=2,
    ),
    Engine(
        "duckdb", "duckdb_run.py", "batch", _own, lambda: version("duckdb"), _BATCH, ("parquet",), _OF_BATCH,
        memory_alone=True,
    ),
    Engine(
        "polars", "polars_run.py", "batch", _own, lambda: version("polars"), _BATCH, ("parquet",), _OF_BATCH,
        memory_alone=True,
    ),
    Engine(
        "datafusion", "datafusion_run.py", "batch", _apart("datafusion"), _pinned("datafusion", "datafusion"),
        _BATCH, ("parquet",), _OF_BATCH, memory_alone=True,
    ),
    Engine(
        "flink", "flink_run.py", "none", _apart("flink"), _pinned("flink", "apache-flink"),
        {"json": (2,), "parquet": (2,)}, lighter=_LONG_FOR_FLINK, jars="flink_parquet", jvm=True, whole=True,
        env={"_JAVA_OPTIONS": "-Xmx4g"},
    ),
    Engine(
        "spark", "spark_run.py", "exactly once", _apart("spark"), _pinned("spark", "pyspark"),
        {"json": (2,), "parquet": (2,)}, jvm=True,
    ),
    Engine(
        "bytewax", "bytewax_run.py", "none", _apart("bytewax"), _pinned("bytewax", "bytewax"),
        {"json": (1,), "memory": (1,)}, share={"json": 0.05, "memory": 0.05},
    ),
    Engine(
        "pathway", "pathway_run.py", "none", _apart("pathway"), _pinned("pathway", "pathway"),
        {"json": (2,), "memory": (2,)}, share={"json": 0.1, "memory": 0.05}, lighter=_SESSIONS,
    ),
    Engine(
        "quix", "", "none", _apart("quix"), _pinned("quix", "quixstreams"), {"json": (1,)},
        cannot=dict.fromkeys(COLUMNS, "it reads from Kafka alone: its file sources write to a topic first"),
    ),
)  # fmt: skip
__all__ = ["ENGINES", "Engine", "MissingError"]
