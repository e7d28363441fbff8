"""Programs of the comparison run query after query, and one that fails takes no other with it (law)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.peers.kafka import runs
from benchmarks.peers.nexmark import answers, engines
from benchmarks.peers.nexmark.sessions import Said, Session
from benchmarks.suite import about, ratios, run, steps
from benchmarks.suite.lines import read

PROGRAM = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, PROGRAMS)
from rounds import TASK, Cannot, rounds

def prepare(data):
    TASK["prepared"] = data.name

def run(data, out):
    assert TASK["prepared"] == data.name
    if TASK["query"] == "raises":
        raise ValueError("no such column")
    if TASK["query"] == "cannot":
        raise Cannot("no sessions")
    if TASK["query"] == "dies":
        sys.stderr.write("java.lang.OutOfMemoryError: heap")
        sys.stderr.flush()
        os._exit(3)
    if TASK["query"] == "hangs":
        time.sleep(60)
    if out is not None:
        (out / "pid").write_text(str(os.getpid()))

rounds(run, prepare=prepare)
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    program = tmp_path / "program.py"
    programs = Path(engines.__file__).parent / "programs"
    program.write_text(PROGRAM.replace("PROGRAMS", repr(str(programs))))
    made = Session([sys.executable, str(program), '{"cores": 1}'], steps.cores(1), {}, tmp_path)
    yield made
    made.close()


def ask(session: Session, folder: Path, query: str, timeout_s: float = 20.0) -> tuple[Said, str]:
    """What was said, and the process that wrote the result."""
    out = folder / "out" / query
    task = {"query": query, "data": "data", "first": "first", "small": "small", "out": str(out), "rounds": 2}
    said = session.ask(task, timeout_s)
    return said, (out / "pid").read_text() if (out / "pid").exists() else ""


def test_queries_share_a_process_and_failures_stay_alone(session: Session, tmp_path: Path) -> None:
    first, process = ask(session, tmp_path, "q1")
    assert not first.failed and len(first.all("round")) == 3 and first.all("checked") == [True]
    assert first.all("startup_s")[0] > 0 and first.peak_rss_mb > 1
    refused, _ = ask(session, tmp_path, "cannot")
    assert refused.all("cannot") == ["no sessions"] and not refused.failed
    raised, _ = ask(session, tmp_path, "raises")
    assert "no such column" in raised.failed
    second, same = ask(session, tmp_path, "q2")
    assert same == process and not second.all("startup_s"), "an exception leaves the process alone"


@pytest.mark.parametrize(("query", "why"), [("dies", "OutOfMemoryError"), ("hangs", "not done after 2 s")])
def test_a_process_that_is_lost_is_replaced(session: Session, tmp_path: Path, query: str, why: str) -> None:
    _, process = ask(session, tmp_path, "q1")
    begun = time.monotonic()
    lost, _ = ask(session, tmp_path, query, 2.0)
    assert why in lost.failed and time.monotonic() - begun < 20
    again, other = ask(session, tmp_path, "q2")
    assert not again.failed and other != process and again.all("startup_s")
    assert not psutil.pid_exists(int(process))


def test_every_streaming_figure_has_one_of_windrow_beside_it() -> None:
    ours = next(engine for engine in engines.ENGINES if engine.name == "windrow")
    for engine in engines.ENGINES:
        for source, counts in engine.measured.items():
            assert set(counts) <= set(ours.measured[source]), f"{engine.name} from {source}"
        assert engine.share.keys() | engine.measured.keys() == engine.measured.keys()
        assert engine.memory_alone == (engine.share.get("memory", 1.0) > 1), "what no file has is made for memory alone"
        assert engine.lighter.keys() | engine.cannot.keys() <= answers.COLUMNS.keys()


def test_sources_are_measured_and_checked(tmp_path: Path) -> None:
    step = run.choose(["peers_batch"], "tiny")[0]
    options = {"engines": "windrow,duckdb", "sources": "memory,parquet,json", "cores": "1", "queries": "q0,q17"}
    plan = run.Plan([step], "tiny", tmp_path, options, about.run_facts("tiny", "a command"))
    assert run.run_step(plan, step, lambda text: None) == ""
    lines = [kept.line for kept in read([tmp_path / "peers_batch.jsonl"])]
    assert [line.reason for line in lines if line.status != "measured"] == []
    found = {(line.engine, line.source, line.query) for line in lines}
    assert len(found) == len(lines) == 12 and len(ratios.pairs(lines)) == 6
    assert len({line.checksum for line in lines if line.query == "q17"}) == 1


def test_latency_ends_when_the_last_event_of_each_auction_was_seen() -> None:
    sent = [(1, 10), (2, 20), (1, 30)]
    assert not runs._all_seen(sent, {1: [(10, 15), (30, 40)]})
    assert not runs._all_seen(sent, {1: [(10, 15)], 2: [(20, 25)]})
    assert runs._all_seen(sent, {1: [(30, 40)], 2: [(20, 25)]})


def test_the_machine_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many steps there are, a busy machine costs the run its patience once."""
    asked: list[float] = []

    def wait(seconds: float) -> float:
        asked.append(seconds)
        time.sleep(min(seconds, 0.2))
        return 1.5

    monkeypatch.setattr(about, "wait_until_quiet", wait)
    monkeypatch.setitem(run._QUIET_S, "tiny", 0.3)
    limits = run.choose(["limits"], "tiny")[0]
    plan = run.Plan([limits, limits, limits], "tiny", tmp_path, {}, about.run_facts("tiny", "a command"))
    assert run.run_suite(plan, lambda text: None) == []
    assert asked[0] == 0.3 and 0 < asked[1] < 0.11 and asked[2] == 0
    assert {kept.run["busy_cores_before"] for kept in read([tmp_path / "limits.jsonl"])} == {1.5}
