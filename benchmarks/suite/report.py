"""``docs/benchmarks.md`` and its plots, from result lines and nothing else."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

from benchmarks.suite import about, report_engine, report_goals, report_machine, report_peers, report_scale, steps
from benchmarks.suite.lines import read
from benchmarks.suite.markdown import table
from benchmarks.suite.page import Page

NOTES = about.ROOT / "benchmarks" / "peers" / "notes"


def write(results: Path, page: Path) -> None:
    """The page, and its plots in a folder of its name beside it."""
    steps.load_all()
    content = gather(results, page.stem)
    text = compose(content)
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        if old.name not in content.plots:
            old.unlink()
    for name, svg in content.plots.items():
        (folder / name).write_text(svg)
    page.write_text(text)


def gather(results: Path, folder: str) -> Page:
    """All lines of `results`, those of other machines in its folders, and the notes on peers."""
    others = {
        path.name: read(sorted(path.glob("*.jsonl"))) for path in sorted(results.glob("*")) if path.is_dir()
    }  # fmt: skip
    notes = {path.stem: tomllib.loads(path.read_text()) for path in sorted(NOTES.glob("*.toml"))}
    others = {name: kept for name, kept in others.items() if kept}
    return Page(read(sorted(results.glob("*.jsonl"))), others, notes, folder)


def compose(page: Page) -> str:
    sections: list[Callable[[Page], str]] = [
        report_peers.in_short,
        report_goals.goals,
        report_machine.machine,
        report_machine.limits,
        report_machine.kernels,
        report_engine.engine,
        report_peers.memory,
        report_peers.kafka,
        report_scale.scale,
        report_peers.honesty,
        failures,
        again,
    ]
    texts = [_HEAD]
    for section in sections:
        try:
            texts.append(section(page))
        except Exception as error:  # a section that cannot be written must not take the page with it
            texts.append(_unwritten(section.__name__, error))
    return "\n".join(text for text in texts if text)


_HEAD = """# Benchmarks

This page is written by `python -m benchmarks report` from the lines in `benchmarks/results/`; no figure in it is typed
by hand. `make bench` measures everything again. Rates are million events a second; a CPU second is one core at work for
a second, all processes of an engine counted, start-up not.
"""


def _unwritten(section: str, error: Exception) -> str:
    return f"## {section}\n\nThis section could not be written: {type(error).__name__}: {error}\n"


def failures(page: Page) -> str:
    """What did not come to its end, and results that were not ours."""
    rows = [
        [each.step, " ".join(filter(None, (each.line.query, each.line.variant, each.line.source))), each.line.engine,
         str(each.line.cores), each.line.status, each.line.reason]
        for each in page.kept if each.line.status in ("failed", "wrong")
    ]  # fmt: skip
    if not rows:
        return ""
    head = ["step", "what", "engine", "cores", "status", "why"]
    return "## What failed in this run\n\n" + table(head, rows, left=6)


def again(page: Page) -> str:
    """The commands, and the steps with when they ran."""
    rows, seen = [], set()
    for each in page.kept:
        if each.step not in seen and each.run:
            seen.add(each.step)
            step = steps.registry.get(each.step)
            busy = each.run.get("busy_cores_before")
            said = each.run.get("date", ""), each.run.get("commit", ""), "" if busy is None else f"{busy:.2f}"
            rows.append([each.step, step.what if step else "", *said, f"`{each.run.get('command', '')}`"])
    head = ["step", "what", "when (UTC)", "commit", "cores others used before it", "command"]
    return "## Repeat it\n\n```console\n$ make bench\n$ make bench-quick\n```\n\n" + table(head, rows, left=6)
