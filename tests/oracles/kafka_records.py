"""Record batches taken apart, one byte after the other, by the format's own description (KIP-98)."""

from __future__ import annotations

from tests.oracles.kafka_write import signed, varint_at


def walk(data: bytes) -> tuple[list[dict[str, int]], int, int]:
    """(the whole batches, where the next one would begin, 0 or what is wrong with it: 1 length, 2 format, 3 count)."""
    found: list[dict[str, int]] = []
    at = 0
    while len(data) - at >= 17:
        if data[at + 16] != 2:
            return found, at, 2
        length = signed(data[at + 8 : at + 12])
        if length < 49:
            return found, at, 1
        if at + 12 + length > len(data):
            break
        head = data[at : at + 61]
        batch = {
            "at": at + 61,
            "end": at + 12 + length,
            "base": signed(head[0:8]),
            "last_delta": signed(head[23:27]),
            "count": signed(head[57:61]),
            "attributes": int.from_bytes(head[21:23], "big"),
            "base_time": signed(head[27:35]),
            "last_time": signed(head[35:43]),
            "producer": signed(head[43:51]),
            "leader_epoch": signed(head[12:16]),
            "crc": int.from_bytes(head[17:21], "big"),
        }
        lies = min(batch["base"], batch["last_delta"], batch["count"]) < 0 or batch["count"] > batch["last_delta"] + 1
        if lies or batch["base"] + batch["last_delta"] + 1 > 2**63 - 1:
            return found, at, 3
        if batch["attributes"] % 8 == 0 and batch["count"] * 7 > length - 49:
            return found, at, 3
        found.append(batch)
        at = batch["end"]
    return found, at, 0


class Wrong(Exception):
    pass


def _read(data: bytes, at: int, stop: int) -> tuple[int, int]:
    value, after = varint_at(data[:stop], at)
    if after < 0:
        raise Wrong
    return value, after


def _sized(data: bytes, at: int, stop: int, least: int) -> tuple[int, int, int]:
    """(size, where it begins, where it ends)"""
    size, at = _read(data, at, stop)
    if size < least or at + max(size, 0) > stop:
        raise Wrong
    return size, at, at + max(size, 0)


def record(data: bytes, at: int, end: int) -> dict[str, object]:
    length, at = _read(data, at, end)
    stop = at + length
    if length < 6 or stop > end:
        raise Wrong
    time_delta, at = _read(data, at + 1, stop)
    delta, at = _read(data, at, stop)
    key_size, key_start, at = _sized(data, at, stop, -1)
    size, start, at = _sized(data, at, stop, -1)
    count, at = _read(data, at, stop)
    headers = []
    if not 0 <= count <= len(data):
        raise Wrong
    for _ in range(count):
        name_size, name_start, at = _sized(data, at, stop, 0)
        text_size, text_start, at = _sized(data, at, stop, -1)
        headers.append((name_start, name_size, text_start, text_size))
    if at != stop:
        raise Wrong
    return {
        "time_delta": time_delta, "delta": delta, "key": (key_start, key_size), "value": (start, size),
        "headers": headers, "stop": stop,
    }  # fmt: skip


def locate(
    data: bytes, batches: list[tuple[int, int, int, int, int, int, int]], wanted: int
) -> tuple[list[tuple[int, ...]], int]:
    """(offset, time, key start and size, value start and size, end) of each record; the batches that were right."""
    rows: list[tuple[int, ...]] = []
    for number, (at, end, count, base, last_delta, base_time, append_time) in enumerate(batches):
        mine, before = [], -1
        try:
            for _ in range(count):
                got = record(data, at, end)
                delta, at = int(str(got["delta"])), int(str(got["stop"]))
                if not before < delta <= last_delta:
                    raise Wrong
                before = delta
                time = signed_64(base_time + int(str(got["time_delta"]))) if append_time == -1 else append_time
                if base + delta >= wanted:
                    mine.append((base + delta, time, *got["key"], *got["value"], at))  # type: ignore[misc]
            if at != end:
                raise Wrong
        except Wrong:
            return rows, number
        rows += mine
    return rows, len(batches)


def signed_64(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def ends_of(sizes: list[int]) -> tuple[list[int], list[int], int]:
    """(offsets, presence, nulls; -1 nulls when there is too much)"""
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + max(size, 0))
    return ends, [int(size >= 0) for size in sizes], -1 if ends[-1] > 2**31 - 1 else sum(size < 0 for size in sizes)


def gather(data: bytes, places: list[tuple[int, int]]) -> bytes:
    return b"".join(data[start : start + max(size, 0)] for start, size in places)


def locate_headers(data: bytes, records: list[int], end: int) -> list[list[tuple[int, int, int, int]]]:
    """For each record that begins at one of these: (key start, key size, value start, value size) of its headers."""
    return [record(data, at, end)["headers"] for at in records]  # type: ignore[misc]


def murmur2(key: bytes) -> int:
    """Austin Appleby's MurmurHash2 with the seed and the order of bytes that Kafka uses, as a signed int32."""
    prime, mask = 0x5BD1E995, 2**32 - 1
    state = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * prime & mask
        word = (word ^ word >> 24) * prime & mask
        state = state * prime & mask ^ word
    if key[whole:]:
        state = (state ^ int.from_bytes(key[whole:], "little")) * prime & mask
    state = (state ^ state >> 13) * prime & mask
    state ^= state >> 15
    return state - 2**32 if state >= 2**31 else state


def murmur2_partitions(keys: list[bytes | None], partitions: int) -> list[int]:
    return [-1 if key is None else (murmur2(key) & 0x7FFFFFFF) % partitions for key in keys]
