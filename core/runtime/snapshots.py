"""When to save all of a shard's state instead of what changed: so that restoring stays bounded."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from windrow.operators.base import ShardState, Tables
from windrow.progress.ledger import StateWrite

_MOST_DELTAS = 200
_LEAST_BYTES = 1 << 20


@dataclass(slots=True)
class _Saved:
    snapshot_bytes: int = 0
    delta_bytes: int = 0
    deltas: int = 0


class SnapshotPolicy:
    """A snapshot is due when the deltas since the last one are larger than it, or many.

    So no more than about twice the state is ever read back, and writing snapshots costs no more than writing deltas.
    """

    def __init__(self) -> None:
        self._saved: dict[tuple[str, int], _Saved] = {}

    def take(self, operator: str, shard: int, state: ShardState) -> StateWrite | None:
        """The shard's delta, or its snapshot when that is due; None when nothing changed. Each shard by one thread."""
        saved = self._saved.setdefault((operator, shard), _Saved())
        if saved.deltas >= _MOST_DELTAS or saved.delta_bytes > max(saved.snapshot_bytes, _LEAST_BYTES):
            tables = state.snapshot()
            self._saved[operator, shard] = _Saved(snapshot_bytes=_bytes(tables))
            return StateWrite(operator, shard, "snapshot", tables)
        tables = state.delta()
        if not any(table.num_rows for table in tables.values()):
            return None
        saved.deltas += 1
        saved.delta_bytes += _bytes(tables)
        return StateWrite(operator, shard, "delta", tables)

    def restored(self, operator: str, shard: int, snapshot: Tables | None, deltas: list[Tables]) -> None:
        """Count what was read back at the start."""
        self._saved[operator, shard] = _Saved(
            _bytes(snapshot or {}), sum(_bytes(tables) for tables in deltas), len(deltas)
        )


def _bytes(tables: Tables) -> int:
    return sum(_batch_bytes(table) for table in tables.values())


def _batch_bytes(table: pa.RecordBatch) -> int:
    return int(table.nbytes)
