"""Oracle tests: open addressing against a dict, with tables that are nearly full, grow, and collide on purpose."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.arrays import int64s, strings, valid
from tests.oracles import grouping as oracle
from windrow.kernels import grouping

GOLDEN = 0x9E3779B97F4A7C15
INVERSE = pow(GOLDEN, -1, 2**64)
#: Multipliers: the usual one, and 1, with which all small keys meet in slot 0.
multipliers = st.sampled_from([GOLDEN, 1, 3 << 40 | 1]).map(np.uint64)
small = st.integers(-6, 6) | st.integers(0, 12).map(lambda n: (n * INVERSE + 2**63) % 2**64 - 2**63)
keys = st.lists(st.none() | small | st.integers(-(2**63), 2**63 - 1), max_size=40)
texts = st.lists(st.none() | st.sampled_from([b"", b"a", b"b"]) | st.binary(max_size=20), max_size=40)
bits = st.integers(1, 7)


class Table:
    """Slots that start small and double; the groups fill them to the last but one."""

    def __init__(self, bits, multiplier):
        self.multiplier = multiplier
        self.state = np.array([0, -1, 2**62], np.int64)
        self.resize(bits)

    def resize(self, bits):
        self.bits, self.shift = bits, np.uint64(64 - bits)
        self.slots = np.full(1 << bits, -1, np.int32)
        self.room = (1 << bits) - 1

    def grow(self, words):
        self.resize(self.bits + 1)
        n, null_id = int(self.state[0]), int(self.state[1])
        grouping.rehash(words.view(np.uint64), n, null_id, self.multiplier, self.shift, self.slots)
        assert sorted(self.slots[self.slots >= 0].tolist()) == oracle.rehash(n, null_id)


def resized(array, size):
    larger = np.zeros(size, array.dtype)
    larger[: min(size, len(array))] = array[:size]
    return larger


@given(keys, keys, bits, multipliers)
def test_group_int64(first, second, bits, multiplier):
    """oracle: group_int64 with rehash, and without adding"""
    table = Table(bits, multiplier)
    group_keys = np.zeros(table.room, np.int64)
    ids = np.full(len(first), -9, np.int32)
    row = 0
    values, flags = int64s(first), valid(first)
    while True:
        row = grouping.group_int64(
            values, flags, row, multiplier, table.shift, 1, table.state, table.slots, group_keys, ids
        )
        if row == len(first):
            break
        assert table.state[0] == table.room
        table.grow(group_keys)
        group_keys = resized(group_keys, table.room)
    expected, known = oracle.group_int64([], first)
    assert ids.tolist() == expected
    assert table.state[0] == len(known)
    null_id = known.index(None) if None in known else -1
    assert table.state[1] == null_id
    assert [None if i == null_id else int(key) for i, key in enumerate(group_keys[: len(known)])] == known

    found = np.full(len(second), -9, np.int32)
    before = table.slots.copy()
    done = grouping.group_int64(
        int64s(second), valid(second), 0, multiplier, table.shift, 0, table.state, table.slots, group_keys, found
    )
    assert done == len(second)
    assert found.tolist() == oracle.group_int64(known, second, add=False)[0]
    assert table.slots.tolist() == before.tolist()


def test_group_int64_in_a_table_that_is_far():
    """oracle: rows that are asked for in blocks ahead; new keys and nulls within a block, starts in the middle"""
    dice = np.random.default_rng(3)
    values = [None if n % 17 == 0 else int(n) for n in dice.integers(0, 400, 1_000) * 2**40]
    slots = np.full(grouping._FAR, -1, np.int32)
    shift = np.uint64(64 - int(grouping._FAR).bit_length() + 1)
    state, group_keys = np.array([0, -1, 2**62], np.int64), np.zeros(1_000, np.int64)
    ids = np.full(len(values), -9, np.int32)
    for start, stop in ((0, 130), (130, 131), (131, 1_000)):
        done = grouping.group_int64(
            int64s(values)[:stop], valid(values)[:stop], start, np.uint64(GOLDEN), shift, 1,
            state, slots, group_keys, ids,
        )  # fmt: skip
        assert done == stop
    expected, known = oracle.group_int64([], values)
    assert ids.tolist() == expected and state[0] == len(known)


@given(st.lists(st.tuples(st.integers(-2, 3), small), max_size=60), bits, multipliers)
def test_group_int64x2(pairs, bits, multiplier):
    """oracle: group_int64x2, grown with the words it hashes"""
    table = Table(bits, multiplier)
    group_panes, group_keys = np.zeros(table.room, np.int64), np.zeros(table.room, np.int64)
    panes, values = int64s([pane for pane, _ in pairs]), int64s([key for _, key in pairs])
    ids = np.full(len(pairs), -9, np.int32)
    row = 0
    while True:
        row = grouping.group_int64x2(
            panes, values, row, multiplier, table.shift, table.state, table.slots, group_panes, group_keys, ids
        )
        if row == len(pairs):
            break
        table.grow(group_keys.view(np.uint64) + group_panes.view(np.uint64) * np.uint64(grouping.PANE_FACTOR))
        group_panes, group_keys = resized(group_panes, table.room), resized(group_keys, table.room)
    expected, known = oracle.group_int64x2([], panes.tolist(), values.tolist())
    assert ids.tolist() == expected
    n = int(table.state[0])
    assert list(zip(group_panes[:n].tolist(), group_keys[:n].tolist(), strict=True)) == known


@given(texts, texts, bits, st.integers(1, 3), multipliers)
def test_group_bytes(first, second, bits, different, multiplier):
    """oracle: group_bytes with few different hashes, so that only the bytes tell keys apart"""
    table = Table(bits, multiplier)
    hashes, starts = np.zeros(table.room, np.uint64), np.zeros(table.room + 1, np.int64)
    arena = np.zeros(4, np.uint8)
    ids = np.full(len(first), -9, np.int32)
    row = 0
    while True:
        row = grouping.group_bytes(
            *strings(first), _hashes(first, different), valid(first), row, multiplier, table.shift, 1,
            table.state, table.slots, hashes, starts, arena, ids,
        )  # fmt: skip
        if row == len(first):
            break
        arena = resized(arena, len(arena) + 20)
        if table.state[0] == table.room:
            table.grow(hashes)
            hashes, starts = resized(hashes, table.room), resized(starts, table.room + 1)
    expected, known = oracle.group_bytes([], first)
    assert ids.tolist() == expected
    n = int(table.state[0])
    stored = [bytes(arena[starts[i] : starts[i + 1]]) for i in range(n)]
    assert [None if i == table.state[1] else text for i, text in enumerate(stored)] == known

    found = np.full(len(second), -9, np.int32)
    grouping.group_bytes(
        *strings(second), _hashes(second, different), valid(second), 0, multiplier, table.shift, 0,
        table.state, table.slots, hashes, starts, arena, found,
    )  # fmt: skip
    assert found.tolist() == oracle.group_bytes(known, second, add=False)[0]


def _hashes(values, different):
    return np.array([0 if text is None else len(text) % different for text in values], np.uint64)


@given(st.integers(0, 20))
def test_a_spent_budget_stops_the_kernel_before_a_new_key(budget):
    """law: colliding keys are not added once the extra probes are used up; what was done is right"""
    values = np.arange(60, dtype=np.int64)
    table = Table(7, np.uint64(1))
    table.state[2] = budget
    ids = np.full(60, -9, np.int32)
    group_keys = np.zeros(table.room, np.int64)
    done = grouping.group_int64(
        values, np.empty(0, np.uint8), 0, table.multiplier, table.shift, 1, table.state, table.slots, group_keys, ids
    )
    assert 0 < done < 60
    assert ids[:done].tolist() == list(range(done))
    assert done * (done - 1) // 2 <= budget < done * (done + 1) // 2


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 4))
def test_first_rows(order, first_id):
    """oracle: ids in order of first appearance, some of them known before"""
    seen = list(range(first_id))
    ids = []
    for key in order:
        if key not in seen:
            seen.append(key)
        ids.append(seen.index(key))
    groups = len(seen) - first_id
    rows = np.full(groups, -9, np.int64)
    assert grouping.first_rows(np.array(ids, np.int32), first_id, groups, rows) == groups
    assert rows.tolist() == oracle.first_rows(ids, first_id, groups)
