"""Oracle tests: the first rows of each group."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import topk as oracle
from windrow.kernels import topk

GROUPS = 4
ROW = st.tuples(st.integers(0, GROUPS - 1), st.integers(-2, 2), st.integers(-2, 2))


@given(st.lists(st.lists(ROW, max_size=20), max_size=3), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_rank_rows(batches, size):
    """oracle: several batches one after the other; what is held, and what the touched groups held before"""
    slot_keys = np.zeros(GROUPS * size * 2, np.int64)
    slot_rows = np.zeros(GROUPS * size, np.int64)
    counts = np.zeros(GROUPS, np.int32)
    expected, first = {}, 0
    for rows in batches:
        groups = np.array([row[0] for row in rows], np.int32)
        keys = np.array([row[1:] for row in rows], np.int64).reshape(-1)
        touched, touched_groups = np.zeros(GROUPS, np.uint8), np.empty(GROUPS, np.int32)
        before = np.empty(GROUPS * size, np.int64)
        found = topk.rank_rows(
            groups, keys, 2, first, size, slot_keys, slot_rows, counts, touched, touched_groups, before
        )
        wanted = oracle.rank_rows(groups.tolist(), [row[1:] for row in rows], first, size, expected)
        assert touched_groups[:found].tolist() == list(wanted)
        for place, held in enumerate(wanted.values()):
            padded = held + [-1] * (size - len(held))
            assert before[place * size : (place + 1) * size].tolist() == padded
        for group, held in expected.items():
            assert counts[group] == len(held)
            assert slot_rows[group * size : group * size + len(held)].tolist() == [row for _, row in held]
            pairs = slot_keys[group * size * 2 : (group * size + len(held)) * 2].reshape(-1, 2).tolist()
            assert [tuple(pair) for pair in pairs] == [key for key, _ in held]
        first += len(rows)
