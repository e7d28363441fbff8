"""From Kafka to Kafka: windrow and others, catching up, coming back from kill -9, and at a fixed rate.

The broker, the producer and the reader of results are on the first cores, the engine alone on the last one.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.peers.environments import MissingError
from benchmarks.peers.kafka import runs, topics
from benchmarks.peers.kafka.engines import Engine, engines
from benchmarks.suite.lines import Line
from benchmarks.suite.steps import Run, cores, setup, step
from tests.broker.cluster import brokers

_SMALL = 5_000  # events of the run that tells what starting up costs: 2.5 s for Faust, the slowest
_MOST = 6_000_000
_COMMIT_MS = 1_000
_KILL_S = 150  # of event time at least where something is killed: rows come with every window
_QUICK = ("windrow", "kafka streams")  # in the quick suite: others take half a minute to start
_QUERY = "tumbling 10 s count, sum, max per auction"


@setup("peers_kafka")
def make_environments(run: Run) -> None:
    """The environments of all engines; those that cannot be made are said when their turn comes."""
    for engine in engines():
        with contextlib.suppress(MissingError):
            engine.make(run.cache / "peers")


@step(
    "kafka_catch_up", "kafka", "bids as JSON from a stored topic, windowed, to a topic, exactly once where there is it",
    seconds=(45, 215), limit=(240, 700), longer={"backlog": 30.0},
)  # fmt: skip
def catch_up(run: Run) -> Iterator[Line]:
    """Events by the engine's rate, so that all work for about as long; ``--option backlog=60`` for longer runs."""
    backlog_s = float(run.options.get("backlog", run.pick(full=10, quick=4, tiny=1)))
    most = int(run.options.get("most", run.pick(full=_MOST, quick=1_000_000, tiny=_SMALL)))
    with _cluster(run) as (bootstrap, own):
        small = _make(own, bootstrap, min(_SMALL, most))
        made: dict[int, topics.Input] = {}
        for engine in _chosen(run):
            events = min(most, max(2 * _SMALL, int(engine.rate * backlog_s)))
            if events not in made:
                made[events] = _make(own, bootstrap, events) if events > _SMALL else small
            given = made[events]
            yield from _lines(engine, "catch up", lambda e=engine, g=given: _catch_up(run, bootstrap, own, e, g, small))


def _catch_up(
    run: Run, bootstrap: str, own: list[int], engine: Engine, given: topics.Input, small: topics.Input
) -> Line:
    command = engine.make(run.cache / "peers")
    start = runs.catch_up(bootstrap, small, command, run.folder, own, 90, commit_ms=_COMMIT_MS)
    done = runs.catch_up(bootstrap, given, command, run.folder, own, min(240, run.left()), commit_ms=_COMMIT_MS)
    net = given is not small
    return _line(
        engine, "catch up",
        status="measured" if done.right else "wrong",
        reason="" if done.right else _wrong(done),
        events=given.events - (small.events if net else 0),
        bytes=given.nbytes - (small.nbytes if net else 0),
        seconds=(done.seconds - (start.seconds if net else 0),),
        startup_s=start.seconds,
        cpu_seconds=done.cpu_seconds - (start.cpu_seconds if net else 0),
        peak_rss_mb=done.peak_rss_mb,
        checksum=topics.checksum(done.rows),
        extra={"rows": done.records, "startup_cpu_s": round(start.cpu_seconds, 2), "commit_ms": _COMMIT_MS},
    )  # fmt: skip


@step("kafka_kill", "kafka", "kill -9 in the middle: how long until the next result, and whether all results are right",
      seconds=(35, 220), limit=(180, 500))  # fmt: skip
def kill(run: Run) -> Iterator[Line]:
    """The dead member's session ends after 6 s; engines that are in a consumer group wait for that."""
    with _cluster(run) as (bootstrap, own):
        made: dict[int, topics.Input] = {}
        for engine in _chosen(run):
            events = max(_SMALL, min(2_000_000, engine.rate * run.pick(full=4, quick=3, tiny=1)))
            if events not in made:
                made[events] = _make(own, bootstrap, events, min(10_000, events / _KILL_S))
            given = made[events]
            yield from _lines(engine, "kill -9", lambda e=engine, g=given: _kill(run, bootstrap, own, e, g))


def _kill(run: Run, bootstrap: str, own: list[int], engine: Engine, given: topics.Input) -> Line:
    command = engine.make(run.cache / "peers")
    done = runs.catch_up(
        bootstrap,
        given,
        command,
        run.folder,
        own,
        min(150, run.left()),
        commit_ms=_COMMIT_MS,
        kill=True,
        quiet_s=engine.quiet_s,
    )
    right = done.right and not (engine.final and done.again)
    return _line(
        engine, "kill -9",
        status="measured" if right else "wrong",
        reason="" if right else _wrong(done, killed=True),
        events=given.events,
        recovery_s=done.recovery_s,
        checksum=topics.checksum(done.rows),
        extra={
            "rows_missing": done.missing,
            "rows_wrong": done.other,
            "rows_again": done.again if engine.final else None,
        },
    )  # fmt: skip


@step("kafka_latency", "kafka", "from when an event is due until a reader of committed records sees a result with it",
      seconds=(0, 135), limit=(240, 600), longer={"seconds": 20.0})  # fmt: skip
def latency(run: Run) -> Iterator[Line]:
    """Updates of open windows, a commit every 100 ms, 1,000 auctions; a rate that nearly all can keep. ``--option
    rates=2000,20000`` for others, ``seconds=60`` for longer."""
    with _cluster(run) as (bootstrap, own):
        for rate in map(int, run.options.get("rates", "5000").split(",")):
            for engine in _chosen(run):
                if rate <= engine.rate // 2:
                    yield from _lines(
                        engine, f"{rate:,} events/s", lambda e=engine, r=rate: _late(run, bootstrap, own, e, r)
                    )


def _late(run: Run, bootstrap: str, own: list[int], engine: Engine, rate: int) -> Line:
    source = f"live-{rate}-{engine.name.replace(' ', '-')}"
    topics.new_topic(bootstrap, source)
    seconds = float(run.options.get("seconds", run.pick(full=8.0, quick=6.0, tiny=2.0)))
    late = runs.latency(
        bootstrap, source, engine.make(run.cache / "peers"), run.folder, own, rate=rate, seconds=seconds
    )
    shown = {"p50": late.p50, "p99": late.p99, "p999": late.p999}
    seen = all(math.isfinite(value) for value in shown.values())
    return _line(
        engine, f"{rate:,} events/s",
        status="measured" if seen else "wrong",
        reason="" if seen else "not every event was in a result 5 s after the last one was sent",
        events=late.events,
        latency_ms={name: round(value, 1) for name, value in shown.items() if math.isfinite(value)},
        extra={"commit_ms": 100},
    )  # fmt: skip


@contextlib.contextmanager
def _cluster(run: Run) -> Iterator[tuple[str, list[int]]]:
    """A broker on all cores but the engine's, and this process there, too; its address and the engine's core."""
    every, own = sorted(os.sched_getaffinity(0)), cores(1)
    os.sched_setaffinity(0, set(every) - set(own) or set(own))
    try:
        with brokers(folder=Path(run.folder / "broker")) as cluster:
            yield cluster.bootstrap, own
    finally:
        os.sched_setaffinity(0, set(every))


def _make(own: list[int], bootstrap: str, events: int, rate: float = 10_000) -> topics.Input:
    """A topic, made on the engine's core, which is idle then: the broker has enough to do on its own."""
    rest = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {*own})
    try:
        return topics.make(bootstrap, events, rate)
    finally:
        os.sched_setaffinity(0, rest)


def _chosen(run: Run) -> list[Engine]:
    """All engines, or those of ``--option engines=windrow,quix``; in the quick suite `_QUICK`."""
    known = engines()
    usual = [engine.name for engine in known] if run.size == "full" else _QUICK
    wanted = run.options["engines"].split(",") if "engines" in run.options else usual
    return [engine for engine in known if engine.name in wanted]


def _lines(engine: Engine, variant: str, measure: Callable[[], Line]) -> Iterator[Line]:
    try:
        yield measure()
    except (MissingError, runs.RunError) as error:
        yield _line(engine, variant, status="failed", reason=str(error))


def _wrong(done: runs.CaughtUp, killed: bool = False) -> str:
    back = "nothing came after it was started again: " if killed and done.recovery_s is None else ""
    return f"{back}{done.missing:,} rows are missing, {done.other:,} are wrong, {done.again:,} came again"


def _line(engine: Engine, variant: str, **figures: object) -> Line:
    return Line(
        benchmark="kafka to kafka", query=_QUERY, variant=variant, source="kafka", engine=engine.name,
        version=engine.version, guarantee=engine.guarantee, **figures,  # type: ignore[arg-type]
    )  # fmt: skip
