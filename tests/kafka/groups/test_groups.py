"""Instances that come, go, die and stand still: the group goes on, exactly once (crash, differential)."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

import windrow as wr
from tests.broker import jars
from tests.broker.cluster import brokers
from tests.conftest import need_broker
from tests.kafka.groups.job import PARTITIONS, Process, Thread, Work, await_, ending
from windrow.testing import At, installed

ALL = list(range(PARTITIONS))

#: kafka-python leaves the socket of a connection that is being made open when its client is closed.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def work(broker: str) -> Work:
    made = Work(broker)
    made.fill(2_000)
    return made


def shared(*members: Thread | Process) -> bool:
    """Whether every partition is worked on by one of them, and all have their share."""
    parts = [member.partitions() for member in members]
    even = max(map(len, parts)) - min(map(len, parts)) <= 1
    return even and sorted(part for some in parts for part in some) == ALL


def test_partitions_are_shared_and_move_with_their_state(work: Work) -> None:
    """law: a second and a third instance take their shares, and what they had goes back when they leave."""
    one = Thread(work.job())
    with ending(one):
        await_(lambda: one.partitions() == ALL, 30, "all partitions at the first")
        two = Thread(work.job())
        with ending(two):
            await_(lambda: shared(one, two), 30, "two shares")
            work.fill(2_000)
            three = Thread(work.job())
            with ending(three):
                await_(lambda: shared(one, two, three), 30, "three shares")
                work.fill(1_000)
                two.stop()
                await_(lambda: shared(one, three), 30, "shares without the second")
                work.fill(1_000)
                work.check()
    assert one.error is None and two.error is None and three.error is None


@pytest.mark.slow
def test_brokers_with_the_older_protocol(tmp_path: Path) -> None:
    """crash: as above with Kafka 3.9, whose transactions fence by what they were told at their beginning."""
    need_broker()
    with brokers(version=jars.OLDER, folder=tmp_path / "broker") as cluster:
        work = Work(cluster.bootstrap)
        work.fill(2_000)
        one, two = Process(work, tmp_path / "one"), Thread(work.job())
        with ending(one, two):
            await_(lambda: shared(one, two), 60, "two shares")
            work.fill(1_000)
            one.signal(signal.SIGSTOP)
            await_(lambda: two.partitions() == ALL, 40, "all partitions at the second")
            work.fill(500)
            one.signal(signal.SIGCONT)
            await_(lambda: shared(one, two), 40, "two shares again")
            one.stop()
            work.check()
        assert two.error is None


def test_what_is_not_moved_goes_on(work: Work) -> None:
    """law: cooperative; those who keep a partition do not close it while others come."""
    one = Thread(work.job())
    with ending(one):
        await_(lambda: one.partitions() == ALL, 30, "all partitions at the first")
        runner = one.job._runner
        before = dict(runner._parts)  # type: ignore[union-attr]
        two = Thread(work.job())
        with ending(two):
            await_(lambda: shared(one, two), 30, "two shares")
            kept = [number for number in one.partitions() if runner._parts[number] is before[number]]  # type: ignore[union-attr]
            assert kept == one.partitions() and len(kept) == PARTITIONS // 2


def test_kill_nine_hands_over(work: Work, tmp_path: Path) -> None:
    """crash: an instance is killed in the middle; the other one has its partitions when its session has expired."""
    one, two = Process(work, tmp_path / "one"), Process(work, tmp_path / "two")
    with ending(one, two):
        await_(lambda: shared(one, two), 60, "two shares")
        work.fill(3_000)
        one.kill()
        work.fill(1_000)
        await_(lambda: two.partitions() == ALL, 30, "all partitions at the second")
        work.check()
        two.stop()


def test_a_zombie_commits_nothing(work: Work, tmp_path: Path) -> None:
    """crash: an instance stands still for longer than its session, in the middle of its work; its partitions are taken
    over meanwhile, and what it has in hand when it goes on is not seen. It comes back as a member."""
    one, two = Process(work, tmp_path / "one"), Process(work, tmp_path / "two")
    with ending(one, two):
        await_(lambda: shared(one, two), 60, "two shares")
        work.fill(5_000)
        one.signal(signal.SIGSTOP)
        await_(lambda: two.partitions() == ALL, 30, "all partitions at the second")
        work.fill(1_000)
        one.signal(signal.SIGCONT)
        await_(lambda: shared(one, two), 30, "two shares again")
        work.fill(1_000)
        work.check()
        one.stop()
        two.stop()


@pytest.mark.parametrize("point", ["kafka.begin", "kafka.produced", "kafka.offsets", "commit.staged"])
def test_a_rebalance_in_the_middle_of_a_transaction(work: Work, point: str) -> None:
    """crash: the group has another generation before the positions are committed; they are, in the name of that one."""
    others: list[Thread] = []

    def join() -> None:
        others.append(Thread(work.job()))
        await_(lambda: bool(others[0].partitions()) or others[0].job._runner is not None, 30, "the other one is there")
        time.sleep(0.5)

    with installed(At(point, join, 3)):
        one = Thread(work.job())
        with ending(one):
            await_(lambda: bool(others), 30, point)
            with ending(*others):
                await_(lambda: shared(one, *others), 30, "two shares")
                work.fill(500)
                work.check()
                assert one.error is None and others[0].error is None


def test_a_static_member_comes_back_to_what_it_had(work: Work) -> None:
    """law: KIP-345; a restart under the same name within the session moves nothing."""
    one, two = Thread(work.job(instance="a")), Thread(work.job(instance="b"))
    with ending(one, two):
        await_(lambda: shared(one, two), 30, "two shares")
        mine, others = one.partitions(), two.partitions()
        one.stop()
        again = Thread(work.job(instance="a"))
        with ending(again):
            await_(lambda: again.partitions() == mine, 20, "the partitions that it had")
            assert two.partitions() == others
            work.fill(500)
            work.check()


def test_two_under_one_instance_name(work: Work) -> None:
    """law: the later one takes over, the earlier one is told, and stops."""
    one = Thread(work.job(instance="a"))
    with ending(one):
        await_(lambda: one.partitions() == ALL, 30, "all partitions at the first")
        two = Thread(work.job(instance="a"))
        with ending(two):
            await_(lambda: two.partitions() == ALL and one.ended, 40, "all partitions at the second")
            assert isinstance(one.error, wr.FencedError) and "instance 'a'" in str(one.error)
            work.check()


def test_storm(work: Work, tmp_path: Path) -> None:
    """crash: for a while instances join, leave and are killed at random, a change a second."""
    dice = random.Random(11)
    members = [Process(work, tmp_path / "0")]
    with ending(*members):
        for number in range(1, 16):
            work.fill(300)
            living = [member for member in members if not member.ended]
            if len(living) < 2 or (len(living) < 4 and dice.random() < 0.5):
                members.append(Process(work, tmp_path / str(number)))
            else:
                chosen = dice.choice(living)
                chosen.kill() if dice.random() < 0.4 else chosen.signal(signal.SIGTERM)
            time.sleep(1)
        members.append(Process(work, tmp_path / "last"))
        try:
            work.check()
        finally:
            for member in members:
                if not member.ended:
                    member.kill()


GROUP_POINTS = ["group.join", "group.dealt", "group.opened", "group.closed", "ledger.open", "ledger.restore"]


@pytest.mark.parametrize("point", GROUP_POINTS)
def test_a_death_at_any_step_of_a_group(work: Work, tmp_path: Path, point: str) -> None:
    """crash: an instance dies there; the other goes on alone, and a third has its share."""
    one = Thread(work.job())
    with ending(one):
        await_(lambda: one.partitions() == ALL, 30, "all partitions at the first")
        two = Process(work, tmp_path / "two", die_at=point)
        with ending(two):
            if point == "group.closed":  # reached when something is taken from it
                await_(lambda: shared(one, two) or two.ended, 60, "two shares")
                three = Thread(work.job())
                with ending(three):
                    await_(lambda: two.ended, 60, "its death")
            await_(lambda: two.ended, 60, "its death")
            assert two._process.returncode == 137, two.said()
            work.fill(500)
            await_(lambda: one.partitions() == ALL, 40, "all partitions at the first again")
            work.check()
