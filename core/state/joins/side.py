"""One side of a join in one shard: its rows, chained by key, with what is known of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Int32s, Int64s, UInt64s
from windrow.errors import InvariantError
from windrow.kernels import chains
from windrow.state.columns import grown
from windrow.state.keys.same import all_same, exact_ids
from windrow.state.keys.table import KeyTable
from windrow.state.row_store import RowStore
from windrow.units import BEFORE_TIME_US

#: Pairs that are made at once: what a skewed key can take of memory before they are looked at.
PAIRS_AT_ONCE = 1 << 16
_NONE: Int64s = np.empty(0, np.int64)
#: Dead rows are tolerated up to the number of the living, and this many.
_SLACK = 4096
#: Fewer keys than this are never numbered anew.
_FEW_KEYS = 4096
#: Key ids of a row that is gone, and of one whose key is null: neither is in a chain.
GONE, ALONE = -1, -2
_ARRAYS = ("ids", "nexts", "newest", "times", "marks", "hashes", "matches", "shown")


class SideState:
    """Rows by number; the arrays below have a place for each row from `origin`.

    `ids` key id, or `GONE` or `ALONE`; `times` event time; `marks` watermark of the row's partition before it;
    `hashes` of the whole row, where rows can be taken back; `matches` the number of its pairs and `shown` whether it
    is out alone, where that is asked.
    """

    def __init__(
        self,
        schema: pa.Schema,
        *,
        timed: bool,
        bounded: bool,
        hashed: bool,
        counted: bool,
        deletes: bool = False,
        loose: Collection[str] = (),
    ) -> None:
        self.store = RowStore(schema, loose)
        self.timed, self.bounded, self.hashed, self.counted = timed, bounded, hashed, counted
        self.deletes = hashed or deletes  # whether rows go one by one
        self.late = False  # whether a row was older than its watermark
        self.dead = 0
        self.heads: Int64s = np.full(1024, -1, np.int64)
        self.clear(0)

    def clear(self, first: int) -> None:
        """Have no rows, and number the next one `first`."""
        self.store.start_at(first)
        self.origin = first
        self.dead = 0
        self.heads.fill(-1)
        self.ids: Int32s = np.empty(0, np.int32)
        self.nexts = self.newest = self.times = self.marks = _NONE
        self.hashes: UInt64s = np.empty(0, np.uint64)
        self.matches: Int64s = _NONE
        self.shown: npt.NDArray[np.bool_] = np.empty(0, np.bool_)

    @property
    def nbytes(self) -> int:
        parts = (self.heads, self.ids, self.nexts, self.newest, self.times, self.marks, self.hashes, self.matches)
        return self.store.nbytes + sum(part.nbytes for part in parts) + self.shown.nbytes

    @property
    def end(self) -> int:
        return self.store.end

    def add(self, batch: pa.RecordBatch, ids: Int32s, times: Int64s, marks: Int64s | None, hashes: UInt64s) -> int:
        """Keep these rows; the number of the first. They are in no chain yet."""
        first = self.store.append(batch)
        count = len(ids)
        self._ensure(first + count - self.origin)
        here = slice(first - self.origin, first - self.origin + count)
        self.ids[here] = ids
        if self.timed:
            self.times[here] = times
        if marks is not None and not self.late:
            self.late = True
            self.marks = np.full(len(self.ids), BEFORE_TIME_US, np.int64)
        if self.late:
            self.marks[here] = BEFORE_TIME_US if marks is None else marks
        if self.hashed:
            self.hashes[here] = hashes
        if self.counted:
            self.matches[here] = 0
            self.shown[here] = False
        return first

    def link(self, first: int, end: int, keys: int) -> None:
        """Put rows `first` to `end` into the chains of their ids, of which there are `keys`."""
        if keys > len(self.heads):
            larger = np.empty(max(keys, len(self.heads) * 2), np.int64)
            larger[: len(self.heads)] = self.heads
            larger[len(self.heads) :] = -1
            self.heads = larger
        here = slice(first - self.origin, end - self.origin)
        times = self.times[here] if self.bounded else _NONE
        self._link(self.ids[here], times, first)

    def _link(self, ids: Int32s, times: Int64s, first: int) -> None:
        chains.link_rows(ids, times, first, self.origin, self.heads, self.nexts, self.newest)

    def probe(self, ids: Int32s, times: Int64s, lower: int, upper: int) -> Iterator[tuple[Int64s, Int64s]]:
        """Pairs (place in `ids`, row here) in bounded pieces; with bounds, by time too."""
        cursor = np.array([0, -2], np.int64)
        wanted = times if self.bounded else _NONE
        while cursor[0] < len(ids):
            room = PAIRS_AT_ONCE
            probes, rows = np.empty(room, np.int64), np.empty(room, np.int64)
            found = chains.probe_chains(
                ids, wanted, lower, upper, self.origin, self.heads, self.nexts, self.times, self.newest,
                cursor, probes, rows,
            )  # fmt: skip
            if found:
                yield probes[:found], rows[:found]

    def take_out(self, ids: Int32s, hashes: UInt64s, columns: Sequence[pa.Array]) -> Int64s:
        """One row like each of these, no longer in its chain. `columns` are those of the store."""
        rows = self._unlinked(ids, hashes)
        if (rows < 0).any() or not all_same(self.store.take(self.store.schema.names, rows), columns):
            # two rows of a key have the same hash, or one was never there
            self._put_back(rows[rows >= 0])
            rows = self._unlinked(*self._exactly(ids, columns))
            if (rows < 0).any():
                raise InvariantError("a join was told to take back a row that it was never given")
        self.kill(rows)
        return rows

    def _unlinked(self, ids: Int32s, hashes: UInt64s, held: UInt64s | None = None) -> Int64s:
        """A row with each id and hash (`held`: other ones than those there are), out of its chain; -1 for none."""
        rows = np.empty(len(ids), np.int64)
        held = self.hashes if held is None else held
        chains.unlink_rows(ids, hashes, self.origin, held, self.heads, self.nexts, rows)
        return rows

    def _put_back(self, rows: Int64s) -> None:
        """Into the chains that they were in; where does not matter, for no bound in time is kept on them."""
        for row in rows.tolist():
            place = row - self.origin
            self._link(self.ids[place : place + 1], _NONE, row)

    def _exactly(self, ids: Int32s, columns: Sequence[pa.Array]) -> tuple[Int32s, UInt64s, UInt64s]:
        """What `_unlinked` needs to find the same rows and no others: numbers of their own instead of hashes."""
        first = self.store.base
        places = np.flatnonzero(np.isin(self.ids[first - self.origin : self.end - self.origin], ids)) + first
        stored = self.store.take(self.store.schema.names, places)
        both = [pa.concat_arrays([one, other.cast(one.type)]) for one, other in zip(stored, columns, strict=True)]
        numbers = exact_ids(both).astype(np.uint64)
        held = np.empty(len(self.hashes), np.uint64)
        held[places - self.origin] = numbers[: len(places)]
        return ids, numbers[len(places) :], held

    def kill(self, rows: Int64s) -> None:
        """These rows are gone; they can be gathered until they are dropped."""
        self.ids[rows - self.origin] = GONE
        self.dead += len(rows)

    def count(self, rows: Int64s, weight: int) -> None:
        """Each of these rows has one pair more (or less)."""
        np.add.at(self.matches, rows - self.origin, weight)

    def alive(self, rows: Int64s) -> npt.NDArray[np.bool_]:
        kept: npt.NDArray[np.bool_] = self.ids[rows - self.origin] != GONE
        return kept

    def time_of(self, rows: Int64s) -> Int64s:
        return self.times[rows - self.origin]

    def mark_of(self, rows: Int64s) -> Int64s:
        return self.marks[rows - self.origin]

    def waited(self, before_us: int, until_us: int, kept_us: int) -> Int64s:
        """Living rows whose time to wait (event time + `kept_us`) ended from `before_us` on and before `until_us`."""
        found = []
        for first, end in self.store.bounds():
            ends = self.times[first - self.origin : end - self.origin] + kept_us
            if len(ends) and int(ends.min()) < until_us:
                places = np.flatnonzero((ends >= before_us) & (ends < until_us)) + first
                found.append(places[self.alive(places)])
        return np.concatenate(found) if found else _NONE

    def expire(self, until_us: int, kept_us: int) -> None:
        """Drop whole chunks at the front in which every row's time to wait has ended."""
        count = 0
        for first, end in self.store.bounds():
            if int(self.times[first - self.origin : end - self.origin].max()) + kept_us >= until_us:
                break
            count += 1
        self.store.drop_chunks(count)
        if count and self.deletes:
            self.dead = int((self.ids[self.store.base - self.origin : self.store.end - self.origin] == GONE).sum())
        gone = self.store.base - self.origin
        if gone > 0 and gone * 2 >= self.store.end - self.origin:
            self._shift(gone)

    def compact(self) -> bool:
        """Drop dead rows and number the others anew when more are dead than alive; whether that was done."""
        if self.dead * 2 <= len(self.store) + _SLACK:
            return False
        gone = self.store.base - self.origin  # rows that time has dropped are in no store any more
        places = gone + np.flatnonzero(self.ids[gone : self.store.end - self.origin] != GONE)
        columns = self.store.take(self.store.schema.names, places + self.origin)
        batch = pa.RecordBatch.from_arrays(columns, schema=self.store.schema)
        self._rearrange(places)
        self.store.start_at(0)
        self.origin = self.dead = 0
        self.store.append(batch)
        self.relink(0)
        return True

    def relink(self, keys: int) -> None:
        """Make all chains anew."""
        self.heads.fill(-1)
        self.link(self.origin, self.store.end, keys)

    def used(self, keys: int) -> npt.NDArray[np.bool_]:
        """For each key id whether a row has it."""
        used = np.zeros(keys + 2, np.bool_)
        used[self.ids[self.store.base - self.origin : self.store.end - self.origin]] = True  # GONE and ALONE come last
        return used[:keys]

    def rekey(self, kept: npt.NDArray[np.bool_]) -> None:
        """Key ids are from now on numbered among those that are kept; rows of others have been dropped."""
        numbers = np.append(np.where(kept, np.cumsum(kept) - 1, GONE), (ALONE, GONE)).astype(np.int32)
        self.ids = numbers[self.ids]
        heads = self.heads[: len(kept)][kept[: len(self.heads)]]
        self.heads = np.full(max(1024, len(heads)), -1, np.int64)
        self.heads[: len(heads)] = heads

    @property
    def living(self) -> int:
        """How many rows are there and not gone."""
        return len(self.store) - self.dead

    def _shift(self, gone: int) -> None:
        self._rearrange(slice(gone, None))
        self.origin += gone

    def _rearrange(self, places: Int64s | slice) -> None:
        for name in _ARRAYS:
            held = getattr(self, name)
            if len(held):
                setattr(self, name, held[places].copy())

    def _ensure(self, size: int) -> None:
        if size <= len(self.ids):
            return
        room = max(size, len(self.ids) * 3 // 2, 1024)
        kept = {
            "newest": self.bounded,
            "times": self.timed,
            "marks": self.late,
            "hashes": self.hashed,
            "matches": self.counted,
            "shown": self.counted,
        }
        for name in _ARRAYS:
            if kept.get(name, True):
                setattr(self, name, grown(getattr(self, name), room))


class SortedSide(SideState):
    """Rows whose chains are sorted by time, the newest first: versions of a key."""

    def _link(self, ids: Int32s, times: Int64s, first: int) -> None:
        chains.link_sorted(ids, self.times, first, self.origin, self.heads, self.nexts)

    def nearest(self, ids: Int32s, times: Int64s, backward: bool, forward: bool, tolerance: int) -> Int64s:
        """For each key id and time the row nearest in time, -1 for none."""
        rows = np.empty(len(ids), np.int64)
        chains.probe_nearest(
            ids, times, int(backward), int(forward), tolerance, self.origin, self.heads, self.nexts, self.times, rows
        )
        return rows

    def cut(self, ids: Int32s, until_us: int) -> Int64s:
        """Let all rows of these keys go that are older than another one from before `until_us`; their numbers."""
        cursor, parts = np.zeros(1, np.int64), []
        while cursor[0] < len(ids):
            rows = np.empty(PAIRS_AT_ONCE, np.int64)
            found = chains.cut_chains(ids, until_us, self.origin, self.heads, self.times, self.nexts, rows, cursor)
            parts.append(rows[:found])
        gone = np.concatenate(parts) if parts else _NONE
        self.kill(gone)
        return gone

    def later(self, ids: Int32s, until_us: int) -> Int32s:
        """Those of these keys whose newest row is not before `until_us`."""
        heads = self.heads[ids]
        there = heads >= self.origin
        later: Int32s = ids[there][self.times[heads[there] - self.origin] >= until_us]
        return later


def forget_keys(keys: KeyTable, sides: Sequence[SideState]) -> Int32s | None:
    """Drop keys of which no row is left, when they are many; the new id of every old one, if that was done."""
    count = len(keys)
    if count <= _FEW_KEYS or count <= 2 * sum(side.living for side in sides):
        return None
    used = np.logical_or.reduce([side.used(count) for side in sides])
    keys.keep(used)
    for side in sides:
        side.rekey(used)
    return np.where(used, np.cumsum(used) - 1, GONE).astype(np.int32)
