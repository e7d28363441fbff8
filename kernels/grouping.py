"""Keys to dense group ids by open addressing: linear probing over a power-of-two table of int32 ids.

A slot holds a group id or -1; the key itself lies in a flat array at that id. Ids are given in order of first
appearance, whatever the hash does. A kernel stops before a row that it has no room for and returns how many rows it
has done; its caller makes room (`rehash` fills the new slots) and calls again with `start` at that row.

The slot of a key is ``key * multiplier >> shift``. One multiplication is the cheapest hash there is, and keys can be
found that all meet in one slot, on purpose or by bad luck; so the kernels count extra probes against a budget and stop
when it is spent, and the caller rehashes with another multiplier. Why a random one works: Dietzfelbinger, Hagerup,
Katajainen, Penttonen, "A reliable randomized algorithm for the closest-pair problem", 1997.

Where a table of int64 keys is much larger than the near caches, rows are done in blocks: first the slots of all rows of
a block are asked for, then the keys those name, then rows are compared. Without it the processor waits for one slot
after the other (10 M keys: 23 to 43 ns a row, and 14 to 16 with it, in turn on a busy machine).

`state` is three int64: number of groups, id of the null key or -1, and the extra probes that may still be made.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels._bytes import address, copy_run, get8, get32, get64, prefetch
from windrow.kernels._compile import device, kernel
from windrow.kernels._types import I64, R_I32, R_I64, R_U8, R_U64, U64, W_I32, W_I64, W_U8, W_U64

_ONE = np.uint64(1)
#: Folds a second word into the first before the multiplication.
PANE_FACTOR = 0xC2B2AE3D27D4EB4F
_PANE = np.uint64(PANE_FACTOR)
_FAR = 1 << 23  # slots, 32 MiB: smaller tables are near enough (1 M keys: as fast without)
_BLOCK = 128  # rows: a block's slots and keys are 256 cache lines


@kernel(I64(R_I64, R_U8, I64, U64, U64, I64, W_I64, W_I32, W_I64, W_I32))
def group_int64(keys, valid, start, multiplier, shift, add, state, slots, group_keys, ids):  # type: ignore[no-untyped-def]
    """Ids of int64 keys from row `start`; a new key becomes a group, or gets id -1 when `add` is 0."""
    n, null_id, budget = state[0], state[1], state[2]
    room = group_keys.shape[0]
    mask = np.uint64(slots.shape[0] - 1)
    nullable = valid.shape[0] > 0
    far = slots.shape[0] >= _FAR
    asked = start if far else keys.shape[0]
    first_slot, first_key = address(slots), address(group_keys)
    row = start
    while row < keys.shape[0]:
        if row == asked:
            asked = min(row + _BLOCK, keys.shape[0])
            for ahead in range(row, asked):
                prefetch(first_slot + 4 * np.int64((np.uint64(keys[ahead]) * multiplier) >> shift))
            for ahead in range(row, asked):
                prefetch(first_key + 8 * np.int64(slots[(np.uint64(keys[ahead]) * multiplier) >> shift]))
        if nullable and valid[row] == 0:
            if null_id < 0 and add != 0:
                if n >= room:
                    break
                group_keys[n] = 0
                null_id = n
                n += 1
            ids[row] = np.int32(null_id)
            row += 1
            continue
        key = keys[row]
        at = (np.uint64(key) * multiplier) >> shift
        group = slots[at]
        while group >= 0 and group_keys[np.uint64(group)] != key:
            at = (at + _ONE) & mask
            group = slots[at]
            budget -= 1
        if group < 0 and add != 0:
            if n >= room or budget < 0:
                break
            slots[at] = np.int32(n)
            group_keys[n] = key
            group = np.int32(n)
            n += 1
        ids[row] = group
        row += 1
    state[0], state[1], state[2] = n, null_id, budget
    return row


@kernel(I64(R_I64, R_I64, I64, U64, U64, W_I64, W_I32, W_I64, W_I64, W_I32))
def group_int64x2(panes, keys, start, multiplier, shift, state, slots, group_panes, group_keys, ids):  # type: ignore[no-untyped-def]
    """Ids of (pane, key) pairs from row `start`; a new pair becomes a group."""
    n, budget = state[0], state[2]
    room = group_keys.shape[0]
    mask = np.uint64(slots.shape[0] - 1)
    row = start
    while row < keys.shape[0]:
        key, pane = keys[row], panes[row]
        at = ((np.uint64(key) + np.uint64(pane) * _PANE) * multiplier) >> shift
        group = slots[at]
        while group >= 0 and (group_keys[np.uint64(group)] != key or group_panes[np.uint64(group)] != pane):
            at = (at + _ONE) & mask
            group = slots[at]
            budget -= 1
        if group < 0:
            if n >= room or budget < 0:
                break
            slots[at] = np.int32(n)
            group_keys[n] = key
            group_panes[n] = pane
            group = np.int32(n)
            n += 1
        ids[row] = group
        row += 1
    state[0], state[2] = n, budget
    return row


@device
def same_bytes(left, right, size):  # type: ignore[no-untyped-def]
    """True when the `size` bytes at two addresses are equal: word by word, the last one overlapping."""
    if size >= 8:
        last = size - 8
        at = 0
        while at < last:
            if get64(left + at) != get64(right + at):
                return False
            at += 8
        return get64(left + last) == get64(right + last)
    if size >= 4:
        return get32(left) == get32(right) and get32(left + size - 4) == get32(right + size - 4)
    same = True
    for at in range(size):
        same &= get8(left + at) == get8(right + at)
    return same


@kernel(I64(R_I64, R_U8, R_U64, R_U8, I64, U64, U64, I64, W_I64, W_I32, W_U64, W_I64, W_U8, W_I32))
def group_bytes(  # type: ignore[no-untyped-def]
    offsets, data, hashes, valid, start, multiplier, shift, add, state, slots, group_hashes, group_offsets, arena, ids
):
    """Ids of keys ``data[offsets[i] : offsets[i + 1]]`` from row `start`; hashes first, then every byte is compared.

    The bytes of group g are ``arena[group_offsets[g] : group_offsets[g + 1]]``. A new key becomes a group, or gets id
    -1 when `add` is 0. Stops also when the arena is full.
    """
    source, target = address(data), address(arena)
    n, null_id, budget = state[0], state[1], state[2]
    room = group_hashes.shape[0]
    mask = np.uint64(slots.shape[0] - 1)
    nullable = valid.shape[0] > 0
    row = start
    while row < hashes.shape[0]:
        null = nullable and valid[row] == 0
        if null and (null_id >= 0 or add == 0):
            ids[row] = np.int32(null_id)
            row += 1
            continue
        begin, size, wanted = offsets[row], offsets[row + 1] - offsets[row], hashes[row]
        at = (wanted * multiplier) >> shift
        group = np.int32(-1) if null else slots[at]
        while group >= 0:
            if group_hashes[group] == wanted:
                place = group_offsets[group]
                if group_offsets[group + 1] - place == size and same_bytes(source + begin, target + place, size):
                    break
            at = (at + _ONE) & mask
            group = slots[at]
            budget -= 1
        if group < 0 and add != 0:
            size = 0 if null else size
            place = group_offsets[n]
            if n >= room or place + size > arena.shape[0] or budget < 0:
                break
            if null:
                null_id = n
            else:
                slots[at] = np.int32(n)
                copy_run(source + begin, target + place, size)
            group_hashes[n] = wanted
            group_offsets[n + 1] = place + size
            group = np.int32(n)
            n += 1
        ids[row] = group
        row += 1
    state[0], state[1], state[2] = n, null_id, budget
    return row


@kernel(I64(R_U64, I64, I64, U64, U64, W_I32))
def rehash(words, groups, null_id, multiplier, shift, slots):  # type: ignore[no-untyped-def]
    """Fill `slots` with the ids of the first `groups` words (keys or hashes), all different or not, except `null_id`.

    Returns the number of extra probes.
    """
    slots[:] = -1
    mask = np.uint64(slots.shape[0] - 1)
    probes = 0
    for group in range(groups):
        at = (words[group] * multiplier) >> shift
        while slots[at] >= 0 and group != null_id:
            at = (at + _ONE) & mask
            probes += 1
        if group != null_id:
            slots[at] = np.int32(group)
    return probes


@kernel(I64(R_I32, I64, I64, W_I64))
def first_rows(ids, first_id, groups, rows):  # type: ignore[no-untyped-def]
    """The row in which each of the `groups` ids from `first_id` appears first; ids are in order of first appearance.

    Returns how many of them were found.
    """
    found = 0
    for i in range(ids.shape[0]):
        if found == groups:
            break
        if ids[i] == first_id + found:
            rows[found] = i
            found += 1
    return found
