"""The checksums that benchmarks give at `SCALE`, kept beside this file: ``python -m tests.benchmarks.checksums`` writes
them anew. A change that makes a benchmark compute something else shows there."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import runner
from benchmarks.harness import Measured

SCALE = 0.01
PATH = Path(__file__).with_suffix(".json")
#: Its checksum follows a version: lengths of texts that are printed.
NOT_KEPT = {"start"}


def of(measured: list[Measured]) -> dict[str, str]:
    """By variant."""
    return {each.variant: each.checksum for each in measured}


def kept() -> dict[str, dict[str, str]]:
    """By benchmark, then by variant."""
    found: dict[str, dict[str, str]] = json.loads(PATH.read_text())
    return found


def write() -> None:
    known = {name: each for name, each in runner.load_all().items() if name not in NOT_KEPT and not each.broker}
    found = {name: of(each.run(SCALE)) for name, each in known.items()}
    PATH.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    write()
