"""What an epoch changed in the rows of a Table: old ones with weight -1, new ones with +1, nothing for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from windrow.batch import WEIGHT, Int32s, is_hidden, view
from windrow.state.keys.local import group_rows
from windrow.state.keys.words import kind_of


class Before:
    """The rows of groups before the epoch changed them."""

    def __init__(self) -> None:
        self._kept: list[tuple[Int32s, pa.RecordBatch]] = []

    def keep(self, ids: Int32s, rows: pa.RecordBatch) -> None:
        """Remember the rows of groups that are about to change for the first time."""
        self._kept.append((ids, rows))

    def take(self) -> tuple[Int32s, pa.RecordBatch | None]:
        """The rows that groups had, by ascending group; nothing is remembered any more."""
        kept, self._kept = self._kept, []
        if not kept:
            return np.empty(0, np.int32), None
        if len(kept) == 1:
            return kept[0]
        ids = np.concatenate([each for each, _ in kept])
        order = np.argsort(ids, kind="stable")
        return ids[order], pa.concat_batches([rows for _, rows in kept]).take(pa.array(order))


def differing(
    old_ids: Int32s, old: pa.RecordBatch, new_ids: Int32s, new: pa.RecordBatch, *, retract: bool
) -> list[pa.RecordBatch]:
    """The changes from the old rows to the new ones, both by ascending group: first what is taken back, then what is
    there now. Without `retract`, only rows of groups that are gone are taken back."""
    in_old = np.isin(new_ids, old_ids, assume_unique=True)
    in_new = np.isin(old_ids, new_ids, assume_unique=True)
    same = _equal(old.filter(pa.array(in_new)), new.filter(pa.array(in_old)))
    sent, gone = np.ones(len(new_ids), np.bool_), np.ones(len(old_ids), np.bool_)
    sent[np.flatnonzero(in_old)] = ~same
    gone[np.flatnonzero(in_new)] = ~same if retract else False
    parts = [part for part in (old.filter(pa.array(gone)), new.filter(pa.array(sent))) if part.num_rows]
    return [pa.concat_batches(parts)] if len(parts) > 1 else parts


def consolidated(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The changes without those that undo each other: rows that are equal, one taken back and one added."""
    weights = view(batch.column(WEIGHT), np.int8).astype(np.int64)
    if (weights > 0).all() or (weights < 0).all():
        return batch
    columns = [batch.column(name) for name in batch.schema.names if not is_hidden(name)]
    if any(kind_of(column.type) is None for column in columns):
        return batch
    grouped = group_rows(columns)
    assert grouped is not None  # no limit was given
    ids, first = grouped
    net = np.bincount(ids, weights, len(first)).astype(np.int64)
    # of each group the first |net| rows with the sign of the net weight
    signed = np.sign(net)[ids] == weights
    rows = np.flatnonzero(signed)
    order = rows[np.argsort(ids[rows], kind="stable")]
    groups = ids[order]
    place = np.arange(len(order)) - np.searchsorted(groups, groups)
    kept = np.sort(order[place < np.abs(net)[groups]])
    return batch if len(kept) == len(ids) else batch.take(pa.array(kept))


def upserts(batch: pa.RecordBatch, key: Sequence[str]) -> pa.RecordBatch:
    """The changes without rows that are taken back while another one with their key is added."""
    weights = view(batch.column(WEIGHT), np.int8).astype(np.int64)
    if (weights > 0).all():
        return batch
    grouped = group_rows([batch.column(name) for name in key])
    assert grouped is not None  # no limit was given
    ids, first = grouped
    there = np.zeros(len(first), np.bool_)
    there[ids[weights > 0]] = True
    return batch.filter(pa.array((weights > 0) | ~there[ids]))


def _equal(left: pa.RecordBatch, right: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Which rows are equal in all but their weight; null equals null. What cannot be compared counts as different."""
    same: npt.NDArray[np.bool_] = np.ones(left.num_rows, np.bool_)
    for name in left.schema.names:
        if name != WEIGHT:
            same &= _equal_values(left.column(name), right.column(name))
    return same


def _equal_values(left: pa.Array, right: pa.Array) -> npt.NDArray[np.bool_]:
    if pa.types.is_nested(left.type):
        return np.zeros(len(left), np.bool_)
    both_null = pc.and_(left.is_null(), right.is_null())
    equal = pc.or_(pc.fill_null(pc.equal(left, right), False), both_null)
    values: npt.NDArray[np.bool_] = equal.to_numpy(zero_copy_only=False)
    return values
