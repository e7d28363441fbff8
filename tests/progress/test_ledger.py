"""Both ledgers keep the same laws, and agree with an oracle; what only the durable one promises comes after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.errors import CorruptionError, FencedError, InvariantError, LogError, StateError
from windrow.io.log.ledger import LogLedger
from windrow.io.log.log import Log
from windrow.progress.ledger import EpochCommit, EpochInput, Ledger, StateWrite, TopicWrite
from windrow.progress.memory import MemoryLedger

PLAN = {"fingerprint": "1", "operators": {"window": "tumbling(10s) count", "top": "top 3"}}


def table(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch({"n": pa.array(numbers, pa.int64())})


def write(operator: str, shard: int, kind: Any, *numbers: int) -> StateWrite:
    return StateWrite(operator, shard, kind, {"rows": table(*numbers), "more": pa.record_batch({"s": ["a"]})})


def seen(state: Any) -> list[tuple[str, int, str, list[int]]]:
    return [(one.operator, one.shard, one.kind, one.tables["rows"]["n"].to_pylist()) for one in state]


@pytest.fixture(params=["memory", "log"])
def owners(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Makes one owner of the same truth after the other."""
    if request.param == "memory":
        first = MemoryLedger()
        yield first.again
        return
    made: list[LogLedger] = []

    def make() -> Ledger:
        made.append(LogLedger(tmp_path / "log"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_new_job_knows_nothing(owners: Callable[[], Ledger]) -> None:
    """Law: epoch 0, no positions, no state."""
    found = owners().open("job", PLAN)
    assert (found.epoch, found.positions, found.progress, found.planned, list(found.state)) == (0, {}, {}, None, [])


def test_what_was_committed_is_recovered(owners: Callable[[], Ledger]) -> None:
    """Law: the last commit is what the next owner finds; jobs do not see each other."""
    ledger = owners()
    ledger.open("job", PLAN)
    ledger.commit(EpochCommit(1, {"a": {0: 5, 1: 7}, "b": {0: 1}}, {"wm": 3}, [write("window", 0, "snapshot", 1, 2)]))
    ledger.commit(EpochCommit(2, {"a": {0: 6, 1: 7}}, {"wm": 4}, [write("window", 0, "delta", 3)]))
    found = owners().open("job", PLAN)
    assert (found.epoch, found.positions, found.progress) == (2, {"a": {0: 6, 1: 7}}, {"wm": 4})
    assert seen(found.state) == [("window", 0, "snapshot", [1, 2]), ("window", 0, "delta", [3])]
    assert seen(found.state) == seen(found.state)  # can be read again
    assert owners().open("other", PLAN).epoch == 0


def test_write_ahead(owners: Callable[[], Ledger]) -> None:
    """Law: a range written ahead is there until its epoch is committed."""
    ledger = owners()
    ledger.open("job", PLAN)
    ledger.write_ahead(1, EpochInput({"a": {0: (0, 5), 12: (3, 3)}}, True, 7))
    ledger = owners()
    assert ledger.open("job", PLAN).planned == EpochInput({"a": {0: (0, 5), 12: (3, 3)}}, True, 7)
    ledger.commit(EpochCommit(1, {"a": {0: 5}}, {}))
    assert owners().open("job", PLAN).planned is None


def test_epochs_come_in_order(owners: Callable[[], Ledger]) -> None:
    """Law: neither a repeat nor a gap, nor anything before open."""
    ledger = owners()
    with pytest.raises(InvariantError, match="not open"):
        ledger.commit(EpochCommit(1, {}, {}))
    ledger.open("job", PLAN)
    ledger.commit(EpochCommit(1, {}, {}))
    for epoch in (1, 3):
        with pytest.raises(InvariantError, match=f"epoch {epoch} was given to the ledger after epoch 1"):
            ledger.commit(EpochCommit(epoch, {}, {}))
        with pytest.raises(InvariantError, match=f"epoch {epoch} was given"):
            ledger.write_ahead(epoch, EpochInput({}))
    assert owners().open("job", PLAN).epoch == 1


def test_the_second_owner_fences_the_first(owners: Callable[[], Ledger]) -> None:
    """Law: from the moment of taking over, nothing of the first is taken any more."""
    first, second = owners(), owners()
    first.open("job", PLAN)
    first.commit(EpochCommit(1, {"a": {0: 1}}, {}))
    second.open("job", PLAN)
    with pytest.raises(FencedError, match=r"'job'.* was taken over"):
        first.commit(EpochCommit(2, {"a": {0: 99}}, {}, [write("window", 0, "snapshot", 99)]))
    with pytest.raises(FencedError):
        first.write_ahead(2, EpochInput({}))
    second.commit(EpochCommit(2, {"a": {0: 2}}, {}))
    found = owners().open("job", PLAN)
    assert (found.epoch, found.positions, list(found.state)) == (2, {"a": {0: 2}}, [])


def test_an_owner_that_was_replaced_while_it_restores_is_fenced(tmp_path: Path) -> None:
    """Crash: the files of the state it was told of may be gone by then, which is no damage."""
    first = LogLedger(tmp_path / "log")
    first.open("job", PLAN)
    first.commit(EpochCommit(1, {}, {}, [write("window", 0, "snapshot", 1)]))
    first.close()
    slow = Log(tmp_path / "log", create=False)
    state = LogLedger(slow).open("job", PLAN).state
    with Log(tmp_path / "log", create=False, segment_bytes=1) as log:
        second = LogLedger(log)
        second.open("job", PLAN)
        for epoch in (2, 3):
            second.commit(EpochCommit(epoch, {}, {}, [write("window", 0, "snapshot", epoch)]))
        with pytest.raises(FencedError, match="was taken over"):
            list(state)
    slow.close()


def test_state_of_another_plan_is_refused(owners: Callable[[], Ledger]) -> None:
    """Law: the message lists the operators of both; the plan counts from the first commit."""
    other = {"fingerprint": "2", "operators": {"window": "tumbling(20s) count", "sessions": "session(5s)"}}
    owners().open("job", PLAN)
    ledger = owners()
    ledger.open("job", other)  # nothing was committed under the first plan
    ledger = owners()
    ledger.open("job", PLAN)
    ledger.commit(EpochCommit(1, {}, {}))
    with pytest.raises(StateError) as raised:
        owners().open("job", other)
    message = str(raised.value)
    for part in ("'job'", "tumbling(10s)", "tumbling(20s)", "new", "session(5s)", "gone", "top 3"):
        assert part in message
    ledger.commit(EpochCommit(2, {}, {}))  # who was refused has fenced nobody


history = st.lists(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.sampled_from(["delta", "delta", "snapshot"])),
        max_size=4,
        unique_by=lambda one: one[:2],
    ),
    max_size=8,
)


@settings(max_examples=30, deadline=None)
@given(history, st.booleans())
def test_state_is_the_last_snapshot_and_what_follows(
    tmp_path_factory: pytest.TempPathFactory, epochs: list[list[tuple[str, int, Any]]], small_files: bool
) -> None:
    """Oracle: a dict of lists; both ledgers give it, in order, and no file is kept that nothing names."""
    model: dict[tuple[str, int], list[tuple[str, int]]] = {}
    path = tmp_path_factory.mktemp("log")
    with Log(path, segment_bytes=400 if small_files else 1 << 20) as log:
        ledgers: list[Any] = [MemoryLedger(), LogLedger(log)]
        for ledger in ledgers:
            ledger.open("job", PLAN)
        for number, writes in enumerate(epochs, 1):
            state = [write(operator, shard, kind, number) for operator, shard, kind in writes]
            for ledger in ledgers:
                ledger.commit(EpochCommit(number, {}, {}, state))
            for operator, shard, kind in writes:
                kept = model.setdefault((operator, shard), [])
                if kind == "snapshot":
                    kept.clear()
                kept.append((kind, number))
        expected = [(*key, kind, [number]) for key, kept in sorted(model.items()) for kind, number in kept]
        for again in (ledgers[0].again(), LogLedger(log)):
            assert seen(again.open("job", PLAN).state) == expected
        assert log.verify() == []
    with Log(path) as log:
        log.sweep()
        names = {f"{file.parent.name}/{file.name}" for file in path.glob("*/*.arrows")}
        with log.store.reading() as connection:
            named = {name for (name,) in connection.execute("SELECT name FROM files JOIN state ON files.id = file")}
        assert names == named


def test_outputs_are_part_of_the_commit(tmp_path: Path) -> None:
    """Law: outputs get their offsets in the commit, in order; those of a refused commit are nowhere."""
    with Log(tmp_path / "log") as log:
        log.create_topic("out", partitions=2, schema=table().schema)
        first = LogLedger(log)
        first.open("job", PLAN)
        log.append_arrow("out", table(0), partition=1)
        writes = [TopicWrite("out", 1, table(1, 2)), TopicWrite("out", 0, table(7)), TopicWrite("out", 1, table(3))]
        first.commit(EpochCommit(1, {}, {}, outputs=writes))
        LogLedger(log).open("job", PLAN)
        with pytest.raises(FencedError):
            first.commit(EpochCommit(2, {}, {}, outputs=[TopicWrite("out", 1, table(99))]))
        log.append_arrow("out", table(4), partition=1)
        assert [n for b in log.read("out", 1, 0) for n in b["n"].to_pylist()] == [0, 1, 2, 3, 4]
        assert [n for b in log.read("out", 0, 0) for n in b["n"].to_pylist()] == [7]
        with pytest.raises(InvariantError, match="cannot take rows"):
            ledger = MemoryLedger(durable=False)
            ledger.open("job", PLAN)
            ledger.commit(EpochCommit(1, {}, {}, outputs=writes))
        with pytest.raises(LogError, match="no topic 'nowhere'"):
            third = LogLedger(log)
            third.open("job", PLAN)
            third.commit(EpochCommit(2, {}, {}, outputs=[TopicWrite("nowhere", 0, table(1))]))
        assert log.verify() == []


def test_replaced_state_frees_its_files(tmp_path: Path) -> None:
    """Law: with snapshots the state folder does not grow with the number of epochs."""
    with Log(tmp_path / "log", segment_bytes=5_000) as log:
        ledger = LogLedger(log)
        ledger.open("job", PLAN)
        most = 0
        for epoch in range(1, 101):
            kind = "snapshot" if epoch % 5 == 1 else "delta"
            ledger.commit(EpochCommit(epoch, {}, {}, [write("window", shard, kind, *range(20)) for shard in range(2)]))
            most = max(most, sum(file.stat().st_size for file in (tmp_path / "log" / "state").iterdir()))
        assert most < 40_000
        assert log.verify() == []


def test_damaged_state_is_named(tmp_path: Path) -> None:
    """Law: a flipped bit in saved state is met at restore, with file and bytes; verify() finds it too."""
    with Log(tmp_path / "log") as log:
        ledger = LogLedger(log)
        ledger.open("job", PLAN)
        ledger.commit(EpochCommit(1, {}, {}, [write("window", 3, "snapshot", *range(1000))]))
    (file,) = (tmp_path / "log" / "state").iterdir()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    with Log(tmp_path / "log") as log:
        found = LogLedger(log).open("job", PLAN)
        with pytest.raises(
            CorruptionError, match=rf"{file.name} is damaged between bytes 0 and \d+: .*'window', shard 3"
        ):
            list(found.state)
        (problem,) = log.verify()
        assert (problem.file, problem.first_byte, problem.job) == (f"state/{file.name}", 0, "job")
        assert problem.end_byte == len(data)


def test_damaged_positions_are_met(tmp_path: Path) -> None:
    """Law: an index that says something else than was committed does not move a job."""
    with Log(tmp_path / "log") as log:
        ledger = LogLedger(log)
        ledger.open("job", PLAN)
        ledger.commit(EpochCommit(1, {"a": {0: 5}}, {}))
        with log.store.transaction() as transaction:
            transaction.execute("UPDATE positions SET next_offset = 4")
        assert [problem.job for problem in log.verify()] == ["job"]
        with pytest.raises(CorruptionError, match="what the ledger says of epoch 1 is damaged"):
            LogLedger(log).open("job", PLAN)


def test_missing_state_file_is_named(tmp_path: Path) -> None:
    """Law: a file that is gone is a damage, not an empty state."""
    with Log(tmp_path / "log") as log:
        ledger = LogLedger(log)
        ledger.open("job", PLAN)
        ledger.commit(EpochCommit(1, {}, {}, [write("window", 0, "snapshot", 1)]))
        (file,) = (tmp_path / "log" / "state").iterdir()
        file.unlink()
        with pytest.raises(CorruptionError, match=f"{file.name} is not there; it holds state of operator 'window'"):
            list(LogLedger(log).open("job", PLAN).state)
        assert [problem.file for problem in log.verify()] == [f"state/{file.name}"]
