"""Processes that die at each step of a commit: what was committed is whole, what was not is nowhere."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.progress import ledger_job as job
from windrow.errors import FencedError, InvariantError, LogError
from windrow.io.log.ledger import LogLedger
from windrow.io.log.log import Log
from windrow.progress import faults
from windrow.progress.ledger import EpochCommit

OURS = [point for point in faults.POINTS if point.split(".")[0] in ("log", "store", "ledger")]
SINKS = [point for point in faults.POINTS if point.split(".")[0] == "sink"]
#: Reached only in a restart, or not at all in this job.
NOT_AT_FIRST = {"log.sweep", "ledger.restore", "log.retention", "ledger.ahead"}
WRITING = {point for point in OURS if point.split(".")[0] in ("log", "store")} - {"log.sweep", "log.retention"}

pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "log"
    job.prepare(path)
    return path


@pytest.fixture
def log_path(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "log")
    return tmp_path / "log"


@pytest.mark.parametrize("point", [point for point in OURS if point not in NOT_AT_FIRST])
def test_crash_at(log_path: Path, point: str) -> None:
    """Crash: die at the point at its 1st, 3rd and 8th arrival, one process after the other, then run to the end."""
    died = [job.run_in_child(log_path, point=point, arrival=arrival) for arrival in (1, 3, 8)]
    assert died[0] == 137 and set(died) <= {0, 137}
    assert job.run_in_child(log_path) == 0
    job.check(log_path)


@pytest.mark.parametrize("point", ["log.sweep", "ledger.restore", "ledger.open"])
def test_crash_in_recovery(log_path: Path, point: str) -> None:
    """Crash: die in the middle of an epoch, then again and again while recovering from it."""
    assert job.run_in_child(log_path, point="log.write.partial", arrival=20) == 137
    for _ in range(3):
        assert job.run_in_child(log_path, point=point) == 137
    assert job.run_in_child(log_path) == 0
    job.check(log_path)


@pytest.mark.parametrize("point", [*SINKS, "ledger.ahead", "store.commit.after", "log.write.partial"])
def test_crash_with_a_sink_in_another_log(log_path: Path, tmp_path: Path, point: str) -> None:
    """Crash: two commits in two directories; the second knows which epochs it has taken."""
    for arrival in (1, 2, 4, 7):
        assert job.run_in_child(log_path, tmp_path / "other", point, arrival) in (0, 137)
    assert job.run_in_child(log_path, tmp_path / "other") == 0
    job.check(log_path, tmp_path / "other")


def test_random_kills(log_path: Path) -> None:
    """Crash: SIGKILL at random moments; every run makes progress or dies, and the result is exact."""
    chance = random.Random(7)
    for _ in range(12):
        process = job.start(job.run, log_path)
        time.sleep(chance.uniform(0.0, 0.08))
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        process.join(30)
    assert job.run_in_child(log_path) == 0
    job.check(log_path)


@pytest.mark.parametrize("new_file", [False, True])
@pytest.mark.parametrize("point", [point for point in OURS if point in WRITING])
def test_failure_at(log_path: Path, point: str, new_file: bool) -> None:
    """Law: an error instead of a crash leaves the log usable in the same process, and the commit whole or nowhere."""

    def fail() -> None:
        raise LogError("injected")

    with Log(log_path, segment_bytes=job.SEGMENT_BYTES) as log:
        new_file = new_file or point == "log.file.create"
        before = b"before" * (1_000 if new_file else 1)
        log.append("in", [before], partition=0)
        end = log.end_offset("in", 0)
        with faults.installed(faults.At(point, fail)), pytest.raises(LogError, match="injected"):
            log.append("in", [b"lost"] * 500, partition=0)
        committed = point == "store.commit.after"
        assert log.end_offset("in", 0) == end + 500 * committed
        log.append("in", [b"after"], partition=0)
        last = [row["value"] for batch in log.read("in", 0, end - 1) for row in batch.to_pylist()]
        assert last == [before, *[b"lost"] * (500 * committed), b"after"]
        assert log.verify() == []
    with Log(log_path) as log:
        log.sweep()
        assert job.unnamed_files(log) == set()


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync"])
def test_errors_of_the_disk(log_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int) -> None:
    """Law: a failed write or sync is an error, its file is never trusted again, and the log goes on in another."""
    real = getattr(os, call)

    def fail(descriptor: int, *data: memoryview) -> int:
        if call == "write":
            real(descriptor, data[0][: len(data[0]) // 2])  # a short write, then the error
        monkeypatch.setattr(os, call, real)
        raise OSError(error, os.strerror(error))

    with Log(log_path) as log:
        if call != "fsync":
            log.append("in", [b"before"], partition=0)
        end = log.end_offset("in", 0)
        monkeypatch.setattr(os, call, fail)
        with pytest.raises(LogError, match=os.strerror(error)):
            log.append("in", [b"lost"] * 50, partition=0)
        assert log.end_offset("in", 0) == end
        log.append("in", [b"after"], partition=0)
        assert log.read("in", 0, end)[0]["value"].to_pylist() == [b"after"]
        assert log.verify() == []
    with Log(log_path) as log:
        log.sweep()
        assert job.unnamed_files(log) == set()


@pytest.mark.parametrize("point", ["log.sync.before", "log.dir.after", "store.commit.after", "ledger.clean.after"])
def test_power_cut(log_path: Path, tmp_path: Path, point: str) -> None:
    """Crash: what was not synced is gone after the crash; every commit is still whole."""
    for arrival in (1, 4, 9):
        assert job.run_until_power_cut(log_path, tmp_path / "syncs", point, arrival) in (0, 137)
        with Log(log_path) as log:
            assert log.verify() == []
    assert job.run_in_child(log_path) == 0
    job.check(log_path)


@pytest.mark.parametrize("skipped", ["data", "names"])
def test_power_cut_without_a_sync_is_noticed(log_path: Path, tmp_path: Path, skipped: str) -> None:
    """Law: with either sync switched off a power cut damages the log, and verify() says so."""
    assert job.run_until_power_cut(log_path, tmp_path / "syncs", "store.commit.after", 3, skipped) == 137
    with Log(log_path) as log:
        assert log.verify()


def test_a_paused_owner_is_fenced(log_path: Path) -> None:
    """Law: an owner that was stopped in the middle of a commit finds itself replaced, and nothing of it is there."""
    first = LogLedger(log_path)
    first.open("sums", job.PLAN)

    def replaced_meanwhile() -> None:
        assert job.run_in_child(log_path) == 0

    with faults.installed(faults.At("log.sync.before", replaced_meanwhile)), pytest.raises(FencedError):
        first.commit(EpochCommit(1, {"in": {0: 1_000}}, {}))
    first.close()
    job.check(log_path)


def test_crash_from_the_environment(log_path: Path) -> None:
    """Crash: WINDROW_CRASH_AT ends any process that uses the log, at the arrival it names."""
    program = (
        "import sys\nfrom windrow.io.log.log import Log\nlog = Log(sys.argv[1])\n"
        "for _ in range(5): log.append('in', [b'1'], partition=0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(log_path)],
        env={**os.environ, "WINDROW_CRASH_AT": "store.commit.after:2"},
        check=False,
    )
    assert done.returncode == 137
    with Log(log_path) as log:
        assert log.end_offset("in", 0) == len(job.numbers_of(0)) + 2
    with pytest.raises(InvariantError, match="no fault point 'nowhere'; there are: "):
        faults.crash_from_environment("nowhere")
