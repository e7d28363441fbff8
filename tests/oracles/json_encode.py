"""JSON encoding, one value at a time, with the standard library."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime, timedelta

from windrow.kernels import json_encode as kinds


def value_text(kind: int, ints: list[int], offsets: list[int], data: bytes, valid: list[int], i: int) -> bytes:
    if kind == kinds.LITERAL:
        return b""
    if valid and not valid[i]:
        return b"null"
    if kind in (kinds.TEXT, kinds.STRING, kinds.BINARY):
        value = data[offsets[i] : offsets[i + 1]]
        if kind == kinds.TEXT:
            return value
        if kind == kinds.BINARY:
            return b'"' + base64.b64encode(value) + b'"'
        return json.dumps(value.decode(), ensure_ascii=False).encode()
    if kind == kinds.INT:
        return str(ints[i]).encode()
    if kind == kinds.BOOL:
        return b"true" if ints[i] else b"false"
    if kind == kinds.DATE:
        return json.dumps((date(1970, 1, 1) + timedelta(days=ints[i])).isoformat()).encode()
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ints[i])
    if kind == kinds.SQL_TIME:
        text = moment.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
    else:
        us = moment.microsecond
        timespec = "seconds" if us == 0 else "milliseconds" if us % 1000 == 0 else "microseconds"
        text = moment.replace(tzinfo=None).isoformat(timespec=timespec) + ("Z" if kind == kinds.TIMESTAMP else "")
    return json.dumps(text).encode()


def column_sizes(
    kind: int, ints: list[int], offsets: list[int], data: bytes, valid: list[int], sizes: list[int]
) -> list[int]:
    """The sizes with those of the values added."""
    return [size + len(value_text(kind, ints, offsets, data, valid, i)) for i, size in enumerate(sizes)]


def write_column(
    kind: int, key: bytes, ints: list[int], offsets: list[int], data: bytes, valid: list[int], rows: list[bytes]
) -> list[bytes]:
    """What has been written of every row so far, with key and value added."""
    return [row + key + value_text(kind, ints, offsets, data, valid, i) for i, row in enumerate(rows)]


def gather_runs(data: bytes, starts: list[int], ends: list[int]) -> bytes:
    return b"".join(data[start:end] for start, end in zip(starts, ends, strict=True))
