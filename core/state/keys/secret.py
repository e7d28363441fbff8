"""The hashes by which key tables find bytes: secret, and other ones in each process."""

from __future__ import annotations

import secrets

import numpy as np

from windrow.batch import Bytes, Int64s, UInt64s
from windrow.kernels import hashing

_SEED, _FACTOR = np.uint64(secrets.randbits(64)), np.uint64(secrets.randbits(64) | 1)


def secret_hashes(offsets: Int64s, data: Bytes) -> UInt64s:
    """A hash of each ``data[offsets[i] : offsets[i + 1]]``. Not to be kept, ordered or sharded by."""
    hashes = np.empty(len(offsets) - 1, np.uint64)
    hashing.secret_hash_bytes(offsets, data, _SEED, _FACTOR, hashes)
    return hashes
