"""A function as a sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from windrow.io.base import Guarantee, TopicWrite


class CallbackSink:
    """Calls ``function(batch, epoch)`` for every batch of an epoch, before the epoch is committed.

    After a failure the epoch runs again with the same input, and the function is called again with the same epoch
    number: who remembers the last one it has taken can leave the repeat out.
    """

    guarantee: Guarantee = "at-least-once"

    def __init__(self, function: Callable[[pa.RecordBatch, int], object], name: str | None = None) -> None:
        self.name = name or str(getattr(function, "__name__", "function"))
        self._function = function

    def open(self, job: str, committed_epoch: int, owner: int = 0) -> None:
        """Nothing is kept here."""

    def stage(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> Sequence[TopicWrite]:
        for batch in batches:
            if batch.num_rows:
                self._function(batch, epoch)
        return ()

    def publish(self, epoch: int) -> None:
        """The function has seen the rows already."""

    def close(self) -> None:
        """Nothing is open."""
