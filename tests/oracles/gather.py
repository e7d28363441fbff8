"""Plain-Python twins of kernels.gather."""


def take_offsets(texts, rows):
    return [sum(len(texts[row]) for row in rows[:count]) for count in range(len(rows) + 1)]


def take_bytes(texts, rows):
    return b"".join(texts[row] for row in rows)
