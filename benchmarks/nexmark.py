"""All Nexmark queries through the public API, on one worker, each result checked row by row against DuckDB.

Events are made before: as Arrow in memory, one table a kind, and as mixed JSON documents in four partitions of an
embedded log. A line counts the events that its query reads: those of the kinds it needs in memory, all of them in the
log.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.harness import Measured, benchmark
from windrow.api.sinks import collected
from windrow.api.stream import Stream
from windrow.cli.demo_data import PARTITIONS, TOPIC, Place, write_events
from windrow.cli.nexmark.check import check
from windrow.cli.nexmark.command import read_minutes
from windrow.cli.nexmark.events import Generated, from_log, generate
from windrow.cli.nexmark.queries import QUERIES, Events, minutes_as_files

_EVENTS = 3_000_000
_SEED = 1
_RUNS = 3


@benchmark(
    "nexmark", "the queries q0 to q23, from Arrow in memory and from JSON in the embedded log, equal to DuckDB's"
)
def nexmark(scale: float) -> list[Measured]:
    """Whole runs, median of three after one that does not count."""
    events = max(int(_EVENTS * scale), 5_000)
    generated = generate(events, _SEED)
    with tempfile.TemporaryDirectory(prefix="windrow-nexmark-") as folder:
        place = Place(Path(folder) / "data", _SEED)
        place.prepare(events, keep_results=False)
        write_events(place, events, lambda *_: None)
        log_bytes = sum(path.stat().st_size for path in place.events.rglob("*") if path.is_file())
        memory_bytes = sum(table.nbytes for table in generated.tables.values())
        lines = [_measure(query, "memory", generated.streams, generated, 1, memory_bytes) for query in QUERIES]
        lines += [
            _measure(query, "log", lambda: from_log(place.events, TOPIC), generated, PARTITIONS, log_bytes)
            for query in QUERIES
        ]
    return lines


def _measure(
    query: str, source: str, events: Callable[[], Events], generated: Generated, partitions: int, size: int
) -> Measured:
    """`size`: bytes of all events."""
    times, read = [], 0
    for run in range(_RUNS + 1):
        stream = QUERIES[query](events())
        seconds, read = _to_files(stream) if query == "q10" else _in_memory(stream)
        times += [seconds] if run else []
    result = QUERIES[query](events()).collect()
    verdict = check(query, result, generated.with_arrival(partitions))
    if not verdict.equal:
        raise AssertionError(f"{query} from {source}: {verdict}")
    return Measured(read, size, median(times), f"{verdict.rows}:{verdict.digest}", f"{query} {source}")


def _in_memory(stream: Stream) -> tuple[float, int]:
    begun = perf_counter()
    _, progress = collected(stream)
    return perf_counter() - begun, progress.events


def _to_files(stream: Stream) -> tuple[float, int]:
    with tempfile.TemporaryDirectory(prefix="windrow-q10-") as folder:
        begun = perf_counter()
        with minutes_as_files(stream, Path(folder)) as job:
            progress = job.run()
        seconds = perf_counter() - begun
        if read_minutes(Path(folder), ["auction"]).num_rows != progress.rows_out:
            raise AssertionError("q10: rows are missing in its files")
        return seconds, progress.events
