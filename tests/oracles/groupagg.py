"""Plain-Python twins of kernels.groupagg: lists in, lists out; `valid` None means that nothing is null."""

import math
from fractions import Fraction


def rows_of(ids, valid, group):
    return [i for i, g in enumerate(ids) if g == group and (valid is None or valid[i])]


def count_values(ids, valid, counts):
    return [held + len(rows_of(ids, valid, g)) for g, held in enumerate(counts)]


def sum_int(ids, values, valid, sums):
    return [held + sum(values[i] for i in rows_of(ids, valid, g)) for g, held in enumerate(sums)]


def sum_wide(ids, values, valid, sums):
    """Of Python ints of any size."""
    return sum_int(ids, values, valid, sums)


def sum_float(ids, values, valid, groups):
    """Exact sums, as fractions."""
    return [sum((Fraction(values[i]) for i in rows_of(ids, valid, g)), Fraction(0)) for g in range(groups)]


def sum_squares(ids, values, valid, groups):
    return [sum((Fraction(values[i]) ** 2 for i in rows_of(ids, valid, g)), Fraction(0)) for g in range(groups)]


def extreme_int(ids, values, valid, largest, extremes):
    choose = max if largest else min
    return [choose([held, *(values[i] for i in rows_of(ids, valid, g))]) for g, held in enumerate(extremes)]


def extreme_float(ids, values, valid, largest, groups):
    """From scratch: -inf or NaN for a group without values, NaN above everything."""
    results = []
    for g in range(groups):
        there = sorted(
            (values[i] for i in rows_of(ids, valid, g)), key=lambda x: (math.isnan(x), 0 if math.isnan(x) else x)
        )
        results.append((there[-1] if largest else there[0]) if there else (-math.inf if largest else math.nan))
    return results


def pick(ids, times, origins, values, valid, latest, groups):
    """(time, origin, value) of each group, None for a group without rows."""
    picked = []
    for g in range(groups):
        ordered = sorted(rows_of(ids, valid, g), key=lambda i: (times[i], origins[i], i))
        row = (ordered[-1] if latest else ordered[0]) if ordered else None
        picked.append(None if row is None else (times[row], origins[row], values[row]))
    return picked


def mark(ids, valid, bits, listed, flags):
    """New flags, and the groups that got the listed bit by this."""
    marked = {g for i, g in enumerate(ids) if g >= 0 and (valid is None or valid[i])}
    after = [held | bits if g in marked else held for g, held in enumerate(flags)]
    return after, {g for g in marked if bits & listed and not flags[g] & listed}
