"""Runs the suite: set-up, then each step in a process of its own with a limit, then the report.

A step that fails, or is killed at its limit, leaves the lines that it had and one that says what became of it; nothing
of the rest is lost. Results of a step replace its last ones when it ends, in one rename.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.runner import BenchmarkError, last_words
from benchmarks.suite import about, processes, steps
from benchmarks.suite.lines import Kept, Line, as_json, from_json
from benchmarks.suite.steps import Run, Size, Step

RESULTS = about.ROOT / "benchmarks" / "results"
CACHE = about.ROOT / ".cache" / "benchmarks"
#: Quick figures are no figures to publish: they never replace the others.
QUICK_RESULTS = CACHE / "quick"
_SETUP_LIMIT_S = 1_200
#: How long a run waits for other programs to leave the machine alone, all steps together.
_QUIET_S = {"full": 30.0, "quick": 5.0, "tiny": 0.0}
_TELL_LINES = 15  # of a failed step's last output


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, how large, and where results go."""

    steps: list[Step]
    size: Size
    results: Path
    options: dict[str, str]
    facts: dict[str, Any]

    def limit(self, step: Step) -> float:
        """Seconds until the step is killed."""
        more = (each * float(self.options.get(name, 0)) for name, each in step.longer.items())
        return step.limit[1 if self.size == "full" else 0] + sum(more)


def choose(names: Sequence[str], size: Size) -> list[Step]:
    """The steps of these names; without names, all that belong to this size."""
    known = steps.load_all()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchmarkError(f"no step {', '.join(unknown)}; there are: {', '.join(known)}")
    if names:
        return [known[name] for name in names]
    return [step for step in known.values() if step.seconds[1 if size == "full" else 0]]


def run_suite(plan: Plan, say: Callable[[str], None]) -> list[str]:
    """Run everything; the names of the steps that did not come to their end."""
    plan.results.mkdir(parents=True, exist_ok=True)
    failed = _report_broken(plan, say) + _set_up(plan, say)
    position = 1 if plan.size == "full" else 0
    patience_s = _QUIET_S[plan.size]
    begun, ahead = time.monotonic(), sum(step.seconds[position] for step in plan.steps)
    say(f"{len(plan.steps)} steps, about {_minutes(ahead)}")
    for number, step in enumerate(plan.steps, 1):
        say(f"[{number}/{len(plan.steps)}] {step.name}: {step.what} (about {_minutes(step.seconds[position])})")
        asked = time.monotonic()
        busy = about.wait_until_quiet(patience_s)
        patience_s = max(patience_s - (time.monotonic() - asked), 0.0)
        reason = run_step(plan, step, say, busy)
        if reason:
            failed.append(step.name)
            say(f"  FAILED: {reason}")
        say(f"  {_minutes(time.monotonic() - begun)} so far")
    return failed


def run_step(plan: Plan, step: Step, say: Callable[[str], None], busy: float | None = None) -> str:
    """Run one step; why it did not come to its end, or nothing. Its results are in place afterwards.

    `busy`: cores that others used before it.
    """
    with _folder() as folder:
        written = folder / "lines"
        written.touch()
        reason = _supervised("step", step.name, plan, plan.limit(step), folder, _Teller(written, say))
        facts = {**plan.facts, "busy_cores_before": busy}
        kept = [from_json(text) for text in written.read_text().splitlines() if text.endswith("}")]
        lines = [as_json(each.line, step.name, facts) for each in kept]
        if reason:
            lines.append(as_json(_failed_line(step, reason), step.name, facts))
        target = plan.results / f"{step.name}.jsonl"
        target.with_suffix(".new").write_text("".join(line + "\n" for line in lines))
        target.with_suffix(".new").replace(target)
    return reason


def _failed_line(step: Step, reason: str) -> Line:
    return Line(benchmark=step.name, engine="", query="(step)", status="failed", reason=reason)


def _set_up(plan: Plan, say: Callable[[str], None]) -> list[str]:
    """Everything that the chosen steps' modules need, before anything is measured."""
    modules = {step.function.__module__ for step in plan.steps}
    wanted = [name for name, function in steps.setups.items() if function.__module__ in modules]
    failed = []
    for name in wanted:
        say(f"set-up: {name}")
        with _folder() as folder:
            reason = _supervised("setup", name, plan, _SETUP_LIMIT_S, folder, lambda: None)
        line = Line(benchmark="setup", engine="", query=name, status="failed" if reason else "measured", reason=reason)
        target = plan.results / f"setup_{name}.jsonl"
        target.unlink(missing_ok=True)
        if reason:
            say(f"  FAILED: {reason}")
            failed.append(f"setup {name}")
            target.write_text(as_json(line, f"setup_{name}", plan.facts) + "\n")
    return failed


def _report_broken(plan: Plan, say: Callable[[str], None]) -> list[str]:
    for module, reason in steps.broken.items():
        say(f"{module} cannot be imported: {reason}")
        line = Line(benchmark="setup", engine="", query=module, status="failed", reason=reason)
        target = plan.results / f"module_{module.rpartition('.')[2]}.jsonl"
        target.write_text(as_json(line, module, plan.facts) + "\n")
    return list(steps.broken)


def _supervised(verb: str, name: str, plan: Plan, limit: float, folder: Path, look: Callable[[], None]) -> str:
    """``python -m benchmarks VERB NAME`` in a process of its own until it ends or its time is up; why it failed.

    Whatever it started is gone afterwards, wherever it hangs.
    """
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "benchmarks", verb, name, str(folder / "lines"), "--size", plan.size]
    command += ["--folder", str(folder / "scratch"), "--results", str(plan.results), "--limit", str(limit)]
    for option, value in plan.options.items():
        command += ["--option", f"{option}={value}"]
    (folder / "scratch").mkdir()
    output = folder / "output"
    environment = {**os.environ, processes.MARK: mark}
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=about.ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
        try:
            reason = _wait(process, limit, look)
        finally:
            processes.kill_tree(process.pid)
            process.wait()
            processes.kill_marked(mark)
    look()
    if reason or process.returncode:
        said = output.read_text(errors="replace").strip()
        sys.stderr.write("".join(f"    {line}\n" for line in said.splitlines()[-_TELL_LINES:]))
        return reason or last_words(said) or f"exit code {process.returncode}"
    return ""


def _wait(process: subprocess.Popen[bytes], limit: float, look: Callable[[], None]) -> str:
    until = time.monotonic() + limit
    while time.monotonic() < until:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
            return ""
        look()
    return f"was ended after its limit of {limit:.0f} s"


class _Teller:
    """Says each line as it comes."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say, self._told = path, say, 0

    def __call__(self) -> None:
        lines = [text for text in self._path.read_text().splitlines() if text.endswith("}")]
        for text in lines[self._told :]:
            self._say("  " + summary(from_json(text)))
        self._told = len(lines)


def summary(kept: Kept) -> str:
    """One line of a terminal for a result."""
    line = kept.line
    name = " ".join(part for part in (line.benchmark, line.query, line.variant, line.source) if part)
    head = f"{name:48} {line.engine:14} {line.cores} core{'s' if line.cores > 1 else ' '}"
    if line.status != "measured":
        return f"{head} {line.status}: {line.reason[:100]}"
    rate, per_cpu = line.events_per_s, line.events_per_cpu_s
    figures = [f"{rate / 1e6:9.3f} M/s"] if rate else []
    figures += [f"{per_cpu / 1e6:9.3f} M/CPU s"] if per_cpu else []
    figures += [f"{name} {value:.3g}" for name, value in line.latency_ms.items()]
    figures += [f"{name} {value:.4g}" for name, value in line.extra.items() if isinstance(value, (int, float))][:3]
    return " ".join([head, *figures])


def measure(name: str, lines: Path, run: Run) -> None:
    """What ``python -m benchmarks step`` does: one step, its lines appended as they come."""
    step = choose([name], run.size)[0]
    with lines.open("a") as file:
        for line in step.function(run):
            file.write(as_json(line, name, {}) + "\n")
            file.flush()


def prepare(name: str, run: Run) -> None:
    """What ``python -m benchmarks setup`` does."""
    steps.load_all()
    if name not in steps.setups:
        raise BenchmarkError(f"no set-up {name}; there are: {', '.join(steps.setups)}")
    steps.setups[name](run)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="windrow-suite-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
