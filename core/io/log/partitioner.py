"""Which partition an event goes to: by the key's hash, as Kafka's Java client does it, so that other clients agree.

murmur2 with Kafka's seed over the key's bytes (Austin Appleby's MurmurHash2, 32 bit; Kafka: ``Utils.murmur2``), the
sign bit cleared, modulo the number of partitions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from windrow.errors import LogError

_SEED = 0x9747B28C
_M = np.uint32(0x5BD1E995)
_LONG_KEY_BYTES = 512  # longer keys are hashed one by one; the loop over all rows would run once a word

UInt32s = npt.NDArray[np.uint32]


def partitions_of(keys: pa.Array, partitions: int) -> npt.NDArray[np.int64]:
    """The partition of each key: int64, -1 where the key is null.

    Text and bytes are hashed as their bytes, integers as 8 bytes big-endian (as Kafka's ``LongSerializer`` writes
    them), anything else as its text. Raises `LogError` for a type that has no text.
    """
    hashes = murmur2(key_bytes(keys))
    chosen = (hashes & np.uint32(0x7FFFFFFF)).astype(np.int64) % partitions
    if keys.null_count:
        chosen[pc.is_null(keys).to_numpy(zero_copy_only=False)] = -1
    return chosen


def murmur2(keys: pa.Array) -> UInt32s:
    """Kafka's murmur2 of each value of a ``large_binary`` array; anything where it is null."""
    rows = len(keys)
    if not rows:
        return np.empty(0, np.uint32)
    offsets = np.frombuffer(keys.buffers()[1], np.int64, rows + 1, keys.offset * 8)
    data = np.frombuffer(keys.buffers()[2] or b"", np.uint8)
    starts, lengths = offsets[:-1], np.diff(offsets)
    hashes = np.uint32(_SEED) ^ lengths.astype(np.uint32)
    short = np.flatnonzero(lengths <= _LONG_KEY_BYTES)
    hashes[short] = _short(data, starts[short], lengths[short], hashes[short])
    for row in np.flatnonzero(lengths > _LONG_KEY_BYTES).tolist():
        hashes[row] = _long(data[starts[row] : starts[row] + lengths[row]].tobytes())
    return hashes


def _short(
    data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], hashes: UInt32s
) -> UInt32s:
    """All keys side by side, one word of each at a time."""
    words = lengths // 4
    shift = np.uint32(24)
    for word in range(int(words.max(initial=0))):
        live = np.flatnonzero(words > word)
        at = starts[live] + 4 * word
        mixed = _word(data, at) * _M
        mixed ^= mixed >> shift
        hashes[live] = (hashes[live] * _M) ^ (mixed * _M)
    tail = starts + 4 * words
    rest = lengths % 4
    for byte in (2, 1, 0):
        live = np.flatnonzero(rest > byte)
        hashes[live] ^= data[tail[live] + byte].astype(np.uint32) << np.uint32(8 * byte)
    live = np.flatnonzero(rest > 0)
    hashes[live] *= _M
    hashes ^= hashes >> np.uint32(13)
    hashes *= _M
    hashes ^= hashes >> np.uint32(15)
    return hashes


def _word(data: npt.NDArray[np.uint8], at: npt.NDArray[np.int64]) -> UInt32s:
    word = data[at].astype(np.uint32)
    for byte in (1, 2, 3):
        word |= data[at + byte].astype(np.uint32) << np.uint32(8 * byte)
    return word


def _long(key: bytes) -> int:
    mask, m = 0xFFFFFFFF, int(_M)
    value = _SEED ^ len(key)
    whole = len(key) // 4 * 4
    for word in np.frombuffer(key, "<u4", whole // 4).tolist():
        mixed = word * m & mask
        mixed = (mixed ^ mixed >> 24) * m & mask
        value = (value * m & mask) ^ mixed
    if key[whole:]:
        value = (value ^ int.from_bytes(key[whole:], "little")) * m & mask
    value = (value ^ value >> 13) * m & mask
    return value ^ value >> 15


def key_bytes(keys: pa.Array) -> pa.Array:
    """The bytes by which each key is hashed, as ``large_binary``."""
    type_ = keys.type
    if pa.types.is_integer(type_):
        big_endian = pc.fill_null(keys, 0).cast(pa.int64()).to_numpy(zero_copy_only=False).astype(">i8")
        offsets = np.arange(len(keys) + 1, dtype=np.int64) * 8
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(big_endian.tobytes())]
        return pc.if_else(keys.is_valid(), pa.Array.from_buffers(pa.large_binary(), len(keys), buffers), None)
    try:
        if not _is_bytes(type_):
            keys = keys.cast(pa.string())
        return keys.cast(pa.large_binary())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise LogError(f"a key of type {type_} cannot choose a partition: {error}") from error


def _is_bytes(type_: pa.DataType) -> bool:
    return any(
        is_one(type_)
        for is_one in (
            pa.types.is_binary, pa.types.is_string, pa.types.is_large_binary, pa.types.is_large_string,
            pa.types.is_binary_view, pa.types.is_string_view, pa.types.is_fixed_size_binary,
        )
    )  # fmt: skip
