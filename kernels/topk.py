"""The first rows of each group, kept in order as rows come.

Group g has `size` slots; slot s of it is number ``g * size + s``, in order, the first `counts[g]` of them filled. A
row's keys are `width` int64 that are compared one after the other, less comes first; of equal rows the earlier one.
"""

from __future__ import annotations

from windrow.kernels._compile import device, kernel
from windrow.kernels._types import I64, R_I32, R_I64, W_I32, W_I64, W_U8


@device
def _less(left, i, right, j, width):  # type: ignore[no-untyped-def]
    for k in range(width):
        if left[i + k] != right[j + k]:
            return left[i + k] < right[j + k]
    return False


@kernel(I64(R_I32, R_I64, I64, I64, I64, W_I64, W_I64, W_I32, W_U8, W_I32, W_I64))
def rank_rows(  # type: ignore[no-untyped-def]
    groups, keys, width, first, size, slot_keys, slot_rows, counts, touched, touched_groups, before
):
    """Put rows into the slots of their groups; row i is called ``first + i``.

    `touched` is 0 for every group at first. The groups whose slots change are listed in `touched_groups`, each once,
    and `before` gets `size` slots for each of them: what they held, -1 where nothing. Returns how many they are.
    """
    found = 0
    for i in range(groups.shape[0]):
        group = groups[i]
        count = counts[group]
        base = size * group
        mine = i * width
        if count == size and not _less(keys, mine, slot_keys, (base + size - 1) * width, width):
            continue
        if touched[group] == 0:
            touched[group] = 1
            touched_groups[found] = group
            for s in range(size):
                before[found * size + s] = slot_rows[base + s] if s < count else -1
            found += 1
        at = count if count < size else size - 1
        while at > 0 and _less(keys, mine, slot_keys, (base + at - 1) * width, width):
            for k in range(width):
                slot_keys[(base + at) * width + k] = slot_keys[(base + at - 1) * width + k]
            slot_rows[base + at] = slot_rows[base + at - 1]
            at -= 1
        for k in range(width):
            slot_keys[(base + at) * width + k] = keys[mine + k]
        slot_rows[base + at] = first + i
        if count < size:
            counts[group] = count + 1
    return found
