"""Record batches built from Python values, byte by byte, and their varints."""

from __future__ import annotations

Header = tuple[bytes, bytes | None]


def signed(big_endian: bytes) -> int:
    return int.from_bytes(big_endian, "big", signed=True)


def varint(value: int) -> bytes:
    left = value * 2 if value >= 0 else -value * 2 - 1
    out = bytearray()
    while left > 127:
        out.append(left % 128 + 128)
        left //= 128
    return bytes([*out, left])


def varint_at(data: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends); (0, -1) when it does not end in ten bytes or in the data. Wraps at 64 bits."""
    value = 0
    for i, byte in enumerate(data[at : at + 10]):
        value += byte % 128 << 7 * i
        if byte < 128:
            value %= 2**64
            return (value // 2 if value % 2 == 0 else -(value // 2) - 1), at + i + 1
    return 0, -1


def sized(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def header_bytes(rows: list[list[Header] | None]) -> list[bytes]:
    """Each row's headers as they stand in a record."""
    return [varint(len(row or [])) + b"".join(sized(key) + sized(value) for key, value in row or []) for row in rows]


def record(time_delta: int, delta: int, key: bytes | None, value: bytes | None, headers: bytes = b"\0") -> bytes:
    body = b"\0" + varint(time_delta) + varint(delta) + sized(key) + sized(value) + headers
    return varint(len(body)) + body


def write(
    keys: list[bytes | None], values: list[bytes | None], headers: list[bytes], times: list[int], most: int
) -> tuple[list[tuple[list[int], bytes]], list[int]]:
    """(rows and record bytes of each batch; the rows that are too large), where a header takes 61 bytes of `most`."""
    batches: list[tuple[list[int], bytes]] = []
    too_large = []
    for row, time in enumerate(times):
        one = keys[row], values[row], headers[row]
        if batches:
            rows, text = batches[-1]
            more = record(time - times[rows[0]], len(rows), *one)
            if 61 + len(text) + len(more) <= most:
                batches[-1] = [*rows, row], text + more
                continue
        alone = record(0, 0, *one)
        if 61 + len(alone) > most:
            too_large.append(row)
        else:
            batches.append(([row], alone))
    return batches, too_large
