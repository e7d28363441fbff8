"""Answers of a broker, sound and damaged, read and compared with the oracle: run as a program, so that a crash shows as
an exit code and the memory of the process can be held to a limit.

    python -m tests.codec.kafka_fuzz SEED ANSWERS
"""

from __future__ import annotations

import random
import resource
import struct
import sys

import pyarrow as pa

from tests.codec.kafka_bytes import Record, batch, marker
from tests.oracles import kafka_records as oracle
from tests.oracles.kafka_write import varint
from windrow.codec import kafka_compression
from windrow.codec.kafka_records import Batches, read

#: What a damaged length or count likes to be.
NUMBERS = [0, 1, -1, 2, 6, 7, 63, 64, 127, 128, 2**14, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63)]
CODECS = list(kafka_compression.NUMBERS)
MAX_GROWTH_KB = 600 << 10


def some_records(draw: random.Random) -> list[Record]:
    delta, found = -1, []
    for _ in range(draw.choice([0, 1, 2, 3, 20])):
        delta += draw.choice([1, 1, 1, 2, 70, 9_000])
        headers = [(draw.choice([b"", b"k", b"\xff\xfe"]), draw.choice([None, b"", b"v" * 9]))] * draw.choice(
            [0, 0, 1, 3]
        )
        value = draw.choice([None, b"", b"{}", draw.randbytes(draw.choice([1, 170, 9_000]))])
        found.append(Record(delta, value, draw.choice([None, b"", b"key"]), draw.choice([0, 1, -5, 2**40]), headers))
    return found


def damaged_body(draw: random.Random, body: bytes) -> bytes:
    """Lengths that lie, bytes that flip, a cut, a piece twice: below a checksum that is right."""
    for _ in range(draw.choice([0, 0, 1, 1, 3])):
        at = draw.randrange(len(body) + 1)
        kind = draw.randrange(5)
        if kind == 0:
            body = body[:at] + varint(draw.choice(NUMBERS) % 2**63) + body[at + 1 :]
        elif kind == 1:
            body = body[:at] + bytes([draw.randrange(256)]) + body[at + 1 :]
        elif kind == 2:
            body = body[:at]
        elif kind == 3:
            body = body[:at] + b"\xff" * draw.choice([1, 9, 10, 11]) + body[at:]
        else:
            body = body[:at] + body[at // 2 :]
    return body


def some_batch(draw: random.Random, offset: int) -> tuple[bytes, int]:
    """(a batch, the offset after it)"""
    records = some_records(draw)
    last = max((each.delta for each in records), default=0)
    if draw.random() < 0.1:
        return marker(offset, draw.randrange(3), commit=draw.random() < 0.5), offset + 1
    codec = draw.choice(CODECS) if draw.random() < 0.3 else "none"
    body = damaged_body(draw, b"".join(each.encoded() for each in records))
    if codec != "none":
        body = kafka_compression.compressed(memoryview(body), codec)  # type: ignore[arg-type]
        body = damaged_body(draw, body) if draw.random() < 0.3 else body
    text = batch(
        offset, records, body=body, attributes=kafka_compression.NUMBERS[codec] | draw.choice([0, 0x08, 0x10]),
        producer=draw.randrange(3),
        count=draw.choice(NUMBERS) % 2**31 if draw.random() < 0.05 else None,
        last_delta=draw.choice(NUMBERS) % 2**31 if draw.random() < 0.03 else None,
    )  # fmt: skip
    return text, offset + last + 1


def some_answer(draw: random.Random) -> bytes:
    data, offset = b"", draw.choice([0, 5, 2**40])
    for _ in range(draw.randrange(6)):
        text, offset = some_batch(draw, offset)
        data += text
    if data and draw.random() < 0.2:  # damage anywhere, mostly caught by a checksum
        at = draw.randrange(len(data))
        data = data[:at] + struct.pack(">i", draw.choice(NUMBERS) % 2**31) + data[at + 4 :]
    return data[: len(data) - draw.choice([0, 0, 0, 1, 30, 70])] if data else data


def check(data: bytes, wanted: int, aborted: list[tuple[int, int]]) -> None:
    """Right as far as it goes: every row is that of the oracle, and what is not given is said to be broken."""
    got = read(pa.py_buffer(data), 0, len(data), aborted, wanted)
    if got.rows is not None:
        for column in (got.rows.values(), got.rows.keys(), got.rows.headers(), got.rows.times()):
            column.validate(full=True)
            assert len(column) == len(got.rows)
        assert (got.rows.offsets >= wanted).all()
        assert (got.rows.offsets[1:] > got.rows.offsets[:-1]).all()
    if not aborted:
        compare(data, wanted, got)


def compare(data: bytes, wanted: int, got: Batches) -> None:
    found, _, _ = oracle.walk(data)
    rows = []
    for each in found:
        if each["base"] + each["last_delta"] >= got.next_offset or each["attributes"] & 0x20:
            break
        if got.broken is not None and each["base"] == got.broken.offset:
            break
        if each["attributes"] & 7:
            return
        append_time = each["last_time"] if each["attributes"] & 8 else -1
        place = (
            each["at"],
            each["end"],
            each["count"],
            each["base"],
            each["last_delta"],
            each["base_time"],
            append_time,
        )
        more, right = oracle.locate(data, [place], wanted)
        assert right or each["base"] + each["last_delta"] < wanted
        rows += more if right else []
    if got.rows is not None:
        assert got.rows.offsets[: len(rows)].tolist() == [row[0] for row in rows]
        values = [None if size < 0 else data[start : start + size] for _, _, _, _, start, size, _ in rows]
        assert got.rows.values()[: len(rows)].to_pylist() == values


def main(seed: int, answers: int) -> None:
    draw = random.Random(seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(answers):
        aborted = [(draw.randrange(3), draw.randrange(50))] if draw.random() < 0.3 else []
        data = some_answer(draw)
        check(data, draw.choice([0, 0, 3, 40, 2**40 + 2]), aborted)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MAX_GROWTH_KB, f"the process has grown by {grown} KB"


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
