"""What the crash harness has found, each as a small test (kind: law)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import windrow as wr
from windrow.io.log.store import Store


def test_a_reader_that_opens_a_log_while_it_is_laid_out_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database file is there before its tables are: a reader that looked then said that it was no log."""
    laying, go_on = threading.Event(), threading.Event()
    lay_out = Store._lay_out

    def slowly(self: Store) -> None:
        (self.root / "log.db").touch()
        laying.set()
        assert go_on.wait(10)
        lay_out(self)

    monkeypatch.setattr(Store, "_lay_out", slowly)
    path = tmp_path / "log"
    maker = threading.Thread(target=lambda: wr.Log(path).close())
    maker.start()
    assert laying.wait(10)
    threading.Timer(0.05, go_on.set).start()
    with wr.Log(path, create=False, read_only=True) as log:
        assert log.topics() == []
    maker.join()
