"""The codecs of Kafka's record batches, by Arrow's libraries: what comes in is bounded, what goes out the Java client
can read.

Two of them are framed in a way of their own. Snappy comes in blocks as xerial's Java library writes them (or, from some
clients, as one bare block). LZ4 comes as frames whose blocks must not depend on one another: Kafka's Java client
refuses others, and those are what Arrow's own frames have above 64 KiB, so frames are written here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from windrow.batch import Bytes
from windrow.errors import PlanError, RecordError

Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]

NAMES = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
NUMBERS = {"none": 0, **{name: number for number, name in NAMES.items()}}
#: Nothing may grow to more than this many times its size, unless it stays below `FREE_BYTES`. gzip can do 1032.
MAX_RATIO = 1_032
FREE_BYTES = 16 << 20

_PIECE = 1 << 16
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL + (1).to_bytes(4, "big") * 2
_XERIAL_BLOCK = 32 << 10
# magic; version 1 with independent blocks; blocks of at most 64 KiB; the header's checksum
_LZ4_HEADER = bytes.fromhex("04224d18 60 40 82")
_LZ4_BLOCK = 64 << 10
_LZ4_STORED = 1 << 31


def compressed(data: memoryview, compression: Compression) -> bytes:
    """Compress with a codec other than none; raises `PlanError` for one that there is not."""
    if compression in ("gzip", "zstd"):
        return bytes(pa.Codec(compression).compress(data, asbytes=True))
    if compression == "snappy":
        return _xerial(data)
    if compression == "lz4":
        return _lz4_frame(data)
    raise PlanError(f"compression is one of {', '.join(NUMBERS)}, got {compression!r}")


def _xerial(data: memoryview) -> bytes:
    codec = pa.Codec("snappy")
    parts = [_XERIAL_HEADER]
    for at in range(0, len(data), _XERIAL_BLOCK):
        block = codec.compress(data[at : at + _XERIAL_BLOCK], asbytes=True)
        parts += [len(block).to_bytes(4, "big"), block]
    return b"".join(parts)


def _lz4_frame(data: memoryview) -> bytes:
    codec = pa.Codec("lz4_raw")
    parts = [_LZ4_HEADER]
    for at in range(0, len(data), _LZ4_BLOCK):
        piece = data[at : at + _LZ4_BLOCK]
        block = codec.compress(piece, asbytes=True)
        if len(block) < len(piece):
            parts += [len(block).to_bytes(4, "little"), block]
        else:
            parts += [(len(piece) | _LZ4_STORED).to_bytes(4, "little"), bytes(piece)]
    return b"".join([*parts, bytes(4)])


def decompressed(data: memoryview, codec: int, max_bytes: int) -> Bytes:
    """What was compressed with the codec of this number (`NAMES`), at most `max_bytes`, never more than
    `MAX_RATIO` times its size unless below `FREE_BYTES`. Raises `RecordError`."""
    name = NAMES.get(codec)
    if name is None:
        raise RecordError(f"it is compressed with a codec of number {codec}, which there is not")
    room = min(max_bytes, max(FREE_BYTES, MAX_RATIO * len(data)))
    try:
        return _unsnapped(data, room) if name == "snappy" else _streamed(data, name, room)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RecordError(f"it cannot be decompressed ({name}): {error}") from error


def _too_much(room: int) -> ValueError:
    return ValueError(f"it takes more than the {room} bytes that it may")


def _streamed(data: memoryview, name: str, room: int) -> Bytes:
    parts: list[Bytes] = []
    piece = min(max(4 * len(data), _PIECE), 1 << 20)
    with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), name) as stream:
        while (part := stream.read_buffer(piece)).size:
            parts.append(np.frombuffer(part, np.uint8))
            room -= part.size
            if room < 0:
                raise _too_much(room + sum(each.size for each in parts))
    return _one(parts)


def _one(parts: list[Bytes]) -> Bytes:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def _unsnapped(data: memoryview, room: int) -> Bytes:
    if bytes(data[:8]) != _XERIAL:
        return _block(data, room)
    parts: list[Bytes] = []
    at, left = len(_XERIAL_HEADER), room
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        at += 4
        if size > len(data) - at:
            raise ValueError("a block is cut off")
        parts.append(_block(data[at : at + size], left))
        left -= parts[-1].size
        at += size
    return _one(parts)


def _block(data: memoryview, room: int) -> Bytes:
    """One snappy block: its size as a varint of at most 32 bits, then what it is made of."""
    size = 0
    for i, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            break
    else:
        raise ValueError("a block does not say its size")
    if size > room:
        raise _too_much(room)
    # a byte of a block can stand for at most 64 / 3 bytes: a size beyond that is a lie, and is not allocated
    if size > 32 * len(data):
        raise ValueError("a block says that it is larger than it can be")
    return np.frombuffer(pa.Codec("snappy").decompress(pa.py_buffer(data), size), np.uint8)
