"""Record batches as an answer has them, held against what was asked and what the broker says of the partition.

A batch's checksum does not cover its base offset and its length (KIP-98), so both are checked against what is known:
a broker gives the batch that holds the wanted offset, whole when it is the first of an answer (KIP-74), and nothing
from the high watermark on.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pyarrow as pa

from windrow.codec import kafka_records as records

_OFFSETS = struct.Struct(">q15xi")  # base offset, and the last one less that
_CUT_OFF = "the answer ends before its length says that it does"


def received(
    buffer: pa.Buffer,
    position: int,
    size: int,
    aborted: Sequence[tuple[int, int]],
    wanted: int,
    high_watermark: int,
    *,
    whole: bool,
) -> records.Batches:
    """`kafka_records.read` of these bytes; a batch that cannot be the one that was asked for is broken.

    `whole`: nothing in the answer came before these bytes, so that their first batch cannot be cut off.
    """
    if size >= _OFFSETS.size:
        base, delta = _OFFSETS.unpack_from(memoryview(buffer).cast("B"), position)
        if base + delta < wanted:
            return _broken(wanted, f"it says that it ends at offset {base + delta}")
    got = records.read(buffer, position, size, aborted, wanted, high_watermark)
    if whole and got.next_offset == wanted and got.broken is None:
        return _broken(wanted, _CUT_OFF)
    return got


def _broken(offset: int, reason: str) -> records.Batches:
    return records.Batches(None, offset, 0, -1, records.Broken(offset, reason))
