"""What has been fetched of one partition and not been read yet: chunks in order, without a hole between them."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from windrow.codec.kafka_records import Broken, Rows

#: A range without a row (markers of transactions, aborted records) is offered by itself only after this long: the
#: position has to move some time, or retention overtakes it, but not every marker is worth an epoch.
EMPTY_WAIT_S = 10.0


@dataclass(slots=True)
class Chunk:
    """``[first_offset, next_offset)`` of a partition, with the records in it."""

    first_offset: int
    next_offset: int
    rows: Rows | None
    nbytes: int

    def split(self, offset: int) -> tuple[Chunk, Chunk]:
        """The part before `offset` and the part from it on."""
        if self.rows is None:
            return Chunk(self.first_offset, offset, None, 0), Chunk(offset, self.next_offset, None, self.nbytes)
        cut = int(self.rows.offsets.searchsorted(offset))
        before, after = self.rows.slice(0, cut), self.rows.slice(cut, len(self.rows))
        nbytes = self.nbytes * cut // max(len(self.rows), 1)
        return (
            Chunk(self.first_offset, offset, before if len(before) else None, nbytes),
            Chunk(offset, self.next_offset, after if len(after) else None, self.nbytes - nbytes),
        )


@dataclass(slots=True)
class Feed:
    """One partition: where it is read, where it is fetched, and what lies between. Guarded by its fetcher's lock."""

    number: int
    topic: str
    partition: int
    position: int = -1  # next offset to give; -1: not asked for yet
    fetch_offset: int = -1
    last_epoch: int = -1  # leader epoch of the last batch that was fetched
    chunks: deque[Chunk] = field(default_factory=deque)
    nbytes: int = 0
    generation: int = 0  # raised when what is in flight is not wanted any more
    end: int | None = None  # nothing from here on is wanted
    stable_offset: int = -1  # as the leader last said; -1: not yet
    high_watermark: int = -1
    log_start: int = -1
    held_s: float = 0.0  # since when an open transaction has kept the stable offset where it is; 0: none does
    told_held: bool = False  # it was said that this takes long
    fetched_bytes: int = 0  # as they came over the network
    refetches: int = 0  # of record batches that were damaged
    fed_s: float = 0.0  # when the last chunk came
    broken_at: int = -1  # a batch that was refetched once already
    stopped: Broken | None = None
    unsure: bool = False  # nobody answered when it was asked where the partition ends
    starved: bool = False  # its next batch needs a request of its own

    def seek(self, offset: int) -> None:
        """Go on from `offset`; what is buffered and in flight is thrown away."""
        self.position = self.fetch_offset = offset
        self.chunks.clear()
        self.nbytes = 0
        self.generation += 1
        self.last_epoch = self.broken_at = -1
        self.stopped, self.starved = None, False

    def add(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self.nbytes += chunk.nbytes
        self.fetch_offset = chunk.next_offset
        self.fed_s = time.monotonic()

    def take(self, end: int) -> Chunk | None:
        """The next chunk, as far as it lies before `end`; None when it has not come yet."""
        if not self.chunks:
            return None
        chunk = self.chunks.popleft()
        if chunk.next_offset > end:
            chunk, rest = chunk.split(end)
            self.chunks.appendleft(rest)
        self.nbytes -= chunk.nbytes
        self.position = chunk.next_offset
        return chunk

    def plan(self, max_rows: int, max_bytes: int) -> int:
        """Where a range from `position` ends that keeps within both bounds but holds at least a record, if any came."""
        end, rows, size = self.position, 0, 0
        for chunk in self.chunks:
            count = 0 if chunk.rows is None else len(chunk.rows)
            fitting = min(max_rows - rows, (max_bytes - size) * count // max(chunk.nbytes, 1) if count else 0)
            if count and fitting < count:
                fitting = max(fitting, 0 if rows else 1)
                if chunk.rows is not None and fitting:
                    end, rows = int(chunk.rows.offsets[fitting - 1]) + 1, rows + fitting
                break
            end, rows, size = chunk.next_offset, rows + count, size + chunk.nbytes
        if self.end is not None:
            return min(end, max(self.end, self.position))
        waited = time.monotonic() - self.fed_s >= EMPTY_WAIT_S
        return end if rows or waited else self.position

    def metrics(self) -> dict[str, float]:
        """Where it stands (offsets are the next to come; -1: not known yet), what waits, and what was fetched.

        `lag`: committed offsets that are not read yet. `held_back`: offsets above them that a transaction which is
        still open, somebody else's, keeps from readers of committed records; `held_seconds`: for how long it has done
        so without the stable offset moving.
        """
        end = self.stable_offset if self.end is None else self.end
        return {
            "next_offset": self.position,
            "fetched_offset": self.fetch_offset,
            "stable_offset": self.stable_offset,
            "high_watermark": self.high_watermark,
            "lag": max(end - self.position, 0) if self.position >= 0 else 0,
            "held_back": max(self.high_watermark - self.stable_offset, 0),
            "held_seconds": time.monotonic() - self.held_s if self.held_s else 0.0,
            "buffered_bytes": self.nbytes,
            "fetched_bytes": self.fetched_bytes,
            "refetches": self.refetches,
            "stopped": int(self.stopped is not None),
        }

    @property
    def known_end(self) -> int:
        """The offset after the last event there is, as far as is known."""
        if self.end is not None:
            return self.end
        if self.unsure or 0 <= self.stable_offset < self.position:
            return max(self.stable_offset, self.position + 1)  # not known, or the log was cut back: a fetch will tell
        if self.fetch_offset >= self.stable_offset and all(chunk.rows is None for chunk in self.chunks):
            return self.position
        return max(self.stable_offset, self.fetch_offset)

    @property
    def done(self) -> bool:
        """Whether nothing more is to be fetched."""
        return self.stopped is not None or (self.end is not None and self.fetch_offset >= self.end)
