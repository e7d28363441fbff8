"""Session windows: rows to sessions, sessions that touch made one.

A session is a row of parallel arrays: ``keys`` (-1: dead), ``froms`` and ``ends`` (the interval ``[from, end)`` in
which another event joins it), ``starts`` (its first event). The live sessions of a key do not overlap and hang in a
list from the latest to the earliest: ``heads[key]``, then ``older[session]``, until -1.
"""

from __future__ import annotations

from windrow.kernels._compile import kernel
from windrow.kernels._types import B1, I64, NONE, R_I32, R_I64, W_I32, W_I64


@kernel(NONE(R_I32, R_I64, R_I64, R_I64, I64, I64, B1, W_I32, W_I32, W_I32, W_I64, W_I64, W_I64, W_I32, W_I32, W_I64))
def assign_sessions(  # type: ignore[no-untyped-def]
    ids, row_starts, row_froms, row_ends, gap, budget, chained,
    heads, older, keys, froms, starts, ends, rows, merged, status,
):  # fmt: skip
    """Put rows into sessions, one after the other.

    A row is the interval ``[from, end)`` that starts an event at `start`; empty `row_froms` means from = start, empty
    `row_ends` end = start + gap. ``status`` is, in and out: number of sessions, number of merges, next row. Two
    sessions that a row joins become one: the older dies and is appended to `merged` as (dead, survivor). Stops early
    when it has taken more than `budget` steps through lists; the rest should then be sorted by key and falling end
    and given with `chained`, where the search for a row starts from where the row before it ended.
    """
    size = status[0]
    merges = status[1]
    i = status[2]
    steps = 0
    newer = -1
    while i < ids.size:
        if steps > budget:
            break
        key = ids[i]
        start = row_starts[i]
        join = row_froms[i] if row_froms.size != 0 else start
        end = row_ends[i] if row_ends.size != 0 else start + gap
        if not (chained and newer >= 0 and keys[newer] == key):
            newer = -1
        node = heads[key] if newer < 0 else older[newer]
        while node >= 0 and froms[node] >= end:
            newer = node
            node = older[node]
            steps += 1
        if node < 0 or ends[node] <= join:
            keys[size] = key
            froms[size] = join
            starts[size] = start
            ends[size] = end
            older[size] = node
            if newer < 0:
                heads[key] = size
            else:
                older[newer] = size
            rows[i] = size
            size += 1
        elif start >= froms[node]:  # the common case: nothing but the end moves, nothing older is reached
            ends[node] = max(ends[node], end)
            rows[i] = node
        else:
            froms[node] = min(froms[node], join)
            starts[node] = min(starts[node], start)
            ends[node] = max(ends[node], end)
            other = older[node]
            while other >= 0 and ends[other] > froms[node]:
                froms[node] = min(froms[node], froms[other])
                starts[node] = min(starts[node], starts[other])
                following = older[other]
                keys[other] = -1
                older[other] = node
                merged[2 * merges] = other
                merges += 1
                other = following
                steps += 1
            older[node] = other
            rows[i] = node
        i += 1
    # a survivor may have died later: its `older` then leads to who took it over
    for m in range(merges):
        survivor = older[merged[2 * m]]
        while keys[survivor] < 0:
            survivor = older[survivor]
        merged[2 * m + 1] = survivor
    status[0] = size
    status[1] = merges
    status[2] = i


@kernel(I64(I64, I64, R_I32, R_I64, W_I32, W_I32, W_I32))
def expire_sessions(watermark, size, keys, ends, heads, older, expired):  # type: ignore[no-untyped-def]
    """Take sessions whose end is at or before the watermark off their key's list; returns how many are in `expired`.

    They keep their key, so that the caller can emit them, and are dead afterwards: the caller sets it to -1.
    """
    count = 0
    for row in range(size):
        key = keys[row]
        if key < 0 or ends[row] > watermark:
            continue
        expired[count] = row
        count += 1
        newer = -1
        node = heads[key]
        while node >= 0 and ends[node] > watermark:
            newer = node
            node = older[node]
        if newer < 0:
            heads[key] = -1
        else:
            older[newer] = -1
    return count
