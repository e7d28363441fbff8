"""Nexmark and the Yahoo streaming benchmark, from memory and files, by windrow and by others.

Every program runs the query cold, then warm, with results dropped; then once more over a small set of events, whose
result is compared with DuckDB's. Programs run one after the other, on the same cores.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.peers.nexmark import answers, data
from benchmarks.peers.nexmark.engines import ENGINES, Engine, MissingError
from benchmarks.suite import processes
from benchmarks.suite.lines import Line
from benchmarks.suite.steps import Run, cores, setup, step

QUERIES = tuple(answers.COLUMNS)
_RATE, _SMALL_RATE = 10_000, 2_000  # events of event time a second
_SMALL = 100_000
_PEOPLE = 4  # persons and auctions are a few of many events: q8 gets so many times as many


@setup("peers_nexmark")
def make_environments(run: Run) -> None:
    """Environments and jars; an engine whose cannot be made is said when its turn comes."""
    for engine in ENGINES:
        try:
            engine.command(run.cache / "peers", "{}")
        except MissingError:
            continue
    _small(run)
    for share in {engine.share for engine in ENGINES}:
        for query in ("q8", "q0"):
            _events(run, query, int(_of_size(run) * share))


@step("peers_batch", "peers", "Nexmark and Yahoo queries: windrow, and batch engines over the same events",
      seconds=(55, 480), limit=(240, 1_200))  # fmt: skip
def batch(run: Run) -> Iterator[Line]:
    """The quick suite has DuckDB alone to compare with, on JSON."""
    yield from _all(run, "windrow", "duckdb", *(("polars", "datafusion") if run.size == "full" or run.options else ()))


@step("peers_flink", "peers", "Nexmark and Yahoo queries by Flink, in SQL, from the same files", seconds=(0, 200),
      limit=(300, 600))  # fmt: skip
def flink(run: Run) -> Iterator[Line]:
    yield from _all(run, "flink")


@step("peers_spark", "peers", "Nexmark and Yahoo queries by Spark Structured Streaming, from the same files",
      seconds=(0, 260), limit=(300, 700))  # fmt: skip
def spark(run: Run) -> Iterator[Line]:
    yield from _all(run, "spark")


@step("peers_bytewax", "peers", "Nexmark and Yahoo queries by Bytewax, which takes a row at a time in Python",
      seconds=(0, 60), limit=(300, 400))  # fmt: skip
def bytewax(run: Run) -> Iterator[Line]:
    yield from _all(run, "bytewax")


@step("peers_pathway", "peers", "Nexmark and Yahoo queries by Pathway, in static mode", seconds=(0, 100),
      limit=(300, 600))  # fmt: skip
def pathway(run: Run) -> Iterator[Line]:
    """And by Quix Streams, which reads from Kafka alone."""
    yield from _all(run, "pathway", "quix")


def _all(run: Run, *names: str) -> Iterator[Line]:
    """``--option engines=flink,spark``, ``queries=q1,q5``, ``sources=parquet``, ``cores=2``, ``events=100000``.

    Parquet, memory on one core, and JSON on two by batch engines are measured on request alone: the suite would take
    too long.
    """
    wanted = {name: value.split(",") for name, value in run.options.items()}
    events = int(run.options.get("events", _of_size(run)))
    asked = "sources" in wanted or "cores" in wanted
    full = run.size == "full"
    for engine in (each for each in ENGINES if each.name in names and each.name in wanted.get("engines", names)):
        # batch engines are an upper reference: one core of JSON says enough
        both = (1,) if engine.guarantee == "batch" and full else (1, 2) if full else (2,)
        usual = {"json": both, "memory": (2,) if full else ()}
        for source in (each for each in engine.sources if each in wanted.get("sources", engine.sources)):
            for query in (each for each in QUERIES if each in wanted.get("queries", QUERIES)):
                for count in engine.cores:
                    chosen = (
                        str(count) in wanted.get("cores", [str(count)]) if asked else count in usual.get(source, ())
                    )
                    if chosen and len(cores(count)) == count:
                        yield _one(run, engine, source, query, count, int(events * engine.share))


def _of_size(run: Run) -> int:
    """Events of all kinds that a fast engine gets."""
    return run.pick(full=1_500_000, quick=200_000, tiny=20_000)


def _one(run: Run, engine: Engine, source: str, query: str, count: int, events: int) -> Line:
    if query in engine.cannot:
        return _line(engine, source, query, count, status="cannot", reason=engine.cannot[query])
    kinds = answers.KINDS[query]
    try:
        command = _task(run, engine, source, query, count, events)
    except MissingError as error:
        return _line(engine, source, query, count, status="failed", reason=str(error))
    folder, numbers = _events(run, query, events)
    limit = min(run.pick(full=90, quick=60, tiny=240), run.left())
    begun = time.time()
    done = processes.run(command, timeout=limit, cores=cores(count), env=engine.env, cwd=run.folder)
    said = [json.loads(line[2:]) for line in done.out.splitlines() if line.startswith("@@")]
    figures: dict[str, Any] = {
        "events": sum(numbers[kind] for kind in kinds),
        "bytes": _size(folder, kinds, source),
        "peak_rss_mb": round(done.peak_rss_mb, 1),
    }
    if refused := [each["cannot"] for each in said if "cannot" in each]:
        return _line(engine, source, query, count, status="cannot", reason=refused[0])
    times = [each for each in said if "round" in each]
    figures |= _figures(begun, said, times)
    if done.timed_out or done.code != 0 or not any("checked" in each for each in said):
        why = f"not done after {limit:.0f} s" if done.timed_out else _reason(done.err) or f"code {done.code}"
        return _line(engine, source, query, count, status="failed", reason=why)
    found, right = answers.written(query, run.folder / "out"), _right(run, query)
    return _line(
        engine, source, query, count, **figures,
        checksum=str(found),
        status="measured" if found == right else "wrong",
        reason="" if found == right else f"{found.rows} rows, DuckDB has {right.rows}" if found.rows != right.rows
        else "as many rows as DuckDB has, but not the same",
    )  # fmt: skip


def _reason(err: str) -> str:
    """The lines of an engine's complaints that name an error, the last ones."""
    lines = [line.strip() for line in err.splitlines() if "Error" in line or "Exception" in line]
    return " | ".join(line[:200] for line in lines[-3:]) or err.strip()[-400:]


def _figures(begun: float, said: list[dict[str, Any]], times: list[dict[str, Any]]) -> dict[str, Any]:
    """Warm rounds where there are some; the cold one is apart then."""
    if not times:
        return {}
    warm = times[1:] or times
    cpu = sorted(each["cpu"] for each in warm)[len(warm) // 2]
    return {
        "startup_s": round(next(each["ready"] for each in said if "ready" in each) - begun, 3),
        "cold_s": times[0]["seconds"] if len(times) > 1 else None,
        "seconds": tuple(each["seconds"] for each in warm),
        "cpu_seconds": cpu,
        "extra": {"cold_cpu_s": round(times[0]["cpu"], 2)},
    }


def _task(run: Run, engine: Engine, source: str, query: str, count: int, events: int) -> list[str]:
    folder, numbers = _events(run, query, events)
    out = run.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    task = {
        "query": query, "source": source, "cores": count, "rounds": engine.rounds, "kinds": answers.KINDS[query],
        "data": str(folder), "small": str(_small(run)[0]), "out": str(out), "scratch": str(run.folder),
        "counts": numbers,
    }  # fmt: skip
    return [str(part) for part in engine.command(run.cache / "peers", json.dumps(task))]


def _events(run: Run, query: str, events: int) -> tuple[Path, dict[str, int]]:
    """The folder of events for a query, made when it is not there, and how many there are of each kind."""
    if query == "q8":
        folder, events, kinds = run.cache / "nexmark" / f"people-{events}", events * _PEOPLE, ("person", "auction")
    else:
        folder, kinds = run.cache / "nexmark" / f"main-{events}", ("bid", "auction", "view")
    return folder, data.make(folder, events, _RATE, kinds)


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
