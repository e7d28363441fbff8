"""Plain-Python twin of kernels.intervals: whole intervals as lists."""


def pass_intervals(rows, within, keep, open_):
    """`rows`: (key, time, row) by time; `open_`: key -> (end, rows), changed in place; gives the rows given."""
    given = []
    for key, time, row in rows:
        end, members = open_.get(key, (None, []))
        if end is not None and time < end:
            members.append(row)
            continue
        if keep == "last" and members:
            given.append(members[-1])
        if keep == "none" and len(members) == 1:
            given.append(members[0])
        if keep == "first":
            given.append(row)
        open_[key] = (time + within, [row])
    return given
