"""Results recomputed from scratch, row by row in plain Python, to compare operators with."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa

from windrow.batch import ORIGIN, TIME, WATERMARK
from windrow.plan.window import Aggregate, Window
from windrow.units import BEFORE_TIME_US

Row = dict[str, Any]


def windows_of(window: Window, time: int, watermark: int) -> list[tuple[int, int]]:
    """All windows [start, end) of an event that are not closed for it, by trying them one after the other."""
    shifted = time - window.offset_us
    found = []
    match window.kind:
        case "tumbling":
            start = shifted // window.size_us * window.size_us
            found = [(start, start + window.size_us)]
        case "hopping":
            start = (shifted - window.size_us) // window.slide_us * window.slide_us
            while start <= shifted:
                if start <= shifted < start + window.size_us:
                    found.append((start, start + window.size_us))
                start += window.slide_us
        case "cumulate":
            start = shifted // window.size_us * window.size_us
            end = start + window.slide_us
            while end <= start + window.size_us:
                if shifted < end:
                    found.append((start, end))
                end += window.slide_us
    shift = window.offset_us
    return [(start + shift, end + shift) for start, end in found if end + shift > watermark]


def rows_of(partitions: Sequence[pa.RecordBatch]) -> list[Row]:
    return [row for partition in partitions for row in partition.to_pylist()]


def grouped(rows: Sequence[Row], keys: Sequence[str], window: Window) -> dict[tuple[Any, ...], list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        for start, end in windows_of(window, row[TIME], row.get(WATERMARK, BEFORE_TIME_US)):
            groups[(*(row[key] for key in keys), start, end)].append(row)
    return groups


def sessions(rows: Sequence[Row], keys: Sequence[str], gap: int) -> dict[tuple[Any, ...], list[Row]]:
    """Connected components of the intervals in which each row still lets others join."""
    by_key = defaultdict(list)
    for row in rows:
        join = max(row[TIME], row.get(WATERMARK, BEFORE_TIME_US))
        if row[TIME] + gap > join:
            by_key[tuple(row[key] for key in keys)].append((join, row[TIME] + gap, row))
    groups = {}
    for key, intervals in by_key.items():
        open_: list[Row] = []
        reach = None
        parts = []
        for join, end, row in sorted(intervals, key=lambda item: item[:2]):
            if reach is None or join >= reach:
                open_ = []
                parts.append(open_)
                reach = end
            open_.append(row)
            reach = max(reach, end)
        for part in parts:
            times = [row[TIME] for row in part]
            groups[(*key, min(times), max(times) + gap)] = part
    return groups


def compute(aggregate: Aggregate, rows: Sequence[Row], order: Callable[[Row], Any]) -> Any:
    """One aggregate over the rows of a group, as SQL defines it."""
    if aggregate.where is not None:
        rows = [row for row in rows if row[aggregate.where]]
    if aggregate.function == "count" and aggregate.column is None:
        return len(rows)
    rows = [row for row in rows if row[aggregate.column] is not None]
    if aggregate.column == "p":
        rows = [row for row in rows if None not in row["p"].values()]
    values = [row[aggregate.column] for row in rows]
    match aggregate.function:
        case "count":
            return len(values)
        case "sum":
            return _total(values)
        case "min":
            return min(values, default=None)
        case "max":
            return max(values, default=None)
        case "mean":
            return float(_total(values)) / len(values) if values else None
        case "var" | "stddev":
            return _spread(aggregate, [float(value) for value in values])
        case "first":
            return min(rows, key=order)[aggregate.column] if rows else None
        case "last":
            return max(rows, key=order)[aggregate.column] if rows else None
        case "count_distinct":
            return len(set(values))
        case "collect_list":
            ordered = [row[aggregate.column] for row in sorted(rows, key=order)]
            return ordered[: aggregate.option("limit")] or None
        case "arg_min":
            return min(rows, key=lambda row: (row["p"]["second"], by_arrival(row)))["p"]["first"] if rows else None
        case "arg_max":
            return max(rows, key=lambda row: (row["p"]["second"], -by_arrival(row)))["p"]["first"] if rows else None
        case "corr" | "covar_samp" | "covar_pop":
            return _together(aggregate.function, [tuple(value.values()) for value in values])
        case "collect_set":
            return sorted(set(values))[: aggregate.option("limit")] or None
        case "heavy_hitters":
            often = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))[: aggregate.option("n")]
            return [{"value": value, "count": count, "error": 0} for value, count in often] or None
        case "approx_count_distinct":
            return len(set(values))
        case "quantile":
            return _quantile(sorted(values), aggregate.option("q"), aggregate.option("exact")) if values else None
    raise AssertionError(aggregate.function)


def _quantile(values: list[Any], q: float, exact: bool) -> float:
    rank = Fraction(q) * (len(values) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(values) - 1) if exact else low
    return float(Fraction(values[low]) + (rank - low) * (Fraction(values[high]) - Fraction(values[low])))


def _together(function: str, pairs: list[tuple[Any, ...]]) -> float | None:
    count = len(pairs)
    if count == 0 or (count == 1 and function != "covar_pop"):
        return None
    means = [Fraction(0) + sum(Fraction(pair[k]) for pair in pairs) / count for k in (0, 1)]
    apart = [[Fraction(pair[k]) - means[k] for k in (0, 1)] for pair in pairs]
    xy, xx, yy = (sum(a[i] * a[j] for a in apart) for i, j in ((0, 1), (0, 0), (1, 1)))
    if function == "corr":
        return None if xx == 0 or yy == 0 else float(xy) / math.sqrt(float(xx) * float(yy))
    return float(xy / (count - (function == "covar_samp")))


def _total(values: list[Any]) -> Any:
    if not values:
        return None
    if isinstance(values[0], float):
        return math.fsum(values)
    return sum(values, Decimal(0) if isinstance(values[0], Decimal) else 0)


def _spread(aggregate: Aggregate, values: list[float]) -> float | None:
    ddof = aggregate.option("ddof", 1)
    if len(values) <= ddof:
        return None
    mean = statistics.fmean(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - ddof)
    return math.sqrt(variance) if aggregate.function == "stddev" else variance


def by_time(row: Row) -> tuple[int, int]:
    return row[TIME], row.get(ORIGIN, 0)


def by_arrival(row: Row) -> int:
    return int(row[ORIGIN])
