"""Oracle tests: hashes and shards against Python's ints."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.arrays import int64s, strings, valid
from tests.oracles import hashing as oracle
from windrow.kernels import hashing

ints = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=30)
texts = st.lists(st.none() | st.binary(max_size=40), max_size=20)
words = st.lists(st.integers(0, 2**64 - 1), max_size=200)


@given(ints)
def test_hash_int64(values):
    """oracle"""
    hashes = np.empty(len(values), np.uint64)
    hashing.hash_int64(int64s(values), valid(values), hashes)
    assert hashes.tolist() == oracle.hash_int64(values)


@given(texts)
def test_hash_bytes(values):
    """oracle: every length up to five words, from any place in the data"""
    hashes = np.empty(len(values), np.uint64)
    hashing.hash_bytes(*strings(values), valid(values), hashes)
    assert hashes.tolist() == oracle.hash_bytes(values)


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_secret_hash_bytes(values, seed, factor):
    """oracle"""
    hashes = np.empty(len(values), np.uint64)
    hashing.secret_hash_bytes(*strings(values), np.uint64(seed), np.uint64(factor), hashes)
    assert hashes.tolist() == oracle.secret_hash_bytes(values, seed, factor)


@given(words, st.randoms())
def test_combine_hashes(first, random):
    """oracle"""
    second = random.sample(first, len(first))
    combined = np.array(second, np.uint64)
    hashing.combine_hashes(np.array(first, np.uint64), combined)
    assert combined.tolist() == oracle.combine_hashes(first, second)


@given(st.lists(st.floats() | st.sampled_from([0.0, -0.0]), max_size=30))
def test_float_bits(values):
    """oracle"""
    bits = np.empty(len(values), np.int64)
    hashing.float_bits(np.array(values, np.float64), bits)
    assert bits.tolist() == oracle.float_bits(values)


def test_float_bits_of_every_nan():
    """law: a NaN with another sign or payload is the same key"""
    nans = np.array([0x7FF8000000000000, -0x8000000000000, 0x7FF0000000000001, -1], np.int64).view(np.float64)
    bits = np.empty(4, np.int64)
    hashing.float_bits(nans, bits)
    assert len(set(bits.tolist())) == 1


@given(words, st.integers(1, 300))
def test_shards(hashes, shards):
    """oracle: shard_numbers, and rows_by_shard which starts from its counts"""
    numbers = np.empty(len(hashes), np.int32)
    counts = np.empty(4 * shards, np.int64)
    hashing.shard_numbers(np.array(hashes, np.uint64), shards, numbers, counts)
    expected, expected_counts = oracle.shard_numbers(hashes, shards)
    assert numbers.tolist() == expected
    assert counts[:shards].tolist() == expected_counts

    places = np.concatenate([[0], np.cumsum(counts[: shards - 1])]).astype(np.int64)
    rows = np.empty(len(hashes), np.int64)
    hashing.rows_by_shard(numbers, places, rows)
    assert rows.tolist() == oracle.rows_by_shard(expected, shards)
    assert places.tolist() == np.cumsum(expected_counts).tolist()


@pytest.mark.parametrize("secret", [False, True])
@pytest.mark.parametrize("size", [3, 5, 8, 11, 16, 23, 40])
def test_one_bit_moves_half_of_the_others(size, secret):
    """law: flipping any bit of the input flips each bit of the hash with a probability near a half"""
    rng = np.random.default_rng(size)
    base = rng.integers(0, 256, (2_000, size)).astype(np.uint8)
    reference = _hash_all(base, secret)
    for bit in range(8 * size):
        flipped = base.copy()
        flipped[:, bit // 8] ^= 1 << bit % 8
        changed = np.unpackbits((_hash_all(flipped, secret) ^ reference).view(np.uint8)).reshape(2_000, 64).mean(axis=0)
        assert changed.min() > 0.4
        assert changed.max() < 0.6


def _hash_all(rows, secret=False):
    offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int64)
    hashes = np.empty(len(rows), np.uint64)
    if secret:
        seed, factor = np.uint64(0x3C6EF372FE94F82B), np.uint64(0xA54FF53A5F1D36F1)
        hashing.secret_hash_bytes(offsets, rows.reshape(-1), seed, factor, hashes)
    else:
        hashing.hash_bytes(offsets, rows.reshape(-1), np.empty(0, np.uint8), hashes)
    return hashes
