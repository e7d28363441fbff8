"""Every benchmark at a hundredth of its size, so that none can rot (law: the same input gives the same checksum)."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import harness, kafka_read, machine, runner
from tests.benchmarks import checksums

SCALE = checksums.SCALE
ROOT = Path(__file__).parents[2]
KEYS = [
    *(
        "name",
        "variant",
        "events",
        "bytes",
        "seconds",
        "runs",
        "events_per_s",
        "cores",
        "workers",
        "rss_mb",
        "checksum",
    ),
    *("scale", "versions", "machine", "extra"),
]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", sorted(runner.load_all()))
def test_benchmark_gives_sane_figures_and_the_same_checksum_again(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = harness.registry[name]
    if benchmark.broker:
        monkeypatch.setenv("WINDROW_BENCH_KAFKA", request.getfixturevalue("broker"))
    first, second = benchmark.run(SCALE), benchmark.run(SCALE)
    assert first, "a benchmark measures something"
    assert [(m.variant, m.checksum, m.events) for m in first] == [(m.variant, m.checksum, m.events) for m in second]
    assert len({m.variant for m in first}) == len(first), "variants have different names"
    said = "another result than before; if that is meant: python -m tests.benchmarks.checksums"
    assert checksums.of(first) == checksums.kept().get(name, checksums.of(first)), said
    for measured in first:
        assert measured.checksum, "a checksum that depends on every result"
        assert measured.events > 0 and measured.bytes >= 0
        assert 0 < measured.seconds < math.inf
        assert 1 <= measured.workers <= benchmark.workers
        json.dumps(dict(measured.extra))


def test_checksums_are_kept_of_benchmarks_that_there_are() -> None:
    kept = checksums.kept()
    assert not kept.keys() - runner.load_all().keys(), "python -m tests.benchmarks.checksums"
    assert len(kept) > 30


def test_every_benchmark_says_what_it_measures() -> None:
    for benchmark in harness.registry.values():
        assert len(benchmark.what) > 10, benchmark.name


def test_run_prints_one_json_object_a_line_with_all_keys() -> None:
    done = command("run", "start", "--scale", "0.1", "--json", "--pin")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["variant"] for line in lines] == ["python alone", "import windrow", "windrow --help"]
    for line in lines:
        assert list(line) == KEYS
        assert line["cores"] == 1, "--pin leaves one core to a benchmark with one worker"
        assert 1 < line["rss_mb"] < 4_000
        assert set(line["versions"]) == {"python", "numba", "numpy", "pyarrow", "polars", "windrow"}


def test_run_prints_a_table_for_people() -> None:
    done = command("run", "start", "--scale", "0.1")
    assert done.returncode == 0, done.stderr
    assert "import windrow" in done.stdout and "peak MB" in done.stdout


def test_list_names_every_benchmark() -> None:
    done = command("list", "--json")
    assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == sorted(runner.load_all())
    assert "start" in command("list").stdout


def test_unknown_name_says_what_there_is() -> None:
    done = command("run", "no_such_thing")
    assert done.returncode == 1
    assert "no benchmark no_such_thing; there are: " in done.stderr and "start" in done.stderr


def test_a_failing_benchmark_fails_the_run_and_names_itself() -> None:
    failing = harness.Benchmark("no_such_thing", "fails", lambda _scale: [], ())
    with pytest.raises(runner.BenchmarkError, match="no_such_thing ended with exit code 1: no benchmark no_such_thing"):
        runner.run_apart(failing, SCALE, pin=False)


def test_why_a_process_failed_is_the_last_line_that_is_no_frame_of_java() -> None:
    java = "java.lang.Exception: outer\n\tat a.B.c(B.java:1)\nCaused by: inner\n\tat a.B.d(B.java:2)\n\t... 3 more\n"
    assert runner.last_words(f"Traceback\n{java}\n") == "Caused by: inner"
    assert runner.last_words("Traceback\nValueError: x") == "ValueError: x"
    assert runner.last_words("") == ""


def test_the_java_client_reads_what_kafka_read_reads(broker: str) -> None:
    """At this scale the benchmark itself has a scripted broker and no Java."""
    kafka_read._fill(broker, 500)
    kafka_read._fill(broker, 1_000)
    seconds, records = kafka_read._java(broker, 1_000)
    assert seconds > 0 and records == 1_000


def test_peak_memory_is_that_of_this_process_alone() -> None:
    big = bytearray(200_000_000)
    command_ = [sys.executable, "-c", "from benchmarks import machine; print(machine.peak_rss_mb())"]
    child = subprocess.run(command_, cwd=ROOT, capture_output=True, text=True, check=True)
    assert machine.peak_rss_mb() > len(big) / 1e6
    assert float(child.stdout) < 100
