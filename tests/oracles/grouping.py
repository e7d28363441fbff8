"""Plain-Python twins of kernels.grouping: a dict, which knows nothing of slots."""


def _grouped(known, keys, add):
    groups = {key: group for group, key in enumerate(known)}
    ids = []
    for key in keys:
        if add:
            groups.setdefault(key, len(groups))
        ids.append(groups.get(key, -1))
    return ids, list(groups)


def group_int64(known, keys, add=True):
    """Ids of `keys` (None: null) where `known` have the first ids, and all keys by id."""
    return _grouped(known, keys, add)


def group_int64x2(known, panes, keys):
    return _grouped(known, list(zip(panes, keys, strict=True)), True)


def group_bytes(known, texts, add=True):
    return _grouped(known, texts, add)


def rehash(groups, null_id):
    """What must be found in the slots, in any order."""
    return sorted(group for group in range(groups) if group != null_id)


def first_rows(ids, first_id, groups):
    rows = []
    for group in range(first_id, first_id + groups):
        if group not in ids:
            break
        rows.append(ids.index(group))
    return rows
