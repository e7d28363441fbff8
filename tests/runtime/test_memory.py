"""What a process does with memory while jobs run in it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import windrow as wr
from windrow.runtime import memory
from windrow.runtime.memory import collect_again, spare_collector


class _Node:
    """Something that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _not_frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever engines other tests have thrown away without closing them."""
    monkeypatch.setattr(memory, "_running", 0)
    monkeypatch.setattr(memory, "_frozen", False)
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_is_alive_is_spared_until_the_last_engine_ends() -> None:
    """law: counted; what became garbage in between is found afterwards, what is made later at any time."""
    old = _Node()
    before = weakref.ref(old)
    spare_collector()
    spare_collector()
    del old
    later = weakref.ref(_Node())
    gc.collect()
    assert (before() is None, later() is None) == (False, True)
    collect_again()
    gc.collect()
    assert before() is not None
    collect_again()
    gc.collect()
    assert before() is None


def test_a_program_that_has_frozen_its_objects_is_left_alone() -> None:
    """law: what the program froze stays so."""
    gc.freeze()
    spare_collector()
    collect_again()
    assert gc.get_freeze_count()


def test_a_job_spares_the_collector_while_it_is_open(tmp_path: Path) -> None:
    """law: from its first epoch until it is closed."""
    rows = wr.from_arrow(pa.table({"a": [1, 2]}))
    with wr.job(rows.write_log(tmp_path / "log", "out"), name="sparing") as job:
        assert job.step() is not None
        assert gc.get_freeze_count()
    assert not gc.get_freeze_count()
