"""State of session windows: what is sent of the sessions of every key, and when."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import TIME, Int32s, Int64s, Tables, view
from windrow.plan.window import Aggregation, Window
from windrow.state.accumulators.rows import Rows, load
from windrow.state.aggregations.firing import FiringClock
from windrow.state.aggregations.keyed import KeyedState, Piece, columns_of, int_column
from windrow.state.aggregations.output import window_batch
from windrow.state.aggregations.panes import ID
from windrow.state.aggregations.sessions import END, FROM, START, Sessions
from windrow.state.aggregations.unsent import SentRows, Unsent
from windrow.state.aggregations.updates import CHANGED
from windrow.state.changes import consolidated, upserts
from windrow.state.columns import all_rows, by_pair
from windrow.state.saved import table_of


class SessionState(KeyedState):
    """One shard of a session aggregation.

    A delta holds all sessions of every key that changed: they replace what was there of the key.

    Emitting ``current``, a session that has grown or was joined to another is another row than before: the old one is
    taken back. With `retract`, so is a row of which only the aggregates have changed. Where sessions are not sent in
    every epoch they are once they have ended, and early when it is time (`FiringClock`); until then what they, or the
    sessions that they were put together of, were sent as is kept.
    """

    timed = True

    def __init__(self, aggregation: Aggregation, window: Window, retract: bool = False) -> None:
        super().__init__(aggregation)
        self._gap_us = window.gap_us
        self._current = aggregation.emit == "current"
        self._clock = FiringClock(aggregation.firing)
        self._waits = aggregation.firing is not None  # whether sessions are not sent in every epoch
        self._retract = retract
        self.clear()

    def clear(self) -> None:
        self._sessions = Sessions(self.accumulators, self._gap_us, track=True, current=self._waits)
        self._unsent = Unsent()

    def take(self, ids: Int32s, data: pa.RecordBatch, piece: Piece) -> None:
        if self._current:
            self._remember(ids)
        names = data.schema.names
        starts = _ints(data, START if START in names else TIME)
        froms = _ints(data, FROM) if FROM in names else None
        ends = _ints(data, END) if END in names else None
        self._sessions.add(ids, starts, froms, ends, self.key_count, piece)

    def at(self, now_us: int) -> None:
        """The processing time of the epoch."""
        self._clock.at(now_us)

    def due(self, now_us: int) -> bool:
        """Whether something is to be sent although no row has come."""
        return self._clock.due(now_us) and len(self._unsent.keys) > 0

    def emit(self, watermark_us: int) -> list[pa.RecordBatch]:
        changes: list[pa.RecordBatch] = []
        if self._current:
            early = self._clock.fires_early(self.watermark_us, watermark_us)
            changes = self._changes() if early else self._changes_of_ended(watermark_us)
        expired = self._sessions.expire(watermark_us - self.aggregation.lateness_us)
        outputs = changes if self._current else self._results(expired, 1)
        self._bury(expired)
        return outputs

    def _remember(self, ids: Int32s) -> None:
        """Keep the rows of keys that are about to change for the first time since they were sent."""
        fresh = self._unsent.fresh(ids, self.key_count)
        self._unsent.add(self._sent(self._sessions.of_keys(fresh[fresh < len(self._sessions.heads)])))

    def _changes(self) -> list[pa.RecordBatch]:
        """All that has changed since it was sent."""
        keys, old = self._unsent.keys, self._unsent.take()
        rows = self._sessions.of_keys(keys)
        self._unsent.leave(keys[:0], keys)
        if not self._waits:
            return self._replacing(old, rows)
        changed = self._sessions.rows.are_changed(rows)
        if old is not None:
            places = self._places(old, rows)
            old = old.chosen((places >= 0) & changed[places])
        return self._replacing(old, rows[changed])

    def _changes_of_ended(self, watermark_us: int) -> list[pa.RecordBatch]:
        """What has changed in sessions that have ended; the rest waits, and what it was sent as with it."""
        sessions, unsent = self._sessions, self._unsent
        rows = sessions.of_keys(unsent.keys)
        waits = sessions.ends[rows] > watermark_us
        if waits.all():
            return []
        goes = sessions.rows.are_changed(rows) & ~waits
        keys, ended = np.unique(sessions.keys[rows[waits]]), rows[goes]
        old = unsent.take()
        if old is not None:
            places = self._places(old, rows)
            unsent.add(old.chosen((places >= 0) & ~goes[places] & np.isin(old.ids, keys)))
            old = old.chosen((places >= 0) & goes[places])
        changes = self._replacing(old, ended)
        unsent.add(self._sent(ended[np.isin(sessions.keys[ended], keys)]))
        unsent.leave(keys, np.unique(sessions.keys[rows[~waits]]))
        return changes

    def _places(self, old: SentRows, rows: Int32s) -> Int64s:
        sessions = self._sessions
        return old.part_of(sessions.keys[rows], sessions.starts[rows], sessions.ends[rows])

    def _replacing(self, old: SentRows | None, rows: Int32s) -> list[pa.RecordBatch]:
        """What has to be sent for these sessions to replace those rows."""
        parts = [*([] if old is None else [old.rows]), *self._results(rows, 1)]
        self._sessions.rows.settle_some(rows)
        if not parts:
            return []
        changes = consolidated(pa.concat_batches(parts))
        if not self._retract:
            changes = upserts(changes, (*self.aggregation.keys, "window_start", "window_end"))
        return [changes] if changes.num_rows else []

    def _sent(self, rows: Int32s) -> SentRows | None:
        """These sessions as they were sent, to be taken back."""
        if len(rows) == 0:
            return None
        sessions = self._sessions
        rows = self._in_order(rows)
        (batch,) = self._results(rows, -1)
        return SentRows(sessions.keys[rows], sessions.starts[rows], sessions.ends[rows], batch)

    def _in_order(self, rows: Int32s) -> Int32s:
        ordered: Int32s = rows[by_pair(self._sessions.ends[rows], self._sessions.keys[rows])]
        return ordered

    def _results(self, rows: Int32s, weight: int) -> list[pa.RecordBatch]:
        if len(rows) == 0:
            return []
        sessions = self._sessions
        rows = self._in_order(rows)
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
            keys = sessions.keys[sessions.rows.dirty()]
            rows = sessions.of_keys(np.unique(np.append(keys, self._unsent.changed) if self._waits else keys))
        columns = {
            ID: pa.array(sessions.keys[rows]),
            FROM: pa.array(sessions.froms[rows]),
            START: pa.array(sessions.starts[rows]),
            END: pa.array(sessions.ends[rows]),
        }
        if self._waits:
            columns[CHANGED] = pa.array(sessions.rows.are_changed(rows))
        columns |= sessions.rows.save(rows)
        sessions.rows.clean()
        tables = {"sessions": pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))}
        if self._waits:
            tables |= {"fired": self._clock.save()} | self._unsent.save(whole)
        return tables

    def load_groups(self, tables: Tables) -> None:
        operator = self.aggregation.name
        saved = table_of(tables, "sessions", operator)
        ids: Int32s = view(int_column(saved, ID, pa.int32(), operator), np.int32)  # type: ignore[assignment]
        times = [_checked(saved, name, operator) for name in (START, FROM, END)]
        if self._waits:
            self._clock.load(table_of(tables, "fired", operator))
            self._unsent.load(table_of(tables, "unsent", operator), tables.get("sent"), self.key_count, operator)
        if len(ids) == 0:
            return
        sessions = self._sessions
        changed = np.unique(ids)
        sessions.remove(changed[changed < len(sessions.heads)].astype(np.int32))
        rows = sessions.insert(ids, times[0], times[1], times[2], self.key_count)
        sessions.rows.put(rows, load(self.accumulators, columns_of(saved)))
        if self._waits:
            changed = int_column(saved, CHANGED, pa.bool_(), operator).to_numpy(zero_copy_only=False)
            sessions.rows.mark_changed(rows[changed])

    def live_keys(self) -> npt.NDArray[np.bool_]:
        live = np.zeros(self.key_count, np.bool_)
        live[self._sessions.keys[self._sessions.live()]] = True
        return live

    def renumber(self, kept: Int32s) -> None:
        numbers = np.full(self.key_count, -1, np.int32)
        numbers[kept] = all_rows(len(kept))
        self._unsent.renumber(numbers, len(kept))
        self._sessions.renumber(kept, self.key_count)

    def all_rows(self) -> list[Rows]:
        return [self._sessions.rows]

    @property
    def groups_nbytes(self) -> int:
        return self._sessions.nbytes + self._unsent.nbytes


def _ints(data: pa.RecordBatch, name: str) -> Int64s:
    values: Int64s = view(data.column(name), np.int64)  # type: ignore[assignment]
    return values


def _checked(saved: pa.RecordBatch, name: str, operator: str) -> Int64s:
    int_column(saved, name, pa.int64(), operator)
    return _ints(saved, name)
