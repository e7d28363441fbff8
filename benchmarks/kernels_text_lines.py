"""Finding the ends of records in text."""

from __future__ import annotations

import zlib

import numpy as np

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.kernels import text_lines as kernels


@benchmark(
    "kernels_record_ends",
    "record ends in lines of 200 to 300 bytes; as CSV with a quoted field in every fourth line as well",
    kernels=("text_lines.record_ends",),
)
def kernels_record_ends(scale: float) -> list[Measured]:
    rng = np.random.default_rng(1)
    lines = max(int(200_000 * scale), 1_000)
    ends = np.cumsum(rng.integers(200, 300, lines))
    data = rng.integers(97, 123, int(ends[-1])).astype(np.uint8)
    data[ends - 1] = 10
    quoted = data.copy()
    quoted[ends[::4] - 1 - 50] = quoted[ends[::4] - 1 - 20] = ord('"')
    quoted[ends[::4] - 1 - 51] = ord(",")
    found = np.empty(lines, np.int64)
    measured = []
    for variant, text, quote in (("lines", data, -1), ("csv", data, 34), ("csv with quotes", quoted, 34)):

        def run(text: np.ndarray = text, quote: int = quote) -> int:
            return int(kernels.record_ends(text, quote, 44, np.zeros(1, np.int64), found))

        assert run() == lines
        seconds = median_seconds(run)
        measured.append(Measured(lines, text.size, seconds, f"{zlib.crc32(found):08x}", variant))
    return measured
