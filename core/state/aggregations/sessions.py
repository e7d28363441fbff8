"""The sessions of keys, each with its accumulators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from windrow.batch import Int32s, Int64s
from windrow.kernels.sessions import assign_sessions, expire_sessions
from windrow.state.accumulators.base import Accumulator
from windrow.state.accumulators.rows import Rows
from windrow.state.aggregations.keyed import Piece
from windrow.state.columns import all_rows, grown
from windrow.units import END_OF_TIME_US

FROM = "__from"
START = "__start"
END = "__end"

_NONE: Int64s = np.empty(0, np.int64)
_FEW = 4096
#: List steps per row after which the rest of a batch is sorted.
_STEPS_PER_ROW = 16


class Sessions:
    """Sessions of keys known by dense ids, with their accumulators: see `windrow.kernels.sessions` for the arrays."""

    def __init__(self, accumulators: Sequence[Accumulator], gap_us: int, track: bool, current: bool = False) -> None:
        self._gap_us = gap_us
        self.rows = Rows(accumulators, 0, track, current)
        self.size = 0
        self.dead = 0
        self.heads: Int32s = np.empty(0, np.int32)
        self.keys: Int32s = np.empty(0, np.int32)
        self.older: Int32s = np.empty(0, np.int32)
        self.froms: Int64s = _NONE
        self.starts: Int64s = _NONE
        self.ends: Int64s = _NONE
        self._first_end = END_OF_TIME_US

    def add(
        self, ids: Int32s, starts: Int64s, froms: Int64s | None, ends: Int64s | None, key_count: int, piece: Piece
    ) -> None:
        """Put rows into sessions; each is an event at `start`, or a whole session up to `end`."""
        rows, merged = self._assign(ids, starts, froms, ends, key_count)
        piece.apply(self.rows, rows)
        if len(merged):
            gone, survivors = (np.ascontiguousarray(merged[k::2]) for k in (0, 1))
            self.rows.merge(survivors, self.rows.select(gone))
            self.rows.forget(gone)
            self.dead += len(gone)

    def insert(self, ids: Int32s, starts: Int64s, froms: Int64s, ends: Int64s, key_count: int) -> Int32s:
        """Rows of sessions that touch no other; their accumulators are to be put."""
        return self._assign(ids, starts, froms, ends, key_count)[0]

    def _assign(
        self, ids: Int32s, starts: Int64s, froms: Int64s | None, ends: Int64s | None, key_count: int
    ) -> tuple[Int32s, Int32s]:
        self._ensure(self.size + len(ids), key_count)
        first = int(starts.min()) + self._gap_us if ends is None else int(ends.min())
        self._first_end = min(self._first_end, first)
        rows = np.empty(len(ids), np.int32)
        merged = np.empty(2 * (self.size + len(ids)), np.int32)
        status = np.array([self.size, 0, 0], np.int64)
        given = (ids, starts, _NONE if froms is None else froms, _NONE if ends is None else ends)
        self._run(given, _STEPS_PER_ROW * len(ids) + 1024, False, rows, merged, status)
        done = int(status[2])
        if done < len(ids):
            rest = np.lexsort((-(given[1] if ends is None else ends)[done:], ids[done:])) + done
            rest_rows = np.empty(len(rest), np.int32)
            status[2] = 0
            parts = tuple(part[rest] if len(part) else part for part in given)
            self._run(parts, 2**62, True, rest_rows, merged, status)
            rows[rest] = rest_rows
        self.size = int(status[0])
        return rows, merged[: 2 * int(status[1])]

    def _run(
        self, given: tuple[npt.NDArray[np.generic], ...], budget: int, chained: bool,
        rows: Int32s, merged: Int32s, status: Int64s,
    ) -> None:  # fmt: skip
        assign_sessions(
            *given, self._gap_us, budget, chained,
            self.heads, self.older, self.keys, self.froms, self.starts, self.ends, rows, merged, status,
        )  # fmt: skip

    def _ensure(self, size: int, key_count: int) -> None:
        if key_count > len(self.heads):
            heads = np.full(max(key_count, len(self.heads) * 3 // 2), -1, np.int32)
            heads[: len(self.heads)] = self.heads
            self.heads = heads
        if size > len(self.keys):
            room = max(size, len(self.keys) * 3 // 2, 64)
            for name in ("keys", "older", "froms", "starts", "ends"):
                setattr(self, name, grown(getattr(self, name)[: self.size], room))
        self.rows.ensure(size)

    def live(self) -> Int32s:
        live: Int32s = np.flatnonzero(self.keys[: self.size] >= 0).astype(np.int32)
        return live

    def of_keys(self, ids: Int32s) -> Int32s:
        """The sessions of these keys: key after key in rounds, each from its latest to its earliest."""
        found = []
        nodes = self.heads[ids]
        while len(nodes := nodes[nodes >= 0]):
            found.append(nodes)
            nodes = self.older[nodes]
        return np.concatenate(found) if found else np.empty(0, np.int32)

    def expire(self, watermark_us: int) -> Int32s:
        """Sessions that end at or before the watermark, taken off their keys; call `bury` when they are emitted."""
        if watermark_us < self._first_end:
            return np.empty(0, np.int32)
        expired = np.empty(self.size, np.int32)
        count = expire_sessions(watermark_us, self.size, self.keys, self.ends, self.heads, self.older, expired)
        return expired[:count]

    def remove(self, ids: Int32s) -> None:
        """Drop all sessions of these keys."""
        rows = self.of_keys(ids)
        self.heads[ids] = -1
        self.bury(rows)

    def bury(self, rows: Int32s) -> None:
        self.keys[rows] = -1
        self.rows.forget(rows)
        self.dead += len(rows)
        if self.size > _FEW and self.dead * 2 > self.size:
            self._compact()
        ends = self.ends[: self.size][self.keys[: self.size] >= 0]
        self._first_end = int(ends.min()) if len(ends) else END_OF_TIME_US

    def _compact(self) -> None:
        live = self.live()
        places = np.full(self.size + 1, -1, np.int32)  # the last one: where -1 leads
        places[live] = all_rows(len(live))
        self.heads = places[self.heads]
        self.older = places[self.older[live]]
        self.keys, self.froms = self.keys[live], self.froms[live]
        self.starts, self.ends = self.starts[live], self.ends[live]
        self.rows.keep(live)
        self.size, self.dead = len(live), 0

    def renumber(self, kept: Int32s, key_count: int) -> None:
        """Key ids are from now on positions in `kept`."""
        numbers = np.full(key_count, -1, np.int32)
        numbers[kept] = all_rows(len(kept))
        live = self.keys[: self.size] >= 0
        self.keys[: self.size][live] = numbers[self.keys[: self.size][live]]
        self._ensure(0, key_count)
        self.heads = self.heads[kept]

    @property
    def nbytes(self) -> int:
        arrays = (self.heads, self.keys, self.older, self.froms, self.starts, self.ends)
        return self.rows.nbytes + sum(array.nbytes for array in arrays)
