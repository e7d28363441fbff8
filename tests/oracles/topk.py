"""Plain-Python twin of kernels.topk: each group is a sorted list."""


def rank_rows(groups, keys, first, size, slots):
    """`slots`: group -> list of (key, row), changed in place; gives what changed groups held, in order of change."""
    before = {}
    for number, (group, key) in enumerate(zip(groups, keys, strict=True)):
        held = slots.setdefault(group, [])
        new = sorted([*held, (key, first + number)], key=lambda entry: entry[0])[:size]
        if new != held:
            before.setdefault(group, [row for _, row in held])
            slots[group] = new
    return before
