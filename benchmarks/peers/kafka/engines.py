"""The engines of the comparison: how each is started, which guarantee it was told to give, and what it is pinned to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import environments
from benchmarks.peers.kafka.runs import Command
from benchmarks.suite.lines import Guarantee

_PROGRAMS = Path(__file__).parent / "programs"
_STREAMS = Path(__file__).parents[1] / "kafka_streams"
#: They send rows with each event, or with each commit, once a second; the others have checkpoints and batches between.
_QUIET_S = 6.0
_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Engine:
    """`rate`: events a second that one core of it does, about, by which its input is sized: engines of about the same
    rate share a topic."""

    name: str
    make: Callable[[Path], Command]  # from the cache folder; raises `MissingError`
    guarantee: Guarantee
    rate: int
    version: str
    final: bool = True  # whether it sends a row once, when its window is over; otherwise with each event
    quiet_s: float = 12.0  # after kill -9, once rows come again: without one for so long nothing more is waited for


def _ours(cache: Path) -> Command:
    del cache
    return _python(Path(sys.executable), "windrow_job.py", state=False)


def _confluent(cache: Path) -> Command:
    del cache
    return _python(Path(sys.executable), "confluent_loop.py", state=False)


def _quix(cache: Path) -> Command:
    return _python(environments.python_of("quix", cache), "quix.py", state=True)


def _flink(cache: Path) -> Command:
    jars = environments.jars_of("flink", cache)
    return _python(environments.python_of("flink", cache), "flink.py", jars, state=True)


def _spark(cache: Path) -> Command:
    jars = environments.jars_of("spark", cache)
    return _python(environments.python_of("spark_kafka", cache), "spark.py", jars, state=True)


def _faust(cache: Path) -> Command:
    return _python(environments.python_of("faust", cache), "faust_app.py", state=True)


def _python(python: Path, program: str, *more: str, state: bool) -> Command:
    def command(
        bootstrap: str, source: str, target: str, name: str, mode: str, commit_ms: int, folder: Path
    ) -> Sequence[str | Path]:
        last = [*([folder / "state"] if state else []), *more]
        return [python, _PROGRAMS / program, bootstrap, source, target, name, mode, str(commit_ms), *last]

    return command


def _streams(cache: Path) -> Command:
    jars = environments.compiled(_STREAMS, cache)

    def command(
        bootstrap: str, source: str, target: str, name: str, mode: str, commit_ms: int, folder: Path
    ) -> Sequence[str | Path]:
        java = ["java", "-Xmx2g", "-XX:+UseParallelGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", jars]
        state, threads = folder / "state", "1"
        return [*java, "windrow.bench.Bids", bootstrap, source, target, name, state, mode, str(commit_ms), threads]

    return command


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def engines() -> list[Engine]:
    """All of them, ours first."""
    return [
        Engine("windrow", _ours, "exactly once", 1_000_000, _version("windrow")),
        Engine("kafka streams", _streams, "exactly once", 150_000, "4.3.1"),
        Engine(
            "confluent-kafka loop", _confluent, "at most once", 150_000, _version("confluent-kafka"), quiet_s=_QUIET_S
        ),
        Engine("flink", _flink, "exactly once", 150_000, environments.versions_of("flink")["apache-flink"]),
        Engine("spark", _spark, "at least once", 150_000, environments.versions_of("spark_kafka")["pyspark"]),
        Engine(
            "faust", _faust, "at least once", 2_000, environments.versions_of("faust")["faust-streaming"], final=False,
            quiet_s=_QUIET_S,
        ),
        Engine(
            "quix", _quix, "exactly once", 20_000, environments.versions_of("quix")["quixstreams"], quiet_s=_QUIET_S
        ),
    ]  # fmt: skip
