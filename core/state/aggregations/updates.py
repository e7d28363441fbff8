"""State of windows over time whose results are followed: what is sent can be taken back, early, or late.

A group is a key in a window, not in a pane: each row goes into all its windows at once, because each of them is a row
of the result that changes with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Int32s, Int64s, Tables, view
from windrow.plan.window import Aggregation, Window
from windrow.state.accumulators.rows import Rows, load
from windrow.state.aggregations.firing import FiringClock
from windrow.state.aggregations.grid import Grid, grid_of
from windrow.state.aggregations.keyed import KeyedState, Piece, columns_of, int_column
from windrow.state.aggregations.output import window_batch
from windrow.state.aggregations.panes import ID, pane_codes_of
from windrow.state.aggregations.pool import Pool
from windrow.state.aggregations.tables import may_stay
from windrow.state.changes import differing
from windrow.state.columns import all_rows, by_pair
from windrow.state.saved import table_of

WINDOW = "__window"
CHANGED = "__changed"


class Sent:
    """Rows that were sent of groups that have changed since: what there is to take back."""

    def __init__(self) -> None:
        self._windows: Int64s = np.empty(0, np.int64)
        self._ids: Int32s = np.empty(0, np.int32)
        self._rows: pa.RecordBatch | None = None
        self._unsaved: list[tuple[Int64s, Int32s, pa.RecordBatch]] = []

    def keep(self, windows: Int64s, ids: Int32s, rows: pa.RecordBatch) -> None:
        """Remember the rows of groups that are about to change for the first time since they were sent."""
        self._unsaved.append((windows, ids, rows))

    def _join(self) -> None:
        parts = [(self._windows, self._ids, self._rows)] if self._rows is not None else []
        parts += self._unsaved
        if parts:
            self._windows = np.concatenate([part[0] for part in parts])
            self._ids = np.concatenate([part[1] for part in parts])
            self._rows = pa.concat_batches([part[2] for part in parts])
        self._unsaved = []

    def take(self, last: int | None) -> tuple[Int64s, Int32s, pa.RecordBatch | None]:
        """Those of windows up to `last` (None: of all), which are not remembered any more."""
        new = sum(len(ids) for _, ids, _ in self._unsaved)
        self._join()
        if self._rows is None:
            return self._windows, self._ids, None
        taken = np.ones(len(self._ids), np.bool_) if last is None else self._windows <= last
        found = self._windows[taken], self._ids[taken], self._rows.filter(pa.array(taken))
        left, old = ~taken, len(taken) - new
        windows, ids, rows = self._windows[left], self._ids[left], self._rows.filter(pa.array(left))
        stayed = int(np.count_nonzero(left[:old]))
        self._windows, self._ids, self._rows = windows[:stayed], ids[:stayed], rows.slice(0, stayed)
        if len(ids) > stayed:
            self._unsaved = [(windows[stayed:], ids[stayed:], rows.slice(stayed))]
        return found

    def save(self, whole: bool) -> pa.RecordBatch | None:
        """All of them, or those that were not saved before."""
        unsaved = list(self._unsaved)
        self._join()
        parts = [(self._windows, self._ids, self._rows)] if whole and self._rows is not None else unsaved
        filled = [(w, i, r) for w, i, r in parts if r is not None and len(i)]
        if not filled:
            return None
        rows = pa.concat_batches([part[2] for part in filled])
        windows = np.concatenate([part[0] for part in filled])
        ids = np.concatenate([part[1] for part in filled])
        return pa.RecordBatch.from_arrays(
            [pa.array(windows), pa.array(ids), *rows.columns], names=[WINDOW, ID, *rows.schema.names]
        )

    def load(self, saved: pa.RecordBatch, operator: str) -> None:
        windows, ids = _groups(saved, operator)
        self._unsaved.append((windows, ids, saved.drop_columns([WINDOW, ID])))
        self._join()

    def renumber(self, numbers: Int32s) -> None:
        self._join()
        self._ids = numbers[self._ids]

    @property
    def nbytes(self) -> int:
        rows = [self._rows] if self._rows is not None else []
        held = [*rows, *(part[2] for part in self._unsaved)]
        return self._windows.nbytes + self._ids.nbytes + sum(int(batch.nbytes) for batch in held)


class WindowUpdates(KeyedState):
    """One shard of a tumbling, hopping or cumulate aggregation that emits ``current`` rows.

    With `retract`, the row that a new one replaces is sent before it, with weight -1; nothing is sent for a row that
    stayed as it was. Windows are dropped when the watermark has passed their end by the allowed lateness.
    """

    timed = True

    def __init__(self, aggregation: Aggregation, window: Window, retract: bool) -> None:
        super().__init__(aggregation)
        self._grid: Grid = grid_of(window, aggregation.lateness_us)
        self._clock = FiringClock(aggregation.firing, self._grid.offset_us)
        self._retract = retract
        self._compare = retract or may_stay(aggregation)
        self.clear()

    def clear(self) -> None:
        self._pool = Pool(self.accumulators, current=True)
        self._sent = Sent()

    def take(self, ids: Int32s, data: pa.RecordBatch, piece: Piece) -> None:
        codes = pane_codes_of(data, self._grid)
        if isinstance(codes, int):
            low, high = (np.full(len(ids), bound[0]) for bound in self._grid.windows_of(np.array([codes], np.int64)))
        else:
            low, high = self._grid.windows_of(codes)
        if low is high:  # each row is in one window
            self._add(low, ids, piece)
            return
        for step in range(int((high - low).max()) + 1):
            inside = low + step <= high
            if inside.all():
                self._add(low + step, ids, piece)
            else:
                where = np.flatnonzero(inside).astype(np.int32)
                self._add(low[where] + step, ids[where], piece.take(where))

    def _add(self, windows: Int64s, ids: Int32s, piece: Piece) -> None:
        rows = self._pool.find(windows, ids)
        if self._compare:
            settled = self._pool.rows.settled(rows)
            if len(settled):
                self._sent.keep(self._pool.codes[settled], self._pool.numbers[settled], self._results(settled, -1))
        piece.apply(self._pool.rows, rows)

    # results

    def at(self, now_us: int) -> None:
        """The processing time of the epoch."""
        self._clock.at(now_us)

    def due(self, now_us: int) -> bool:
        """Whether something is to be sent although no row has come."""
        return self._clock.due(now_us) and self._pool.rows.any_changed

    def emit(self, watermark_us: int) -> list[pa.RecordBatch]:
        early = self._clock.fires_early(self.watermark_us, watermark_us)
        last = None if early else self._grid.last_ended(watermark_us)
        pool = self._pool
        rows = self._fired_rows(last)
        windows, ids, old = self._sent.take(last)
        rows = rows[by_pair(pool.codes[rows], pool.numbers[rows])]
        outputs = self._changes(rows, windows, ids, old)
        pool.rows.settle_some(rows)
        self._drop(watermark_us)
        return outputs

    def _fired_rows(self, last: int | None) -> Int32s:
        rows = self._pool.rows.changed()
        fired: Int32s = rows if last is None else rows[self._pool.codes[rows] <= last]
        return fired

    def _changes(self, rows: Int32s, windows: Int64s, ids: Int32s, old: pa.RecordBatch | None) -> list[pa.RecordBatch]:
        """What replaces what: by window and key."""
        if len(rows) == 0:
            return []
        new = self._results(rows, 1)
        if old is None or old.num_rows == 0:
            return [new]
        places = np.empty(self._pool.rows.capacity, np.int32)
        places[rows] = all_rows(len(rows))
        old_places = places[self._pool.find(windows, ids)]
        order = np.argsort(old_places)
        old = old.take(pa.array(order))
        return differing(old_places[order], old, all_rows(len(rows)), new, retract=self._retract)

    def _results(self, rows: Int32s, weight: int) -> pa.RecordBatch:
        starts, ends = self._grid.bounds(self._pool.codes[rows])
        keys = self.key_columns(self._pool.numbers[rows])
        return window_batch(self, keys, starts, ends, self._pool.rows.select(rows), weight)

    def _drop(self, watermark_us: int) -> None:
        closed = self._grid.last_closed(watermark_us)
        gone = [window for window in self._pool.counts if window <= closed]
        if gone:
            self._dropped = True
            self._pool.drop(gone)

    def expire(self, watermark_us: int) -> None:
        last = None if self._clock.early else self._grid.last_ended(watermark_us)
        self._sent.take(last)
        self._pool.rows.settle_some(self._fired_rows(last))
        self._drop(watermark_us)

    # saving and restoring

    def save_groups(self, whole: bool) -> dict[str, pa.RecordBatch]:
        pool = self._pool
        rows = pool.live() if whole else pool.rows.dirty()
        changed = pool.rows.are_changed(rows)
        columns = {WINDOW: pa.array(pool.codes[rows]), ID: pa.array(pool.numbers[rows]), CHANGED: pa.array(changed)}
        columns |= pool.rows.save(rows)
        pool.rows.clean()
        tables = {
            "groups": pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)),
            "fired": self._clock.save(),
        }
        sent = self._sent.save(whole)
        return tables if sent is None else tables | {"sent": sent}

    def load_groups(self, tables: Tables) -> None:
        operator = self.aggregation.name
        self._clock.load(table_of(tables, "fired", operator))
        groups = table_of(tables, "groups", operator)
        windows, ids = _groups(groups, operator)
        if len(ids):
            changed = int_column(groups, CHANGED, pa.bool_(), operator).to_numpy(zero_copy_only=False)
            rows = self._pool.find(windows, ids)
            self._pool.rows.settle_some(rows)  # `put` would clear the mark but leave them listed
            self._pool.rows.put(rows, load(self.accumulators, columns_of(groups)))
            self._pool.rows.mark_changed(rows[changed])
        if "sent" in tables:
            self._sent.load(tables["sent"], operator)

    def live_keys(self) -> npt.NDArray[np.bool_]:
        live = np.zeros(self.key_count, np.bool_)
        live[self._pool.numbers[self._pool.live()]] = True
        return live

    def renumber(self, kept: Int32s) -> None:
        numbers = np.full(self.key_count, -1, np.int32)
        numbers[kept] = all_rows(len(kept))
        self._pool.renumber(numbers)
        self._sent.renumber(numbers)

    def all_rows(self) -> list[Rows]:
        return [self._pool.rows]

    @property
    def groups_nbytes(self) -> int:
        return self._pool.nbytes + self._sent.nbytes


def _groups(saved: pa.RecordBatch, operator: str) -> tuple[Int64s, Int32s]:
    windows: Int64s = view(int_column(saved, WINDOW, pa.int64(), operator), np.int64)  # type: ignore[assignment]
    ids: Int32s = view(int_column(saved, ID, pa.int32(), operator), np.int32)  # type: ignore[assignment]
    return windows, ids
