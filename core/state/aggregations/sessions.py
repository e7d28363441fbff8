"""State of session windows: the open sessions of every key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import TIME, Int32s, Int64s, Tables, view
from windrow.kernels.sessions import assign_sessions, expire_sessions
from windrow.plan.window import Aggregation, Window
from windrow.state.accumulators.base import Accumulator
from windrow.state.accumulators.rows import Rows, load
from windrow.state.aggregations.keyed import KeyedState, Piece, columns_of, int_column
from windrow.state.aggregations.output import window_batch
from windrow.state.aggregations.panes import ID
from windrow.state.changes import consolidated, upserts
from windrow.state.columns import all_rows, by_pair, grown
from windrow.state.saved import table_of
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


class SessionState(KeyedState):
    """One shard of a session aggregation.

    A delta holds all sessions of every key that changed: they replace what was there of the key.

    Emitting ``current``, a session that has grown or was joined to another is another row than before: the old one is
    taken back. With `retract`, so is a row of which only the aggregates have changed.
    """

    timed = True

    def __init__(self, aggregation: Aggregation, window: Window, retract: bool = False) -> None:
        super().__init__(aggregation)
        self._gap_us = window.gap_us
        self._current = aggregation.emit == "current"
        self._retract = retract
        self.clear()

    def clear(self) -> None:
        self._sessions = Sessions(self.accumulators, self._gap_us, track=True)
        self._touched: Int32s = np.empty(0, np.int32)  # keys that this epoch has brought rows of
        self._before: list[pa.RecordBatch] = []  # the sessions that they had

    def take(self, ids: Int32s, data: pa.RecordBatch, piece: Piece) -> None:
        if self._current:
            self._remember(ids)
        names = data.schema.names
        starts = _ints(data, START if START in names else TIME)
        froms = _ints(data, FROM) if FROM in names else None
        ends = _ints(data, END) if END in names else None
        self._sessions.add(ids, starts, froms, ends, self.key_count, piece)

    def emit(self, watermark_us: int) -> list[pa.RecordBatch]:
        changes = self._changes() if self._current else []
        expired = self._sessions.expire(watermark_us - self.aggregation.lateness_us)
        outputs = changes if self._current else self._results(expired, 1)
        self._bury(expired)
        return outputs

    def _remember(self, ids: Int32s) -> None:
        """Keep the rows of keys that are about to change for the first time in this epoch."""
        fresh = np.setdiff1d(ids, self._touched)
        self._touched = np.concatenate([self._touched, fresh])
        self._before += self._results(self._sessions.of_keys(fresh[fresh < len(self._sessions.heads)]), -1)

    def _changes(self) -> list[pa.RecordBatch]:
        """What the epoch has changed in the sessions of its keys."""
        parts = [*self._before, *self._results(self._sessions.of_keys(self._touched), 1)]
        self._touched, self._before = np.empty(0, np.int32), []
        if not parts:
            return []
        changes = consolidated(pa.concat_batches(parts))
        if not self._retract:
            changes = upserts(changes, (*self.aggregation.keys, "window_start", "window_end"))
        return [changes] if changes.num_rows else []

    def _results(self, rows: Int32s, weight: int) -> list[pa.RecordBatch]:
        if len(rows) == 0:
            return []
        sessions = self._sessions
        rows = rows[by_pair(sessions.ends[rows], sessions.keys[rows])]
        keys, lanes = self.key_columns(sessions.keys[rows]), sessions.rows.select(rows)
        return [window_batch(self, keys, sessions.starts[rows], sessions.ends[rows], lanes, weight)]

    def _bury(self, expired: Int32s) -> None:
        if len(expired):
            self._dropped = True
            self._sessions.bury(expired)

    def expire(self, watermark_us: int) -> None:
        self._bury(self._sessions.expire(watermark_us - self.aggregation.lateness_us))

    def save_groups(self, whole: bool) -> dict[str, pa.RecordBatch]:
        sessions = self._sessions
        if whole:
            rows = sessions.live()
            rows = rows[np.lexsort((-sessions.ends[rows], sessions.keys[rows]))]
        else:
            rows = sessions.of_keys(np.unique(sessions.keys[sessions.rows.dirty()]))
        columns = {
            ID: pa.array(sessions.keys[rows]),
            FROM: pa.array(sessions.froms[rows]),
            START: pa.array(sessions.starts[rows]),
            END: pa.array(sessions.ends[rows]),
        }
        columns |= sessions.rows.save(rows)
        sessions.rows.clean()
        return {"sessions": pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))}

    def load_groups(self, tables: Tables) -> None:
        operator = self.aggregation.name
        saved = table_of(tables, "sessions", operator)
        ids: Int32s = view(int_column(saved, ID, pa.int32(), operator), np.int32)  # type: ignore[assignment]
        times = [_checked(saved, name, operator) for name in (START, FROM, END)]
        if len(ids) == 0:
            return
        sessions = self._sessions
        changed = np.unique(ids)
        sessions.remove(changed[changed < len(sessions.heads)].astype(np.int32))
        rows = sessions.insert(ids, times[0], times[1], times[2], self.key_count)
        sessions.rows.put(rows, load(self.accumulators, columns_of(saved)))

    def live_keys(self) -> npt.NDArray[np.bool_]:
        live = np.zeros(self.key_count, np.bool_)
        live[self._sessions.keys[self._sessions.live()]] = True
        return live

    def renumber(self, kept: Int32s) -> None:
        self._sessions.renumber(kept, self.key_count)

    def all_rows(self) -> list[Rows]:
        return [self._sessions.rows]

    @property
    def groups_nbytes(self) -> int:
        return self._sessions.nbytes


def _ints(data: pa.RecordBatch, name: str) -> Int64s:
    values: Int64s = view(data.column(name), np.int64)  # type: ignore[assignment]
    return values


def _checked(saved: pa.RecordBatch, name: str, operator: str) -> Int64s:
    int_column(saved, name, pa.int64(), operator)
    return _ints(saved, name)
