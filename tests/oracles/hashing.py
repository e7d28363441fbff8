"""Plain-Python twins of kernels.hashing: the definitions in Python's unbounded ints."""

import math
import struct

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FOLD = 0xD6E8FEB86659FD93
_NULL = 0x7FB5D329728EA185


def finalise(x):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        x = (x ^ x >> shift) * factor & _MASK
    return x


def hash_int64(values):
    return [_NULL if value is None else finalise(value + _GOLDEN & _MASK) for value in values]


def _chunks(text):
    size = len(text)
    if size >= 8:
        starts = [at for at in range(0, size, 8) if at + 8 < size]
        return [text[at : at + 8] for at in starts] + [text[-8:]]
    if size >= 4:
        return [text[:4] + text[-4:]]
    return [bytes([text[0], text[size // 2], text[-1]])] if size else []


def hash_bytes(texts):
    hashes = []
    for text in texts:
        if text is None:
            hashes.append(_NULL)
            continue
        state = _GOLDEN * (len(text) + 1) & _MASK
        for chunk in _chunks(text):
            state = (state ^ int.from_bytes(chunk, "little")) * _FOLD & _MASK
            state ^= state >> 29
        hashes.append(finalise(state))
    return hashes


def secret_hash_bytes(texts, seed, factor):
    hashes = []
    for text in texts:
        state = (seed + len(text)) & _MASK
        for word in [*(int.from_bytes(chunk, "little") for chunk in _chunks(text)), seed]:
            product = (state ^ word) * factor
            state = (product & _MASK) ^ (product >> 64)
        hashes.append(state)
    return hashes


def combine_hashes(hashes, combined):
    return [finalise((old * _FOLD + new) & _MASK) for new, old in zip(hashes, combined, strict=True)]


def float_bits(values):
    def bits(value):
        if math.isnan(value):
            value = math.nan
        return struct.unpack("<q", struct.pack("<d", abs(value) if value == 0 else value))[0]

    return [bits(value) for value in values]


def shard_numbers(hashes, shards):
    numbers = [(value // 2**32) * shards // 2**32 for value in hashes]
    return numbers, [numbers.count(shard) for shard in range(shards)]


def rows_by_shard(numbers, shards):
    return [row for shard in range(shards) for row, number in enumerate(numbers) if number == shard]
