"""Oracle tests: sessions against connected intervals in plain Python."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import sessions as oracle
from windrow.kernels import sessions

KEYS = 3
ROWS = st.lists(
    st.tuples(st.integers(0, KEYS - 1), st.integers(0, 100), st.integers(0, 8), st.integers(1, 9)), max_size=60
)


class Arrays:
    def __init__(self, size):
        self.heads = np.full(KEYS, -1, np.int32)
        self.older, self.keys = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self.froms, self.starts, self.ends = (np.zeros(size, np.int64) for _ in range(3))
        self.rows, self.merged = np.zeros(size, np.int32), np.zeros(2 * size, np.int32)
        self.status = np.zeros(3, np.int64)

    def run(self, ids, starts, froms, ends, gap, budget, chained, rows):
        sessions.assign_sessions(
            ids, starts, froms, ends, gap, budget, chained, self.heads, self.older, self.keys, self.froms,
            self.starts, self.ends, rows, self.merged, self.status,
        )  # fmt: skip

    def live(self):
        return [row for row in range(int(self.status[0])) if self.keys[row] >= 0]

    def bounds(self, row):
        return int(self.keys[row]), int(self.froms[row]), int(self.starts[row]), int(self.ends[row])


def assign(rows, budget):
    """Run to the end, the rest of a batch sorted when the budget is spent; sessions with their rows."""
    keys = np.array([row[0] for row in rows], np.int32)
    starts = np.array([row[1] for row in rows], np.int64)
    froms = starts + np.array([row[2] for row in rows], np.int64)
    ends = froms + np.array([row[3] for row in rows], np.int64)
    arrays = Arrays(len(rows) + 1)
    arrays.run(keys, starts, froms, ends, 0, budget, False, arrays.rows)
    done = int(arrays.status[2])
    if done < len(rows):
        rest = np.lexsort((-ends[done:], keys[done:])) + done
        arrays.status[2] = 0
        found = np.zeros(len(rest), np.int32)
        arrays.run(keys[rest], starts[rest], froms[rest], ends[rest], 0, 2**62, True, found)
        arrays.rows[rest] = found
    survivors = dict(arrays.merged[: 2 * int(arrays.status[1])].reshape(-1, 2).tolist())
    members = {}
    for row in range(len(rows)):
        session = int(arrays.rows[row])
        members.setdefault(arrays.bounds(survivors.get(session, session)), set()).add(row)
    return arrays, members, (keys.tolist(), starts.tolist(), froms.tolist(), ends.tolist())


@settings(max_examples=100, deadline=None)
@given(ROWS, st.sampled_from([-1, 0, 3, 10**6]))
def test_sessions_are_what_intervals_connect(rows, budget):
    arrays, members, columns = assign(rows, budget)
    expected = oracle.assign_sessions(*columns)
    assert members == expected
    assert {arrays.bounds(row) for row in arrays.live()} == set(expected)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 120), st.integers(0, 120))
def test_expired_sessions_leave_their_lists(rows, first, second):
    arrays, _, columns = assign(rows, 10**6)
    remaining = set(oracle.assign_sessions(*columns))
    for watermark in sorted((first, second)):
        found = np.zeros(len(rows) + 1, np.int32)
        size = int(arrays.status[0])
        count = sessions.expire_sessions(watermark, size, arrays.keys, arrays.ends, arrays.heads, arrays.older, found)
        expired, remaining = oracle.expire_sessions(watermark, remaining)
        assert {arrays.bounds(row) for row in found[:count]} == expired
        arrays.keys[found[:count]] = -1
        listed = set()
        for key in range(KEYS):
            node = arrays.heads[key]
            while node >= 0:
                listed.add(arrays.bounds(node))
                node = arrays.older[node]
        assert listed == remaining


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(0, 100)), max_size=40), st.integers(1, 20))
def test_plain_events_need_no_intervals(rows, gap):
    keys, starts = [row[0] for row in rows], [row[1] for row in rows]
    arrays = Arrays(len(rows) + 1)
    none = np.empty(0, np.int64)
    arrays.run(np.array(keys, np.int32), np.array(starts, np.int64), none, none, gap, 10**6, False, arrays.rows)
    ends = [start + gap for start in starts]
    assert {arrays.bounds(row) for row in arrays.live()} == set(oracle.assign_sessions(keys, starts, starts, ends))
