"""Kind: crash. Engines and brokers that are killed at random lose nothing, double nothing and leave nothing open.

``WINDROW_SOAK_MINUTES`` makes it longer; ``python -m tests.kafka.soak --help`` says what else there is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.broker import jars
from tests.conftest import need_broker

SEED = os.environ.get("WINDROW_SOAK_SEED", "20261")
MINUTES = os.environ.get("WINDROW_SOAK_MINUTES")

pytestmark = [pytest.mark.crash, pytest.mark.slow]


def soak(*arguments: object) -> dict[str, Any]:
    """Run it in a process of its own, which forks; what it counted."""
    need_broker()
    command = [sys.executable, "-m", "tests.kafka.soak", "--json", "--seed", SEED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize(("nodes", "minutes"), [(1, 0.6), (3, 0.3)])
def test_jobs_and_brokers_that_die_again_and_again(
    nodes: int, minutes: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """With three brokers leaders and coordinators move."""
    told = soak("--minutes", MINUTES or minutes, "--nodes", nodes, "--version", jars.NEWEST, "--events", 120)
    with capsys.disabled():
        print(f"\n{nodes} brokers: {told['text']}")
    assert told["failure"] is None
    assert told["rows"] > 100
    assert sum(told["deaths"].values()) >= 1
