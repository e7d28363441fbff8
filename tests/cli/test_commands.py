"""The command as users call it, in processes of its own (golden: what it prints; law: exit codes, quick help)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

import windrow as wr

PIPELINE = """
import windrow as wr

bids = wr.read_log("data", "bids", schema=wr.schema(auction="int64", price="int64"))
job = bids.select("auction", "price").write_log("data", "copied")
"""


def windrow(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "windrow.cli.main", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log with 30 events in two partitions, and a pipeline that copies them."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    with wr.Log(tmp_path / "data") as log:
        log.create_topic("bids", partitions=2)
        for partition in (0, 1):
            log.append("bids", [b'{"auction": 1, "price": %d}' % n for n in range(15)], partition=partition)
    return tmp_path


def copied(folder: Path) -> int:
    with wr.Log(folder / "data") as log:
        return log.end_offset("copied", 0)


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from windrow.cli.main import main\n"
        "sys.argv = ['windrow', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*[name for name in ('pyarrow', 'numba', 'polars') if name in sys.modules], file=sys.stderr)\n"
    )
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - begun)
        assert done.stderr.strip() == ""
    for command in ("run", "explain", "demo", "warmup", "version"):
        assert command in done.stdout
    # 0.2 s alone on the machine; the tests share it.
    assert median(times) < 1.0


@pytest.mark.parametrize("command", ["run", "explain", "demo", "warmup", "version"])
def test_every_command_explains_itself(command: str) -> None:
    done = windrow(command, "--help")
    assert done.returncode == 0 and "Usage: " in done.stdout


def test_version() -> None:
    assert windrow("--version").stdout.strip() == wr.__version__
    assert json.loads(windrow("version", "--json").stdout)["windrow"] == wr.__version__
    assert windrow("version").stdout.startswith(f"windrow  {wr.__version__}")


def test_explain_shows_the_plan_and_runs_nothing(folder: Path) -> None:
    done = windrow("explain", "pipeline.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "copied" in done.stdout and "bids" in done.stdout
    with wr.Log(folder / "data") as log:
        assert [topic.name for topic in log.topics()] == ["bids"]


def test_run_until_caught_up_commits_everything_once(folder: Path) -> None:
    done = windrow("run", "pipeline.py", "--until", "caught-up", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "30 events" in done.stderr
    assert copied(folder) == 30
    again = windrow("run", "pipeline.py", "--until", "caught-up", cwd=folder)
    assert again.returncode == 0 and "nothing to do" in again.stderr
    assert copied(folder) == 30


def test_run_json_prints_one_object_a_line(folder: Path) -> None:
    done = windrow("run", "pipeline.py", "--until", "caught-up", "--json", "--workers", "2", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(text) for text in done.stdout.splitlines()]
    assert lines[-1]["events"] == 30 and lines[-1]["lag"] == 0


def test_run_quiet_and_bounded_by_time_and_epochs(folder: Path) -> None:
    done = windrow("run", "pipeline.py", "--timeout", "1s", "--epochs", "1", "--quiet", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert copied(folder) == 30


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_after_a_commit(folder: Path, number: signal.Signals) -> None:
    """Crash: the process is told to stop while it waits for more; what it has read is committed, and it says so."""
    running = subprocess.Popen(
        [sys.executable, "-m", "windrow.cli.main", "run", "pipeline.py", "--json"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert json.loads(running.stdout.readline())["epoch"] >= 1
    os.kill(running.pid, number)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 0, errors
    assert copied(folder) == 30


def test_errors_are_one_sentence_and_exit_code_1(folder: Path) -> None:
    (folder / "wrong.py").write_text(PIPELINE.replace('"bids", ', '"bits", format="arrow", ').replace("schema=", "_="))
    for arguments in (("run", "none.py"), ("run", "pipeline.py:none"), ("run", "pipeline.py", "--timeout", "soon")):
        done = windrow(*arguments, cwd=folder)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr


def test_wrong_usage_is_exit_code_2(folder: Path) -> None:
    done = windrow("run", "pipeline.py", "--until", "tomorrow", cwd=folder)
    assert done.returncode == 2 and "caught-up" in done.stderr
