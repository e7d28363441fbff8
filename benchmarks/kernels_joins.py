"""Rows of a join: chains by key, and gathering from chunks."""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.kernels import chains, chunks


@benchmark(
    "kernels_chains",
    "link rows to the chains of 100k keys, find each again, take each out",
    kernels=("chains.link_rows", "chains.probe_chains", "chains.unlink_rows"),
)
def kernels_chains(scale: float) -> list[Measured]:
    """As many rows as keys, in random order; half of the keys have more than one."""
    rows = max(int(1_000_000 * scale), 1_000)
    keys = max(rows // 10, 10)
    random = np.random.default_rng(3)
    ids = random.integers(0, keys, rows).astype(np.int32)
    none = np.empty(0, np.int64)
    heads, nexts, newest = np.full(keys, -1, np.int64), np.empty(rows, np.int64), np.empty(rows, np.int64)
    wanted = np.arange(keys, dtype=np.int32)
    probes, found = np.empty(rows, np.int64), np.empty(rows, np.int64)
    hashes = np.arange(rows, dtype=np.uint64)

    def link() -> None:
        heads.fill(-1)
        chains.link_rows(ids, none, 0, 0, heads, nexts, newest)

    def probe() -> int:
        cursor = np.array([0, -2], np.int64)
        return int(chains.probe_chains(wanted, none, 0, 0, 0, heads, nexts, none, newest, cursor, probes, found))

    def unlink() -> int:
        link()
        return int(chains.unlink_rows(ids, hashes, 0, hashes, heads, nexts, found))

    linking, probing = median_seconds(link), median_seconds(probe)
    pairs = probe()
    total = int(found[:pairs].sum())
    taking = median_seconds(unlink)
    return [
        Measured(rows, rows * 4, linking, f"{heads.sum()}", "link_rows"),
        Measured(pairs, pairs * 16, probing, f"{pairs}:{total}", "probe_chains"),
        Measured(rows, rows * 12, taking, f"{unlink()}", "link_rows and unlink_rows"),
    ]


@benchmark(
    "kernels_sorted_chains",
    "versions of 100k keys, nearly in order of time: put in, the one as of a time found, old ones cut off",
    kernels=("chains.link_sorted", "chains.probe_nearest", "chains.cut_chains"),
)
def kernels_sorted_chains(scale: float) -> list[Measured]:
    """Ten versions a key."""
    rows = max(int(1_000_000 * scale), 1_000)
    keys = max(rows // 10, 10)
    random = np.random.default_rng(5)
    ids = random.integers(0, keys, rows).astype(np.int32)
    times = np.arange(rows, dtype=np.int64) * 10 + random.integers(-500, 500, rows)
    heads, nexts = np.full(keys, -1, np.int64), np.empty(rows, np.int64)
    found = np.empty(rows, np.int64)
    every = np.arange(keys, dtype=np.int32)

    def link() -> None:
        heads.fill(-1)
        chains.link_sorted(ids, times, 0, 0, heads, nexts)

    def cut() -> int:
        link()
        return int(chains.cut_chains(every, 2**62, 0, heads, times, nexts, found, np.zeros(1, np.int64)))

    linking = median_seconds(link)
    near = median_seconds(lambda: chains.probe_nearest(ids, times, 1, 0, 2**62, 0, heads, nexts, times, found))
    total = int(found.sum())
    cutting = median_seconds(cut)
    return [
        Measured(rows, rows * 12, linking, f"{heads.sum()}", "link_sorted"),
        Measured(rows, rows * 12, near, f"{total}", "probe_nearest"),
        Measured(rows, rows * 12, cutting, f"{cut()}", "link_sorted and cut_chains"),
    ]


@benchmark(
    "kernels_chunks",
    "random rows of 50 chunks: where they are, row numbers, int64, bits and strings of 20 bytes",
    kernels=(
        "chunks.locate_rows",
        "chunks.follow_numbers",
        "chunks.gather_fixed",
        "chunks.gather_bits",
        "chunks.gather_sizes",
        "chunks.gather_strings",
    ),
)
def kernels_chunks(scale: float) -> list[Measured]:
    """A chunk is 20,000 rows."""
    size, count = max(int(20_000 * scale), 100), 50
    wanted = max(int(1_000_000 * scale), 1_000)
    random = np.random.default_rng(4)
    rows = random.integers(0, size * count, wanted)
    starts = np.arange(count, dtype=np.int64) * size
    numbers, places = np.empty(wanted, np.int32), np.empty(wanted, np.int64)
    locating = median_seconds(lambda: chunks.locate_rows(rows, starts, numbers, places))
    held = [np.random.default_rng(each).permutation(size).astype(np.int32) for each in range(count)]
    number_at, followed = np.array([each.ctypes.data for each in held], np.int64), np.empty(wanted, np.int64)
    following = median_seconds(lambda: chunks.follow_numbers(number_at, numbers, places, followed))
    values = [random.integers(0, 2**62, size) for _ in range(count)]
    addresses = np.array([each.ctypes.data for each in values], np.int64)
    out = np.empty(8 * wanted, np.uint8)
    fixed = median_seconds(lambda: chunks.gather_fixed(addresses, numbers, places, 8, out))
    sums = f"{out.view(np.int64).sum()}"
    shifts, bits = np.zeros(count, np.int64), np.empty(wanted, np.uint8)
    reading = median_seconds(lambda: chunks.gather_bits(addresses, shifts, numbers, places, bits))
    offsets = np.arange(size + 1, dtype=np.int32) * 20
    data = random.integers(0, 256, 20 * size).astype(np.uint8)
    offset_at, data_at = np.full(count, offsets.ctypes.data), np.full(count, data.ctypes.data)
    taken, text = np.empty(wanted + 1, np.int64), np.empty(20 * wanted, np.uint8)

    def strings() -> None:
        chunks.gather_sizes(offset_at, numbers, places, 4, taken)
        chunks.gather_strings(offset_at, data_at, numbers, places, 4, taken, text)

    copying = median_seconds(strings)
    return [
        Measured(wanted, wanted * 8, locating, f"{numbers.sum()}:{places.sum()}", "locate_rows"),
        Measured(wanted, wanted * 12, following, f"{followed.sum()}", "follow_numbers"),
        Measured(wanted, wanted * 8, fixed, sums, "gather_fixed"),
        Measured(wanted, wanted, reading, f"{bits.sum()}", "gather_bits"),
        Measured(wanted, wanted * 20, copying, f"{text.sum()}", "gather_sizes and gather_strings"),
    ]
