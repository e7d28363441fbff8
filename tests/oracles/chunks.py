"""Plain-Python twins of kernels.chunks: a chunk is a list."""


def locate_rows(rows, lengths):
    flat = [(chunk, place) for chunk, length in enumerate(lengths) for place in range(length)]
    return [flat[row] for row in rows]


def follow_numbers(numbers, wanted):
    return [place if numbers[chunk] is None else numbers[chunk][place] for chunk, place in wanted]


def gather_fixed(chunks, wanted):
    return [chunks[chunk][place] for chunk, place in wanted]


def gather_bits(chunks, wanted):
    return [1 if chunks[chunk] is None else int(chunks[chunk][place]) for chunk, place in wanted]


def gather_sizes(chunks, wanted):
    return [sum(len(chunks[c][p]) for c, p in wanted[:count]) for count in range(len(wanted) + 1)]


def gather_strings(chunks, wanted):
    return b"".join(chunks[chunk][place] for chunk, place in wanted)
