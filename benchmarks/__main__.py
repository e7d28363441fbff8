"""``python -m benchmarks``: list, run, suite, report and compare. benchmarks/README.md says what each does."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine, runner
from benchmarks.suite import cli as suite_cli


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0; 1 when a benchmark failed or does not exist."""
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
    except runner.BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure windrow.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="what can be measured")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(action=_list)

    run = commands.add_parser("run", help="measure")
    run.add_argument("names", nargs="+", metavar="NAME", help="benchmarks by name, or all")
    run.add_argument("--json", action="store_true", help="one JSON object a line")
    run.add_argument("--scale", type=float, default=1.0, help="size of the input; 1.0 is the real size")
    run.add_argument("--pin", action="store_true", help="one core for benchmarks with one worker")
    run.set_defaults(action=_run)

    suite_cli.add_commands(commands)

    measure = commands.add_parser("measure", help="what `run` starts for each benchmark")
    measure.add_argument("name")
    measure.add_argument("results", type=Path)
    measure.add_argument("--scale", type=float, default=1.0)
    measure.add_argument("--pin", action="store_true")
    measure.set_defaults(action=_measure)
    return parser


def _list(options: argparse.Namespace) -> None:
    known = runner.load_all()
    if options.json:
        for each in known.values():
            print(json.dumps({"name": each.name, "what": each.what, "kernels": each.kernels}))
        return
    width = max((len(name) for name in known), default=0)
    for each in known.values():
        print(f"{each.name:{width}}  {each.what}")


def _run(options: argparse.Namespace) -> None:
    chosen = runner.select(options.names)
    lines: list[dict[str, Any]] = []
    failed: list[str] = []
    for each in chosen:
        if not options.json:
            print(f"{each.name} ...", file=sys.stderr, flush=True)
        try:
            lines = runner.run_apart(each, options.scale, options.pin)
        except runner.BenchmarkError as error:
            failed.append(str(error))
            continue
        if options.json:
            for line in lines:
                print(json.dumps(line), flush=True)
        else:
            _show(lines)
    if not options.json:
        about = machine.describe()
        print(f"{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB, {about['system']}")
        print(", ".join(f"{name} {version}" for name, version in machine.versions().items()))
    if failed:
        raise runner.BenchmarkError("; ".join(failed))


def _measure(options: argparse.Namespace) -> None:
    with options.results.open("w") as results:
        for line in runner.measure(options.name, options.scale, options.pin):
            print(json.dumps(line), file=results)


def _show(lines: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=lines[0]["name"], title_justify="left")
    table.add_column("variant")
    for heading in ("events", "seconds", "M events/s", "GB/s", "workers", "peak MB", "checksum"):
        table.add_column(heading, justify="right")
    table.add_column("besides")
    for line in lines:
        seconds = line["seconds"]
        table.add_row(
            line["variant"],
            f"{line['events']:,}",
            f"{seconds:.4f}",
            f"{line['events'] / seconds / 1e6:.2f}" if seconds else "",
            f"{line['bytes'] / seconds / 1e9:.2f}" if seconds and line["bytes"] else "",
            str(line["workers"]),
            f"{line['rss_mb']:.0f}",
            line["checksum"],
            ", ".join(f"{name} {_figure(value)}" for name, value in line["extra"].items()),
        )
    console = Console()
    # Where no terminal says how wide it is, nothing is cut off.
    Console(width=max(console.width, 200)).print(table) if not console.is_terminal else console.print(table)


def _figure(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
