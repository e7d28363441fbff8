"""What the tests of file sources share."""

from __future__ import annotations

from typing import Any

from windrow.io.base import Source


def read_cut(source: Source, partition: int, max_rows: int, max_bytes: int, columns: tuple[str, ...]) -> list[Any]:
    """All rows of a partition with their offsets, read range by range; each range is read twice, and checked."""
    rows: list[Any] = []
    at = source.start_offset(partition)
    while (end := source.plan(partition, at, max_rows, max_bytes)) > at:
        once, again = (list(source.read(partition, at, end, columns)) for _ in range(2))
        first, second = ([row for piece in pieces for row in piece.data.to_pylist()] for pieces in (once, again))
        assert first == second  # in whatever pieces
        before = len(rows)
        for piece in once:
            count = piece.data.num_rows
            offsets = (
                list(range(piece.first_offset, piece.first_offset + count))
                if piece.offsets is None
                else piece.offsets.to_pylist()
            )
            assert len(offsets) == count and all(at <= offset < end for offset in offsets)
            assert piece.data.schema.names == list(columns)
            rows += list(zip(offsets, piece.data.to_pylist(), strict=True))
        assert len(rows) - before <= max_rows
        at = end
    assert at == source.end_offset(partition)
    return rows
