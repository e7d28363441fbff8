"""Plain-Python twins of kernels.sessions."""


def assign_sessions(keys, starts, froms, ends):
    """Sessions as {(key, from, start, end): set of rows}: what the intervals [from, end) of a key connect."""
    sessions = {}
    for key in set(keys):
        rows = sorted((i for i, k in enumerate(keys) if k == key), key=lambda i: froms[i])
        parts = []
        for row in rows:
            if parts and froms[row] < max(ends[i] for i in parts[-1]):
                parts[-1].append(row)
            else:
                parts.append([row])
        for part in parts:
            bounds = (min(froms[i] for i in part), min(starts[i] for i in part), max(ends[i] for i in part))
            sessions[(key, *bounds)] = set(part)
    return sessions


def expire_sessions(watermark, sessions):
    """Those that end at or before the watermark, and the others."""
    expired = {session for session in sessions if session[3] <= watermark}
    return expired, set(sessions) - expired
