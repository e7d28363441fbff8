"""`windrow nexmark` as people run it (golden): figures and verdicts, and words for what it cannot do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from windrow.cli.nexmark.topic import Topic


def nexmark(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "windrow.cli.main", "nexmark", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_queries_from_memory_and_from_a_log(tmp_path: Path) -> None:
    for source in ("memory", "log"):
        done = nexmark(tmp_path, "q2,q5,q10", "--events", "2e4", "--check", "--source", source, "--seed", "3", "--json")
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["query"] for line in lines] == ["q2", "q5", "q10"]
        assert all(line["equal"] and line["events_per_s"] > 0 for line in lines)
    shown = nexmark(tmp_path, "q0", "--events", "20_000", "--check")
    assert "equal to DuckDB's, 18,400 rows" in shown.stdout


def test_queries_from_kafka(tmp_path: Path, broker: str) -> None:
    """A second run finds the events of the first, and goes on where one was killed."""
    topic = Topic(broker, 120_000, 7)
    with pytest.raises(KeyboardInterrupt):
        topic.write(lambda done, total, text: _stop())
    assert topic.missing() == 20_000
    arguments = ["--events", "120_000", "--source", "kafka", "--kafka", broker, "--seed", "7", "--check", "--json"]
    for queries in ("q2,q5", "q8"):
        done = nexmark(tmp_path, queries, *arguments)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["query"] for line in lines] == queries.split(",")
        assert all(line["equal"] and line["events"] == 120_000 and line["rows"] for line in lines)
    assert topic.missing() == 0


def _stop() -> None:
    raise KeyboardInterrupt


def test_errors_are_sentences(tmp_path: Path) -> None:
    for arguments, said in (
        (("q99",), "error: no query 'q99'; there are q0, q1"),
        (("q1", "--events", "many"), "error: --events must be a number such as 10_000_000"),
        (("q1", "--source", "kafka"), "error: --source kafka needs --kafka BOOTSTRAP"),
        (("q1", "--source", "tape"), "error: --source must be memory, log or kafka, not 'tape'"),
    ):
        done = nexmark(tmp_path, *arguments)
        assert done.returncode == 1 and done.stderr.startswith(said), done.stderr
