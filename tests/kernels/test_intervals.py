"""Oracle tests: rows in intervals of their keys."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import intervals as oracle
from windrow.kernels import intervals

KEYS = 3
KEEPS = {"first": intervals.FIRST, "last": intervals.LAST, "none": intervals.ALONE}


@given(
    st.lists(st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(0, 9)), max_size=20), max_size=3),
    st.integers(1, 15), st.sampled_from(sorted(KEEPS)),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_pass_intervals(batches, within, keep):
    """oracle: several batches one after the other; the rows given, and the intervals that are open"""
    ends, last = np.full(KEYS, -(2**62), np.int64), np.full(KEYS, -1, np.int64)
    alone, time, number, expected = np.zeros(KEYS, np.uint8), 0, 0, {}
    for batch in batches:
        rows = []
        for key, step in batch:
            time += step
            rows.append((key, time, number))
            number += 1
        ids = np.array([row[0] for row in rows], np.int32)
        times, names = (np.array([row[k] for row in rows], np.int64) for k in (1, 2))
        found = np.empty(len(rows), np.int64)
        count = intervals.pass_intervals(ids, times, names, within, KEEPS[keep], ends, last, alone, found)
        assert found[:count].tolist() == oracle.pass_intervals(rows, within, keep, expected)
    for key, (end, members) in expected.items():
        assert ends[key] == end and alone[key] == (len(members) == 1)
        assert last[key] == (-1 if keep == "first" else members[-1])
