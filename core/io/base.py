"""What a connector is: a source of replayable partitions, or a sink that takes an epoch's batches.

None of these knows an operator, a plan or a job. Positions are always the *next* offset to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import pyarrow as pa

from windrow.datatypes import Schema
from windrow.progress.ledger import TopicWrite

__all__ = [
    "DEAD_LETTER",
    "HEADERS",
    "REJECTED",
    "Divisible",
    "EarlySink",
    "Fetched",
    "Guarantee",
    "Measured",
    "OnError",
    "Remembering",
    "Remote",
    "Sink",
    "Source",
    "Stopping",
    "TimedSink",
    "TopicWrite",
]

#: The headers of a record, in order; keys may come twice.
HEADERS = pa.list_(pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.binary())]))

#: What a rejected record looks like, whichever source it came from.
REJECTED = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int64(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", "UTC")),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", HEADERS),
        pa.field("field", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)

#: What is kept of it in a topic of dead letters: `step` is the plan step that rejected it.
DEAD_LETTER = pa.schema(
    [*REJECTED, pa.field("step", pa.string(), nullable=False), pa.field("job", pa.string(), nullable=False)]
)

OnError = Literal["fail", "skip", "dead_letter"]
Guarantee = Literal["exactly-once", "at-least-once"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """One decoded piece of a partition, in order.

    `data` has the columns that were asked for; `offsets` (int64 array as long as `data`) is None when row i has offset
    ``first_offset + i``, which it has unless records were rejected or compacted away.
    """

    data: pa.RecordBatch
    first_offset: int
    input_bytes: int
    offsets: pa.Array | None = None
    rejected: pa.RecordBatch | None = None  # of schema REJECTED


class Source(Protocol):
    """Partitions of events that can be read again from any offset still there.

    The runtime calls everything from one thread, except `read`, which it calls for several partitions at once, and of
    a `Divisible` source for several ranges of a partition.
    """

    name: str  # unique in a job; positions are kept under it
    schema: Schema  # every column it can give
    bounded: bool  # True when it has an end that will not move
    replayable: bool  # False when a restart cannot read the same events again (an iterator)

    def partitions(self) -> Sequence[int]:
        """The partitions there are now; may grow between calls, never shrinks."""

    def start_offset(self, partition: int) -> int:
        """Where a job that never ran starts reading."""

    def end_offset(self, partition: int) -> int:
        """The offset after the last event that is there now."""

    def plan(self, partition: int, next_offset: int, max_rows: int, max_bytes: int) -> int:
        """The end of a range that starts at `next_offset` within both bounds; `next_offset` when nothing is there.

        A range is never empty when something is there, even if one record is larger than `max_bytes`.
        Raises `LogError` when `next_offset` is no longer there.
        """

    def read(self, partition: int, start_offset: int, end_offset: int, columns: tuple[str, ...]) -> Iterator[Fetched]:
        """The events in ``[start_offset, end_offset)``, decoded to `columns`, in pieces of tens of thousands of rows.

        Called again with the same arguments it gives the same rows. Raises `RecordError` for a bad record when the
        source was made with ``on_error="fail"``.
        """

    def wait(self, timeout_s: float) -> None:
        """Return when there may be more to read, or after `timeout_s`."""

    def close(self) -> None: ...


@runtime_checkable
class Divisible(Protocol):
    """A source whose partitions can be read from several places at the same time."""

    def cuts(self, partition: int, start_offset: int, end_offset: int) -> Sequence[int]:
        """Offsets strictly inside of a planned range, in their order, that divide it into pieces which can be read
        side by side, each of about as many rows as `read` gives at once; none when it is but one piece."""


@runtime_checkable
class Remembering(Protocol):
    """A source whose positions mean something only together with more that a restart must know.

    Partition numbers of a source over several topics are such a thing: which topic is meant by 7?
    """

    def remember(self) -> Mapping[str, Any]:
        """What a restart must know, small and JSON; asked for every epoch, kept in its commit."""

    def recall(self, remembered: Mapping[str, Any]) -> None:
        """What `remember` gave for the committed positions; called once, before anything else, when a job goes on."""


@runtime_checkable
class Remote(Protocol):
    """A source whose `end_offset` asks somebody far away when all that is known has been read."""

    def known_end(self, partition: int) -> int:
        """The end as far as is known here; for figures."""


@runtime_checkable
class StartsNow(Protocol):
    """A source that may begin where its topics end when it is asked: asked later, that is another place."""

    @property
    def starts_now(self) -> bool:
        """Whether it is so told."""


@runtime_checkable
class Stopping(Protocol):
    """A source of which a partition can come to a halt while the others go on."""

    def stopped(self) -> Mapping[int, str]:
        """The partitions that cannot go on, and for each a sentence that says where it stands and why."""


@runtime_checkable
class Measured(Protocol):
    """A source that can say more of its partitions than the engine sees."""

    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        """Figures of each partition by its name, such as how far behind it is; may be asked for from any thread."""


@runtime_checkable
class EarlySink(Protocol):
    """A sink that may show an epoch before the ledger has committed it."""

    early: bool  # True when it does: an epoch that is done again must then give it the same rows


@runtime_checkable
class TimedSink(Protocol):
    """A sink that does something by event time."""

    def reached(self, watermark_us: int) -> None:
        """Told before each `publish`, and after `open`: no event older than this is expected."""


class Sink(Protocol):
    """Takes the rows of an epoch so that they become visible only with the commit.

    For every epoch: `stage` once, then the ledger commits, then `publish`. A failure before the commit throws the
    sink object away; `open` of the next one is told the last committed epoch, publishes what of it was not yet, and
    discards whatever a later epoch left.
    """

    name: str  # unique in a job
    guarantee: Guarantee

    def open(self, job: str, committed_epoch: int, owner: int = 0) -> None:
        """Take the sink over. `owner` grows with every opening of the job (0: whoever opens last owns it).

        Raises `FencedError`, and touches nothing of it, when a later owner has opened the sink: a process can be
        stopped anywhere, replaced, and go on.
        """

    def stage(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> Sequence[TopicWrite]:
        """Make the rows durable but invisible; rows for the ledger's own log are returned instead of written."""

    def publish(self, epoch: int) -> None:
        """The epoch is committed: make its rows visible. Must be repeatable."""

    def close(self) -> None: ...
