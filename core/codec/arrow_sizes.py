"""What an Arrow IPC message takes once it is decompressed, read before anything is made of it.

A message's metadata is a flatbuffer (`Message.fbs` of the Arrow format): it lists the buffers of the body, and each
compressed buffer begins with its size as an int64, -1 for one that was left as it was. Arrow allocates that size and
refuses a buffer that has another, so the sum bounds what reading takes.
"""

from __future__ import annotations

import struct

import pyarrow as pa

_INT32 = struct.Struct("<i")
_UINT32 = struct.Struct("<I")
_UINT16 = struct.Struct("<H")
_INT64 = struct.Struct("<q")
_PLACE = struct.Struct("<qq")  # offset, length of a buffer in the body
_DICTIONARY, _BATCH = 2, 3  # types of a message's header
#: Before format version 5 compression was said in custom metadata, under this key; Arrow still reads it.
_OLD_COMPRESSION = b"ARROW:experimental_compression"


def decompressed_bytes(message: pa.ipc.Message) -> int:
    """What the compressed buffers of a message say that they grow to; 0 when none is compressed.

    Raises `ValueError` for metadata whose positions lie outside it.
    """
    data, body = memoryview(message.metadata).cast("B"), memoryview(message.body).cast("B")
    try:
        return _said(data, body)
    except struct.error as error:
        raise ValueError(f"its metadata cannot be followed: {error}") from error


def _said(data: memoryview, body: memoryview) -> int:
    root = _follow(data, 0)
    kind_at, header_at = _field(data, root, 1), _field(data, root, 2)
    kind = data[kind_at] if 0 < kind_at < len(data) else 0
    if kind not in (_DICTIONARY, _BATCH) or not header_at:
        return 0
    batch = _follow(data, header_at)
    if kind == _DICTIONARY:
        inner = _field(data, batch, 1)
        if not inner:
            return 0
        batch = _follow(data, inner)
    buffers = _field(data, batch, 2)
    if not buffers or not (_field(data, batch, 3) or _OLD_COMPRESSION in bytes(data)):
        return 0
    start = _follow(data, buffers)
    (count,) = _read(_UINT32, data, start)
    if count * _PLACE.size > len(data) - start:
        raise ValueError(f"its metadata has no room for {count} buffers")
    total = 0
    for at in range(start + 4, start + 4 + count * _PLACE.size, _PLACE.size):
        offset, length = _read(_PLACE, data, at)
        if length > 0:
            total += max(_read(_INT64, body, offset)[0], 0)
    return total


def _follow(data: memoryview, at: int) -> int:
    return at + int(_read(_UINT32, data, at)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """Where a field of a table is; 0: it is not there."""
    vtable = table - int(_read(_INT32, data, table)[0])
    if 4 + 2 * number >= int(_read(_UINT16, data, vtable)[0]):
        return 0
    offset = int(_read(_UINT16, data, vtable + 4 + 2 * number)[0])
    return table + offset if offset else 0


def _read(what: struct.Struct, data: memoryview, at: int) -> tuple[int, ...]:
    if at < 0:  # which `unpack_from` would count from the end
        raise struct.error(f"position {at}")
    return what.unpack_from(data, at)
