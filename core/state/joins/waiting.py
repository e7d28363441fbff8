"""The rows of an epoch that wait, in a join with a bound in time: which of them are never taken, and in which order the
others are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter

import numpy as np
import pyarrow as pa

from windrow.batch import TIME, by_value, take_rows
from windrow.plan.join import LEFT, RIGHT, Join
from windrow.state.columns import extent
from windrow.state.joins.side import SideState
from windrow.state.keys.table import KeyTable
from windrow.state.row_store import int64s

#: The number of a side, and rows of it.
Waiting = Sequence[tuple[int, pa.RecordBatch]]
#: Rows of one side that are taken before it is the other's turn.
_ROWS_AT_ONCE = 4096
#: A side has so many times the rows of the other one before it is looked at which of them need not be stored.
_MANY = 4


def without_passing(waiting: Waiting, join: Join, sides: Sequence[SideState], watermark_us: int) -> Waiting:
    """Without the rows of the larger side that are forgotten when this epoch ends, at `watermark_us`, and whose key the
    other side, which has few, does not have: they make no pair, now or later (q7: 108 ms, and 46 without storing them).
    """
    rows = [sum(data.num_rows for side, data in waiting if side == number) for number in (LEFT, RIGHT)]
    many = LEFT if rows[LEFT] > rows[RIGHT] else RIGHT
    few = 1 - many
    if sides[many].counted or rows[many] < _MANY * (rows[few] + len(sides[few].store)):
        return waiting
    store, names = sides[few].store, join.sides[few].keys
    met = KeyTable(join.key_types)
    met.ids(store.take(names, np.arange(store.base, store.end)))
    for data in (data for side, data in waiting if side == few):
        met.ids([data.column(name) for name in names])
    keys, until_us = join.sides[many].keys, watermark_us - join.kept_us(many)
    found = [(side, _meeting(data, keys, met, until_us) if side == many else data) for side, data in waiting]
    return [(side, data) for side, data in found if data.num_rows]


def _meeting(data: pa.RecordBatch, keys: Sequence[str], met: KeyTable, until_us: int) -> pa.RecordBatch:
    """The rows whose key is in the table, or whose time is not before `until_us`."""
    times = int64s(data, TIME)
    low, high = extent(times)
    if low >= until_us:
        return data
    wanted = met.find([data.column(name) for name in keys]) >= 0
    if high >= until_us:
        wanted |= times >= until_us
    rows = np.flatnonzero(wanted)
    if not len(rows):
        return data.slice(0, 0)
    kept = take_rows(data, rows)
    # values of their own, where row numbers would hold on to many rows for the sake of a few
    return kept if _MANY * len(rows) > len(times) else by_value(kept)


def in_turn(waiting: Waiting) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Sides and parts of their batches in the order of their times; what follows one another in a batch stays whole
    where nothing comes in between (q7: 40 parts instead of 390, 0.16 s instead of 0.25)."""
    cuts = []
    for number, (_, data) in enumerate(waiting):
        times = int64s(data, TIME)
        cuts += [(int(times[at : at + _ROWS_AT_ONCE].min()), number, at) for at in range(0, len(times), _ROWS_AT_ONCE)]
    cuts.sort(key=itemgetter(0))
    done = 0
    while done < len(cuts):
        _, number, start = cuts[done]
        end = start
        while done < len(cuts) and cuts[done][1:] == (number, end):
            end += _ROWS_AT_ONCE
            done += 1
        side, data = waiting[number]
        yield side, data.slice(start, end - start)
