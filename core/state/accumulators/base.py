"""What an aggregate keeps per group, and how it is updated, merged, saved and finished: the common part.

An `Accumulator` knows one aggregate of an aggregation; the values it works on lie outside it, in `Lanes`. Each state
object (a shard, or one call of prepare) makes its own accumulators, because some keep a dictionary of values beside
the lanes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import ALL_VALID, Bytes, Int32s, validity, view
from windrow.errors import InvariantError, StateError
from windrow.kernels.groupagg import mark
from windrow.plan.window import Aggregate
from windrow.state.columns import Inputs, all_rows, grown

#: Rows by their numbers, or all of a range.
Chosen = Int32s | slice

_NO_LIST = np.empty(0, np.int32)
_SEEN = np.uint8(1)


@dataclass(slots=True)
class Lanes:
    """One aggregate's state of many groups: parallel arrays (None: not needed so far).

    `seen` is 1 for groups that have had a value which counts; None: all groups that are present have.
    `bound`: no sum in a lane is further from zero.
    """

    arrays: list[Any]
    seen: Bytes | None = None
    bound: float = 0.0


@dataclass(frozen=True, slots=True)
class Lane:
    """One array of state: its name in saved columns, its type, what a new group starts with."""

    name: str
    dtype: type[np.generic]
    fill: float = 0
    optional: bool = False


class Accumulator(ABC):
    """One aggregate. `ids` are groups row by row; a negative one skips the row."""

    apart = True  # whatever is known of groups lies in their lanes: what lanes refer to is not moved by `sweep`
    mergeable = True  # partial results can be made in a batch and merged in the shard

    def __init__(self, aggregate: Aggregate, number: int) -> None:
        self.aggregate = aggregate
        self.type: pa.DataType = to_arrow_type(aggregate.type)
        self.argument: pa.DataType = to_arrow_type(aggregate.argument_type or aggregate.type)
        self.prefix = f"__{number}:"

    def describe(self) -> str:
        wanted = self.aggregate
        return f"{wanted.name}={wanted.function}({wanted.column or ''})"

    def is_partial(self, names: Sequence[str]) -> bool:
        """Whether these columns of a batch hold partial results of this aggregate."""
        return any(name.startswith(self.prefix) for name in names)

    @abstractmethod
    def new(self, capacity: int) -> Lanes:
        """Lanes for `capacity` groups without values."""

    @abstractmethod
    def grow(self, lanes: Lanes, capacity: int) -> None:
        """Room for more groups."""

    @abstractmethod
    def update(self, lanes: Lanes, flags: Bytes, ids: Int32s, inputs: Inputs) -> None:
        """Add the rows of a batch. `flags` tells which groups were present before."""

    @abstractmethod
    def merge(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        """Add whole groups: row i of `other` to group ``ids[i]``."""

    def merge_aligned(self, lanes: Lanes, flags: Bytes, other: Lanes, present: npt.NDArray[np.bool_]) -> None:
        """Add groups of `other` where `present` to the groups of the same numbers."""
        ids = all_rows(len(present))
        ids[~present] = -1
        self.merge(lanes, flags, ids, self.select(other, slice(0, len(present))))

    def copy(self, lanes: Lanes, size: int) -> Lanes:
        """A copy of the first `size` groups, present or not."""
        return self.select(lanes, all_rows(size))

    @abstractmethod
    def select(self, lanes: Lanes, rows: Chosen) -> Lanes:
        """The state of these groups, all present: a copy, or a view when `rows` is a slice."""

    @abstractmethod
    def put(self, lanes: Lanes, flags: Bytes, rows: Chosen, other: Lanes) -> None:
        """Take over saved state for these groups (`rows` are all different)."""

    @abstractmethod
    def save(self, lanes: Lanes, rows: Chosen) -> dict[str, pa.Array]:
        """State columns of these groups."""

    @abstractmethod
    def load(self, columns: Mapping[str, pa.Array]) -> Lanes:
        """What `save` made, as lanes to `put` or `merge`."""

    @abstractmethod
    def finish(self, lanes: Lanes, size: int) -> pa.Array:
        """The result of the first `size` groups, all present."""

    def results(self, lanes: Lanes, rows: Int32s) -> pa.Array:
        """The results of these groups, all present, as they are now."""
        return self.finish(self.select(lanes, rows), len(rows))

    def negate(self, lanes: Lanes) -> None:
        """Turn partial results into what takes them back when merged. Only for aggregates of `UNDOABLE` functions."""
        raise InvariantError(f"{self.describe()} cannot be taken back")

    @abstractmethod
    def nbytes(self, lanes: Lanes) -> int: ...

    def sweep(self, held: Sequence[Lanes]) -> None:  # noqa: B027  (most have nothing to do)
        """Drop values that no group refers to any more; `held` are all lanes there are."""


class NumericAccumulator(Accumulator):
    """State in plain arrays of fixed width, described by `lanes`."""

    lanes: tuple[Lane, ...]

    def new(self, capacity: int) -> Lanes:
        return Lanes([None if lane.optional else _filled(lane, capacity) for lane in self.lanes])

    def grow(self, lanes: Lanes, capacity: int) -> None:
        for k, lane in enumerate(self.lanes):
            if lanes.arrays[k] is not None:
                lanes.arrays[k] = grown(lanes.arrays[k], capacity, lane.fill)
        if lanes.seen is not None:
            lanes.seen = grown(lanes.seen, capacity)  # type: ignore[assignment]

    def see(self, lanes: Lanes, flags: Bytes, ids: Int32s, valid: Bytes) -> None:
        """Note which groups have values now, once any row has come without one."""
        if lanes.seen is None:
            if len(valid) == 0:
                return
            lanes.seen = flags & _SEEN
        mark(ids, valid, _SEEN, 0, lanes.seen, _NO_LIST, 0)

    def merge_seen(self, lanes: Lanes, flags: Bytes, ids: Int32s, other: Lanes) -> None:
        self.see(lanes, flags, ids, ALL_VALID if other.seen is None else other.seen)

    def select(self, lanes: Lanes, rows: Chosen) -> Lanes:
        arrays = [None if array is None else _chosen(array, rows) for array in lanes.arrays]
        return Lanes(arrays, None if lanes.seen is None else _chosen(lanes.seen, rows), lanes.bound)

    def copy(self, lanes: Lanes, size: int) -> Lanes:
        view = self.select(lanes, slice(0, size))
        arrays = [None if array is None else array.copy() for array in view.arrays]
        return Lanes(arrays, None if view.seen is None else view.seen.copy(), view.bound)

    def put(self, lanes: Lanes, flags: Bytes, rows: Chosen, other: Lanes) -> None:
        for k, source in enumerate(other.arrays):
            if lanes.arrays[k] is not None and source is not None:
                lanes.arrays[k][rows] = source
        lanes.bound = max(lanes.bound, other.bound)
        if lanes.seen is None and other.seen is not None:
            lanes.seen = flags & _SEEN
        if lanes.seen is not None:
            lanes.seen[rows] = _SEEN if other.seen is None else other.seen

    def save(self, lanes: Lanes, rows: Chosen) -> dict[str, pa.Array]:
        chosen = self.select(lanes, rows)
        saved = {}
        for k, lane in enumerate(self.lanes):
            if chosen.arrays[k] is not None:
                hidden = chosen.seen == 0 if k == 0 and chosen.seen is not None else None
                saved[self.prefix + lane.name] = pa.array(chosen.arrays[k], mask=hidden)
        return saved

    def load(self, columns: Mapping[str, pa.Array]) -> Lanes:
        made = Lanes([None] * len(self.lanes))
        for k, lane in enumerate(self.lanes):
            name = self.prefix + lane.name
            if name in columns:
                made.arrays[k] = self._read(columns[name], name, lane)
                if k == 0 and columns[name].null_count:
                    made.seen = validity(columns[name])
            elif not lane.optional:
                raise StateError(f"saved state has no column {name}, which {self.describe()} needs")
        return made

    def _read(self, column: pa.Array, name: str, lane: Lane) -> npt.NDArray[np.generic]:
        expected = pa.from_numpy_dtype(np.dtype(lane.dtype))
        if column.type != expected:
            raise StateError(f"saved state column {name} is {column.type}; {self.describe()} expects {expected}")
        return view(column, lane.dtype)

    def nbytes(self, lanes: Lanes) -> int:
        total: int = sum(array.nbytes for array in lanes.arrays if array is not None)
        return total + (0 if lanes.seen is None else lanes.seen.nbytes)


def _chosen(array: Any, rows: Chosen) -> Any:
    return array[rows] if isinstance(rows, slice) else array.take(rows, axis=0)


def _filled(lane: Lane, capacity: int) -> npt.NDArray[np.generic]:
    return np.full(capacity, lane.fill, lane.dtype) if lane.fill else np.zeros(capacity, lane.dtype)
