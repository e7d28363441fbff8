"""The suite's part of ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.runner import BenchmarkError
from benchmarks.suite import about, compare, report, run
from benchmarks.suite.steps import Run, Size

_PAGE = about.ROOT / "docs" / "benchmarks.md"


def add_commands(commands: Any) -> None:
    """`commands`: what ``add_subparsers`` gave."""
    suite = commands.add_parser("suite", help="run the suite and write its report")
    suite.add_argument("names", nargs="*", metavar="STEP", help="steps by name; all when none is given")
    suite.add_argument("--quick", action="store_true", help="3 minutes at small sizes; results stay in .cache")
    suite.add_argument("--list", action="store_true", help="show the steps, run nothing")
    suite.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="handed to the steps")
    suite.add_argument("--results", type=Path, help="folder for results (and report.md), instead of the usual one")
    suite.set_defaults(action=_suite)

    writing = commands.add_parser("report", help="write docs/benchmarks.md from the results there are")
    writing.add_argument("--results", type=Path, default=run.RESULTS)
    writing.add_argument("--page", type=Path, default=_PAGE)
    writing.set_defaults(action=lambda options: report.write(options.results, options.page))

    comparing = commands.add_parser("compare", help="ratios of two sets of results; fails above a threshold")
    comparing.add_argument("old", type=Path, help="a folder or file of result lines")
    comparing.add_argument("new", type=Path)
    comparing.add_argument("--threshold", type=float, default=1.15, help="how many times slower is too slow")
    comparing.set_defaults(action=_compare)

    for verb, help_ in (("step", "what `suite` starts for each step"), ("setup", "and before them")):
        inner = commands.add_parser(verb, help=help_)
        inner.add_argument("name")
        inner.add_argument("lines", type=Path)
        inner.add_argument("--size", choices=("tiny", "quick", "full"), default="full")
        inner.add_argument("--folder", type=Path, required=True)
        inner.add_argument("--results", type=Path, default=run.RESULTS)
        inner.add_argument("--limit", type=float, default=600.0)
        inner.add_argument("--option", action="append", default=[])
        inner.set_defaults(action=_inner, verb=verb)


def _suite(options: argparse.Namespace) -> None:
    size: Size = "quick" if options.quick else "full"
    chosen = run.choose(options.names, size)
    if options.list:
        for step in chosen:
            print(f"{step.name:18} {step.part:8} {step.seconds[0]:4} s quick {step.seconds[1]:5} s full  {step.what}")
        return
    results = options.results or (run.QUICK_RESULTS if options.quick else run.RESULTS)
    command = "python -m benchmarks " + shlex.join(sys.argv[1:])
    plan = run.Plan(chosen, size, results, _pairs(options.option), about.run_facts(size, command))
    failed = run.run_suite(plan, lambda text: print(text, flush=True))
    page = _PAGE if results == run.RESULTS else results / "report.md"
    report.write(results, page)
    print(f"results in {results}, report in {page}")
    if failed:
        raise BenchmarkError(f"not all came to its end: {', '.join(failed)}")


def _compare(options: argparse.Namespace) -> None:
    text, worse = compare.compare(options.old, options.new, options.threshold)
    print(text)
    if worse:
        raise BenchmarkError(f"{len(worse)} of the figures are worse: {', '.join(worse)}")


def _inner(options: argparse.Namespace) -> None:
    given = Run(
        size=options.size,
        folder=options.folder,
        cache=run.CACHE,
        results=options.results,
        deadline=time.monotonic() + options.limit,
        options=_pairs(options.option),
    )
    if options.verb == "setup":
        run.prepare(options.name, given)
    else:
        run.measure(options.name, options.lines, given)


def _pairs(options: list[str]) -> dict[str, str]:
    wrong = [option for option in options if "=" not in option]
    if wrong:
        raise BenchmarkError(f"--option {wrong[0]}: write NAME=VALUE")
    return {name: value for name, _, value in (option.partition("=") for option in options)}
