"""Plain-Python twins of kernels.select."""


def rows_where(mask):
    return [row for row, keep in enumerate(mask) if keep]
