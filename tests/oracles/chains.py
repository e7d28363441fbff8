"""Plain-Python twins of kernels.chains: chains are lists of rows by key, newest first."""


def link_rows(ids, first):
    chains = {}
    for number, key in enumerate(ids):
        if key >= 0:
            chains.setdefault(key, []).insert(0, first + number)
    return chains


def probe_chains(ids, times, lower, upper, chains, state_times, base):
    pairs = []
    for number, key in enumerate(ids):
        for row in chains.get(key, []):
            if row >= base and (not times or lower <= state_times[row] - times[number] <= upper):
                pairs.append((number, row))
    return pairs


def unlink_rows(ids, hashes, chains, state_hashes):
    rows = []
    for key, wanted in zip(ids, hashes, strict=True):
        same = [row for row in chains.get(key, []) if state_hashes[row] == wanted]
        rows.append(same[0] if same else -1)
        if same:
            chains[key].remove(same[0])
    return rows
