"""What a job runs: an engine, or in a group an instance that runs an engine for each partition it is given."""

from __future__ import annotations

from typing import Any, Protocol

from windrow.runtime.metrics import Count, EpochReport


class Runner(Protocol):
    """Used by one thread."""

    @property
    def finished(self) -> bool:
        """Whether everything that will ever come is committed."""

    @property
    def held(self) -> bool:
        """Whether events wait for the next epoch to be due."""

    def step(self, *, wait_s: float = 0.0) -> bool:
        """Get on by an epoch; False when nothing came within `wait_s`, or ever will."""

    def settle(self) -> bool:
        """No event has come: do what time alone makes due. Whether that was an epoch."""

    def drain(self) -> None:
        """Have everything committed that was begun, and raise what went wrong."""

    def take_reports(self) -> list[EpochReport]:
        """The reports of the epochs that were committed since the last call."""

    def lag(self) -> int:
        """Offsets that are there and not read yet."""

    def stopped(self) -> list[str]:
        """A sentence for each partition that cannot go on."""

    def restoring(self) -> list[str]:
        """A sentence for each partition whose state is being read back."""

    def check_stopped(self) -> None:
        """Raise `RecordError` that names the partitions that cannot go on, if there are any."""

    def wait(self, seconds: float) -> None:
        """Return when there may be something to do, or after `seconds`."""

    def counts(self) -> dict[str, Count]:
        """What went through every stage."""

    def source_metrics(self) -> dict[str, dict[str, Any]]:
        """Of every source what became of its records."""

    def close(self) -> None:
        """Let commits in flight end, and close everything."""
