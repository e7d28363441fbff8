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


def link_sorted(ids, times, first):
    """Each chain newest time first; of equal times the later row first."""
    chains = {}
    for number, key in enumerate(ids):
        if key >= 0:
            chains.setdefault(key, []).append(first + number)
    return {key: sorted(rows, key=lambda row: (times[row - first], row), reverse=True) for key, rows in chains.items()}


def probe_nearest(ids, times, backward, forward, tolerance, chains, state_times):
    found = []
    for key, time in zip(ids, times, strict=True):
        best = None
        for row in chains.get(key, []):
            away = state_times[row] - time
            allowed = (away == 0) or (away < 0 and backward) or (away > 0 and forward)
            if allowed and abs(away) <= tolerance and (best is None or (abs(away), away > 0, -row) < best[0]):
                best = (abs(away), away > 0, -row), row
        found.append(-1 if best is None else best[1])
    return found


def cut_chains(ids, until, chains, state_times):
    gone = []
    for key in ids:
        chain = chains.get(key, [])
        old = [row for row in chain if state_times[row] < until]
        gone += old[1:]
        chains[key] = [row for row in chain if row not in old[1:]]
    return gone
