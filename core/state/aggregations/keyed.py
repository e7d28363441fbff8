"""The common part of every shard state: keys, accumulators, and how they are saved and restored.

Saved tables, all of version 1: ``meta`` (one row), ``keys`` (the keys added since the last save, in the order of
their ids), and what the kind of state adds. A delta with ``whole`` set replaces everything before it, as a snapshot
does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import Int32s, Tables
from windrow.errors import StateError
from windrow.plan.window import Aggregation
from windrow.state.accumulators.base import Lanes
from windrow.state.accumulators.build import make_accumulators
from windrow.state.accumulators.rows import Rows, load
from windrow.state.columns import Inputs
from windrow.state.keys.table import KeyTable
from windrow.state.saved import Meta, table_of
from windrow.units import BEFORE_TIME_US

VERSION = 1
_META = Meta(VERSION, watermark_us=pa.int64(), first_key=pa.int64(), renumbered=pa.bool_(), whole=pa.bool_())
#: Fewer keys than this are never renumbered.
_FEW_KEYS = 4096


class Piece(Protocol):
    """Rows, or groups aggregated before, on their way into accumulators."""

    def apply(self, rows: Rows, ids: Int32s) -> None:
        """Add row i of the piece to group ``ids[i]``; a negative id skips it."""

    def take(self, chosen: Int32s) -> Piece: ...


class RowPiece:
    """Rows as they are."""

    def __init__(self, batch: pa.RecordBatch, timed: bool) -> None:
        self._batch, self._timed = batch, timed
        self._inputs = Inputs(batch, timed)

    def apply(self, rows: Rows, ids: Int32s) -> None:
        rows.update(ids, self._inputs)

    def take(self, chosen: Int32s) -> RowPiece:
        return RowPiece(self._batch.take(pa.array(chosen)), self._timed)


class PartialPiece:
    """Groups that `prepare` has aggregated."""

    def __init__(self, lanes: list[Lanes], select: Rows) -> None:
        self._lanes, self._select = lanes, select

    def apply(self, rows: Rows, ids: Int32s) -> None:
        rows.merge(ids, self._lanes)

    def take(self, chosen: Int32s) -> PartialPiece:
        made = [a.select(lanes, chosen) for a, lanes in zip(self._select.accumulators, self._lanes, strict=True)]
        return PartialPiece(made, self._select)


class KeyedState(ABC):
    """State of one shard, addressed by dense key ids."""

    timed = False  # whether the order of events is that of event time

    def __init__(self, aggregation: Aggregation) -> None:
        self.aggregation = aggregation
        self.accumulators = make_accumulators(aggregation)
        self.keys = KeyTable(aggregation.key_types)
        self.watermark_us = BEFORE_TIME_US
        self._probe = Rows(self.accumulators, 0, track=False)
        self._saved_keys = 0
        self._renumbered = False  # since the last save, before anything else happened
        self._whole = False  # the next delta has to be everything
        self._unsaved = False  # an epoch's changes have not been saved
        self._between = False  # an epoch has ended and no other begun
        self._dropped = False  # groups have gone since keys were last renumbered

    # what kinds of state differ in

    @abstractmethod
    def take(self, ids: Int32s, data: pa.RecordBatch, piece: Piece) -> None:
        """Add rows of these keys."""

    @abstractmethod
    def emit(self, watermark_us: int) -> list[pa.RecordBatch]:
        """Results at the end of an epoch; drops what is closed by the watermark."""

    @abstractmethod
    def expire(self, watermark_us: int) -> None:
        """Drop what `emit` dropped, when a delta is applied."""

    @abstractmethod
    def save_groups(self, whole: bool) -> dict[str, pa.RecordBatch]:
        """Everything, or what changed since the last save, which it is from then on."""

    @abstractmethod
    def load_groups(self, tables: Tables) -> None:
        """Take over what `save_groups` made."""

    @abstractmethod
    def live_keys(self) -> npt.NDArray[np.bool_]:
        """For each key id, whether anything is held for it."""

    def surely_live(self) -> int:
        """A quick lower bound of how many keys something is held for."""
        return 0

    @abstractmethod
    def renumber(self, kept: Int32s) -> None:
        """Key ids are from now on positions in `kept`."""

    @abstractmethod
    def clear(self) -> None:
        """Hold nothing."""

    @abstractmethod
    def all_rows(self) -> list[Rows]:
        """Everything that holds accumulators."""

    @property
    @abstractmethod
    def groups_nbytes(self) -> int: ...

    # the protocol of a shard's state

    @property
    def nbytes(self) -> int:
        return self.groups_nbytes + self.keys.nbytes

    def process(self, data: pa.RecordBatch, side: int = 0) -> None:
        self._begin()
        if data.num_rows == 0:
            return
        ids = self._ids([data.column(name) for name in self.aggregation.keys], data.num_rows)
        self.take(ids, data, self._piece(data))

    def advance(self, watermark_us: int) -> list[pa.RecordBatch]:
        self._begin()
        watermark_us = max(watermark_us, self.watermark_us)
        outputs = self.emit(watermark_us)
        self.watermark_us = watermark_us
        self._between = True
        self._unsaved = True
        held = self.all_rows()
        for number, accumulator in enumerate(self.accumulators):
            accumulator.sweep([rows.lanes[number] for rows in held])
        return outputs

    def delta(self) -> Tables:
        return self._save(whole=self._whole)

    def snapshot(self) -> Tables:
        return self._save(whole=True)

    def restore(self, snapshot: Tables | None, deltas: Sequence[Tables]) -> None:
        for tables in [*([snapshot] if snapshot is not None else []), *deltas]:
            self._apply(tables)
        self._between = True

    # how

    def _ids(self, keys: list[pa.Array], rows: int) -> Int32s:
        if not keys:
            return np.zeros(rows, np.int32)
        ids: Int32s = self.keys.ids(keys)
        return ids

    @property
    def key_count(self) -> int:
        return len(self.keys) if self.aggregation.keys else 1

    def key_columns(self, ids: Int32s | None) -> list[pa.Array]:
        if not self.aggregation.keys:
            return []
        columns: list[pa.Array] = self.keys.keys(ids)
        return columns

    def _piece(self, data: pa.RecordBatch) -> Piece:
        names = data.schema.names
        if any(accumulator.is_partial(names) for accumulator in self.accumulators):
            return PartialPiece(load(self.accumulators, columns_of(data)), self._probe)
        return RowPiece(data, self.timed)

    def _begin(self) -> None:
        """An epoch begins: the last one's delta has been taken, if deltas are taken at all."""
        if not self._between:
            return
        self._between = False
        if not self._dropped:
            return
        self._dropped = False
        if not self.aggregation.keys or len(self.keys) < _FEW_KEYS:
            return
        if self.surely_live() * 2 >= len(self.keys):
            return
        live = self.live_keys()
        if np.count_nonzero(live) * 2 >= len(live):
            return
        if self._unsaved:
            self._whole = True
        self._renumbered = True
        self._renumber(live)

    def _renumber(self, live: npt.NDArray[np.bool_]) -> None:
        self.renumber(np.flatnonzero(live).astype(np.int32))
        self.keys.keep(live)
        self._saved_keys = len(self.keys)

    def _save(self, whole: bool) -> dict[str, pa.RecordBatch]:
        first = 0 if whole else self._saved_keys
        meta = _META.table(
            self.aggregation.name, watermark_us=self.watermark_us, first_key=first,
            renumbered=self._renumbered and not whole, whole=whole,
        )  # fmt: skip
        tables = {"meta": meta}
        if self.aggregation.keys:
            new = None if first == 0 else np.arange(first, len(self.keys), dtype=np.int32)
            tables["keys"] = pa.RecordBatch.from_arrays(self.key_columns(new), names=list(self.aggregation.keys))
            self._saved_keys = len(self.keys)
        tables |= self.save_groups(whole)
        self._renumbered = self._whole = self._unsaved = False
        return tables

    def _apply(self, tables: Tables) -> None:
        meta = _META.read(tables, self.aggregation.name)
        if meta["whole"]:
            self.keys.clear()
            self.clear()
        elif meta["renumbered"]:
            self._renumber(self.live_keys())
        if self.aggregation.keys:
            self._load_keys(tables, meta["first_key"])
        self.load_groups(tables)
        self.expire(meta["watermark_us"])
        self.watermark_us = meta["watermark_us"]

    def _load_keys(self, tables: Tables, first: int) -> None:
        wanted = pa.schema(
            list(zip(self.aggregation.keys, map(to_arrow_type, self.aggregation.key_types), strict=True))
        )
        held = table_of(tables, "keys", self.aggregation.name)
        if held.schema.names != wanted.names or held.schema.types != wanted.types:
            raise StateError(
                f"{self.aggregation.name}: saved keys are ({_shape(held.schema)}), expected ({_shape(wanted)})"
            )
        if first != len(self.keys):
            raise StateError(
                f"{self.aggregation.name}: a delta starts at key {first} but there are {len(self.keys)}: one is missing"
            )
        if first == 0:
            self.keys = KeyTable(self.aggregation.key_types, expected=held.num_rows)
        if held.num_rows:
            self.keys.ids(list(held.columns))
            self.keys.settle()
        self._saved_keys = len(self.keys)


def columns_of(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def int_column(batch: pa.RecordBatch, name: str, type_: pa.DataType, operator: str) -> pa.Array:
    """A column that numbers groups; raises `StateError` when it is not what it has to be."""
    if name not in batch.schema.names or batch.schema.field(name).type != type_:
        raise StateError(f"{operator}: saved groups have ({_shape(batch.schema)}), expected a column {name}: {type_}")
    return batch.column(name)


def _shape(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
