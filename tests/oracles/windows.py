"""Plain-Python twins of kernels.windows."""


def windows_of(time, offset, width, size, slide, cumulate):
    """Numbers and ends of all windows of an event, by trying every window that could be near."""
    shifted = time - offset
    found = []
    if cumulate:
        for number in range(shifted // width - 1, shifted // width + size // width + 2):
            start, end = number * width // size * size, (number + 1) * width
            if start <= shifted < end:
                found.append((number, end + offset))
    else:
        for number in range((shifted - size) // slide - 1, shifted // slide + 2):
            if number * slide <= shifted < number * slide + size:
                found.append((number, number * slide + size + offset))
    return found


def least_and_most(values):
    ordered = sorted(values)
    return [ordered[0], ordered[-1]]


def pane_codes(times, watermarks, closed, offset, width, size, slide, per_pane, cumulate):
    """'late', 'outside', or (pane, skipped windows) of each row."""
    codes = []
    for i, time in enumerate(times):
        limit = closed if watermarks is None else max(closed, watermarks[i])
        ends = [end for _, end in windows_of(time, offset, width, size, slide, cumulate)]
        still_open = [end for end in ends if end > limit]
        if not ends:
            codes.append("outside")
        elif not still_open:
            codes.append("late")
        else:
            codes.append(((time - offset) // width, len(ends) - len(still_open)))
    return codes


def open_codes(times, start, first, width, per_pane):
    return [((time - start) // width + first) * per_pane for time in times]


def pair_rows(codes, numbers, known):
    """Row of each pair; `known` is the list of pairs there are, and gets the new ones."""
    rows = []
    for pair in zip(codes, numbers, strict=True):
        if pair[1] >= 0 and pair not in known:
            known.append(pair)
        rows.append(known.index(pair) if pair[1] >= 0 else -1)
    return rows


def pair_index(codes, numbers):
    """What an index filled with these pairs answers when asked for them: their positions."""
    return list(range(len(codes)))


def number_windows(ids, per_window, seen):
    numbers = []
    for i, key in enumerate(ids):
        before = seen[key] + ids[:i].count(key) if key >= 0 else 0
        numbers.append(before // per_window if key >= 0 else -1)
    return numbers, [held + ids.count(key) for key, held in enumerate(seen)]
