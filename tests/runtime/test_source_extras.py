"""Sources whose partitions are named elsewhere, or come to a halt: what the engine keeps and says for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

import windrow as wr
from windrow.errors import RecordError
from windrow.io.memory import MemorySource
from windrow.progress.ledger import EpochInput

SCHEMA = pa.schema([("n", pa.int64())])


def rows(*numbers: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": list(numbers)}, SCHEMA)


class Halting(MemorySource):
    """Partition 1 ends at its second row in a way that cannot be read; partition names are told anew each start."""

    recalled: Mapping[str, Any] | None = None

    def stopped(self) -> Mapping[int, str]:
        return {1: "halting[1] stands at offset 1: damaged"}

    def remember(self) -> Mapping[str, Any]:
        return {"names": ["a", "b"]}

    def recall(self, remembered: Mapping[str, Any]) -> None:
        type(self).recalled = remembered

    def plan(self, partition: int, next_offset: int, max_rows: int, max_bytes: int) -> int:
        if partition == 1:
            return min(super().plan(partition, next_offset, max_rows, max_bytes), 1)
        return super().plan(partition, next_offset, max_rows, max_bytes)


def halting(*, bounded: bool) -> Halting:
    parts = [[rows(1, 2, 3)], [rows(4, 5, 6)]]
    made = Halting.partitioned(parts, name="halting", bounded=bounded, schema=SCHEMA)
    assert isinstance(made, Halting)
    return made


@pytest.mark.parametrize("bounded", [True, False])
def test_the_others_are_read_and_committed_before_the_halt_is_an_error(bounded: bool) -> None:
    """Law: rows of a halted partition up to its halt and of all others come out, then the error names it."""
    taken: list[int] = []
    job = wr.from_source(halting(bounded=bounded)).for_each_batch(lambda b, _: taken.extend(b["n"].to_pylist()))
    with pytest.raises(RecordError, match=r"everything else has been read.*halting\[1\] stands at offset 1"):
        job.run(until="caught up", timeout=10)
    assert sorted(taken) == [1, 2, 3, 4]
    assert job.progress.stopped == ["halting[1] stands at offset 1: damaged"]


def test_a_restart_tells_a_source_what_it_asked_to_be_remembered(tmp_path: Any) -> None:
    """Law: what is committed with the positions comes back before anything is read."""
    Halting.recalled = None
    for expected in (None, {"names": ["a", "b"]}):
        made = wr.from_source(halting(bounded=False)).for_each_batch(lambda b, _: None, name="out")
        job = wr.job(made, ledger=tmp_path / "log")
        with job:
            job.step()
        assert Halting.recalled == expected


def test_an_epochs_input_survives_json() -> None:
    """Law: ranges, end, time and what is remembered come back equal; older documents remember nothing."""
    planned = EpochInput({"a": {0: (0, 5), 12: (3, 3)}}, True, 7, {"a": {"names": ["x"]}})
    assert EpochInput.from_json(planned.as_json()) == planned
    assert EpochInput.from_json({"ranges": {}, "last": False, "now_us": 1}) == EpochInput({}, False, 1)
