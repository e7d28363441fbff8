"""Plain-Python twins of kernels.select."""


def rows_of_bits(bits, first, count):
    return [row for row in range(count) if bits[(first + row) // 8] >> (first + row) % 8 & 1]


def same_text(strings, text, wanted):
    return [(string == text) == bool(wanted) for string in strings]
