"""Generated events as a source that can be read again, from any place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from windrow.arrow_types import from_arrow_schema
from windrow.batch import Int64s
from windrow.datatypes import Schema
from windrow.errors import LogError, PlanError
from windrow.io.base import Fetched
from windrow.io.nexmark.documents import Kind
from windrow.io.nexmark.generator import (
    AUCTIONS,
    BASE_TIME_US,
    BIDS,
    CYCLE,
    PERSONS,
    SCHEMAS,
    TIME_TYPE,
    Nexmark,
    split_kinds,
)

#: Rows of one piece that `read` gives.
PIECE_ROWS = 65_536
#: The end of a source that has none: at 10,000 events a second, 3,000 years.
ENDLESS_EVENTS = 10**15

#: All kinds in one stream: 0 person, 1 auction, 2 bid; the other two structs are null.
ALL = pa.schema(
    [
        pa.field("event_type", pa.int64()),
        *(pa.field(kind, pa.struct(list(schema))) for kind, schema in SCHEMAS.items()),
        pa.field("dateTime", TIME_TYPE),
    ]
)

_FIRST_OF_CYCLE = {"person": 0, "auction": PERSONS, "bid": PERSONS + AUCTIONS}
_PER_CYCLE = {"person": PERSONS, "auction": AUCTIONS, "bid": BIDS, "all": CYCLE}
#: Bytes of a row as Arrow columns, about; what `plan` counts with.
_ROW_BYTES = {"person": 250, "auction": 550, "bid": 190, "all": 250}


class NexmarkSource:
    """Events of one kind, or all: event i goes to partition ``i % partitions`` and has offset ``i // partitions``.

    i counts the events of the chosen kind. `events` is the number of events of all kinds in the stream, of which
    this gives its share (bids: 46 of 50); None: without end. Raises `PlanError` for options that make no sense.
    """

    replayable = True

    def __init__(
        self,
        kind: Kind = "bid",
        *,
        events: int | None = None,
        partitions: int = 1,
        seed: int = 0,
        rate: float = 10_000.0,
        base_time_us: int = BASE_TIME_US,
        out_of_order: int = 1,
        name: str = "nexmark",
    ) -> None:
        if kind not in _PER_CYCLE:
            raise PlanError(f"nexmark: kind must be 'all', 'person', 'auction' or 'bid', got {kind!r}")
        if partitions < 1 or (events is not None and events < 0):
            raise PlanError(f"nexmark: partitions must be at least 1 and events at least 0: {partitions}, {events}")
        self.name = name
        self.kind = kind
        self.bounded = events is not None
        self.config = Nexmark(seed, rate, base_time_us, out_of_order)
        self.arrow_schema = ALL if kind == "all" else SCHEMAS[kind]
        self.schema: Schema = from_arrow_schema(self.arrow_schema)
        self._partitions = partitions
        self._count = self._of_kind(ENDLESS_EVENTS if events is None else events)

    def _of_kind(self, events: int) -> int:
        """How many of the first `events` events are of the kind."""
        if self.kind == "all":
            return events
        each = _PER_CYCLE[self.kind]
        return events // CYCLE * each + min(max(events % CYCLE - _FIRST_OF_CYCLE[self.kind], 0), each)

    def _numbers(self, partition: int, start: int, end: int) -> Int64s:
        """The event numbers of a range of offsets; of one kind, the order is shuffled within that kind."""
        places = np.arange(start, end, dtype=np.int64) * self._partitions + partition
        places = self.config.shuffled(places)
        each = _PER_CYCLE[self.kind]
        return places // each * CYCLE + places % each + _FIRST_OF_CYCLE[self.kind]

    def partitions(self) -> Sequence[int]:
        return range(self._partitions)

    def start_offset(self, partition: int) -> int:
        return 0

    def end_offset(self, partition: int) -> int:
        return max(-(-(self._count - partition) // self._partitions), 0)

    def plan(self, partition: int, next_offset: int, max_rows: int, max_bytes: int) -> int:
        end = self.end_offset(partition)
        if not 0 <= next_offset <= end:
            raise LogError(f"{self.name}: partition {partition} has offsets 0 to {end}, {next_offset} was asked for")
        return min(end, next_offset + max(min(max_rows, max_bytes // _ROW_BYTES[self.kind]), 1))

    def cuts(self, partition: int, start_offset: int, end_offset: int) -> Sequence[int]:
        return range(start_offset + PIECE_ROWS, end_offset, PIECE_ROWS)

    def read(self, partition: int, start_offset: int, end_offset: int, columns: tuple[str, ...]) -> Iterator[Fetched]:
        for start in range(start_offset, end_offset, PIECE_ROWS):
            end = min(start + PIECE_ROWS, end_offset)
            if self.kind == "all":
                data = self._all(partition, start, end).select(list(columns))
            else:
                data = self.config.batch(self.kind, self._numbers(partition, start, end), columns)
            yield Fetched(data, start, data.nbytes)

    def _all(self, partition: int, start: int, end: int) -> pa.RecordBatch:
        step = self._partitions
        kinds = split_kinds(self.config, start * step + partition, end * step + partition, step)
        rows = end - start
        event_type = np.empty(rows, np.int64)
        times = np.empty(rows, np.int64)
        structs = []
        for number, (kind, (numbers, places)) in enumerate(kinds.items()):
            event_type[places] = number
            times[places] = self.config.time_us(numbers)
            row_of = np.zeros(rows, np.int64)
            row_of[places] = np.arange(places.size)
            absent = np.ones(rows, bool)
            absent[places] = False
            made = self.config.batch(kind, numbers).to_struct_array()
            structs.append(made.take(pa.array(row_of, mask=absent)))
        arrays = [pa.array(event_type), *structs, pa.array(times).view(TIME_TYPE)]
        return pa.RecordBatch.from_arrays(arrays, schema=ALL)

    def wait(self, timeout_s: float) -> None:
        """There is always more until the end; at the end nothing comes any more."""
        time.sleep(timeout_s)

    def close(self) -> None:
        """Nothing is open."""
