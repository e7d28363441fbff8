"""Hashes of values, stable across processes, machines and versions, and what shards are made of.

An int is finalised as splitmix64 does it (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014);
bytes are taken 8 at a time, multiplied and folded, and finalised likewise. State and changelogs depend on these
values: a golden test holds them.

A shard is taken from the upper half of a hash. Key tables multiply the hash again before they take their slot bits
from it, so keys of one shard spread over all slots of a table.

What everybody can compute, anybody can choose keys by, all of one hash, and a table of those takes a probe for each key
that is there. Tables therefore find bytes by `secret_hash_bytes`, which nothing depends on beyond a process.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels._bytes import address, get8, get32, get64, multiply_high
from windrow.kernels._compile import device, inline, kernel
from windrow.kernels._types import I64, NONE, R_F64, R_I32, R_I64, R_U8, R_U64, U64, W_I32, W_I64, W_U64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_FOLD = np.uint64(0xD6E8FEB86659FD93)
_NULL_HASH = np.uint64(0x7FB5D329728EA185)
_NAN_BITS = np.int64(0x7FF8000000000000)
_S27, _S29, _S30, _S31, _S32 = np.uint64(27), np.uint64(29), np.uint64(30), np.uint64(31), np.uint64(32)


@inline
def finalise(x):  # type: ignore[no-untyped-def]
    """A bijection of uint64 in which every input bit moves about half of the output bits."""
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    return x ^ (x >> _S31)


@inline
def _fold(state, word):  # type: ignore[no-untyped-def]
    mixed = (state ^ word) * _FOLD
    return mixed ^ (mixed >> _S29)


@inline
def _secret_fold(state, word, factor):  # type: ignore[no-untyped-def]
    mixed = state ^ word
    return (mixed * factor) ^ multiply_high(mixed, factor)


@inline
def _short_word(start, size):  # type: ignore[no-untyped-def]
    """All of 1 to 7 bytes in one word."""
    if size >= 4:
        return np.uint64(get32(start)) | (np.uint64(get32(start + size - 4)) << _S32)
    middle, last = get8(start + size // 2), get8(start + size - 1)
    return np.uint64(get8(start)) | (np.uint64(middle) << np.uint64(8)) | (np.uint64(last) << np.uint64(16))


@device
def hash_of_bytes(start, size):  # type: ignore[no-untyped-def]
    """Hash of the `size` bytes at an address: whole words, then the last 8 bytes, which overlap the word before."""
    state = _GOLDEN * np.uint64(size + 1)
    if size >= 8:
        last = start + size - 8
        at = start
        while at < last:
            state = _fold(state, get64(at))
            at += 8
        state = _fold(state, get64(last))
    elif size > 0:
        state = _fold(state, _short_word(start, size))
    return finalise(state)


@device
def _secret_hash(start, size, seed, factor):  # type: ignore[no-untyped-def]
    """The same words, each multiplied by a secret and both halves of the product put together; once more at the end."""
    state = seed + np.uint64(size)
    if size >= 8:
        last = start + size - 8
        at = start
        while at < last:
            state = _secret_fold(state, get64(at), factor)
            at += 8
        state = _secret_fold(state, get64(last), factor)
    elif size > 0:
        state = _secret_fold(state, _short_word(start, size), factor)
    return _secret_fold(state, seed, factor)


@kernel(NONE(R_I64, R_U8, W_U64))
def hash_int64(values, valid, hashes):  # type: ignore[no-untyped-def]
    """Hash of each int64; a null has a hash of its own."""
    for i in range(values.shape[0]):
        hashes[i] = finalise(np.uint64(values[i]) + _GOLDEN)
    for i in range(valid.shape[0]):
        if valid[i] == 0:
            hashes[i] = _NULL_HASH


@kernel(NONE(R_I64, R_U8, R_U8, W_U64))
def hash_bytes(offsets, data, valid, hashes):  # type: ignore[no-untyped-def]
    """Hash of each ``data[offsets[i] : offsets[i + 1]]``; a null has a hash of its own."""
    base = address(data)
    for i in range(hashes.shape[0]):
        hashes[i] = hash_of_bytes(base + offsets[i], offsets[i + 1] - offsets[i])
    for i in range(valid.shape[0]):
        if valid[i] == 0:
            hashes[i] = _NULL_HASH


@kernel(NONE(R_I64, R_U8, U64, U64, W_U64))
def secret_hash_bytes(offsets, data, seed, factor, hashes):  # type: ignore[no-untyped-def]
    """Hash of each ``data[offsets[i] : offsets[i + 1]]`` that cannot be foreseen without `seed` and `factor`.

    Folded multiplication, as in wyhash (Wang Yi) and foldhash (Peters). To seed what `hash_bytes` does would not help:
    flipping bit 63 of a word flips the same two bits of the state whatever the seed, so keys of one hash are known.
    """
    base = address(data)
    for i in range(hashes.shape[0]):
        hashes[i] = _secret_hash(base + offsets[i], offsets[i + 1] - offsets[i], seed, factor)


@kernel(NONE(R_U64, W_U64))
def combine_hashes(hashes, combined):  # type: ignore[no-untyped-def]
    """Bring one more column into `combined`; the order of the columns matters."""
    for i in range(hashes.shape[0]):
        combined[i] = finalise(combined[i] * _FOLD + hashes[i])


@kernel(NONE(R_F64, W_I64))
def float_bits(values, bits):  # type: ignore[no-untyped-def]
    """The bits of each float, -0.0 taken as 0.0 and every NaN as one NaN: equal bits exactly where floats are equal."""
    raw = values.view(np.int64)
    for i in range(values.shape[0]):
        value = values[i]
        word = raw[i]
        word = np.int64(0) if value == 0.0 else word
        bits[i] = _NAN_BITS if np.isnan(value) else word


@kernel(NONE(R_U64, I64, W_I32, W_I64))
def shard_numbers(hashes, shards, numbers, counts):  # type: ignore[no-untyped-def]
    """Shard of each hash, 0 to `shards` - 1, from its upper 32 bits, and how many rows each shard has.

    `counts` has 4 * `shards` places and comes back summed up in the first `shards` of them; four histograms side by
    side keep the processor from waiting for the last increment of the same counter.
    """
    n = hashes.shape[0]
    wide = np.uint64(shards)
    for i in range(n):
        numbers[i] = np.int32(((hashes[i] >> _S32) * wide) >> _S32)
    counts[:] = 0
    second, third, fourth = shards, 2 * shards, 3 * shards
    whole = n & ~3
    for i in range(0, whole, 4):
        counts[numbers[i]] += 1
        counts[second + numbers[i + 1]] += 1
        counts[third + numbers[i + 2]] += 1
        counts[fourth + numbers[i + 3]] += 1
    for i in range(whole, n):
        counts[numbers[i]] += 1
    for shard in range(shards):
        counts[shard] += counts[second + shard] + counts[third + shard] + counts[fourth + shard]


@kernel(NONE(R_I32, W_I64, W_I64))
def rows_by_shard(numbers, next_places, rows):  # type: ignore[no-untyped-def]
    """Row numbers grouped by shard, in their order within each: a counting sort.

    `next_places` starts as the first place of each shard in `rows` and ends as the place after its last.
    """
    for i in range(numbers.shape[0]):
        shard = np.uint64(numbers[i])
        place = next_places[shard]
        rows[np.uint64(place)] = i
        next_places[shard] = place + 1
