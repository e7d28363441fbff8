"""State as records of a changelog topic: Arrow IPC cut into pieces, and back.

A `StateWrite` is one record or several in a row of one partition. The value is a piece of the body: the tables' Arrow
IPC streams, one after the other. The key is a JSON document that says what the body belongs to, which piece this is,
and the body's size and CRC-32C, so that half a body, or one that is not what was written, is never taken for state.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import crc32c
import pyarrow as pa

from windrow.codec.kafka_records import Rows
from windrow.errors import StateError
from windrow.progress.ledger import StateWrite

FORMAT = 1
#: Bytes of a body in one record: with its key below the 1,048,588 that brokers take in one batch.
PIECE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Saved:
    """A state as it was found in the changelog, and the offset of its first record."""

    epoch: int
    offset: int
    write: StateWrite


def pieces(epoch: int, write: StateWrite) -> tuple[list[bytes], list[memoryview]]:
    """Keys and values of the records that hold this state."""
    sink = pa.BufferOutputStream()
    for table in write.tables.values():
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_batch(table)
    body = memoryview(sink.getvalue())
    starts = range(0, max(len(body), 1), PIECE_BYTES)
    entry: dict[str, Any] = {
        "windrow": FORMAT,
        "epoch": epoch,
        "operator": write.operator,
        "shard": write.shard,
        "kind": write.kind,
        "tables": list(write.tables),
        "pieces": len(starts),
        "bytes": len(body),
        "crc": crc32c.crc32c(body),
    }
    keys = [json.dumps({**entry, "piece": number}).encode() for number in range(len(starts))]
    return keys, [body[at : at + PIECE_BYTES] for at in starts]


def saved(where: str, rows: Iterable[Rows]) -> Iterator[Saved]:
    """The states in the records of one partition, in order. Raises `StateError` for what is none, or not whole."""
    entry: Mapping[str, Any] = {}
    parts: list[bytes] = []
    first = -1
    for some in rows:
        for offset, key, value in zip(some.offsets.tolist(), some.keys(), some.values(), strict=True):
            said = _entry(where, offset, key.as_py())
            if said["piece"] != len(parts) or (parts and said["crc"] != entry["crc"]):
                raise StateError(
                    f"{where}, offset {offset}: piece {said['piece']} of a state, where another was expected"
                )
            if not parts:
                entry, first = said, offset
            parts.append(value.as_buffer())
            if len(parts) == entry["pieces"]:
                yield Saved(entry["epoch"], first, _whole(where, first, entry, parts))
                parts = []
    if parts:
        raise StateError(f"{where}, offset {first}: a state of {entry['pieces']} pieces ends after {len(parts)}")


def _entry(where: str, offset: int, key: bytes | None) -> dict[str, Any]:
    try:
        said = json.loads(key or b"")
        known = said["windrow"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{where}, offset {offset}: a record that windrow has not written: {error}") from error
    if not known:
        raise StateError(f"{where}, offset {offset}: state of format {said['windrow']}, this version knows {FORMAT}")
    return cast(dict[str, Any], said)


def _whole(where: str, offset: int, entry: Mapping[str, Any], parts: list[Any]) -> StateWrite:
    body = pa.py_buffer(b"".join(parts))
    if body.size != entry["bytes"] or crc32c.crc32c(body) != entry["crc"]:
        raise StateError(f"{where}, offset {offset}: the state is not the bytes that were written")
    stream = pa.BufferReader(body)
    tables: dict[str, pa.RecordBatch] = {}
    for name in entry["tables"]:
        with pa.ipc.open_stream(stream) as reader:
            tables[name] = reader.read_next_batch()
            # The end of the stream has to be read, so that the next one begins where the buffer stands.
            if next(iter(reader), None) is not None:
                raise StateError(f"{where}, offset {offset}: table {name!r} has more than one batch")
    kind = cast(Literal["delta", "snapshot"], entry["kind"])
    return StateWrite(entry["operator"], entry["shard"], kind, tables)
