"""What a log holds, in figures."""

from __future__ import annotations

import json
from typing import Any

from windrow.io.log.records import read_positions
from windrow.io.log.store import DATA, STATE, Store


def stats(store: Store) -> dict[str, Any]:
    """``bytes`` and ``files`` on disk; ``partitions``: offsets and bytes of each; ``jobs``: epoch, positions, state."""
    sizes = [path.stat().st_size for folder in (DATA, STATE) for path in (store.root / folder).glob("*")]
    with store.reading() as connection:
        partitions = connection.execute(
            "SELECT name, partition, start_offset, next_offset, bytes, (SELECT count(*) FROM chunks"
            " WHERE chunks.topic = id AND chunks.partition = partitions.partition)"
            " FROM partitions JOIN topics ON id = topic ORDER BY name, partition"
        ).fetchall()
        jobs = connection.execute(
            "SELECT id, name, owner, epoch, committed_us, plan,"
            " coalesce((SELECT sum(length) FROM state WHERE job = id), 0) FROM jobs ORDER BY name"
        ).fetchall()
        positions = {job[0]: read_positions(connection, job[0]) for job in jobs}
    names = ("topic", "partition", "start_offset", "next_offset", "bytes", "chunks")
    return {
        "bytes": sum(sizes),
        "files": len(sizes),
        "partitions": [dict(zip(names, row, strict=True)) for row in partitions],
        "jobs": [
            {
                "job": name,
                "owner": owner,
                "epoch": epoch,
                "committed_us": committed_us,
                "state_bytes": state_bytes,
                "positions": _nested(positions[identity]),
                "plan": json.loads(plan) if plan is not None else None,
            }
            for identity, name, owner, epoch, committed_us, plan, state_bytes in jobs
        ],
    }


def _nested(positions: dict[tuple[str, int], int]) -> dict[str, dict[int, int]]:
    nested: dict[str, dict[int, int]] = {}
    for (source, partition), next_offset in sorted(positions.items()):
        nested.setdefault(source, {})[partition] = next_offset
    return nested
