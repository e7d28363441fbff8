"""Plain-Python twins of kernels.select."""


def rows_of_bits(bits, first, count):
    return [row for row in range(count) if bits[(first + row) // 8] >> (first + row) % 8 & 1]


def same_text(strings, text, wanted):
    return [(string == text) == bool(wanted) for string in strings]


def compare_ints(values, compare, limit, wanted):
    holds = {0: lambda value: value == limit, 1: lambda value: value < limit, 2: lambda value: value > limit}[compare]
    return [holds(value) == bool(wanted) for value in values]


def same_remainder(values, divisor, remainder, wanted):
    return [(value % divisor == remainder) == bool(wanted) for value in values]
