"""Python lists as the arrays that kernels take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def int64s(values: Sequence[int | None]) -> np.ndarray:
    return np.array([0 if value is None else value for value in values], np.int64)


def valid(values: Sequence[object]) -> np.ndarray:
    """Empty when nothing is null, as at the seam."""
    if None not in values:
        return np.empty(0, np.uint8)
    return np.array([value is not None for value in values], np.uint8)


def strings(texts: Sequence[bytes | None], dtype: type = np.int64) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and data; the data start after some bytes that belong to nobody, and nulls have bytes too."""
    pieces = [b"???" if text is None else text for text in texts]
    offsets = np.cumsum([5, *(len(piece) for piece in pieces)]).astype(dtype)
    return offsets, np.frombuffer(b"?????" + b"".join(pieces), np.uint8)
