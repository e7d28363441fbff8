"""Oracle tests: rows of one key as chains."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import chains as oracle
from windrow.kernels import chains

IDS = st.lists(st.integers(-1, 4), max_size=30)
FIRST = 7


def linked(ids, times, dropped=0):
    """The arrays of rows that start at `FIRST`, put in by two calls."""
    size = len(ids)
    heads, nexts, newest = np.full(5, -1, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    half = size // 2
    for start, end in ((0, half), (half, size)):
        part = np.array(times[start:end], np.int64)
        chains.link_rows(np.array(ids[start:end], np.int32), part, FIRST + start, FIRST, heads, nexts, newest)
    return heads, nexts, newest


@given(IDS, IDS, st.booleans(), st.data())
@settings(max_examples=100, deadline=None)
def test_probe_chains_finds_what_link_rows_put_there(ids, probing, timed, data):
    """oracle: link_rows and probe_chains, with any room for pairs"""
    clock = st.integers(-20, 20)
    state_times = data.draw(st.lists(clock, min_size=len(ids), max_size=len(ids))) if timed else []
    times = data.draw(st.lists(clock, min_size=len(probing), max_size=len(probing))) if timed else []
    lower = data.draw(clock)
    upper = lower + data.draw(st.integers(0, 20))
    heads, nexts, newest = linked(ids, state_times)
    room = data.draw(st.integers(1, 10))
    cursor, found = np.array([0, -2], np.int64), []
    places = np.array(state_times, np.int64)
    while cursor[0] < len(probing):
        probes, rows = np.empty(room, np.int64), np.empty(room, np.int64)
        count = chains.probe_chains(
            np.array(probing, np.int32), np.array(times, np.int64), lower, upper, FIRST,
            heads, nexts, places, newest, cursor, probes, rows,
        )  # fmt: skip
        found += zip(probes[:count].tolist(), rows[:count].tolist(), strict=True)
    by_row = dict(enumerate(state_times, FIRST))
    expected = oracle.probe_chains(probing, times, lower, upper, oracle.link_rows(ids, FIRST), by_row, FIRST)
    assert found == expected


@given(IDS, IDS, st.data())
@settings(max_examples=100, deadline=None)
def test_unlink_rows(ids, wanted, data):
    """oracle: unlink_rows, and what a probe finds afterwards"""
    hashes = data.draw(st.lists(st.integers(0, 2), min_size=len(ids), max_size=len(ids)))
    asked = data.draw(st.lists(st.integers(0, 2), min_size=len(wanted), max_size=len(wanted)))
    heads, nexts, _ = linked(ids, [])
    rows = np.empty(len(wanted), np.int64)
    found = chains.unlink_rows(
        np.array(wanted, np.int32), np.array(asked, np.uint64), FIRST, np.array(hashes, np.uint64), heads, nexts, rows
    )
    expected = oracle.link_rows(ids, FIRST)
    assert rows.tolist() == oracle.unlink_rows(wanted, asked, expected, dict(enumerate(hashes, FIRST)))
    assert found == sum(row >= 0 for row in rows)
    for key in range(5):
        left, link = [], heads[key]
        while link >= 0:
            left.append(link)
            link = nexts[link - FIRST]
        assert left == expected.get(key, [])


def sorted_chains(ids, times):
    """The arrays of rows that start at `FIRST`, put in by two calls."""
    size, half = len(ids), len(ids) // 2
    heads, nexts, clock = np.full(5, -1, np.int64), np.empty(size, np.int64), np.array(times, np.int64)
    for start, end in ((0, half), (half, size)):
        chains.link_sorted(np.array(ids[start:end], np.int32), clock, FIRST + start, FIRST, heads, nexts)
    return heads, nexts, clock


def chain_of(heads, nexts, key):
    left, link = [], heads[key]
    while link >= 0:
        left.append(int(link))
        link = nexts[link - FIRST]
    return left


@given(IDS, IDS, st.sampled_from([(1, 0), (0, 1), (1, 1)]), st.integers(0, 12), st.data())
@settings(max_examples=150, deadline=None)
def test_sorted_chains(ids, probing, ways, tolerance, data):
    """oracle: link_sorted, probe_nearest and cut_chains, with any room for what is cut off"""
    clock = st.integers(-9, 9)
    state_times = data.draw(st.lists(clock, min_size=len(ids), max_size=len(ids)))
    times = data.draw(st.lists(clock, min_size=len(probing), max_size=len(probing)))
    heads, nexts, places = sorted_chains(ids, state_times)
    expected = oracle.link_sorted(ids, state_times, FIRST)
    assert all(chain_of(heads, nexts, key) == expected.get(key, []) for key in range(5))

    by_row = dict(enumerate(state_times, FIRST))
    rows = np.empty(len(probing), np.int64)
    arrays = np.array(probing, np.int32), np.array(times, np.int64)
    chains.probe_nearest(*arrays, *ways, tolerance, FIRST, heads, nexts, places, rows)
    assert rows.tolist() == oracle.probe_nearest(probing, times, *ways, tolerance, expected, by_row)

    keys, until = [key for key in range(5) if key in expected], data.draw(clock)
    cursor, room, gone = np.zeros(1, np.int64), data.draw(st.integers(1, 4)), []
    while cursor[0] < len(keys):
        cut = np.empty(room, np.int64)
        found = chains.cut_chains(np.array(keys, np.int32), until, FIRST, heads, places, nexts, cut, cursor)
        gone += cut[:found].tolist()
    assert gone == oracle.cut_chains(keys, until, expected, by_row)
    assert all(chain_of(heads, nexts, key) == expected.get(key, []) for key in range(5))
