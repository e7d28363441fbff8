"""Record batches made by plain Python, with anything in their headers, for tests of readers."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import crc32c

from tests.oracles.kafka_write import Header, header_bytes, record

HEAD = struct.Struct(">qiibIhiqqqhii")


@dataclass
class Record:
    delta: int
    value: bytes | None
    key: bytes | None = None
    time_delta: int = 0
    headers: list[Header] = field(default_factory=list)

    def encoded(self) -> bytes:
        return record(self.time_delta, self.delta, self.key, self.value, header_bytes([self.headers])[0])


def batch(
    base_offset: int,
    records: list[Record],
    *,
    body: bytes | None = None,
    attributes: int = 0,
    base_time: int = 1_000,
    last_time: int = 2_000,
    producer: int = -1,
    count: int | None = None,
    last_delta: int | None = None,
    magic: int = 2,
    leader_epoch: int = 7,
) -> bytes:
    """A batch with a right checksum; `body`, `count` and `last_delta` in place of what the records say."""
    text = b"".join(each.encoded() for each in records) if body is None else body
    last = max((each.delta for each in records), default=0) if last_delta is None else last_delta
    head = bytearray(
        HEAD.pack(
            base_offset, 49 + len(text), leader_epoch, magic, 0, attributes, last, base_time, last_time, producer, 0, 0,
            len(records) if count is None else count,
        )
    )  # fmt: skip
    struct.pack_into(">I", head, 17, crc32c.crc32c(bytes(head[21:]) + text))
    return bytes(head) + text


def marker(offset: int, producer: int, *, commit: bool) -> bytes:
    """The control batch that ends a transaction."""
    key = struct.pack(">hh", 0, 1 if commit else 0)
    return batch(offset, [Record(0, struct.pack(">hi", 0, 0), key)], attributes=0x30, producer=producer)
