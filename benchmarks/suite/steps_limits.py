"""The machine's own ceilings, measured in the same run as everything that is held against them.

A ceiling is the best of the repetitions: what the machine can do when nobody disturbs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from statistics import quantiles

import numpy as np

from benchmarks.suite import probes
from benchmarks.suite.lines import Line
from benchmarks.suite.steps import Run, cores, step

_KIB, _MIB = 1 << 10, 1 << 20
_READ_SIZES = (256 * _KIB, 8 * _MIB, 128 * _MIB, 1024 * _MIB)
_GATHER_SIZES = (32 * _KIB, _MIB, 16 * _MIB, 128 * _MIB, 1024 * _MIB)
_RUNS = 3


@step("limits", part="limits", what="memory, gathers, loopback, disk and clock of this machine", seconds=(12, 40))
def limits(run: Run) -> Iterator[Line]:
    """One core, then all of them at once."""
    os.sched_setaffinity(0, cores(1))
    yield _clock()
    largest = run.pick(full=1024 * _MIB, quick=128 * _MIB, tiny=8 * _MIB)
    work = run.pick(full=2, quick=8, tiny=1) * largest  # bytes moved in a repetition
    for threads in dict.fromkeys((1, len(cores(1 << 20)))):
        os.sched_setaffinity(0, cores(threads))
        for size in (size for size in _READ_SIZES if size <= largest):
            yield from _bandwidth(threads, size, work)
        for size in (size for size in _GATHER_SIZES if size <= largest):
            yield _gathers(threads, size, run.pick(full=1 << 23, quick=1 << 22, tiny=1 << 16))
    os.sched_setaffinity(0, cores(1))
    for size in (size for size in _GATHER_SIZES if size <= largest):
        yield _chase(size, run.pick(full=1 << 22, quick=1 << 20, tiny=1 << 14))
    os.sched_setaffinity(0, cores(2))
    yield from _network(run.pick(full=4096 * _MIB, quick=1024 * _MIB, tiny=8 * _MIB))
    yield from _disk(run)


def _clock() -> Line:
    return Line(benchmark="limit", engine="machine", query="clock", extra={"ghz": round(probes.gigahertz(), 3)})


def _size(size: int) -> str:
    return f"{size // _MIB} MiB" if size >= _MIB else f"{size // _KIB} KiB"


def _bandwidth(threads: int, size: int, work: int) -> Iterator[Line]:
    """`size` is the working set of all threads together from 1 GiB on, of each one below."""
    own = size // threads if size >= 1024 * _MIB else size
    passes = max(work // threads // own, 1)
    parts = [np.arange(own // 8, dtype=np.int64) for _ in range(threads)]
    moved = own * passes * threads

    def read() -> float:
        return probes.on_all(threads, lambda number: probes.read_words(parts[number], passes))

    yield _line("read", size, threads, moved, probes.repeated(_RUNS, read))
    half = own // 16
    turns = max(passes // 2, 1)

    def copy() -> float:
        return probes.on_all(
            threads, lambda number: probes.copy_words(parts[number][:half], parts[number][half : 2 * half], turns)
        )

    yield _line("copy", size, threads, 16 * half * turns * threads, probes.repeated(_RUNS, copy))


def _line(query: str, size: int, threads: int, moved: int, seconds: tuple[float, ...]) -> Line:
    extra = {"gb_per_s": round(moved / min(seconds) / 1e9, 2)}
    return Line(
        benchmark="limit", engine="machine", query=query, variant=_size(size), cores=threads, bytes=moved,
        events=moved // 8, seconds=seconds, extra=extra,
    )  # fmt: skip


def _gathers(threads: int, size: int, count: int) -> Line:
    """Every thread over the same words, its places its own."""
    words = np.arange(size // 8, dtype=np.int64)
    random = np.random.default_rng(5)
    places = [random.integers(0, len(words), min(count, 1 << 20)).astype(np.uint64) for _ in range(threads)]
    passes = max(count // len(places[0]), 1)
    total = passes * len(places[0]) * threads
    seconds = probes.repeated(
        _RUNS, lambda: probes.on_all(threads, lambda number: probes.gather_words(words, places[number], passes))
    )
    extra = {"million_per_s": round(total / min(seconds) / 1e6, 1)}
    return Line(
        benchmark="limit", engine="machine", query="gather", variant=_size(size), cores=threads, events=total,
        bytes=8 * total, seconds=seconds, extra=extra,
    )  # fmt: skip


def _chase(size: int, count: int) -> Line:
    """A single cycle through all words in random order."""
    order = np.random.default_rng(6).permutation(size // 8)
    following = np.empty(size // 8, np.int64)
    following[order] = np.roll(order, -1)
    seconds = probes.repeated(3, lambda: probes.on_all(1, lambda _: probes.chase(following, count)))
    extra = {"ns": round(min(seconds) / count * 1e9, 2)}
    return Line(
        benchmark="limit", engine="machine", query="dependent load", variant=_size(size), events=count,
        bytes=8 * count, seconds=seconds, extra=extra,
    )  # fmt: skip


def _network(size: int) -> Iterator[Line]:
    for chunk in (16 * _KIB, _MIB):
        seconds = probes.repeated(3, lambda chunk=chunk: probes.loopback(size, chunk))  # type: ignore[misc]
        extra = {"gb_per_s": round(size / min(seconds) / 1e9, 2)}
        yield Line(
            benchmark="limit", engine="machine", query="loopback TCP", variant=f"{_size(chunk)} a send",
            cores=len(cores(2)), events=size // chunk, bytes=size, seconds=seconds, extra=extra,
        )  # fmt: skip


def _disk(run: Run) -> Iterator[Line]:
    runs = run.pick(full=300, quick=100, tiny=10)
    for name, size, sync in (
        ("fdatasync", 4 * _KIB, os.fdatasync),
        ("fsync", 4 * _KIB, os.fsync),
        ("fdatasync", _MIB, os.fdatasync),
    ):
        times = probes.synced_appends(run.folder / "synced", size, runs, sync)
        cuts = quantiles(times, n=100)
        extra = {"p50_ms": round(cuts[49] * 1e3, 3), "p99_ms": round(cuts[98] * 1e3, 3)}
        yield Line(
            benchmark="limit", engine="machine", query=name, variant=f"{_size(size)} appended", events=runs,
            bytes=size * runs, seconds=tuple(times[:20]), extra=extra,
        )  # fmt: skip
