"""Sessions that have changed since they were last sent: of which keys they are, and the rows there are to take back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Int32s, Int64s, view
from windrow.state.aggregations.keyed import int_column
from windrow.state.aggregations.panes import ID

TOUCHED = "__touched"
SENT_START = "__sent_start"
SENT_END = "__sent_end"

_NO_IDS: Int32s = np.empty(0, np.int32)


class SentRows:
    """Rows that were sent (weight -1), with the key, start and end of the session that each of them was."""

    def __init__(self, ids: Int32s, starts: Int64s, ends: Int64s, rows: pa.RecordBatch) -> None:
        self.ids, self.starts, self.ends, self.rows = ids, starts, ends, rows

    def chosen(self, mask: npt.NDArray[np.bool_]) -> SentRows | None:
        if not mask.any():
            return None
        return SentRows(self.ids[mask], self.starts[mask], self.ends[mask], self.rows.filter(pa.array(mask)))

    def part_of(self, ids: Int32s, starts: Int64s, ends: Int64s) -> Int64s:
        """The place of the session that each of them is part of now, -1 where that was dropped.

        Sessions of a key follow each other, and only grow: it is the first that ends no earlier, if it begins no later.
        """
        old, new = len(self.ids), len(ids)
        keys, times = np.concatenate([self.ids, ids]), np.concatenate([self.ends, ends])
        is_new = np.arange(old + new) >= old
        order = np.lexsort((is_new, times, keys))
        places = np.where(is_new[order], np.arange(old + new), old + new)
        following = np.minimum.accumulate(places[::-1])[::-1]
        found = np.full(old, -1, np.int64)
        asking = np.flatnonzero(~is_new[order])
        there = following[asking] < old + new
        found[order[asking[there]]] = order[following[asking[there]]] - old
        same = found >= 0
        same[same] = (ids[found[same]] == self.ids[same]) & (starts[found[same]] <= self.starts[same])
        return np.where(same, found, -1)

    @staticmethod
    def joined(parts: list[SentRows]) -> SentRows | None:
        if len(parts) < 2:
            return parts[0] if parts else None
        return SentRows(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.starts for part in parts]),
            np.concatenate([part.ends for part in parts]),
            pa.concat_batches([part.rows for part in parts]),
        )


class Unsent:
    """What is not as it was sent. Of a key that is not in it, all sessions are."""

    def __init__(self) -> None:
        self.keys = _NO_IDS
        self._is_touched: npt.NDArray[np.bool_] = np.empty(0, np.bool_)
        self._sent: list[SentRows] = []
        self._is_changed: npt.NDArray[np.bool_] = np.empty(0, np.bool_)  # since the last save

    def fresh(self, ids: Int32s, key_count: int) -> Int32s:
        """Those of these keys that were as they were sent, ascending; from now on they are not."""
        if key_count > len(self._is_touched):
            room = max(key_count, len(self._is_touched) * 3 // 2)
            self._is_touched, self._is_changed = (_longer(mask, room) for mask in (self._is_touched, self._is_changed))
        fresh: Int32s = np.unique(ids[~self._is_touched[ids]])
        self._is_touched[fresh] = True
        self.keys = np.concatenate([self.keys, fresh])
        self._is_changed[fresh] = True
        return fresh

    def add(self, rows: SentRows | None) -> None:
        if rows is not None:
            self._sent.append(rows)

    def take(self) -> SentRows | None:
        """All rows that were sent; they are not held any more."""
        sent, self._sent = self._sent, []
        return SentRows.joined(sent)

    def leave(self, keys: Int32s, changed: Int32s) -> None:
        """Only of these keys something is still not as it was sent. `changed`: those that something was sent of."""
        self._is_touched[self.keys] = False
        self._is_touched[keys] = True
        self.keys = keys
        self._is_changed[changed] = True

    @property
    def changed(self) -> Int32s:
        """Keys of which something here has changed since the last save."""
        changed: Int32s = np.flatnonzero(self._is_changed).astype(np.int32)
        return changed

    def renumber(self, numbers: Int32s, key_count: int) -> None:
        for part in self._sent:
            part.ids = numbers[part.ids]
        self.keys = numbers[self.keys]
        self._is_touched = np.zeros(key_count, np.bool_)
        self._is_touched[self.keys] = True
        self._is_changed = np.zeros(key_count, np.bool_)  # what was not saved is saved with all the rest

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self._is_touched.nbytes + sum(int(part.rows.nbytes) for part in self._sent)

    # saving and restoring: a delta has all of each key of which something has changed

    def save(self, whole: bool) -> dict[str, pa.RecordBatch]:
        keys = self.keys if whole else self.changed
        self._is_changed.fill(False)
        touched = self._is_touched[keys]
        tables = {"unsent": pa.RecordBatch.from_arrays([pa.array(keys), pa.array(touched)], names=[ID, TOUCHED])}
        sent = self.take()
        self.add(sent)
        chosen = None if sent is None else sent.chosen(np.isin(sent.ids, keys))
        if chosen is not None:
            places = [pa.array(chosen.ids), pa.array(chosen.starts), pa.array(chosen.ends)]
            names = [ID, SENT_START, SENT_END, *chosen.rows.schema.names]
            tables["sent"] = pa.RecordBatch.from_arrays([*places, *chosen.rows.columns], names=names)
        return tables

    def load(self, unsent: pa.RecordBatch, sent: pa.RecordBatch | None, key_count: int, operator: str) -> None:
        keys = _ints(unsent, ID, pa.int32(), operator)
        touched = int_column(unsent, TOUCHED, pa.bool_(), operator).to_numpy(zero_copy_only=False)
        self.fresh(keys, key_count)
        held = self.take()
        self.add(None if held is None else held.chosen(~np.isin(held.ids, keys)))
        self.leave(np.setdiff1d(self.keys, keys[~touched]), _NO_IDS)
        self._is_changed.fill(False)
        if sent is not None:
            starts, ends = (_ints(sent, name, pa.int64(), operator) for name in (SENT_START, SENT_END))
            rows = sent.drop_columns([ID, SENT_START, SENT_END])
            self.add(SentRows(_ints(sent, ID, pa.int32(), operator), starts, ends, rows))


def _longer(mask: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.bool_]:
    larger = np.zeros(size, np.bool_)
    larger[: len(mask)] = mask
    return larger


def _ints(saved: pa.RecordBatch, name: str, type_: pa.DataType, operator: str) -> npt.NDArray[np.signedinteger]:
    column = int_column(saved, name, type_, operator)
    return view(column, np.int32 if type_ == pa.int32() else np.int64)  # type: ignore[return-value]
