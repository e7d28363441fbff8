"""Kind: crash. Jobs that die hundreds of times lose nothing and double nothing; with any safeguard off they do.

``WINDROW_CRASH_ROUNDS`` is the number of rounds in all (default 200). ``python -m tests.crash --help`` says how to run
more of them, and with ``--seed`` the same choices again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.crash import producer, server
from tests.crash.mutations import MUTATIONS
from windrow.progress.faults import POINTS

ROUNDS = int(os.environ.get("WINDROW_CRASH_ROUNDS", "200"))
SEED = int(os.environ.get("WINDROW_CRASH_SEED", "20260"))

pytestmark = pytest.mark.crash


def crash(*arguments: object) -> Iterator[dict[str, Any]]:
    """Run the harness in a process of its own, which forks; gives what it counted."""
    command = [sys.executable, "-m", "tests.crash", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return map(json.loads, done.stdout.splitlines())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_dies_again_and_again_loses_nothing_and_doubles_nothing(
    workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Deaths at every named point, by signals, by power cuts, in recovery, with a second owner; a reader beside it."""
    rounds = ROUNDS // 2
    (tally,) = crash("--rounds", rounds, "--workers", workers, "--seed", SEED)
    with capsys.disabled():
        print(f"\n{workers} workers: {tally['text']}")
    assert tally["failure"] is None
    assert tally["rounds"] >= rounds
    missed = [point for point in server.POINTS if point not in server.ELSEWHERE and not tally["deaths"].get(point)]
    assert not missed, f"nothing has died at {missed}"
    assert tally["rows"] > rounds * 50
    assert tally["polls"] > 0


def test_producers_and_retention_that_die_keep_what_was_acknowledged(capsys: pytest.CaptureFixture[str]) -> None:
    (tally,) = crash("--kind", "producer", "--rounds", max(ROUNDS // 2, 60), "--seed", SEED)
    with capsys.disabled():
        print(f"\nproducers: {tally['rounds']} rounds, {sum(tally['deaths'].values())} deaths, {tally['seconds']} s")
    assert tally["failure"] is None
    missed = [point for point in producer.POINTS if not tally["deaths"].get(point)]
    assert not missed, f"no producer has died at {missed}"


def test_every_point_has_a_scenario() -> None:
    assert len(POINTS) >= 15
    assert set(server.ELSEWHERE) <= set(producer.POINTS) <= set(POINTS)
    assert all(set(mutation.points) <= set(POINTS) for mutation in MUTATIONS.values())


@pytest.mark.parametrize("part", [0, 1])
def test_without_any_one_of_its_safeguards_the_crash_test_fails(part: int) -> None:
    """A checker that never failed would prove nothing."""
    names = list(MUTATIONS)[part::2]
    seen = {tally["mutation"]: tally for tally in crash("--rounds", 100, *(f"--mutate={name}" for name in names))}
    assert set(seen) == set(names)
    unseen = [name for name, tally in seen.items() if tally["failure"] is None]
    assert not unseen, f"with these switched off the crash test still passes: {unseen}"
