"""Grouped aggregates over rows of random groups."""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.batch import ALL_VALID
from windrow.kernels import groupagg

_KERNELS = ("count_values", "sum_int", "sum_wide", "sum_float", "sum_squares", "extreme_int", "extreme_float", "pick")


@benchmark(
    "kernels_groupagg",
    "one aggregate after the other over rows of 1k and of 1M groups",
    kernels=tuple(f"groupagg.{name}" for name in (*_KERNELS, "mark")),
)
def kernels_groupagg(scale: float) -> list[Measured]:
    """Each kernel over rows whose groups are drawn at random."""
    rows = max(int(1_000_000 * scale), 1_000)
    random = np.random.default_rng(11)
    values = random.integers(0, 1_000_000, rows)
    floats = values / 7
    none, no_ints = np.empty(0), np.empty(0, np.int64)
    measured = []
    for groups in (1_000, 1_000_000):
        ids = random.integers(0, groups, rows).astype(np.int32)
        a, b, c = (np.zeros(groups, np.int64) for _ in range(3))
        x, y = np.zeros(groups), np.zeros(groups)
        flags, touched = np.zeros(groups, np.uint8), np.zeros(groups, np.int32)
        calls = {
            "count_values": (lambda i=ids, a=a: groupagg.count_values(i, ALL_VALID, a), a),
            "sum_int": (lambda i=ids, a=a: groupagg.sum_int(i, values, ALL_VALID, a), a),
            "sum_wide": (lambda i=ids, a=a, b=b: groupagg.sum_wide(i, values, no_ints, ALL_VALID, a, b), a),
            "sum_float": (lambda i=ids, x=x, y=y: groupagg.sum_float(i, floats, none, ALL_VALID, x, y), x),
            "sum_squares": (lambda i=ids, x=x, y=y: groupagg.sum_squares(i, floats, ALL_VALID, x, y), x),
            "extreme_int": (lambda i=ids, a=a: groupagg.extreme_int(i, values, ALL_VALID, True, a), a),
            "extreme_float": (lambda i=ids, x=x: groupagg.extreme_float(i, floats, ALL_VALID, True, x), x),
            "pick": (
                lambda i=ids, a=a, b=b, c=c, f=flags: groupagg.pick(
                    i, values, values, values, ALL_VALID, True, a, b, c, f
                ),
                c,
            ),
            "mark": (lambda i=ids, f=flags, t=touched: groupagg.mark(i, ALL_VALID, 3, 0, f, t, 0), flags),
        }
        for name, (call, result) in calls.items():
            for array in (a, b, c, x, y, flags):
                array[:] = 0
            seconds = median_seconds(call)
            checksum = f"{float(result.astype(np.float64).sum()):.6g}"
            measured.append(Measured(rows, rows * 12, seconds, checksum, f"{name}, {groups} groups"))
    return measured
