"""The suite runs its steps, survives what they do, and says what they found (law)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from benchmarks.runner import BenchmarkError
from benchmarks.suite import about, compare, processes, report, report_goals, report_machine, run, steps, svg
from benchmarks.suite.lines import Kept, Line, as_json, from_json, read
from benchmarks.suite.page import Page

LINE = Line(
    benchmark="nexmark", query="q5", source="memory", events=1_000, bytes=8_000, seconds=(0.2, 0.1, 0.3),
    cpu_seconds=0.2, checksum="1:2", guarantee="exactly once", latency_ms={"p50": 1.5}, extra={"keys": 3},
)  # fmt: skip
FACTS = about.run_facts("tiny", "a command")


def plan(results: Path, *chosen: steps.Step) -> run.Plan:
    return run.Plan(list(chosen), "tiny", results, {}, FACTS)


def test_a_line_is_the_same_after_being_written_and_read() -> None:
    kept = from_json(as_json(LINE, "step", FACTS))
    assert kept == Kept(LINE, "step", FACTS)
    assert LINE.second == 0.2 and LINE.events_per_s == 5_000 and LINE.events_per_cpu_s == 5_000


def test_lines_of_other_versions_and_broken_ones_do_not_stop_reading(tmp_path: Path) -> None:
    text = json.loads(as_json(LINE, "step", FACTS)) | {"of_a_later_version": 1}
    (tmp_path / "a.jsonl").write_text(json.dumps(text) + "\n" + as_json(LINE, "step", FACTS)[:50])
    assert [kept.line for kept in read([tmp_path / "a.jsonl"])] == [LINE]


@pytest.mark.parametrize("name", ["limits", "growth", "scale_cores", "soak"])
def test_a_step_at_its_smallest_gives_right_lines(name: str, tmp_path: Path) -> None:
    step = run.choose([name], "tiny")[0]
    assert run.run_step(plan(tmp_path, step), step, lambda text: None) == ""
    kept = read([tmp_path / f"{name}.jsonl"])
    assert kept and len({each.line.key for each in kept}) == len(kept), "lines have different keys"
    for each in kept:
        assert each.line.status == "measured", each.line
        assert each.run["machine"]["cores"] == os.cpu_count()
        assert each.line.query == "clock" or (min(each.line.seconds) > 0 and each.line.events > 0)


def test_state_and_epochs_are_measured(tmp_path: Path) -> None:
    for name, field in (("scale_state", "new_per_s"), ("scale_epochs", "epochs")):
        step = run.choose([name], "tiny")[0]
        assert run.run_step(plan(tmp_path, step), step, lambda text: None) == ""
        lines = [kept.line for kept in read([tmp_path / f"{name}.jsonl"])]
        assert len(lines) >= 2 and all(line.extra[field] > 0 for line in lines)
    assert all(line.checksum.split(" of ")[0] == line.checksum.split(" of ")[1] for line in lines), "events were lost"


def test_a_step_that_hangs_is_ended_and_reported(tmp_path: Path) -> None:
    step = replace(run.choose(["growth"], "tiny")[0], limit=(1, 1))
    begun = time.monotonic()
    assert "limit of 1 s" in run.run_step(plan(tmp_path, step), step, lambda text: None)
    assert time.monotonic() - begun < 30
    last = read([tmp_path / "growth.jsonl"])[-1].line
    assert last.status == "failed" and "limit of 1 s" in last.reason


def test_a_step_that_fails_says_why_and_the_next_one_runs(tmp_path: Path) -> None:
    good = run.choose(["limits"], "tiny")[0]
    bad = replace(good, name="no_such_step")
    assert run.run_suite(plan(tmp_path, bad, good), lambda text: None) == ["no_such_step"]
    assert "no step no_such_step" in read([tmp_path / "no_such_step.jsonl"])[0].line.reason
    page = report.gather(tmp_path, "page")
    assert "no_such_step" in report.compose(page) and read([tmp_path / "limits.jsonl"])


def test_processes_that_left_their_parent_are_ended() -> None:
    marked = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={**os.environ, processes.MARK: "this-test"}, start_new_session=True,
    )  # fmt: skip
    while not _marked(marked.pid):
        time.sleep(0.01)
    assert processes.kill_marked("another") == 0 and marked.poll() is None
    assert processes.kill_marked("this-test") == 1
    assert marked.wait(timeout=10) == -signal.SIGKILL


def _marked(pid: int) -> bool:
    return psutil.Process(pid).environ().get(processes.MARK) == "this-test"


def test_an_option_that_lengthens_a_step_moves_its_limit(tmp_path: Path) -> None:
    """law: the soak of an hour was ended after three minutes."""
    (soak,) = run.choose(["soak"], "full")
    short = replace(plan(tmp_path, soak), size="full")
    hour = replace(short, options={"minutes": "60"})
    assert hour.limit(soak) == short.limit(soak) + 3_600
    assert hour.limit(run.choose(["growth"], "full")[0]) == short.limit(run.choose(["growth"], "full")[0])


def test_a_run_process_is_limited_and_metered() -> None:
    spin = "import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', 'while True: pass'])"
    done = processes.run([sys.executable, "-c", spin], timeout=1.5, cores=steps.cores(1))
    assert done.timed_out and done.seconds < 20
    assert 0.1 < done.cpu_seconds < 20, "what the child used counts"
    quick = processes.run(
        [sys.executable, "-c", "print('out'); x = bytearray(150_000_000); import time; time.sleep(.3)"], timeout=20
    )
    assert (quick.code, quick.out, quick.timed_out) == (0, "out\n", False) and 150 < quick.peak_rss_mb < 400


def written(folder: Path, *lines: Line) -> Path:
    folder.mkdir()
    (folder / "x.jsonl").write_text("".join(as_json(line, "x", FACTS) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize(
    ("new", "worse"),
    [
        (replace(LINE, seconds=(0.2, 0.11, 0.3)), False),
        (replace(LINE, seconds=(0.28, 0.35, 0.29)), False),  # slower in the middle, but the repetitions overlap
        (replace(LINE, seconds=(0.5, 0.45, 0.6)), True),
        (replace(LINE, checksum="1:3"), True),
        (replace(LINE, status="failed", seconds=()), True),
        (replace(LINE, seconds=(0.5, 0.45, 0.6), events=2_000), False),  # twice the events
    ],
)
def test_comparing_finds_what_became_worse_and_no_noise(tmp_path: Path, new: Line, worse: bool) -> None:
    text, found = compare.compare(written(tmp_path / "old", LINE), written(tmp_path / "new", new), 1.15)
    assert bool(found) is worse and "nexmark q5 memory windrow" in text


def test_other_engines_do_not_fail_a_comparison(tmp_path: Path) -> None:
    old, new = replace(LINE, engine="flink"), replace(LINE, engine="flink", seconds=(9.0,))
    assert compare.compare(written(tmp_path / "old", old), written(tmp_path / "new", new), 1.15)[1] == []


def test_comparing_with_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="holds no results"):
        compare.compare(tmp_path, tmp_path, 1.15)


# -- the page --------------------------------------------------------------------------------------------------------


def page(*named: tuple[str, Line]) -> Page:
    steps.load_all()
    kept = [Kept(line, step, FACTS) for step, line in named]
    return Page(kept, {}, {"flink": {"name": "Apache Flink", "tuned": ["<x>"], "wins": {"q5": "because"}}})


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> str:
    """A step of the part `peers`, whatever there is."""
    step = steps.Step("some_peers", "peers", "x", lambda given: iter(()), (1, 1), (1, 1))
    monkeypatch.setitem(steps.registry, "some_peers", step)
    return step.name


def test_ratios_are_of_equal_work_and_where_a_peer_wins_is_said(peers: str) -> None:
    theirs = replace(LINE, engine="flink", cpu_seconds=0.8, seconds=(0.4,))
    ahead = replace(theirs, source="file", cpu_seconds=0.1)
    made = page((peers, LINE), (peers, theirs), (peers, replace(LINE, source="file")), (peers, ahead))
    text = report.compose(made)
    assert "| Apache Flink, memory, files | 2 | 1.41 x |" in text, "4 and 1/2, their geometric mean"
    assert "| Apache Flink | nexmark q5 file | 1 | 2 x |" in text and "because" in text
    assert "could not be written" not in text
    assert "peers.svg" in made.plots


def test_what_a_peer_cannot_say_and_wrong_results_are_shown_and_give_no_ratio(peers: str) -> None:
    cannot = replace(LINE, engine="flink", status="cannot", reason="no sessions", seconds=())
    wrong = replace(LINE, engine="flink", query="q7", status="wrong", reason="two rows more")
    text = report.compose(page((peers, LINE), (peers, cannot), (peers, replace(LINE, query="q7")), (peers, wrong)))
    assert "cannot: no sessions" in text and "wrong: two rows more" in text
    assert "## In short" not in text


def test_goals_are_held_against_what_was_measured(peers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """golden: reached, missed, not measured; of one engine, of the faster batch engine, of cores."""
    flink = replace(LINE, engine="flink", cpu_seconds=2.4)
    spark = replace(LINE, engine="spark", cpu_seconds=1.0)
    polars = replace(LINE, engine="polars", guarantee="batch", cpu_seconds=0.1)
    scale = steps.Step("some_scale", "scale", "x", lambda given: iter(()), (1, 1), (1, 1))
    monkeypatch.setitem(steps.registry, "some_scale", scale)
    one = replace(LINE, benchmark="scale cores", query="strong", variant="1 key", cores=1, seconds=(13.0,))
    made = page(
        (peers, LINE), (peers, flink), (peers, spark), (peers, polars),
        (peers, replace(LINE, source="json")), (peers, replace(spark, source="json", cpu_seconds=5.0)),
        ("some_scale", one), ("some_scale", replace(one, cores=16, seconds=(1.0,))),
    )  # fmt: skip
    text = report_goals.goals(made)
    assert "| Apache Flink from memory and files, mean | 10.0 x | 12.0 x | reached | 1 figures |" in text
    assert (
        "| spark from memory and files, mean | 10.0 x | 11.2 x | reached | 2 figures: json 25.0 x, memory 5 x |" in text
    )
    assert (
        "| pathway from memory and files, mean | 50.0 x |  | not measured | it cannot run them, or was not run |"
        in text
    )
    assert "| 0.667 x | 0.5 x | **missed** | 0 of 1 figures; least: q5 next to polars; missed by q5 |" in text
    assert (
        "| 16 cores against one, windows from memory | 12.0 x | 13.0 x | reached | 16 cores here, 1 key: 13.0 x |"
        in text
    )


def test_every_plot_is_xml_for_light_and_dark(peers: str, tmp_path: Path) -> None:
    names = ("limits", "growth", "scale_cores", "scale_state", "scale_epochs", "soak", "kernels")
    results = tmp_path / "results"
    for name in names:
        step = run.choose([name], "tiny")[0]
        written_ = _sample(name)
        results.mkdir(exist_ok=True)
        (results / f"{step.name}.jsonl").write_text("".join(as_json(line, name, FACTS) + "\n" for line in written_))
    report.write(results, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "could not be written" not in text, text
    plots = sorted(path.name for path in (tmp_path / "page").glob("*.svg"))
    assert plots == [
        "growth_keys.svg",
        "scale_cores.svg",
        "scale_epochs.svg",
        "scale_state.svg",
        "soak_memory.svg",
        "soak_rate.svg",
    ]
    for name in plots:
        drawn = (tmp_path / "page" / name).read_text()
        assert f"page/{name}" in text and "prefers-color-scheme:dark" in drawn
        ElementTree.fromstring(drawn)


def _sample(step: str) -> list[Line]:
    """Lines as the step gives them."""
    machine = replace(LINE, benchmark="limit", engine="machine", variant="1 MiB")
    state = {"keys": 1_000, "new_per_s": 10, "known_per_s": 20, "state_mb": 1.0}
    return {
        "limits": [
            replace(machine, query="read", extra={"gb_per_s": 10.0}),
            replace(machine, query="copy", extra={"gb_per_s": 8.0}),
            replace(machine, query="gather", extra={"million_per_s": 100.0}),
            replace(machine, query="clock", variant="", extra={"ghz": 2.0}),
        ],
        "kernels": [replace(LINE, benchmark="kernel", query="kernels_grouping", variant="int64, 1k keys")],
        "growth": [replace(LINE, benchmark="growth", source="keys", extra={"x": x}) for x in (10, 100)],
        "scale_cores": [replace(LINE, benchmark="scale cores", cores=n) for n in (1, 2)],
        "scale_state": [replace(LINE, benchmark="scale state", extra={**state, "keys": n}) for n in (1_000, 10_000)],
        "scale_epochs": [replace(LINE, benchmark="scale epochs", extra={"interval_ms": n}) for n in (10, 100)],
        "soak": [
            replace(LINE, benchmark="scale soak", extra={
                "minutes": 1, "last_over_first": 1.0, "mb_per_minute": 0.0, "points": [[1, 10, 5], [2, 11, 5]],
            }),
        ],
    }[step]  # fmt: skip


def test_fraction_of_a_ceiling() -> None:
    ceilings = report_machine.Ceilings({1024: 1e9}, {1024: 1e9, 1 << 20: 1e8}, {1024: 1e8, 1 << 20: 1e6}, 2.0)
    line = replace(LINE, events=64, bytes=1024, seconds=(64 * 32e-9,))
    assert report_machine.fraction(line, {}, ceilings) == (pytest.approx(0.5), "bandwidth")
    assert report_machine.fraction(line, {"gathers": [[3, 512]]}, ceilings) == (pytest.approx(30 / 32), "gathers")
    assert report_machine.between(ceilings.gather, 1 << 15) == pytest.approx(1e7), "half way, logarithmically"


def test_axes_hold_what_is_drawn() -> None:
    drawn = svg.curves(
        "t", {"a": [(1, 1), (1000, 0.5)], "b": [(10, 3)]}, svg.Axis("x"), svg.Axis("y", log=False, least=0.0)
    )
    root = ElementTree.fromstring(drawn)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    circles = [node for node in root.iter() if node.tag.endswith("circle")]
    assert len(circles) >= 2
    assert all(0 < float(node.attrib["cx"]) < width and 0 < float(node.attrib["cy"]) < height for node in circles)
