"""State of a join in one shard: the rows of both sides, and what of the result the epoch has changed.

Every pair is found once: a row that comes is paired with all rows of the other side that were there before it. So the
result does not depend on the order in which the sides come. Pairs are kept as row numbers until the epoch ends, then
those that cancel are left out, and only then rows are gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import TIME, WATERMARK, WEIGHT, Int32s, Int64s, Tables, UInt64s, take_rows, view
from windrow.plan.join import LEFT, RIGHT, Join, JoinColumn
from windrow.state.joins import saved
from windrow.state.joins.side import ALONE, PAIRS_AT_ONCE, SideState, forget_keys
from windrow.state.joins.waiting import in_turn, without_passing
from windrow.state.keys.hashes import row_hashes
from windrow.state.keys.local import group_rows
from windrow.state.keys.table import KeyTable
from windrow.state.row_store import int64s, is_flat
from windrow.state.values import storage_type
from windrow.units import BEFORE_TIME_US

#: Which of some pairs the residual condition is true for, given a batch of the columns that it reads.
Keep = Callable[[pa.RecordBatch], npt.NDArray[np.bool_]]
_NONE: Int64s = np.empty(0, np.int64)
_NO_HASHES: UInt64s = np.empty(0, np.uint64)


def loose_columns(join: Join, number: int, held: Sequence[str]) -> frozenset[str]:
    """The columns of a side whose values may stay where they came in, and are copied once, into the result.

    Keys are compared in their table, and rows that can be taken back are found by what they are. The state of joins by
    the nearest time holds no row numbers.
    """
    side = join.sides[number]
    kinds = {name: to_arrow_type(type_) for name, type_ in side.columns}
    flat = frozenset(name for name in held if is_flat(kinds[name]) and kinds[name] == storage_type(kinds[name]))
    return frozenset() if side.weighted or join.strategy is not None else flat - {*side.keys}


class JoinState:
    """One shard of a join. `held` are the columns that each side keeps, `columns` those of the result that are read."""

    def __init__(
        self,
        join: Join,
        columns: Sequence[str],
        held: Sequence[Sequence[str]],
        keep: Keep | None,
        retract: bool,
    ) -> None:
        self.join, self._keep, self._retract = join, keep, retract
        self._columns = [column for column in join.columns if column.name in columns]
        self.keys = KeyTable(join.key_types)
        self.sides: Sequence[SideState] = [self._side(number, names) for number, names in enumerate(held)]
        self.watermark_us = BEFORE_TIME_US
        self._pairs: list[tuple[Int64s, Int64s, int]] = []
        self._touched: list[list[Int64s]] = [[], []]
        self._waiting: list[tuple[int, pa.RecordBatch]] = []
        self._lonely: list[tuple[int, pa.RecordBatch]] = []
        self._log = saved.ChangeLog()

    def _side(self, number: int, names: Sequence[str]) -> SideState:
        side = self.join.sides[number]
        kinds = dict(side.columns)
        schema = pa.schema([(name, to_arrow_type(kinds[name])) for name in names])
        return SideState(
            schema,
            timed=self.join.timed,
            bounded=self.join.bounded,
            hashed=side.weighted,
            counted=self.join.singles[number],
            loose=loose_columns(self.join, number, names),
        )

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + sum(side.nbytes for side in self.sides)

    # -- rows in -------------------------------------------------------------------------------------------------

    def process_pieces(self, pieces: Sequence[pa.RecordBatch], side: int) -> None:
        """Wide rows are stored as they come: putting pieces together took a quarter of a join's time."""
        for piece in pieces:
            self.process(piece, side)

    def process(self, data: pa.RecordBatch, side: int = 0) -> None:
        self._log.begin(self)
        if not self.join.bounded:
            self._take(data, side)
            return
        self._waiting.append((side, data))

    def _take_waiting(self, watermark_us: int) -> None:
        """Take the epoch's rows of both sides in turn, by time: a row whose side comes last would otherwise pass all
        the rows of its key that are an epoch newer (2 k keys, 10 s an epoch, 100 ms apart: 0.23 M rows/s)."""
        waiting, self._waiting = without_passing(self._waiting, self.join, self.sides, watermark_us), []
        for side, data in in_turn(waiting):
            self._take(data, side)

    def _take(self, data: pa.RecordBatch, side: int) -> None:
        data = self._without_lonely(data, side)
        added = view(data.column(WEIGHT), np.int8) == 1 if self.join.sides[side].weighted else None
        if added is None or added.all():
            self._insert(data, side)
            return
        self._insert(take_rows(data, np.flatnonzero(added)), side)
        self._take_back(take_rows(data, np.flatnonzero(~added)), side)

    def _without_lonely(self, data: pa.RecordBatch, number: int) -> pa.RecordBatch:
        """Rows without a key come out alone whatever happens: they need not be kept, if they need not wait."""
        if self.join.bounded or not self.sides[number].counted:
            return data
        keyed = saved.keyed(data, self.join.sides[number].keys)
        if keyed.all():
            return data
        self._lonely.append((number, take_rows(data, np.flatnonzero(~keyed))))
        return take_rows(data, np.flatnonzero(keyed))

    def _insert(self, data: pa.RecordBatch, number: int) -> None:
        if data.num_rows == 0:
            return
        side = self.sides[number]
        ids = self.key_ids(data, number)
        times = int64s(data, TIME) if self.join.timed else _NONE
        marks = int64s(data, WATERMARK) if self.join.timed and WATERMARK in data.schema.names else None
        hashes = row_hashes([data.column(name) for name in side.store.schema.names]) if side.hashed else _NO_HASHES
        first = side.add(data, ids, times, marks, hashes)
        side.link(first, side.end, len(self.keys))
        if side.counted:
            self._touched[number].append(np.arange(first, side.end))
        self._probe(number, ids, times, None, first, 1)

    def _take_back(self, data: pa.RecordBatch, number: int) -> None:
        side = self.sides[number]
        ids = self.key_ids(data, number)
        columns = [data.column(name) for name in side.store.schema.names]
        rows = side.take_out(ids, row_hashes(columns), columns)
        if side.counted:
            self._touched[number].append(rows)
        times = side.time_of(rows) if self.join.timed else _NONE
        self._log.gone(number, rows)
        self._probe(number, ids, times, rows, 0, -1)

    def key_ids(self, data: pa.RecordBatch, number: int) -> Int32s:
        """The key id of each row; `ALONE` where a part of the key is null."""
        columns = [data.column(name) for name in self.join.sides[number].keys]
        ids = self.keys.ids(columns)
        keyed = saved.keyed(data, self.join.sides[number].keys)
        if not keyed.all():
            ids[~keyed] = ALONE
        return ids

    def _probe(self, number: int, ids: Int32s, times: Int64s, rows: Int64s | None, first: int, weight: int) -> None:
        """Pair these rows of one side (`rows`, or as many from `first`) with what the other side has."""
        lower, upper = self.join.lower_us or 0, self.join.upper_us or 0
        if number == RIGHT:
            lower, upper = -upper, -lower
        for probes, others in self.sides[1 - number].probe(ids, times, lower, upper):
            mine = probes + first if rows is None else rows[probes]
            left, right = (mine, others) if number == LEFT else (others, mine)
            if self._keep is not None:
                kept = self._keep(self._gather(self.join.where_columns, left, right))
                left, right = left[kept], right[kept]
            if len(left) == 0:
                continue
            if self.join.pairs:
                self._pairs.append((left, right, weight))
            for side, paired in enumerate((left, right)):
                if self.sides[side].counted:
                    self.sides[side].count(paired, weight)
                    self._touched[side].append(paired)

    # -- rows out ------------------------------------------------------------------------------------------------

    def advance(self, watermark_us: int) -> Iterator[pa.RecordBatch]:
        """The epoch's changes, made as they are asked for; the epoch is over when all have been."""
        self._log.begin(self)
        watermark_us = max(watermark_us, self.watermark_us)
        self._take_waiting(watermark_us)
        pairs, self._pairs = self._consolidated(), []
        singles = self._singles(watermark_us)
        if self.join.updating:
            minus = [*self._pair_batches(pairs, -1), *self._single_batches(singles, -1)]
            plus = [*self._pair_batches(pairs, 1), *self._single_batches(singles, 1)]
            yield from minus if self._retract or not self.join.key else self._unanswered(minus, plus)
            yield from plus
            yield from self._lonely_batches()
        else:
            yield from self._pair_batches(pairs, 1)
            yield from self._single_batches(singles, 1)
        self.watermark_us = watermark_us
        self._expire()
        self._log.ended()

    def _consolidated(self) -> list[tuple[Int64s, Int64s, int]]:
        """The epoch's pairs with their weights, those that cancel left out."""
        if not any(weight < 0 for _, _, weight in self._pairs):
            return _joined(self._pairs)
        left = np.concatenate([part for part, _, _ in self._pairs])
        right = np.concatenate([part for _, part, _ in self._pairs])
        weights = np.concatenate([np.full(len(part), weight) for part, _, weight in self._pairs])
        grouped = group_rows([left, right])
        assert grouped is not None
        ids, first = grouped
        sums = np.bincount(ids, weights, len(first)).astype(np.int64)
        made = []
        for weight in (-1, 1):
            chosen = first[sums == weight]
            made.append((left[chosen], right[chosen], weight))
        return made

    def _singles(self, watermark_us: int) -> list[list[tuple[Int64s, int]]]:
        """For each side the rows that come out alone now, and those that no longer do."""
        found: list[list[tuple[Int64s, int]]] = [[], []]
        for number, side in enumerate(self.sides):
            touched, self._touched[number] = self._touched[number], []
            if not side.counted:
                continue
            rows = np.unique(np.concatenate(touched)) if touched else _NONE
            self._log.counted(number, rows)
            if self.join.bounded and self.join.how != "semi":
                kept = self.join.kept_us(number)
                waited = side.waited(self.watermark_us, watermark_us, kept)
                found[number] = [(waited[side.matches[waited - side.origin] == 0], 1)]
            else:
                places = rows - side.origin
                wanted = self._wanted(side, rows)
                before = side.shown[places]
                found[number] = [(rows[before & ~wanted], -1), (rows[wanted & ~before], 1)]
                side.shown[places] = wanted
        return found

    def _wanted(self, side: SideState, rows: Int64s) -> npt.NDArray[np.bool_]:
        paired = side.matches[rows - side.origin] > 0
        wanted: npt.NDArray[np.bool_] = side.alive(rows) & (paired if self.join.how == "semi" else ~paired)
        return wanted

    def _pair_batches(self, pairs: list[tuple[Int64s, Int64s, int]], weight: int) -> Iterator[pa.RecordBatch]:
        for left, right, each in pairs:
            for start in range(0, len(left), PAIRS_AT_ONCE) if each == weight else ():
                piece = slice(start, start + PAIRS_AT_ONCE)
                batch = self._gather(self._columns, left[piece], right[piece])
                yield self._finished(batch, [left[piece], right[piece]], weight)

    def _single_batches(self, singles: list[list[tuple[Int64s, int]]], weight: int) -> Iterator[pa.RecordBatch]:
        for number, parts in enumerate(singles):
            for rows, each in parts:
                for start in range(0, len(rows), PAIRS_AT_ONCE) if each == weight else ():
                    piece = rows[start : start + PAIRS_AT_ONCE]
                    both: list[Int64s | None] = [None, None]
                    both[number] = piece
                    yield self._finished(self._gather(self._columns, *both), both, weight)

    def _lonely_batches(self) -> Iterator[pa.RecordBatch]:
        lonely, self._lonely = self._lonely, []
        for number, data in lonely:
            batch = saved.alone(self._columns, data, number)
            for name in (TIME, WATERMARK):
                if name in data.schema.names:
                    batch = batch.append_column(name, data.column(name))
            given = data.schema.names
            weights = data.column(WEIGHT) if WEIGHT in given else pa.array(np.ones(len(data), np.int8))
            yield batch.append_column(WEIGHT, weights)

    def _gather(self, columns: Sequence[JoinColumn], left: Int64s | None, right: Int64s | None) -> pa.RecordBatch:
        """These columns of pairs of rows; null where a side has none."""
        return saved.gather(self.sides, columns, (left, right))

    def _finished(self, batch: pa.RecordBatch, rows: Sequence[Int64s | None], weight: int) -> pa.RecordBatch:
        """With what is hidden: event time (the later of both), watermark of the row, weight."""
        if self.join.timed:
            parts = [(side, part) for side, part in zip(self.sides, rows, strict=True) if part is not None]
            times = _latest([side.time_of(part) for side, part in parts])
            if self.join.window is not None:
                times = times + self.join.window.size_us - 1
            batch = batch.append_column(TIME, pa.array(times))
            marks = [side.mark_of(part) for side, part in parts if side.late]
            if marks and not self.join.bounded:
                batch = batch.append_column(WATERMARK, pa.array(_latest(marks)))
        if self.join.updating:
            batch = batch.append_column(WEIGHT, pa.array(np.full(batch.num_rows, weight, np.int8)))
        return batch

    def _unanswered(self, minus: list[pa.RecordBatch], plus: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows taken back whose key no new row has: those that a new one replaces need not be."""
        key = self.join.key or ()
        if not minus or not plus or not set(key) <= {column.name for column in self._columns}:
            yield from minus
            return
        keys = [pa.concat_arrays([batch.column(name) for batch in (*minus, *plus)]) for name in key]
        grouped = group_rows(keys)
        assert grouped is not None
        ids, first = grouped
        split = sum(batch.num_rows for batch in minus)
        answered = np.zeros(len(first), np.bool_)
        answered[ids[split:]] = True
        start = 0
        for batch in minus:
            yield batch.filter(pa.array(~answered[ids[start : start + batch.num_rows]]))
            start += batch.num_rows

    # -- what is dropped -----------------------------------------------------------------------------------------

    def _expire(self) -> None:
        if self.join.bounded:
            for number, side in enumerate(self.sides):
                side.expire(self.watermark_us, self.join.kept_us(number))
        forget_keys(self.keys, self.sides)

    # -- saving --------------------------------------------------------------------------------------------------

    def delta(self) -> Tables:
        return self._log.save(self, whole=False)

    def snapshot(self) -> Tables:
        return self._log.save(self, whole=True)

    def restore(self, snapshot: Tables | None, deltas: Sequence[Tables]) -> None:
        saved.restore(self, [*([snapshot] if snapshot is not None else []), *deltas])
        self._log.restored(self)


def _latest(parts: Sequence[Int64s]) -> Int64s:
    return parts[0] if len(parts) == 1 else np.maximum(*parts)


def _joined(pairs: list[tuple[Int64s, Int64s, int]]) -> list[tuple[Int64s, Int64s, int]]:
    if len(pairs) < 2:
        return pairs
    return [(np.concatenate([left for left, _, _ in pairs]), np.concatenate([right for _, right, _ in pairs]), 1)]
