"""Nexmark and the Yahoo streaming benchmark, from memory and files, by windrow and by others.

Every program runs each query cold, then warm, with results dropped; then once more over a small set of events, whose
result is compared with DuckDB's. Programs run one after the other, on the same cores, each all its queries of a source
in one process; those on a JVM all sources, so that it is warm from the second query on: they then warm up to a query
with half a million events (50,000 instead save a minute and cost Flink a tenth of its rate, Spark as much, from
Parquet a third). From memory the fast ones get four times as many events as from files.
`Engine.share` and `Engine.lighter` say who gets fewer.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers.nexmark import answers, data
from benchmarks.peers.nexmark.engines import ENGINES, Engine, MissingError
from benchmarks.peers.nexmark.sessions import Said, Session
from benchmarks.suite.lines import Line
from benchmarks.suite.steps import Run, cores, setup, step

QUERIES = tuple(answers.COLUMNS)
_RATE, _SMALL_RATE = 10_000, 1_000  # events of event time a second
_SMALL = 50_000
_WARM_UP = 500_000
_PEOPLE = 4  # persons and auctions are a few of many events: q8 gets so many times as many


@setup("peers_nexmark")
def make_environments(run: Run) -> None:
    """Environments and jars; an engine whose cannot be made is said when its turn comes."""
    for engine in ENGINES:
        try:
            engine.command(run.cache / "peers", 1)
        except MissingError:
            continue
    _small(run)
    for engine in ENGINES:
        for source in engine.measured:
            for query in QUERIES:
                events = engine.events(_of_size(run), source, query)
                for number in {events, min(events, _WARM_UP)} if engine.jvm else {events}:
                    folder, _ = _events(run, engine, source, query, number)
                    for count in _counts(engine.measured[source]):
                        _whole(engine, source, query, count, folder)


@step("peers_batch", "peers", "Nexmark and Yahoo queries: windrow, and batch engines over the same events",
      seconds=(55, 148), limit=(240, 1_200))  # fmt: skip
def batch(run: Run) -> Iterator[Line]:
    """The quick suite has DuckDB alone to compare with, on JSON."""
    yield from _all(run, "windrow", "duckdb", *(("polars", "datafusion") if run.size == "full" or run.options else ()))


@step("peers_flink", "peers", "Nexmark and Yahoo queries by Flink, in SQL, from the same files", seconds=(0, 205),
      limit=(300, 600))  # fmt: skip
def flink(run: Run) -> Iterator[Line]:
    yield from _all(run, "flink")


@step("peers_spark", "peers", "Nexmark and Yahoo queries by Spark Structured Streaming, from the same files",
      seconds=(0, 180), limit=(300, 700))  # fmt: skip
def spark(run: Run) -> Iterator[Line]:
    yield from _all(run, "spark")


@step("peers_bytewax", "peers", "Nexmark and Yahoo queries by Bytewax, which takes a row at a time in Python",
      seconds=(0, 20), limit=(300, 400))  # fmt: skip
def bytewax(run: Run) -> Iterator[Line]:
    yield from _all(run, "bytewax")


@step("peers_pathway", "peers", "Nexmark and Yahoo queries by Pathway, in static mode", seconds=(0, 55),
      limit=(300, 600))  # fmt: skip
def pathway(run: Run) -> Iterator[Line]:
    """And by Quix Streams, which reads from Kafka alone."""
    yield from _all(run, "pathway", "quix")


def _all(run: Run, *names: str) -> Iterator[Line]:
    """``--option engines=flink,spark``, ``queries=q1,q5``, ``sources=parquet``, ``cores=2``, ``events=1500000``,
    ``rounds=3``.

    Parquet by batch engines, and other numbers of cores than `Engine.measured` says, are measured on request alone: the
    suite would take too long.
    """
    wanted = {name: value.split(",") for name, value in run.options.items()}
    for engine in (each for each in ENGINES if each.name in names and each.name in wanted.get("engines", names)):
        places = _places(run, engine, wanted)
        for process in dict.fromkeys((count, "" if engine.jvm else source) for source, count in places):
            own = [place for place in places if place[1] == process[0] and process[1] in ("", place[0])]
            queries = [query for query in QUERIES if query in wanted.get("queries", QUERIES)]
            yield from _in_one_process(run, engine, process[0], [(s, query) for s, _ in own for query in queries])


def _places(run: Run, engine: Engine, wanted: dict[str, list[str]]) -> list[tuple[str, int]]:
    """The sources and numbers of cores that an engine is measured with."""
    if "sources" in wanted or "cores" in wanted:
        sources = [source for source in engine.sources if source in wanted.get("sources", engine.sources)]
        counts = [int(count) for count in wanted.get("cores", ["2"])]
        return [(source, count) for source in sources for count in _counts(counts)]
    if run.size == "full":
        return [(source, count) for source, counts in engine.measured.items() for count in _counts(counts)]
    most = 2 if engine.guarantee == "batch" else max(engine.measured["json"])
    return [("json", count) for count in _counts([most])]


def _counts(wanted: Iterable[int]) -> list[int]:
    """These numbers of cores, or as many as there are."""
    return list(dict.fromkeys(len(cores(count)) for count in wanted))


def _of_size(run: Run) -> int:
    """Events of all kinds that a fast engine gets."""
    return int(run.options.get("events", run.pick(full=1_500_000, quick=200_000, tiny=20_000)))


def _in_one_process(run: Run, engine: Engine, count: int, queries: list[tuple[str, str]]) -> Iterator[Line]:
    """The lines of these sources and queries; a process that fails is replaced by a new one."""
    session: Session | None = None
    try:
        for source, query in queries:
            if query in engine.cannot:
                yield _line(engine, source, query, count, status="cannot", reason=engine.cannot[query])
                continue
            if session is None:
                command = engine.command(run.cache / "peers", count)
                session = Session(command, cores(count), engine.env, run.folder)
            yield _one(run, engine, session, source, query, count)
    except MissingError as error:
        for source, query in queries:
            yield _line(engine, source, query, count, status="failed", reason=str(error))
    finally:
        if session is not None:
            session.close()


def _one(run: Run, engine: Engine, session: Session, source: str, query: str, count: int) -> Line:
    events = engine.events(_of_size(run), source, query)
    folder, numbers = _events(run, engine, source, query, events)
    warm = engine.jvm and session.started
    first = _events(run, engine, source, query, min(events, _WARM_UP))[0] if warm else folder
    for data_ in {folder, first, _small(run)[0]}:
        _whole(engine, source, query, count, data_)
    out = run.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    kinds = answers.KINDS[query]
    task = {
        "query": query, "source": source, "cores": count, "kinds": kinds, "data": str(folder), "first": str(first),
        "rounds": int(run.options.get("rounds", engine.rounds)), "small": str(_small(run)[0]), "out": str(out),
        "scratch": str(run.folder), "counts": numbers,
    }  # fmt: skip
    said = session.ask(task, min(run.pick(full=90, quick=60, tiny=240), run.left()))
    if refused := said.all("cannot"):
        return _line(engine, source, query, count, status="cannot", reason=refused[0])
    if said.failed or not said.all("checked"):
        return _line(engine, source, query, count, status="failed", reason=said.failed or "nothing was checked")
    found, right = answers.written(query, out), _right(run, query)
    return _line(
        engine, source, query, count, **_figures(said, cold=not warm),
        events=sum(numbers[kind] for kind in kinds), bytes=_size(folder, kinds, source),
        peak_rss_mb=said.peak_rss_mb,
        checksum=str(found),
        status="measured" if found == right else "wrong",
        reason="" if found == right else f"{found.rows} rows, DuckDB has {right.rows}" if found.rows != right.rows
        else "as many rows as DuckDB has, but not the same",
    )  # fmt: skip


def _figures(said: Said, *, cold: bool) -> dict[str, Any]:
    """Warm rounds where there are some; the one before them is told where the process was not warm before."""
    times = [part for part in said.parts if "round" in part]
    warm = times[1:] or times
    apart = cold and len(times) > 1
    return {
        "startup_s": next(iter(said.all("startup_s")), None),
        "cold_s": times[0]["seconds"] if apart else None,
        "seconds": tuple(each["seconds"] for each in warm),
        "cpu_seconds": median(each["cpu"] for each in warm),
        "extra": {"cold_cpu_s": round(times[0]["cpu"], 2)} if apart else {},
    }


def _events(run: Run, engine: Engine, source: str, query: str, events: int) -> tuple[Path, dict[str, int]]:
    """The folder of events for a query, made when it is not there, and how many there are of each kind."""
    people = query == "q8"
    alone = source == "memory" and engine.memory_alone
    folder = run.cache / "nexmark" / f"{'people' if people else 'main'}-{events}{'-memory' * alone}"
    kinds = ("person", "auction") if people else ("bid", "auction", "view")
    return folder, data.make(folder, events * (_PEOPLE if people else 1), _RATE, kinds, memory_alone=alone)


def _whole(engine: Engine, source: str, query: str, count: int, folder: Path) -> None:
    if engine.whole and source == "parquet":
        for kind in answers.KINDS[query]:
            data.whole(folder, kind, count)


def _small(run: Run) -> tuple[Path, dict[str, int]]:
    folder = run.cache / "nexmark" / f"small-{_SMALL}"
    return folder, data.make(folder, _SMALL, _SMALL_RATE, ("bid", "auction", "person", "view"))


def _right(run: Run, query: str) -> answers.Answer:
    return _expected(query, _small(run)[0])


@cache
def _expected(query: str, folder: Path) -> answers.Answer:
    return answers.expected(query, folder)


def _size(folder: Path, kinds: tuple[str, ...], source: str) -> int:
    ending = "parquet" if source == "memory" else source
    return sum(path.stat().st_size for kind in kinds for path in (folder / "lanes1" / f"{kind}-{ending}").iterdir())


def _line(engine: Engine, source: str, query: str, count: int, **figures: Any) -> Line:
    return Line(
        benchmark="ysb" if query == "ysb" else "nexmark", engine=engine.name, query=query, source=source,
        version=engine.version(), cores=count, guarantee=engine.guarantee, **figures,
    )  # fmt: skip
