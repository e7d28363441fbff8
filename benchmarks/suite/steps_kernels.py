"""Every benchmark of a kernel, and how the cost of an event grows with keys, width, batch size and windows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter

import numpy as np
import pyarrow as pa

import windrow as wr
from benchmarks import runner
from benchmarks.suite import probes
from benchmarks.suite.lines import Line
from benchmarks.suite.steps import Run, cores, step
from benchmarks.windows_memory import events as window_events
from windrow.batch import ALL_VALID
from windrow.kernels import groupagg, grouping, hashing, windows
from windrow.runtime.exchange import split
from windrow.state.keys.slots import Slots

_BATCH = 65_536
_RUNS = 3
Point = tuple[str, str, float, int, int, Callable[[], object]]  # axis, what, x, events, bytes, action


@step(
    "kernels",
    part="kernels",
    what="every kernel, on one core, against its ceiling",
    seconds=(30, 65),
)
def kernels(run: Run) -> Iterator[Line]:
    """The quick suite takes the ones that most events pass through."""
    known = [each for each in runner.load_all().values() if each.kernels and not each.broker]
    wanted = {"kernels_grouping", "kernels_groupagg", "json_decode", "kernels_windows"}
    for each in known:
        if run.size == "full" or each.name in wanted:
            yield from of_benchmark(run, each.name, "kernel", run.pick(full=0.25, quick=0.05, tiny=0.01))


def of_benchmark(run: Run, name: str, benchmark: str, scale: float) -> Iterator[Line]:
    """The lines of one benchmark, run in a process of its own; one of a failure, if it fails."""
    (chosen,) = runner.select([name])
    try:
        found = runner.run_apart(chosen, scale, pin=True)
    except runner.BenchmarkError as error:
        yield Line(benchmark=benchmark, query=name, status="failed", reason=str(error))
        return
    for line in found:
        yield Line(
            benchmark=benchmark, query=name, variant=line["variant"], version=line["versions"]["windrow"],
            cores=line["workers"], events=line["events"], bytes=line["bytes"],
            seconds=tuple(line["runs"]) or (line["seconds"],), checksum=line["checksum"], peak_rss_mb=line["rss_mb"],
            extra=line["extra"],
        )  # fmt: skip


@step(
    "growth",
    part="kernels",
    what="what an event costs with more keys, wider rows, other batches, more windows",
    seconds=(20, 36),
)
def growth(run: Run) -> Iterator[Line]:
    """One core; random 62-bit keys."""
    os.sched_setaffinity(0, cores(1))
    for points in (_by_keys, _by_width, _by_batch, _by_windows):
        for axis, what, x, events, size, action in points(run):
            seconds = _timed(action, 2 if events > 10_000_000 else _RUNS)
            yield Line(
                benchmark="growth", query=what, variant=f"{x:,.0f}", source=axis, events=events, bytes=size,
                seconds=seconds, extra={"x": x},
            )  # fmt: skip


def _timed(action: Callable[[], object], runs: int) -> tuple[float, ...]:
    def once() -> float:
        begun = perf_counter()
        action()
        return perf_counter() - begun

    return probes.repeated(runs, once)


def _by_keys(run: Run) -> Iterator[Point]:
    """Known keys to ids, ids to sums, and slots filled again, for 1 k to 100 M keys."""
    most = run.pick(full=100_000_000, quick=1_000_000, tiny=10_000)
    rows = run.pick(full=4_000_000, quick=1_000_000, tiny=50_000)
    for distinct in (10**power for power in range(3, 9) if 10**power <= most):
        slots, known = _table(distinct)
        drawn = np.random.default_rng(11).integers(0, distinct, rows)
        keys, ids, out = known[drawn], drawn.astype(np.int32), np.empty(rows, np.int32)
        sums = np.zeros(distinct, np.int64)
        action = partial(_group, slots, known, keys, out)
        yield "keys", "group_int64", distinct, rows, keys.nbytes, action
        assert np.array_equal(known[out], keys), "ids that do not lead back to their keys"
        yield "keys", "sum_int", distinct, rows, 12 * rows, partial(groupagg.sum_int, ids, drawn, ALL_VALID, sums)
        words = known.view(np.uint64)
        refill = partial(grouping.rehash, words, distinct, -1, slots.multiplier, slots.shift, slots.slots)
        yield "keys", "rehash", distinct, distinct, known.nbytes, refill


def _table(distinct: int) -> tuple[Slots, probes.Words]:
    """A table of so many keys; its keys by id."""
    slots = Slots(expected=distinct)
    known = np.empty(slots.room, np.int64)
    ids = np.empty(min(distinct, 1 << 20), np.int32)
    for first in range(0, distinct, 1 << 20):
        part = np.empty(min(1 << 20, distinct - first), np.int64)
        probes.random_keys(first, part)
        slots.allow(len(part))
        grouping.group_int64(
            part, ALL_VALID, 0, slots.multiplier, slots.shift, 1, slots.state, slots.slots, known, ids[: len(part)]
        )
    assert slots.groups == distinct
    return slots, known[:distinct]


def _group(slots: Slots, known: probes.Words, keys: probes.Words, ids: np.ndarray, batch: int = _BATCH) -> None:
    for at in range(0, len(keys), batch):
        part = slice(at, at + batch)
        slots.state[2] = 2**62
        grouping.group_int64(
            keys[part], ALL_VALID, 0, slots.multiplier, slots.shift, 0, slots.state, slots.slots, known, ids[part]
        )


def _by_width(run: Run) -> Iterator[Point]:
    """Batches dealt to 16 shards, and Arrow rows through the engine, by columns of 8 bytes."""
    rows = run.pick(full=1_000_000, quick=200_000, tiny=20_000)
    random = np.random.default_rng(3)
    names = np.empty(10_000, np.int64)
    probes.random_keys(0, names)
    keys = names[random.integers(0, len(names), rows)]
    others = random.integers(0, 1_000_000, rows)
    times = pa.array(np.arange(rows)).cast(pa.timestamp("us", "UTC"))
    for width in (1, 4, 16, 32):
        columns = {"k": pa.array(keys), **{f"c{n}": pa.array(others) for n in range(1, width)}}
        batches = pa.table(columns).combine_chunks().to_batches(_BATCH)
        yield "row width", "split to 16 shards", width, rows, 8 * width * rows, partial(_split, batches)
        table = pa.table({**columns, "at": times})
        sums = {f"s{n}": wr.sum(f"c{n}") for n in range(1, width)} or {"n": wr.count()}
        made = wr.from_arrow(table).watermark("at").group_by("k").window(wr.tumbling("10s")).agg(**sums)
        yield "row width", "10 s windows, a sum a column", width, rows, table.nbytes, made.collect


def _split(batches: list[pa.RecordBatch]) -> None:
    for batch in batches:
        split(batch, ("k",), 16)


def _by_batch(run: Run) -> Iterator[Point]:
    """The same rows, handed over in batches of 1 k to 4 M."""
    rows = run.pick(full=1 << 22, quick=1 << 20, tiny=1 << 14)
    slots, known = _table(100_000)
    random = np.random.default_rng(12)
    keys = known[random.integers(0, 100_000, rows)]
    out, numbers = np.empty(rows, np.int32), np.empty(rows, np.int64)
    times = np.arange(rows, dtype=np.int64) * 40 + 10**15
    hashes, counts = np.empty(rows, np.uint64), np.empty(64, np.int64)
    shards = np.empty(rows, np.int32)
    table = window_events(rows, 10_000)

    def panes(batch: int) -> None:
        for at in range(0, rows, batch):
            part = slice(at, at + batch)
            windows.pane_codes(
                times[part], np.empty(0, np.int64), -(2**62), 0, 2_000_000, 10_000_000, 2_000_000, 5, 0, numbers[part]
            )

    def deal(batch: int) -> None:
        for at in range(0, rows, batch):
            part = slice(at, at + batch)
            hashing.hash_int64(keys[part], ALL_VALID, hashes[part])
            hashing.shard_numbers(hashes[part], 16, shards[part], counts)

    for batch in (1 << power for power in range(10, 23, 2)):
        if batch > rows:
            return
        yield "batch", "group_int64, 100 k keys", batch, rows, 8 * rows, partial(_group, slots, known, keys, out, batch)
        yield "batch", "pane_codes", batch, rows, 8 * rows, partial(panes, batch)
        yield "batch", "hash and shard", batch, rows, 8 * rows, partial(deal, batch)
        pieces = table.combine_chunks().to_batches(batch)
        made = wr.from_arrow(pieces).watermark("time").group_by("key").window(wr.tumbling("10s")).agg(n=wr.count())
        yield "batch", "10 s windows from memory", batch, rows, table.nbytes, made.collect


def _by_windows(run: Run) -> Iterator[Point]:
    """10 s windows every 10 s to every 100 ms: an event falls into 1 to 100 of them."""
    rows = run.pick(full=500_000, quick=200_000, tiny=20_000)
    table = window_events(rows, 1_000)
    at = pa.array(np.arange(rows) * 200).cast(pa.timestamp("us", "UTC"))
    table = table.set_column(table.schema.get_field_index("time"), "time", at)
    for each in (1, 5, 20, 100):
        window = wr.hopping("10s", f"{10_000 // each}ms") if each > 1 else wr.tumbling("10s")
        for name, value in (("count", wr.count()), ("max", wr.max("value"))):
            made = wr.from_arrow(table).watermark("time").group_by("key").window(window).agg(x=value)
            yield "windows", f"{name}, 1 k keys", each, rows, table.nbytes, made.collect
