"""State of windows over time, kept by pane.

A pane in which most keys occur is *dense*: its accumulators are indexed by key id, so that adding rows needs no second
look-up and panes are combined position by position. All other panes share one *pool*. Both are dropped when the
last window they are part of has closed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import TIME, Int32s, Int64s, Tables, view
from windrow.plan.window import Aggregation, Window
from windrow.state.accumulators.base import Chosen, Lanes
from windrow.state.accumulators.rows import CHANGED, Rows, load
from windrow.state.aggregations.grid import Grid, grid_of
from windrow.state.aggregations.keyed import KeyedState, Piece, columns_of, int_column
from windrow.state.aggregations.output import window_batch
from windrow.state.aggregations.pool import Pool
from windrow.state.aggregations.pool_windows import PoolWindows
from windrow.state.aggregations.sliding import Sliding, slides
from windrow.state.columns import all_rows, extent
from windrow.state.saved import table_of
from windrow.units import BEFORE_TIME_US

PANE = "__pane"
ID = "__id"

#: With fewer keys every pane is sparse: what counts then is the number of calls, and the pool takes all panes in one.
FEW_KEYS = 4096
#: A pane is dense when it holds at least one in this many of the keys.
_DENSE_FROM = 4
#: Dense panes may have this many places a group, in all, and _SPARE_PLACES more.
_PLACES_PER_GROUP = 8
_SPARE_PLACES = 1 << 18


class PaneState(KeyedState):
    """One shard of a tumbling, hopping or cumulate aggregation."""

    timed = True

    def __init__(self, aggregation: Aggregation, window: Window) -> None:
        super().__init__(aggregation)
        self.grid: Grid = grid_of(window, aggregation.lateness_us)
        self.current = aggregation.emit == "current"
        self._slides = not self.current and slides(self.grid) and all(a.apart for a in self.accumulators)
        self.clear()

    def clear(self) -> None:
        self.dense: dict[int, Rows] = {}
        self._checked_places = 0
        self._sliding = Sliding(self) if self._slides else None
        self.pool = Pool(self.accumulators, self.current)

    # taking rows

    def take(self, ids: Int32s, data: pa.RecordBatch, piece: Piece) -> None:
        codes = pane_codes_of(data, self.grid)
        if isinstance(codes, int):
            self._add(codes, ids, piece)
            return
        low, high = extent(codes)
        if low == high:
            self._add(low, ids, piece)
            return
        dense = self._dense_among(codes, low, high)
        if not dense:
            self._add_to_pool(codes, ids, piece)
            return
        rest = np.ones(len(codes), np.bool_)
        for code in dense:
            chosen = codes == code
            rest &= ~chosen
            where = np.flatnonzero(chosen).astype(np.int32)
            self._add(code, ids[where], piece.take(where))
        if rest.any():
            where = np.flatnonzero(rest).astype(np.int32)
            self._add_to_pool(codes[where], ids[where], piece.take(where))

    def _dense_among(self, codes: Int64s, low: int, high: int) -> list[int]:
        """The panes of these rows that are dense, or are to be."""
        keys = self.key_count
        if keys < FEW_KEYS and not self.dense:
            return []
        present, counts = _distinct(codes, low, high)
        # a loop over a hundred panes that are none showed: which of them can be is told for all at once
        large = counts * _DENSE_FROM >= keys
        if self.dense:
            large |= np.isin(present, list(self.dense)) | np.isin(present - self.grid.per_pane, list(self.dense))
        found = zip(present[large].tolist(), counts[large].tolist(), strict=True)
        return [code for code, count in found if self._is_dense(code, count)]

    def _is_dense(self, code: int, rows: int) -> bool:
        """Whether rows of this pane go to a dense one; `rows` of them are about to come.

        A new pane after a dense one will fill up as that did.
        """
        if code in self.dense:
            return True
        if self.key_count < FEW_KEYS or code in self.pool.counts:
            return False
        if rows * _DENSE_FROM < self.key_count and code - self.grid.per_pane not in self.dense:
            return False
        return self._room_for(1, rows)

    def _room_for(self, panes: int, more_groups: int = 0) -> bool:
        places = self._places + panes * self.key_count - _SPARE_PLACES
        if places <= 0:
            return True
        groups = more_groups + self._pool_size + sum(rows.count_present() for rows in self.dense.values())
        return places <= _PLACES_PER_GROUP * groups

    @property
    def _places(self) -> int:
        return sum(rows.capacity for rows in self.dense.values())

    @property
    def _pool_size(self) -> int:
        return sum(self.pool.counts.values())

    def _add(self, code: int, ids: Int32s, piece: Piece) -> None:
        if not self._is_dense(code, len(ids)):
            self._add_to_pool(np.full(len(ids), code, np.int64), ids, piece)
            return
        rows = self.dense.get(code)
        if rows is None:
            rows = self.dense[code] = self._new_rows()
        rows.ensure(self.key_count)
        piece.apply(rows, ids)

    def _new_rows(self) -> Rows:
        return Rows(self.accumulators, self.key_count, current=self.current)

    def _add_to_pool(self, codes: Int64s, ids: Int32s, piece: Piece) -> None:
        piece.apply(self.pool.rows, self.pool.find(codes, ids))

    # results

    def emit(self, watermark_us: int) -> list[pa.RecordBatch]:
        done, closing = self.grid.last_closed(self.watermark_us), self.grid.last_closed(watermark_us)
        outputs = []
        if self.current or closing > done:
            outputs = self._emit_windows(done + 1, None if self.current else closing)
        if self.current:
            self._settle()
        if closing > done:
            self._drop(closing)
        self._balance()
        return outputs

    def expire(self, watermark_us: int) -> None:
        self._drop(self.grid.last_closed(watermark_us))

    def _emit_windows(self, first: int, last: int | None) -> list[pa.RecordBatch]:
        """Windows from `first` to `last` (None: all), in order; only changed groups when emitting ``current``."""
        if self._sliding is not None and self._sliding.pays(self._places + self._pool_size):
            windows = sorted(self._windows([*self.dense, *self.pool.counts], first, last))
            return [out for window in windows for out in self._emitted(window, *self._sliding.window(window))]
        dense = self._windows(self.dense, first, last)
        affected = self._windows(self._changed_codes(), first, last) if self.current else None
        alone = dense if affected is None else dense & affected
        outputs = []
        sparse = PoolWindows(self, first, last, dense, affected)
        for window in sorted(alone):
            outputs += sparse.before(window)
            outputs += self._emit_window(window)
        return outputs + sparse.before(None)

    def _range(self, code: int, first: int, last: int | None) -> tuple[int, int]:
        low, high = self.grid.windows_of(np.array([code], np.int64))
        return max(int(low[0]), first), int(high[0]) if last is None else min(int(high[0]), last)

    def _windows(self, codes: Iterable[int], first: int, last: int | None) -> set[int]:
        windows: set[int] = set()
        for code in codes:
            low, high = self._range(code, first, last)
            windows.update(range(low, high + 1))
        return windows

    def _changed_codes(self) -> list[int]:
        rows = self.pool.rows.changed()
        dense = [code for code, held in self.dense.items() if held.any_changed]
        changed: list[int] = np.unique(self.pool.codes[rows]).tolist()
        return changed + dense

    def _emit_window(self, window: int) -> list[pa.RecordBatch]:
        return self._emitted(window, *self._combine(window))

    def _emitted(self, window: int, ids: Int32s, lanes: list[Lanes]) -> list[pa.RecordBatch]:
        if len(ids) == 0:
            return []
        start, end = (np.full(len(ids), bound[0]) for bound in self.grid.bounds(np.array([window], np.int64)))
        return [window_batch(self, self.key_columns(self._all_or(ids)), start, end, lanes)]

    def _all_or(self, ids: Int32s) -> Int32s | None:
        return None if len(ids) == self.key_count else ids

    def _combine(self, window: int) -> tuple[Int32s, list[Lanes]]:
        """The groups of a window that are to be emitted: key ids and accumulators."""
        dense = [(code, rows) for code, rows in sorted(self.dense.items()) if self._is_part(code, window)]
        pooled = self.pool.of_codes([code for code in self.pool.counts if self._is_part(code, window)])
        if len(dense) == 1 and len(pooled) == 0:
            rows = dense[0][1]
            ids = rows.changed() if self.current else rows.present(rows.capacity)
            # results may share memory with a pane only if it is dropped next: later rows would change them
            whole = not self.current and self.grid.per_pane == 1 and len(ids) and len(ids) == int(ids[-1]) + 1
            return ids, rows.select(slice(0, len(ids)) if whole else ids)
        if dense:
            dense.sort(key=lambda item: -item[1].capacity)  # the largest is the one to start from
            merged = dense[0][1].copy()
            merged.ensure(self.key_count)
        else:
            merged = Rows(self.accumulators, self.key_count, track=False)
        for _, rows in dense[1:]:
            merged.merge_aligned(rows, min(rows.capacity, self.key_count))
        changed = np.zeros(self.key_count, np.bool_)
        if self.current:
            for _, rows in dense:
                changed[rows.changed()] = True
        if len(pooled):
            pooled = pooled[np.argsort(self.pool.codes[pooled], kind="stable")]
            merged.merge(self.pool.numbers[pooled], self.pool.rows.select(pooled))
            changed[self.pool.numbers[pooled[(self.pool.rows.flags[pooled] & CHANGED) != 0]]] = True
        ids = merged.present(self.key_count)
        if self.current:
            ids = ids[changed[ids]]
        return ids, merged.select(ids)

    def late_codes(self, window: int) -> list[int]:
        """The panes of rows for which some of their windows were closed already, that are part of this one."""
        codes = [code for code in (*self.dense, *self.pool.counts) if code % self.grid.per_pane]
        return sorted(code for code in codes if self._is_part(code, window))

    def _is_part(self, code: int, window: int) -> bool:
        low, high = self._range(code, window, window)
        return low <= window <= high

    # keeping memory in bounds

    def _drop(self, closing: int) -> None:
        """Let go of panes all of whose windows are closed."""
        codes = np.array([*self.dense, *self.pool.counts], np.int64)
        gone = codes[self.grid.windows_of(codes)[1] <= closing].tolist()
        if not gone:
            return
        self._dropped = True
        for code in gone:
            self.dense.pop(code, None)
        self.pool.drop([code for code in gone if code in self.pool.counts])

    def _settle(self) -> None:
        self.pool.rows.settle()
        for rows in self.dense.values():
            rows.settle()

    def _balance(self) -> None:
        """Make panes of the pool that have filled up dense, and dense ones that waste memory sparse."""
        for code, count in sorted(self.pool.counts.items()):
            if count * _DENSE_FROM >= max(self.key_count, FEW_KEYS) and self._room_for(1):
                self._make_dense(code)
        if self._places == self._checked_places:  # groups only get more in the same places
            return
        if not self._room_for(0):
            sizes = {code: rows.count_present() for code, rows in self.dense.items()}
            for code in sorted(sizes, key=lambda code: (sizes[code], code)):
                if self._room_for(0):
                    break
                self._make_sparse(code)
        self._checked_places = self._places

    def _make_dense(self, code: int) -> None:
        chosen = self.pool.of_codes([code])
        rows = self._new_rows()
        ids = self.pool.numbers[chosen]
        rows.adopt(ids, self.pool.rows, chosen)
        self.dense[code] = rows
        self.pool.drop([code])

    def _make_sparse(self, code: int) -> None:
        rows = self.dense.pop(code)
        ids = rows.present(rows.capacity)
        places = self.pool.find(np.full(len(ids), code, np.int64), ids)
        self.pool.rows.adopt(places, rows, ids)

    def surely_live(self) -> int:
        return max((rows.count_present() for rows in self.dense.values()), default=0)

    def live_keys(self) -> npt.NDArray[np.bool_]:
        live = np.zeros(self.key_count, np.bool_)
        live[self.pool.numbers[self.pool.live()]] = True
        for rows in self.dense.values():
            live[rows.present(rows.capacity)] = True
        return live

    def renumber(self, kept: Int32s) -> None:
        numbers = np.full(self.key_count, -1, np.int32)
        numbers[kept] = all_rows(len(kept))
        for rows in self.dense.values():
            rows.keep(kept[kept < rows.capacity])
        self.pool.renumber(numbers)
        if self._sliding is not None:
            self._sliding.reset()

    def all_rows(self) -> list[Rows]:
        return [self.pool.rows, *self.dense.values()]

    @property
    def groups_nbytes(self) -> int:
        sliding = 0 if self._sliding is None else self._sliding.nbytes
        return self.pool.nbytes + sum(rows.nbytes for rows in self.dense.values()) + sliding

    # saving and restoring

    def save_groups(self, whole: bool) -> dict[str, pa.RecordBatch]:
        parts = []
        for code, rows in sorted(self.dense.items()):
            ids = rows.present(rows.capacity) if whole else rows.dirty()
            parts.append(self._saved(np.full(len(ids), code, np.int64), ids, rows, ids))
            rows.clean()
        pool = self.pool
        chosen = pool.live() if whole else pool.rows.dirty()
        parts.append(self._saved(pool.codes[chosen], pool.numbers[chosen], pool.rows, chosen))
        pool.rows.clean()
        filled = [part for part in parts if part.num_rows]
        return {f"groups{k}": part for k, part in enumerate(filled)}

    def _saved(self, codes: Int64s, ids: Int32s, rows: Rows, chosen: Int32s) -> pa.RecordBatch:
        columns = {PANE: pa.array(codes), ID: pa.array(ids)} | rows.save(chosen)
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def load_groups(self, tables: Tables) -> None:
        for name in sorted((name for name in tables if name.startswith("groups")), key=lambda name: int(name[6:])):
            self._load(table_of(tables, name, self.aggregation.name))

    def _load(self, groups: pa.RecordBatch) -> None:
        operator = self.aggregation.name
        codes: Int64s = view(int_column(groups, PANE, pa.int64(), operator), np.int64)  # type: ignore[assignment]
        ids: Int32s = view(int_column(groups, ID, pa.int32(), operator), np.int32)  # type: ignore[assignment]
        lanes = load(self.accumulators, columns_of(groups))
        code = int(codes[0])
        if len(codes) and code == int(codes[-1]) and (codes == code).all() and self._is_dense(code, len(codes)):
            if code not in self.dense:
                self.dense[code] = self._new_rows()
            self.dense[code].ensure(self.key_count)
            self.dense[code].put(_as_range(ids), lanes)
            return
        dense = np.isin(codes, np.array(list(self.dense), np.int64))
        for held in np.unique(codes[dense]).tolist():
            chosen = np.flatnonzero(codes == held).astype(np.int32)
            self.dense[held].ensure(self.key_count)
            self.dense[held].put(ids[chosen], self._choose(lanes, chosen))
        chosen = np.flatnonzero(~dense).astype(np.int32)
        if len(chosen):
            self.pool.rows.put(self.pool.find(codes[chosen], ids[chosen]), self._choose(lanes, chosen))

    def _choose(self, lanes: list[Lanes], rows: Int32s) -> list[Lanes]:
        return [a.select(held, rows) for a, held in zip(self.accumulators, lanes, strict=True)]


def pane_codes_of(data: pa.RecordBatch, grid: Grid) -> Int64s | int:
    """The codes of rows that `prepare` has let through: as it says, or by their time; one if all have the same."""
    if PANE in data.schema.names:
        codes: Int64s = view(data.column(PANE), np.int64)  # type: ignore[assignment]
        return codes
    times: Int64s = view(data.column(TIME), np.int64)  # type: ignore[assignment]
    return grid.codes(times, None, BEFORE_TIME_US)[0]


def _as_range(ids: Int32s) -> Chosen:
    """Ids without gaps as a slice, for which taking over saved groups is a plain copy."""
    first, last = int(ids[0]), int(ids[-1])
    if last - first == len(ids) - 1 and (ids[1:] > ids[:-1]).all():
        return slice(first, last + 1)
    return ids


def _distinct(codes: Int64s, low: int, high: int) -> tuple[Int64s, Int64s]:
    """The codes there are and how often, in order."""
    if high - low < 4 * len(codes):
        counts = np.bincount(codes - low)
        present = np.flatnonzero(counts)
        return present + low, counts[present]
    return np.unique(codes, return_counts=True)
