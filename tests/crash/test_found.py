"""What the crash harness has found, each as a small test (kind: law)."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest

import windrow as wr
from windrow.io.base import Sink
from windrow.io.files.sinks import JsonSink
from windrow.io.log.sink import LogSink
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


ROWS = pa.record_batch({"id": pa.array([1, 2], pa.int64())})


@pytest.mark.parametrize("kind", ["files", "another log"])
def test_an_opening_that_was_overtaken_touches_nothing(tmp_path: Path, kind: str) -> None:
    """A process was stopped between opening the ledger and its sinks; it went on, took the sink from the process that
    had replaced it, and threw away what that one had staged for an epoch that it then committed: rows were lost."""
    sinks = [_sink(kind, tmp_path) for _ in range(3)]
    stopped, running, last = sinks
    running.open("job", 0, 2)
    running.stage(1, [ROWS])
    with pytest.raises(wr.FencedError):
        stopped.open("job", 0, 1)
    running.publish(1)  # the ledger has committed epoch 1
    running.stage(2, [ROWS])  # and 2, and dies before it publishes
    with pytest.raises(wr.FencedError):
        stopped.open("job", 0, 1)
    last.open("job", 2, 3)
    assert _count(kind, tmp_path) == 4


def test_a_folder_taken_over_between_commit_and_publish_says_so(tmp_path: Path) -> None:
    """The replaced process looked for files that were renamed already and failed with FileNotFoundError."""
    first, second = _sink("files", tmp_path), _sink("files", tmp_path)
    first.open("job", 0, 1)
    first.stage(1, [ROWS])
    second.open("job", 1, 2)
    with pytest.raises(wr.FencedError, match="taken over"):
        first.publish(1)
    assert _count("files", tmp_path) == 2


def _sink(kind: str, place: Path) -> Sink:
    if kind == "files":
        return JsonSink(place / "files", schema=ROWS.schema)
    return LogSink(place / "log", "out", schema=ROWS.schema, in_ledger=False)


def _count(kind: str, place: Path) -> int:
    if kind == "files":
        return sum(len(path.read_text().splitlines()) for path in (place / "files").glob("part-*"))
    with wr.Log(place / "log", create=False) as log:
        return log.end_offset("out", 0)
