"""Kind: crash. Processes and brokers that stand still for longer than anybody waits for them, and then go on.

Here seconds, with timeouts that are shorter still. ``WINDROW_PAUSE_SECONDS=35`` (or 70, or more) makes the pauses that
long, with the timeouts that jobs have: transactions are given up after 60 s, members of a group after 45 s.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.broker import jars
from tests.broker.cluster import brokers
from tests.conftest import need_broker
from tests.kafka.groups.job import Process, Work, await_, ending
from tests.kafka.groups.test_groups import ALL, shared
from tests.kafka.test_soak import soak

LONG_S = float(os.environ.get("WINDROW_PAUSE_SECONDS", "0"))
PAUSE_S = LONG_S or 4.0
TIMEOUT_S = 60 if LONG_S else 1.5
SESSION: dict[str, Any] = {"session_timeout_ms": 45_000, "heartbeat_interval_ms": 3_000} if LONG_S else {}

pytestmark = [pytest.mark.crash, pytest.mark.slow]


def paused(kind: str, rounds: int, *options: object) -> dict[str, Any]:
    """Jobs of which each is hurt like this; what they wrote is compared with the recomputation, also meanwhile."""
    told = soak("--rounds", rounds, "--kind", kind, "--shortest-pause", PAUSE_S, "--longest-pause", PAUSE_S,
                "--transaction-timeout", TIMEOUT_S, "--events", 120, *options)  # fmt: skip
    assert told["failure"] is None
    assert told["rows"] > 100
    assert told["deaths"][kind] >= 1
    return told


@pytest.mark.parametrize("version", [jars.NEWEST, jars.OLDER])
def test_a_process_sleeps_in_the_middle_of_a_transaction(version: str) -> None:
    """The brokers have given its transaction up; nobody has taken over, so that it goes on by itself."""
    told = paused("pause", 2, "--version", version)
    assert told["fenced"] == 0
    assert PAUSE_S < TIMEOUT_S or told["doubts"] == told["deaths"]["pause"]


def test_a_process_sleeps_and_another_takes_over() -> None:
    """The one that wakes up says that it was replaced, and ends; nothing of what it had in hand is seen."""
    told = paused("zombie", 2)
    if not LONG_S and not told["fenced"]:  # on a busy machine the other may not have come up in such a short pause
        told = paused("zombie", 2, "--shortest-pause", 4 * PAUSE_S, "--longest-pause", 4 * PAUSE_S)
    assert told["fenced"] >= 1


def test_the_broker_sleeps() -> None:
    """Its clients wait, ask again, find out what was committed, and go on without anybody's help."""
    assert paused("broker pause", 2)["fenced"] == 0


def test_a_member_of_a_group_sleeps(tmp_path: Path) -> None:
    """Its partitions move when its session has ended; when it wakes up it says what it has lost, and joins again."""
    need_broker()
    with brokers() as own:
        work = Work(own.bootstrap)
        one, two = (Process(work, tmp_path / name, kafka=SESSION) for name in ("one", "two"))
        with ending(one, two):
            await_(lambda: shared(one, two), 60, "two shares")
            work.fill(2_000)
            one.signal(signal.SIGSTOP)
            asleep_s = time.monotonic()
            await_(lambda: two.partitions() == ALL, 30 + (45 if LONG_S else 0), "all partitions at the second")
            work.fill(500)
            time.sleep(max(asleep_s + PAUSE_S - time.monotonic(), 0))
            one.signal(signal.SIGCONT)
            await_(lambda: "has lost its partitions" in one.said(), 30, "the one that slept says so")
            await_(lambda: shared(one, two), 60, "two shares again")
            work.fill(500)
            work.check()
